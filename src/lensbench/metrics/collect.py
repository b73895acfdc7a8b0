"""All runs' tables joined, and the models' own: what figures, tables and paper are made from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

import pandas as pd
from pandas.api.types import is_numeric_dtype

from lensbench.errors import DataError
from lensbench.files import atomic_path
from lensbench.metrics.ablations import with_holm
from lensbench.metrics.study_tables import STUDY_TABLES
from lensbench.metrics.tables import MODEL_TABLES, PER_SAMPLE, RUN_TABLES
from lensbench.models.checks import GateReport
from lensbench.parquets import UNREADABLE, DamagedError, kinds_of, read_batches, read_own

_ROWS = 65_536
#: What model.json counts; all else that is collected of it is text.
_WHOLE_NUMBERS = ("n_layers", "n_heads", "n_parameters", "vocabulary_size")


def collect(
    run_folders: Sequence[str | Path], model_folders: Sequence[str | Path] = ()
) -> dict[str, pd.DataFrame]:
    """Join the tables of all runs and read the models' gates and descriptions.

    Args:
        run_folders: folders of `run.make_run`.
        model_folders: folders with gate.json and model.json.

    Returns:
        One frame for each of `tables.RUN_TABLES` but `PER_SAMPLE`, which may be as long as all runs
        together (`write_long_csv`), and of `tables.MODEL_TABLES`, rows sorted by model and dataset,
        whatever the order of the folders.

    Raises:
        DataError: if a file is missing or damaged, or there is no run.
    """
    if not run_folders:
        raise DataError("There is no run to collect: the config names no model or no dataset.")
    joined = {
        name: _joined([Path(folder) / f"{name}.parquet" for folder in run_folders], columns)
        for name, columns in RUN_TABLES.items()
        if name != PER_SAMPLE
    }
    models, checks = [], []
    for folder in model_folders:
        models.append(_read_model(Path(folder) / "model.json"))
        gate = _read_gate(Path(folder) / "gate.json")
        for check in gate.checks:
            row = {"model": gate.model, "check": check.name, **asdict(check)}
            checks.append({column: row[column] for column in MODEL_TABLES["gates"]})
    for name, rows in (("gates", checks), ("models", models)):
        frame = pd.DataFrame(rows, columns=MODEL_TABLES[name])
        joined[name] = frame.sort_values("model", kind="stable").reset_index(drop=True)
    return joined


def collect_studies(folders: Sequence[str | Path]) -> dict[str, pd.DataFrame]:
    """Join the tables of the studies.

    Args:
        folders: with the tables of one study or more each; a run may have several folders.

    Returns:
        One frame for each of `study_tables.STUDY_TABLES`, without rows where no folder has it. The
        p of primary contrasts are corrected for the number of runs, as `ablations.with_holm` does.

    Raises:
        DataError: if a file is damaged.
    """
    found = {
        name: _joined(
            [path for folder in folders if (path := Path(folder) / f"{name}.parquet").exists()],
            columns,
        )
        for name, columns in STUDY_TABLES.items()
    }
    return {**found, "ablation_contrast": with_holm(found["ablation_contrast"])}


def _joined(paths: Sequence[Path], columns: list[str]) -> pd.DataFrame:
    parts = [_read_run(path, columns) for path in paths]
    filled = sorted((part for part in parts if len(part)), key=lambda part: _run_of(part))
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=columns)


def write_csv(folder: str | Path, frames: Mapping[str, pd.DataFrame]) -> None:
    """Write each table as {table}.csv: UTF-8, line feeds, reals with six significant digits.

    A control character in a token's text stands as its picture (␊ for a line feed), so that a row
    is a line whatever reads it; the Parquet beside it has the character itself.
    """
    for name, frame in frames.items():
        with atomic_path(Path(folder) / f"{name}.csv") as path, _opened(path) as stream:
            _write_rows(stream, frame, header=True)


def write_long_csv(folder: str | Path, run_folders: Sequence[str | Path]) -> None:
    """Join the rows of `PER_SAMPLE` of all runs as `write_csv` does, some at a time.

    Args:
        folder: where {PER_SAMPLE}.csv goes.
        run_folders: folders of `run.make_run`, in any order.

    Raises:
        DataError: if a file is missing or damaged.
    """
    columns = RUN_TABLES[PER_SAMPLE]
    paths = [Path(run) / f"{PER_SAMPLE}.parquet" for run in run_folders]
    first = {path: next(_parts(path, columns, 1), None) for path in paths}
    filled = sorted((_run_of(row), path) for path, row in first.items() if row is not None)
    with atomic_path(Path(folder) / f"{PER_SAMPLE}.csv") as path, _opened(path) as stream:
        _write_rows(stream, pd.DataFrame(columns=columns), header=True)
        for _, table in filled:
            for part in _parts(table, columns, _ROWS):
                _write_rows(stream, part, header=False)


def _opened(path: Path) -> TextIO:
    return path.open("w", encoding="utf-8", newline="")


def _write_rows(stream: TextIO, given: pd.DataFrame, header: bool) -> None:
    frame = given.copy()
    for column in frame.columns[[not is_numeric_dtype(kind) for kind in frame.dtypes]]:
        frame[column] = [_visible(v) if isinstance(v, str) else v for v in frame[column]]
    frame.to_csv(stream, index=False, header=header, float_format="%.6g", lineterminator="\n")


def _parts(path: Path, columns: list[str], rows: int) -> Iterator[pd.DataFrame]:
    """Yield the rows of a run's table, so many at a time."""
    with _named(path):
        for batch in read_batches(path, kinds_of(path, columns), rows):
            if batch.num_rows:
                yield batch.to_pandas()


#: U+0000–U+001F and U+007F have pictures; the other control characters have none.
_PICTURES = {
    **{code: chr(0x2400 + code) for code in range(0x20)},
    0x7F: "\u2421",
    **dict.fromkeys(range(0x80, 0xA0), "\ufffd"),
}


def _visible(text: str) -> str:
    return text.translate(_PICTURES)


def _run_of(frame: pd.DataFrame) -> tuple[str, str]:
    return str(frame["model"].iloc[0]), str(frame["dataset"].iloc[0])


def _read_run(path: Path, columns: list[str]) -> pd.DataFrame:
    with _named(path):
        return read_own(path, columns)


@contextmanager
def _named(path: Path, maker: str = "the metrics of that run") -> Iterator[None]:
    """Turn what goes wrong while a file is read into a sentence that names it and its maker."""
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing: run {maker} again.") from error
    except (DamagedError, *UNREADABLE) as error:
        raise DataError(f"{path} is damaged or out of date: delete it and rerun.") from error


def _read_gate(path: Path) -> GateReport:
    with _named(path, "the gate of that model"):
        return GateReport.from_json(path.read_text(encoding="utf-8"))


def _read_model(path: Path) -> dict[str, Any]:
    with _named(path, "the gate of that model"):
        content = json.loads(path.read_text(encoding="utf-8"))
        for key in MODEL_TABLES["models"]:
            if key in _WHOLE_NUMBERS:
                if type(content[key]) is not int:
                    raise TypeError(key)
            elif content[key] is not None:
                content[key].encode()
        return {key: content[key] for key in MODEL_TABLES["models"]}
