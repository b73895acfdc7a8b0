"""The table of what changes numbers: its columns, and one run's rows written and joined."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from lensbench.compare.runs import RunDifference
from lensbench.compare.tolerances import Tolerance
from lensbench.errors import DataError
from lensbench.files import atomic_path
from lensbench.parquets import DamagedError, read_own

NAME = "numerics"
#: condition: a key of `TOLERANCES`; detail: what was another in it; limit: what its class allows;
#: within: 1 or 0. What was not measured is one row without a value: its measure is NOT_MEASURED
#: and its detail says why.
COLUMNS = [
    "model", "dataset", "condition", "detail", "measure", "value", "p999", "n", "limit", "within",
]  # fmt: skip
NOT_MEASURED = "not_measured"


def rows_of(
    difference: RunDifference, condition: str, detail: str, allowed: Tolerance
) -> pd.DataFrame:
    """Return a condition's rows.

    Args:
        difference: of the run under it from the run as it always is.
        condition: its name.
        detail: what was another, in words.
        allowed: the class it is held to.
    """
    run = (difference.model, difference.dataset, condition, detail)
    rows: list[tuple[object, ...]] = []
    if difference.files is not None:
        same, everything = difference.files
        share = same / everything
        limit = 1.0 if allowed.name == "same" else 0.0
        rows.append((*run, "identical_files", share, math.nan, everything, limit, share >= limit))
    rows += [
        (
            *(*run, name, found.value, found.percentile, found.n),
            *(allowed.limit(name), allowed.allows(name, found)),
        )
        for name, found in difference.found.items()
        # Neither other lenses nor aggregates are made for this.
        if name not in ("lens_logprob", "metric")
    ]
    return _typed(pd.DataFrame(rows, columns=COLUMNS))


def not_measured(model: str, dataset: str, condition: str, why: str) -> pd.DataFrame:
    """Return the row of a condition that could not be had here."""
    row = (model, dataset, condition, why, NOT_MEASURED, math.nan, math.nan, 0, math.nan, True)
    return _typed(pd.DataFrame([row], columns=COLUMNS))


def _typed(frame: pd.DataFrame) -> pd.DataFrame:
    real = dict.fromkeys(("value", "p999", "limit"), "float64")
    return frame.astype(real | {"n": "int64", "within": "int64"})


def write(path: str | Path, frames: Sequence[pd.DataFrame]) -> None:
    """Write one run's rows as Parquet."""
    frame = pd.concat(frames, ignore_index=True)
    with atomic_path(path) as temporary:
        frame.to_parquet(temporary, index=False)


def joined(paths: Sequence[str | Path]) -> pd.DataFrame:
    """Return the rows of all runs, sorted by model; an empty table for none.

    Raises:
        DataError: if a file is missing or damaged.
    """
    frames = []
    for path in paths:
        try:
            frames.append(read_own(path, COLUMNS))
        except FileNotFoundError as error:
            raise DataError(f"{path} is missing: run the numerics of that model again.") from error
        except DamagedError as error:
            raise DataError(f"{path} {error}: delete it and rerun.") from error
    filled = sorted((f for f in frames if len(f)), key=lambda f: str(f["model"].iloc[0]))
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=COLUMNS)
