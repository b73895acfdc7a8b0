"""A study on a Slurm that loses a node in mid-extraction, beside the same study undisturbed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tests.cluster.slurm import Slurm, until

from lensbench.config import ROOT

#: A study that makes its own reference, and what it is asked for: a job of every rule that a node
#: can run. The default target takes longer.
SMALLER = Path(__file__).with_name("smaller.yaml")
TARGETS = (
    "results/paper/parts/data.tex",
    "results/tables/summary.tex",
    "results/figures/ablation.pdf",
    "results/figures/lensbench-qwen2vl/scenes/tokens.pdf",
    "results/notebooks/5_counting.html",
)
#: Snakemake on Slurm. Its executor looks 10 s later each time that nothing has ended, up to 3
#: minutes, which spares a large cluster; a study of short jobs would spend its time there.
WATCHED = """
from snakemake.cli import main
from snakemake_executor_plugin_slurm import Executor
Executor.next_seconds_between_status_checks = property(lambda own: 2, lambda own, seconds: None)
main()
"""
PARTITIONS = Path(__file__).with_name("partitions.yaml")
PROFILE = "workflow/profiles/slurm"
# On the command line stands what this Slurm lacks or has less of: accounting, cores, slowness.
# One model that needs no GPU asks for one, so that a request for a GPU is seen.
ON_GPU = "lensbench-llava"
HERE = [
    *("--slurm-no-account", "--slurm-status-command", "squeue", "--cores", "2"),
    *("--slurm-init-seconds-before-status-checks", "2", "--latency-wait", "30"),
    *("--set-resources", f"extract_{ON_GPU.replace('-', '_')}:gpu=1"),
    "--slurm-keep-successful-logs",
]
_PROGRESS = re.compile(r"(\d+)/(\d+) \[[^]]*samples/s\]")


@dataclass(frozen=True)
class Lost:
    """What a node was doing when it was taken away: an extraction, and what else ran there."""

    node: str
    job: str
    comment: str
    all_jobs: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Done:
    """A study that came to its end: its folder, what snakemake said, and Slurm's records."""

    folder: Path
    log: str
    jobs: list[dict[str, str]]
    lost: Lost
    seconds: float


def clone(folder: Path) -> Path:
    """Return a fresh clone of the checkout."""
    subprocess.run(["git", "-c", "safe.directory=*", "clone", "--quiet", ROOT, folder], check=True)
    return folder


def reference(folder: Path) -> tuple[Path, list[str]]:
    """Return the results of an undisturbed local run, and the arguments that it was made with.

    LENSBENCH_REFERENCE names a folder of results of the default configuration; without it, a
    smaller study is made here.
    """
    given = os.environ.get("LENSBENCH_REFERENCE")
    if given:
        results = Path(given).resolve()
        if not (results / "metrics/summary.csv").is_file():
            raise FileNotFoundError(
                f"LENSBENCH_REFERENCE names {given}, which holds no metrics/summary.csv: it must "
                "be the results folder of a finished default run."
            )
        return results, []
    settings = [*TARGETS, "--configfile", str(SMALLER)]
    where = clone(folder)
    _snakemake(where, os.environ, "--cores", "all", *settings)
    return where / "results", settings


def disturbed(slurm: Slurm, folder: Path, settings: list[str]) -> Done:
    """Return a study made on a Slurm that loses a node while it extracts, and gets it back."""
    start = time.monotonic()
    where = clone(folder)
    environment = {**slurm.environment, "SNAKEMAKE_SLURM_PARTITIONS": str(PARTITIONS)}
    log = where / "snakemake.log"
    with _started(where, environment, log, "--profile", PROFILE, *HERE, *settings) as run:
        lost: list[Lost] = []

        def in_the_midst() -> bool:
            if run.poll() is not None:
                raise RuntimeError(
                    f"It ended too early:\n{log.read_text(errors='replace')[-3000:]}"
                )
            lost[:] = [
                Lost(job["NodeList"], job["JobId"], job["Comment"])
                for job in slurm.jobs()
                if job["JobState"] == "RUNNING" and _half_done(where, job["Comment"])
            ]
            return bool(lost)

        until(in_the_midst, "an extraction was half done", slurm, 600)
        taken = replace(lost[0], all_jobs=frozenset(slurm.kill_node(lost[0].node)))
        # Long enough for the executor to see that the job runs no more.
        time.sleep(6)
        slurm.return_node(taken.node)
        status = run.wait()
    text = log.read_text(encoding="utf-8", errors="replace")
    if status:
        raise RuntimeError(f"snakemake on Slurm ended with {status}:\n{text[-3000:]}")
    return Done(where, text, slurm.jobs(), taken, time.monotonic() - start)


def _half_done(where: Path, comment: str) -> bool:
    """Whether the extraction that a job's comment tells of has read some samples, and not all."""
    found = re.fullmatch(r"rule_extract_\w+_wildcards_(.+)", comment)
    if not found:
        return False
    log = where / "logs/extract" / f"{found[1].replace('_', '-')}.log"
    if not log.is_file():
        return False
    told = _PROGRESS.findall(log.read_text(encoding="utf-8", errors="replace"))
    return bool(told) and 0 < int(told[-1][0]) < int(told[-1][1])


def _environment(where: Path, environment: dict[str, str] | os._Environ[str]) -> dict[str, str]:
    """Return an environment in which the clone's own code is run by this very Python."""
    path = os.pathsep.join([str(Path(sys.executable).parent), environment["PATH"]])
    own = str(where / "src")
    return {**environment, "PATH": path, "PYTHONPATH": own, "HF_HUB_OFFLINE": "1"}


def _snakemake(
    where: Path, environment: dict[str, str] | os._Environ[str], *arguments: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", *arguments],
        cwd=where,
        env=_environment(where, environment),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(
            f"The undisturbed run ended with {done.returncode}: {done.stderr[-3000:]}"
        )


@contextmanager
def _started(
    where: Path, environment: dict[str, str], log: Path, *arguments: str
) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as stream:
        run = subprocess.Popen(
            [sys.executable, "-c", WATCHED, *arguments],
            cwd=where,
            env=_environment(where, environment),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
        try:
            yield run
        finally:
            if run.poll() is None:
                run.kill()
                run.wait()
