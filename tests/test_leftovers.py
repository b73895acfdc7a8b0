"""What killed processes leave is removed, and never what a living one writes into."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lensbench import leftovers
from lensbench.files import atomic_path
from lensbench.leftovers import held, mark, sweep

WRITING = """
import sys, time
from lensbench.files import atomic_path
with atomic_path(sys.argv[1]) as path:
    path.mkdir()
    (path / "half").write_text("ha")
    print("writing", flush=True)
    time.sleep(600)
"""


def writer(target: Path) -> subprocess.Popen[str]:
    """Return a process that is writing a folder and won't end."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITING, str(target)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    return process


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_leftovers_of_a_killed_process_go_and_those_of_a_living_one_stay(
    tmp_path: Path, end: signal.Signals
) -> None:
    dead, living = writer(tmp_path / "a"), writer(tmp_path / "b")
    assert sweep(tmp_path) == []
    dead.send_signal(end)
    dead.wait()
    (of_dead,) = tmp_path.glob(".a.*")
    (of_living,) = tmp_path.glob(".b.*")
    assert sweep(tmp_path) == [of_dead]
    assert left(tmp_path) == [of_living.name]
    living.kill()
    living.wait()
    assert sweep(tmp_path) == [of_living]
    assert left(tmp_path) == []


def test_the_first_write_into_a_folder_sweeps_it(tmp_path: Path) -> None:
    process = writer(tmp_path / "a")
    process.kill()
    process.wait()
    assert list(tmp_path.glob(".a.*"))
    with atomic_path(tmp_path / "other") as path:
        path.touch()
    assert left(tmp_path) == ["other"]


def test_the_lock_counts_where_the_number_of_a_process_was_given_anew(tmp_path: Path) -> None:
    # This process lives, but what an earlier one of its number left is old and nobody's.
    folder = tmp_path / f".a.{mark()}-abc_12"
    folder.mkdir()
    with held(folder):
        os.utime(folder, (1, 1))
        assert sweep(tmp_path) == []
    assert sweep(tmp_path) == [folder]
    # One that has just been made may not have its lock yet.
    folder.mkdir()
    (folder / ".lock").touch()
    assert sweep(tmp_path) == []


def test_another_machine_s_are_left_alone_for_a_day(tmp_path: Path) -> None:
    folder = tmp_path / ".a.00000000-1-abc_12"
    (folder / "a").mkdir(parents=True)
    hours = 3600
    for age, inner_age, gone in ((23, 23, False), (25, 2, False), (25, 25, True)):
        for path, hour in ((folder / "a", inner_age), (folder, age)):
            then = time.time() - hour * hours
            os.utime(path, (then, then))
        assert sweep(tmp_path) == [folder] * gone, (age, inner_age)
    # A clock that was set back makes nothing old.
    folder.mkdir()
    os.utime(folder, (time.time() + 100 * hours,) * 2)
    assert sweep(tmp_path) == []


@pytest.mark.parametrize(
    "name",
    [".a", ".cache", ".a.zzzzzzzz-1-abc", ".a.00000000-x-abc", "a.00000000-1-abc", ".old0", ".git"],
)
def test_folders_of_other_names_stay(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    os.utime(tmp_path / name, (1, 1))
    assert sweep(tmp_path) == []


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    place = tmp_path / "place"
    place.mkdir()
    (place / ".a.00000000-1-abc").symlink_to(tmp_path / "precious")
    os.utime(tmp_path / "precious", (1, 1))
    assert sweep(place) == []
    assert (tmp_path / "precious").is_dir()


def test_where_there_are_no_locks_the_number_has_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(lock: int, how: int) -> None:
        raise OSError(leftovers.errno.ENOLCK, "no locks")

    monkeypatch.setattr(leftovers.fcntl, "flock", none)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    host = mark().split("-")[0]
    dead, own = (tmp_path / f".a.{host}-{pid}-abc" for pid in (gone.pid, os.getpid()))
    for folder in (dead, own):
        folder.mkdir()
        with held(folder):
            pass
        os.utime(folder, (1, 1))
    assert sweep(tmp_path) == [dead]
    assert left(tmp_path) == [own.name]


def test_a_folder_that_is_not_there_has_none(tmp_path: Path) -> None:
    assert sweep(tmp_path / "nowhere") == []
