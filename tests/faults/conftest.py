"""What the faults are held against: one run that nothing disturbed, made once."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest
from tests.faults.places import PAGES, PAPER, TARGETS, Place, new_place

from lensbench.downloads.place import alone

#: The short cut that fits into a check of every change: no paper, few kills.
QUICK = os.environ.get("QUICK", "") not in ("", "0")
#: What of these files is in it, by parts of the tests' names; the others are in it as a whole.
IN_QUICK = {
    "test_machine.py": ("other_shard[nan", "fills_is_told[extraction"),
    "test_damage.py": ("flip-trajectory", "and_ends[results/traces"),
    "test_kills.py": ("[extraction]", "[figures]", "at_once"),
    "test_verify.py": ("undamaged", "damage_is_found", "other_traces"),
}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out, in the short cut, what takes longest; let every process begin with kills."""
    if QUICK:
        left = [
            item
            for item in items
            if item.path.name in IN_QUICK
            and not any(part in item.name for part in IN_QUICK[item.path.name])
        ]
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]
    # Rounds take minutes each: at the end, all but one process would wait for the last. xdist gives
    # each process a piece of the list, one after the other, before they take from each other.
    rounds = [item for item in items if ROUND in item.name]
    others = [item for item in items if ROUND not in item.name]
    n = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    size = len(items) / n
    items.clear()
    for worker in range(n):
        items += rounds[worker::n]
        while others and len(items) < round(size * (worker + 1)):
            items.append(others.pop(0))
    items += others


#: Of the tests' names, what those have that kill.
ROUND = "whenever_and_however_a_run_is_killed"


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that the processes of one run of the tests have in common.

    FAULTS_KEEP names one that is kept for the next time, as long as the code is the same.
    """
    base = tmp_path_factory.getbasetemp()
    common = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    return Path(os.environ.get("FAULTS_KEEP") or common / "faults")


@pytest.fixture(scope="session")
def undisturbed(shared: Path) -> Place:
    """Return a place whose run came to its end by itself."""
    tree, note = shared / "undisturbed", shared / "made-by"
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
    with alone(tree):
        if note.exists() and note.read_text() == run:
            return Place(tree)
        place = new_place(tree)
        place.whole(*TARGETS, *PAGES)
        note.write_text(run)
    return place


@pytest.fixture(scope="session")
def printed(undisturbed: Place, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Return the same with the paper, which takes every figure and table there is."""
    if shutil.which("lualatex") is None:
        pytest.fail(
            "The paper is killed too, and needs LaTeX: install it (`lensbench made` says how), or "
            "run `make test-faults QUICK=1`.",
            pytrace=False,
        )
    place = undisturbed.copy(tmp_path_factory.mktemp("faults") / "printed")
    place.whole(PAPER)
    return place


@pytest.fixture(scope="session")
def job_s(undisturbed: Place) -> float:
    """Return how long a job takes here, seconds: most of it is the beginning of Python."""
    begun = time.monotonic()
    assert undisturbed.lensbench("verify").returncode == 0
    return 1.5 * (time.monotonic() - begun) + 2


@pytest.fixture
def place(undisturbed: Place, tmp_path: Path) -> Place:
    """Return a copy of the undisturbed run, to do harm to."""
    return undisturbed.copy(tmp_path / "place")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what the rounds of kills hit, however many processes made them."""
    lines = [
        value
        for report in terminalreporter.getreports("passed")
        for key, value in report.user_properties
        if key == "round"
    ]
    if lines:
        terminalreporter.section("kills")
        for line in sorted(lines):
            terminalreporter.write_line(line)
