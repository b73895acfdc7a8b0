"""What tests of downloads share: a served file, its server and the place it goes to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from download_runs import CONTENT
from tests.server import Server


@pytest.fixture
def served(tmp_path: Path) -> Path:
    """Return a folder to serve, with the content as data/file.bin."""
    folder = tmp_path / "served"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "file.bin").write_bytes(CONTENT)
    return folder


@pytest.fixture
def server(served: Path) -> Iterator[Server]:
    with Server(served) as running:
        yield running


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "here" / "file.bin"
