"""A hub on loopback that serves a packaged model, among files that nobody should fetch."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.hub import COMMIT, MODEL, NAME, Hub, reach

from lensbench.models.source import PACKAGED


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Return a packaged model's files, among others that nobody should fetch."""
    folder = tmp_path / "repository"
    shutil.copytree(PACKAGED / MODEL, folder)
    (folder / "pytorch_model.bin").write_bytes(b"pickle" * 9)
    (folder / "pytorch_model.bin.index.json").write_text("{}")
    (folder / "modeling_evil.py").write_text("raise SystemExit\n")
    (folder / "onnx").mkdir()
    (folder / "onnx/config.json").write_text("{}")
    (folder / "onnx/model.safetensors").write_bytes(b"other weights")
    (folder / ".gitattributes").write_text("")
    return folder


@pytest.fixture
def hub(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with Hub({NAME: (repository, COMMIT)}) as served:
        reach(served, tmp_path / "cache", monkeypatch)
        yield served
