"""A small project to do harm to: a copy of the workflow's tree, its runs, and what they left."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lensbench.config import ROOT

#: Long enough for a busy machine, short enough to notice what hangs.
PATIENCE_S = 600

TINY = """\
models: [lensbench-llava]
datasets:
  scenes: {n: 0}
  fills: {n: 36}
  facts: {n: 0}
  flowers: {n: 0}
extraction:
  shard_samples: 2
  shards_per_job: 6
closeups: {n: 2}
variants: {datasets: []}
ablation: {datasets: []}
explorer: {samples: 1}
metrics: {resamples: 100}
figures: {examples: 2}
"""

RUN = "results/traces/lensbench-llava/fills"
METRICS = "results/metrics/summary.csv"
LEDGERS = tuple(f"{RUN}/parts/{part}.json" for part in range(3))
#: Named one by one, since nothing is made for a file that is there already.
TRACED = (*LEDGERS, METRICS)
#: From traces to what is shown; the paper takes every figure and is asked for apart.
TARGETS = (
    "results/figures/accuracy_by_layer.pdf",
    "results/figures/lensbench-llava/fills/tokens.pdf",
    "results/tables/summary.csv",
)
ALL = (*TRACED, *TARGETS)
#: What is not killed, and read again by `lensbench verify` all the same.
PAGES = ("results/explorer/index.html", "results/paper/numbers.tex")
PAPER = "results/paper/lensbench.pdf"


@dataclass(frozen=True)
class Place:
    """A tree that the workflow runs in, and the environment of its jobs."""

    tree: Path

    @property
    def results(self) -> Path:
        """The folder of its results."""
        return self.tree / "results"

    def environment(self, **more: str) -> dict[str, str]:
        """Return the environment of a run: this code, one thread, temporary files of its own."""
        temporary = self.tree / "tmp"
        temporary.mkdir(exist_ok=True)
        return os.environ | {
            "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
            "TMPDIR": str(temporary),
            **more,
        }

    def start(self, *targets: str, **more: str) -> subprocess.Popen[bytes]:
        """Begin a run in a session of its own, as a terminal does."""
        with open(self.tree / "run.log", "ab") as log:
            return subprocess.Popen(
                _snakemake(*targets),
                cwd=self.tree,
                env=self.environment(**more),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def run(self, *targets: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run to the end, and return what was said."""
        return subprocess.run(
            _snakemake(*targets),
            cwd=self.tree,
            env=self.environment(**more),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )

    def whole(self, *targets: str, **more: str) -> str:
        """Run to the end, which must be a good one, and return what was said."""
        done = self.run(*targets, **more)
        assert done.returncode == 0, done.stdout[-4000:]
        return done.stdout

    def lensbench(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a single command."""
        return subprocess.run(
            [sys.executable, "-m", "lensbench", *arguments],
            cwd=self.tree,
            env=self.environment(**more),
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )

    def copy(self, tree: Path) -> Place:
        """Return a copy, times of files and snakemake's notes included."""
        # Temporary files come and go, also of another test that reads the same place.
        temporary = shutil.ignore_patterns("tmp")
        shutil.copytree(self.tree, tree, symlinks=True, ignore=temporary)
        return Place(tree)

    def remove(self, *names: str) -> None:
        """Remove files and folders of the results."""
        for name in names:
            path = self.tree / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def _snakemake(*arguments: str) -> list[str]:
    command = [sys.executable, "-m", "snakemake", *arguments]
    return [*command, "--cores", "2", "--configfile", "tiny.yaml"]


def new_place(tree: Path) -> Place:
    """Return a copy of what the workflow is made of, with the small configuration.

    What a run left in the folder before stays.
    """
    for name in ("workflow", "config", "paper", "notebooks"):
        shutil.copytree(ROOT / name, tree / name, dirs_exist_ok=True)
    for name in ("Snakefile", "environment.yml"):
        shutil.copy(ROOT / name, tree / name)
    if not (tree / "profiles").is_symlink():
        (tree / "profiles").symlink_to("workflow/profiles")
    (tree / "tiny.yaml").write_text(TINY)
    return Place(tree)


def differences(one: dict[str, str], other: dict[str, str]) -> list[str]:
    """Return the paths of files that are not the same, or only in one of two."""
    return sorted(path for path in one.keys() | other.keys() if one.get(path) != other.get(path))


def leftovers(place: Place) -> list[str]:
    """Return what only a process that was killed leaves in the results: what is hidden."""
    return [
        str(path.relative_to(place.tree))
        for path in place.results.rglob(".*")
        if path.name not in (".made", ".snakemake_timestamp")
    ]


def whole_shards(place: Place) -> dict[str, int]:
    """Return when each shard was made that is whole, by its digests; nanoseconds."""
    found = {}
    for note in place.results.glob("traces/*/*/*/provenance.json"):
        try:
            files = json.loads(note.read_text())["files"]
            whole = all(
                hashlib.sha256((note.parent / name).read_bytes()).hexdigest() == digest
                for name, digest in files.items()
            )
        except (OSError, ValueError):
            continue
        if whole:
            found[str(note.parent)] = note.stat().st_mtime_ns
    return found


def jobs_in(session: int) -> dict[int, list[str]]:
    """Return the commands of lensbench that run in a session, by their processes."""
    found = {}
    for pid, group_session, command in _processes():
        if group_session == session and "-m" in command and "lensbench" in command:
            # The workers of a job are named as it is; their parent is one too.
            found[pid] = command[command.index("lensbench") + 1 :]
    return found


def alive_in(session: int) -> list[int]:
    """Return all processes of a session."""
    return [pid for pid, found, _ in _processes() if found == session]


def wait_for_orphans(session: int, seconds: float = PATIENCE_S) -> None:
    """Wait until nothing of a session lives."""
    end = time.monotonic() + seconds
    while alive_in(session):
        assert time.monotonic() < end, f"Processes of a run live on: {alive_in(session)}."
        time.sleep(0.05)


def send(pids: Iterable[int], number: int = signal.SIGKILL) -> None:
    """Send a signal to processes that may have ended by now."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _processes() -> list[tuple[int, int, list[str]]]:
    """Return process, session and command of all that live; a zombie doesn't."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            stat = Path("/proc", entry, "stat").read_text()
            command = Path("/proc", entry, "cmdline").read_bytes().split(b"\0")
        except (OSError, UnicodeDecodeError):
            continue
        state, _, _, session = stat.rsplit(")", 1)[1].split()[:4]
        if state != "Z":
            words = [word.decode(errors="replace") for word in command if word]
            found.append((int(entry), int(session), words))
    return found
