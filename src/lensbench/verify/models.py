"""Models' folders read again: the gate's figures, the vocabulary, the forms."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from lensbench.errors import TraceError
from lensbench.models.checks import GateReport
from lensbench.parquets import UNREADABLE
from lensbench.trace import read_meta, read_table
from lensbench.verify.problems import Problem

#: What a model that may be run has: no gate, no sample.
FILES = ("gate.json", "model.json", "vocabulary.parquet", "forms.parquet")


def check_models(root: Path, promised: set[Path]) -> Iterator[Problem]:
    """Yield what is wrong with the models' folders."""
    for folder in sorted(path for path in root.glob("models/*") if path.is_dir()):
        missing = [name for name in FILES if not (folder / name).is_file()]
        for name in missing:
            yield Problem(root, folder / name, "is missing")
        if not missing:
            yield from _check_gate(root, folder / "gate.json")
            yield from _check_words(root, folder)


def _check_gate(root: Path, path: Path) -> Iterator[Problem]:
    try:
        checks = GateReport.from_json(path.read_text(encoding="utf-8")).checks
    except (OSError, ValueError):
        yield Problem(root, path, "is no report of the gate")
        return
    if not checks:
        yield Problem(root, path, "has no check: the model never went through the gate")
    failed = [check for check in checks if not (check.passed and check.value <= check.limit)]
    for check in failed[:1]:
        what = f"says that {check.name} is {check.value:g}, where {check.limit:g} is allowed"
        yield Problem(root, path, what)


def _check_words(root: Path, folder: Path) -> Iterator[Problem]:
    try:
        about = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        size, name = int(about["vocabulary_size"]), str(about["model"])
    except UNREADABLE:
        yield Problem(root, folder / "model.json", "is no description of a model")
        return
    for table in ("vocabulary", "forms"):
        path = folder / f"{table}.parquet"
        try:
            meta = read_meta(folder, table)
            rows = len(read_table(folder, table))
        except TraceError as error:
            yield Problem(root, path, f"can't be used ({error})")
            continue
        if meta.model != name:
            yield Problem(root, path, f"is of {meta.model}, where model.json says {name}")
        if table == "vocabulary" and rows != size:
            yield Problem(root, path, f"has {rows} tokens, where model.json says {size}")
