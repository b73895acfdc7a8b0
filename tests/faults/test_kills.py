"""Killed at random moments, in every stage and in three ways: the results are the same bytes."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.faults.conftest import QUICK
from tests.faults.places import (
    METRICS,
    PAPER,
    PATIENCE_S,
    TARGETS,
    Place,
    alive_in,
    differences,
    jobs_in,
    leftovers,
    send,
    wait_for_orphans,
    whole_shards,
)
from tests.result_digests import digests

# FAULTS_SEED decides who is killed, how and when; FAULTS_KILLS, how often in every round;
# FAULTS_MINUTES, when the last kill of all is made, so that a slow machine ends in time, too.
SEED = int(os.environ.get("FAULTS_SEED", "6"))
LAST_KILL = time.monotonic() + 60 * float(os.environ.get("FAULTS_MINUTES", "12"))

ONE_RUN = "results/metrics/lensbench-llava/fills"
#: Round → kills, kills in the short cut, what is removed before it begins, what is asked for.
ROUNDS: dict[str, tuple[int, int, tuple[str, ...], tuple[str, ...]]] = {
    "extraction": (25, 4, ("results/traces", ONE_RUN), (f"{ONE_RUN}/summary.parquet",)),
    "extraction again": (25, 0, ("results/traces", ONE_RUN), (f"{ONE_RUN}/summary.parquet",)),
    "metrics": (20, 1, ("results/metrics",), (METRICS,)),
    "figures": (18, 2, ("results/figures", "results/tables"), TARGETS),
    "paper": (12, 0, (PAPER, "results/paper/numbers.tex", "results/paper/build"), (PAPER,)),
}
WHO = ("everything", "a job", "snakemake")
SIGNALS = (signal.SIGKILL, signal.SIGTERM)


class Round:
    """One stage's kills.

    Args:
        place: where.
        targets: what is asked for.
        dice: decides who is killed, how and when.
        job_s: how long a job takes.
    """

    def __init__(
        self, place: Place, targets: tuple[str, ...], dice: random.Random, job_s: float
    ) -> None:
        self.place, self.targets, self.dice, self.job_s = place, targets, dice, job_s
        self.hit: Counter[str] = Counter()
        self.ways: Counter[str] = Counter()
        self.kills = 0
        self._sessions: list[int] = []
        self._known: dict[str, int] = {}
        self._idle = 0

    def begin(self, *removed: str) -> None:
        """Take away what is to be made."""
        self.place.remove(*removed)
        self._known = {}

    def disturb(self) -> bool:
        """Run until a kill, and say whether there was one: the run may have come to its end."""
        run = self.place.start(*self.targets)
        self._sessions.append(run.pid)
        begun = time.monotonic()
        # Most kills wait for a job, since much of a run is snakemake's own beginning.
        aimed = self.dice.random() < 0.85
        while aimed and run.poll() is None and not jobs_in(run.pid):
            time.sleep(0.02)
        # Kills that let no job come to its end would go on for ever: they come later and later.
        latest = self.job_s * (1 + self._idle / 2)
        moment = time.monotonic() + self.dice.uniform(0.0, latest)
        while run.poll() is None and time.monotonic() < moment:
            time.sleep(0.01)
        if run.poll() is not None:
            assert run.returncode == 0, self.log()
            self._idle = 0
            return False
        before = len(digests(self.place.results))
        self._kill(run.pid, time.monotonic() - begun)
        run.wait(PATIENCE_S)
        self._idle = 0 if len(digests(self.place.results)) > before else self._idle + 1
        self._check_shards()
        return True

    def finish(self, killed: bool) -> None:
        """Let the run come to its end, if it was killed."""
        if killed:
            self.place.whole(*self.targets)
        for session in self._sessions:
            wait_for_orphans(session)
        self._check_shards()

    def end(self) -> None:
        """Leave no process behind."""
        for session in self._sessions:
            send(alive_in(session))

    def log(self) -> str:
        """Return the end of what the runs said."""
        return (self.place.tree / "run.log").read_text(errors="replace")[-6000:]

    def _kill(self, session: int, after_s: float) -> None:
        jobs = jobs_in(session)
        names = sorted(words[0] for words in jobs.values() if words)
        who, number = self.dice.choice(WHO), self.dice.choice(SIGNALS)
        if who == "a job" and not jobs:
            who = "everything"
        if who == "everything":
            send(alive_in(session), number)
        elif who == "a job":
            send([self.dice.choice(sorted(jobs))], number)
        else:
            # Its jobs live on, as those of a scheduler would, while the next run begins.
            send([session], number)
        self.kills += 1
        self.hit.update(names or ["between jobs"])
        name = signal.Signals(number).name
        self.ways.update([f"{name} to {who}"])
        # Shown with a failure, or at once by pytest -s.
        print(
            f"  {self.kills:3}: {name} to {who} after {after_s:.1f} s, "
            f"running: {', '.join(names) or 'no job'}",
            flush=True,
        )

    def _check_shards(self) -> None:
        """No shard that was whole is made again."""
        now = whole_shards(self.place)
        again = [name for name, made in self._known.items() if now.get(name, made) != made]
        assert not again, f"These shards were whole and are made again: {again}\n{self.log()}"
        lost = [name for name in self._known if name not in now]
        assert not lost, f"These shards were whole and are lost: {lost}\n{self.log()}"
        self._known = now


@pytest.mark.parametrize("name", [name for name, about in ROUNDS.items() if about[QUICK]])
def test_results_are_the_same_bytes_whenever_and_however_a_run_is_killed(
    name: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    job_s: float,
    record_property: Callable[[str, object], None],
) -> None:
    removed, targets = ROUNDS[name][2:]
    kills = int(os.environ.get("FAULTS_KILLS", ROUNDS[name][QUICK]))
    whole: Place = request.getfixturevalue("printed" if name == "paper" else "undisturbed")
    place, wanted = whole.copy(tmp_path / "place"), digests(whole.results)
    print(f"\n{name}: {kills} kills, FAULTS_SEED={SEED}", flush=True)
    stage = Round(place, targets, random.Random(f"{SEED} {name}"), job_s)

    def due() -> bool:
        return stage.kills < kills and time.monotonic() < LAST_KILL

    try:
        while due():
            stage.begin(*removed)
            killed = True
            while due() and killed:
                killed = stage.disturb()
            stage.finish(killed)
            assert not differences(digests(place.results), wanted), stage.log()
            assert not leftovers(place)
        told = (", ".join(f"{what} {n}" for what, n in found.most_common())
                for found in (stage.ways, stage.hit))  # fmt: skip
        record_property(
            "round", f"{name}, {stage.kills} of {kills} kills: {'; at work: '.join(told)}"
        )
    finally:
        stage.end()
    assert stage.kills, f"no kill was made in time: {kills} were to be (FAULTS_MINUTES)"
    verified = place.lensbench("verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr


def test_no_run_begins_in_a_folder_where_another_is_at_work(place: Place) -> None:
    place.remove("results/traces", "results/metrics")
    first = place.start(METRICS)
    try:
        while first.poll() is None and not jobs_in(first.pid):
            time.sleep(0.02)
        second = place.run(METRICS)
        assert second.returncode == 1
        said = [line for line in second.stdout.splitlines() if line.startswith("lensbench: ")]
        assert len(said) == 1
        assert said[0].startswith(f"lensbench: Another run is at work in {place.tree} (process ")
        assert "Traceback" not in second.stdout
        # Who only looks is let in.
        assert place.run(METRICS, "-n").returncode == 0
        assert first.wait(PATIENCE_S) == 0
    finally:
        send(alive_in(first.pid))


def test_two_runs_started_at_once_are_one_run_and_one_sentence(
    undisturbed: Place, place: Place
) -> None:
    place.remove("results/traces", "results/metrics")
    runs = [place.start(METRICS) for _ in range(2)]
    try:
        ends = sorted(run.wait(PATIENCE_S) for run in runs)
    finally:
        for run in runs:
            send(alive_in(run.pid))
    said = Path(place.tree / "run.log").read_text()
    assert ends == [0, 1], said[-4000:]
    assert said.count("lensbench: Another run is at work") == 1
    assert digests(place.results) == digests(undisturbed.results)
