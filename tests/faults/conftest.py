"""What the faults are held against: one run that nothing disturbed, made once."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest
from tests.faults.places import PAPER, TARGETS, Place, new_place

#: The short cut that fits into a check of every change: no paper, few kills.
QUICK = os.environ.get("QUICK", "") not in ("", "0")


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Return a place whose run came to its end by itself.

    FAULTS_KEEP names a folder where it is kept for the next time, as long as the code is the same.
    """
    targets = TARGETS if QUICK else (*TARGETS, PAPER)
    if not QUICK and shutil.which("lualatex") is None:
        pytest.fail(
            "The paper is killed too, and needs LaTeX: install it (`lensbench made` says how), or "
            "run `make test-faults QUICK=1`.",
            pytrace=False,
        )
    kept = os.environ.get("FAULTS_KEEP")
    tree = Path(kept) if kept else tmp_path_factory.mktemp("faults") / "undisturbed"
    place = Place(tree) if tree.exists() else new_place(tree)
    place.whole(*targets)
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
