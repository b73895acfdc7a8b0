"""Locks die with their processes, and with nothing else."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lensbench.errors import LensbenchError
from lensbench.runlock import only_run, only_writer

HOLD = """\
import sys, time
from lensbench.runlock import only_run, only_writer
if sys.argv[1] == "run":
    only_run(sys.argv[2])
    print("held", flush=True)
    time.sleep(600)
with only_writer(sys.argv[2]):
    print("held", flush=True)
    time.sleep(600)
"""


def holder(kind: str, place: Path) -> subprocess.Popen[str]:
    """Return another process that holds a lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, kind, str(place)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_folder_is_held_by_one_run_until_it_is_killed(tmp_path: Path) -> None:
    other = holder("run", tmp_path)
    try:
        with pytest.raises(LensbenchError) as caught:
            only_run(tmp_path)
    finally:
        other.kill()
        other.wait()
    sentence = str(caught.value)
    assert sentence.startswith(f"Another run is at work in {tmp_path} (process {other.pid} on ")
    assert sentence.endswith("wait until it has ended, or end it.")
    # The file is still there, and holds nobody up.
    assert (tmp_path / ".snakemake" / "lensbench.lock").exists()
    only_run(tmp_path)


def test_a_second_writer_waits_for_the_first_and_leaves_no_lock(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "table.csv"
    other = holder("writer", target)
    done: list[float] = []

    def write() -> None:
        with only_writer(target):
            done.append(time.monotonic())

    waiting = threading.Thread(target=write)
    waiting.start()
    time.sleep(0.3)
    assert not done
    # Another output of the same folder is free meanwhile.
    with only_writer(tmp_path / "figure.pdf"):
        pass
    other.kill()
    other.wait()
    waiting.join(60)
    assert len(done) == 1
    assert "Another job, of a run that was ended, still writes in" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_parts_of_one_folder_are_written_at_the_same_time(tmp_path: Path) -> None:
    with only_writer(tmp_path / "run", "extract-part0"), only_writer(tmp_path / "run", "part1"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(LensbenchError, match="Nothing can be made in"),
        only_writer(tmp_path / "file" / "table.csv"),
    ):
        pass
