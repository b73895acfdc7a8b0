"""A change of code reruns what it made: a stage's room holds all the code that it imports."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from lensbench import rooms
from lensbench.config import ROOT

PACKAGE = rooms.PACKAGE
#: Where each stage begins, below the package.
ENTRIES = {
    "dataset": ["datasets/__init__.py"],
    "model": ["inspection.py", "models/load.py"],
    "extract": ["extract.py", "models/load.py"],
    "import": ["imported.py"],
    "ablate": ["ablation.py", "models/load.py"],
    "metrics": [
        "metrics/run.py", "metrics/patches.py", "metrics/variants.py", "metrics/ablations.py",
        "metrics/collect.py",
    ],
    "numerics": ["numerics.py", "compare/numeric_table.py"],
    "show": ["figures/__init__.py", "tables/__init__.py", "numbers.py"],
    "explorer": ["explorer/__init__.py"],
    "notebook": ["notebooks.py"],
    "paper": ["paper.py"],
}  # fmt: skip
#: How files are fetched, how far a job is and what a killed one left changes nothing in what is
#: made.
WITHOUT_EFFECT = ("downloads/", "progress.py", "leftovers.py", "devices.py")


def file_of(module: str) -> Path | None:
    """Return the file of a module of the package, or None of what is none."""
    path = PACKAGE.joinpath(*module.split(".")[1:])
    found = [path / "__init__.py", path.with_suffix(".py")]
    return next((file for file in found if file.is_file()), None)


def imported_by(path: Path) -> set[Path]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    files = {file_of(name) for name in names if name.split(".")[0] == "lensbench"}
    return {file for file in files if file is not None and file != PACKAGE / "__init__.py"}


def closure(start: set[Path]) -> set[Path]:
    seen: set[Path] = set()
    waiting = set(start)
    while waiting:
        path = waiting.pop()
        seen.add(path)
        waiting |= imported_by(path) - seen
    return seen


def room(stage: str) -> set[Path]:
    files: set[Path] = set()
    for entry in rooms.ROOMS[stage]:
        for path in PACKAGE.glob(entry):
            files |= set(path.rglob("*")) if path.is_dir() else {path}
    return files


def test_every_stage_has_an_entry() -> None:
    assert set(ENTRIES) == set(rooms.ROOMS)


@pytest.mark.parametrize("stage", ENTRIES)
def test_a_room_holds_what_its_stage_imports(stage: str) -> None:
    start = {PACKAGE / name for name in ENTRIES[stage]}
    if stage == "notebook":
        for notebook in (ROOT / "notebooks").glob("*.py"):
            start |= imported_by(notebook)
    # The paper names what was fetched, and needs no model for it.
    spared = (*WITHOUT_EFFECT, "models/") if stage == "paper" else WITHOUT_EFFECT
    left = {path.relative_to(PACKAGE).as_posix() for path in closure(start) - room(stage)}
    empty = {name for name in left if not (PACKAGE / name).read_text("utf-8").count("\n") > 5}
    assert sorted(name for name in left - empty if not name.startswith(spared)) == []


def test_the_reviewed_record_of_mining_reruns_no_model() -> None:
    """Only what a model's words are looked up in counts for an extraction, not all data."""
    for stage in ("model", "extract", "ablate", "dataset"):
        data = {path.relative_to(PACKAGE).as_posix() for path in room(stage)}
        found = {name for name in data if name.startswith("data/")}
        assert "data/lexicon.yaml" in found
        assert not {name for name in found if "mined" in name or "reference" in name}, stage
