"""Metric tables read again: their columns, their runs, and that what must be a number is one."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from lensbench.metrics.study_tables import (
    ABLATION_TABLES,
    PATCH_TABLES,
    STUDY_TABLES,
    VARIANT_TABLES,
)
from lensbench.metrics.tables import MODEL_TABLES, RUN_TABLES
from lensbench.parquets import UNREADABLE, DamagedError, kinds_of, read_batches
from lensbench.verify.problems import Problem

#: Columns that are empty where there is nothing to tell; everything else must be known.
MAY_BE_EMPTY = frozenset(
    {
        *("enrichment", "spread", "image_mass_no_sink", "separation", "kind"),
        *("floor_vocabulary", "floor_random", "names_object", "correct_final"),
        *("p", "p_floor", "p_holm", "random_median"),
        *("picture_share", "odds_ratio", "odds_low", "odds_high"),
    }
)
#: Columns that may be infinite: a ratio to nothing.
MAY_BE_INFINITE = frozenset({"odds_ratio", "odds_low", "odds_high"})


def check_tables(root: Path) -> Iterator[Problem]:
    """Yield what is wrong with the tables of runs and studies, and with those of all runs."""
    runs = [path for path in sorted(root.glob("metrics/*/*")) if path.is_dir()]
    for folder in runs:
        yield from _check_folder(root, folder, RUN_TABLES)
    for folder in sorted(path for path in root.glob("studies/*/*") if path.is_dir()):
        for tables in (PATCH_TABLES, VARIANT_TABLES, ABLATION_TABLES):
            if any((folder / f"{name}.parquet").exists() for name in tables):
                yield from _check_folder(root, folder, tables)
    # Tables of no run yet: the workflow was stopped before, or only asked for a part.
    if (root / "metrics" / "summary.csv").exists():
        yield from _check_joined(root, {**RUN_TABLES, **MODEL_TABLES}, _named(runs))
    if any((root / "metrics" / f"{name}.csv").exists() for name in STUDY_TABLES):
        yield from _check_joined(root, STUDY_TABLES, set())
    traced = _named([path for path in root.glob("traces/*/*") if path.is_dir()])
    for model, dataset in sorted(_named(runs) - traced):
        folder = root / "traces" / model / dataset
        yield Problem(root, folder, "is missing, though there are metrics of it")


# Rows that are looked at at once.
_ROWS = 65_536


def _named(folders: list[Path]) -> set[tuple[str, str]]:
    return {(folder.parent.name, folder.name) for folder in folders}


def _check_folder(root: Path, folder: Path, tables: Mapping[str, list[str]]) -> Iterator[Problem]:
    """Yield what is wrong with the tables of one run."""
    for name, columns in tables.items():
        path = folder / f"{name}.parquet"
        if not path.is_file():
            yield Problem(root, path, "is missing")
            continue
        try:
            wrong = _wrong_with(path, columns, (folder.parent.name, folder.name))
        except DamagedError as error:
            wrong = str(error)
        except UNREADABLE:
            wrong = "is damaged"
        if wrong:
            yield Problem(root, path, wrong)


def _wrong_with(path: Path, columns: list[str], run: tuple[str, str]) -> str:
    """Return what is wrong with one table of a run, read a part at a time, or ""."""
    kinds = kinds_of(path)
    if list(kinds) != columns:
        return f"has other columns than {path.stem} must have"
    for batch in read_batches(path, kinds, _ROWS):
        # An imported lens names itself by another model and dataset than its folder's.
        if run[0] != "imported" and batch.num_rows:
            named = [set(pc.unique(batch[key]).to_pylist()) for key in columns[:2]]
            if named != [{name} for name in run]:
                return f"is not of {' on '.join(run)} alone"
        for name in columns:
            if _unknown(batch[name], name):
                return f"has {name} that is no number or no text"
    return ""


def _unknown(column: pa.Array, name: str) -> bool:
    """Say whether something is unknown, or infinite, where it must not be."""
    if pa.types.is_floating(column.type):
        if name not in MAY_BE_INFINITE and pc.any(pc.is_inf(column)).as_py():
            return True
        column = pc.if_else(pc.is_nan(column), None, column)
    return name not in MAY_BE_EMPTY and column.null_count > 0


def _check_joined(
    root: Path, tables: Mapping[str, list[str]], runs: set[tuple[str, str]]
) -> Iterator[Problem]:
    """Yield what is wrong with the tables of all runs."""
    for name, columns in tables.items():
        path = root / "metrics" / f"{name}.csv"
        if not path.is_file():
            yield Problem(root, path, "is missing")
            continue
        try:
            with open(path, encoding="utf-8", newline="") as stream:
                rows = csv.DictReader(stream, strict=True)
                header = list(rows.fieldnames or [])
                found = {(row.get("model"), row.get("dataset")) for row in rows}
        except (OSError, UnicodeDecodeError, csv.Error):
            yield Problem(root, path, "is damaged")
            continue
        if header != columns:
            yield Problem(root, path, f"has other columns than {name} must have")
        elif name == "summary" and found != runs:
            other = sorted(map(str, found ^ runs))
            yield Problem(root, path, f"is not of the runs that there are: {other[0]}")
