"""The metric tables of two runs: the largest change of any aggregate, in widths of its interval."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lensbench.compare.folders import Run
from lensbench.compare.measures import Found, of_differences
from lensbench.compare.tally import Differences
from lensbench.errors import DataError
from lensbench.metrics.study_tables import STUDY_TABLES
from lensbench.metrics.tables import RUN_TABLES
from lensbench.parquets import DamagedError, read_own

#: The tables that have an interval, and where their value begins: all before it are labels.
_TABLES = {
    name: columns
    for name, columns in (RUN_TABLES | STUDY_TABLES).items()
    if {"low", "high", "n"} <= set(columns)
}


def compare_aggregates(left: Run, right: Run) -> tuple[Found, list[str]]:
    """Compare every aggregate that both folders of results have of a run.

    Returns:
        The largest change ÷ the width of the first run's interval, and sentences on the rest: which
        aggregate it is of, and how many could not be compared.
    """
    tally, notes = Differences(), []
    worst, flat, moved, alone = "", 0, 0, 0
    for name, columns in _TABLES.items():
        frames = [_read(run, name, columns) for run in (left, right)]
        if frames[0] is None or frames[1] is None:
            continue
        value = columns[columns.index("low") - 1]
        labels = columns[: columns.index(value)]
        both = frames[0].merge(
            frames[1], on=labels, how="outer", suffixes=("_a", "_b"), indicator=True
        )
        alone += int((both["_merge"] != "both").sum())
        both = both[both["_merge"] == "both"]
        one, other = (both[f"{value}_{side}"].to_numpy(dtype=float) for side in "ab")
        there = ~(np.isnan(one) & np.isnan(other))
        width = (both["high_a"] - both["low_a"]).to_numpy(dtype=float)
        apart = np.abs(one - other)
        # Where all samples agree the interval has no width, and nothing to measure by.
        wide = there & (width > 0)
        flat += int((there & ~wide).sum())
        moved += int((there & ~wide & ~(one == other)).sum())
        ratios = apart[wide] / width[wide]
        if len(ratios) and not ratios.max() <= tally.largest:
            at = both[wide].iloc[int(np.nanargmax(ratios))]
            worst = f"{name}: " + ", ".join(str(at[label]) for label in labels[2:])
        tally.put(ratios)
    if worst:
        notes.append(f"the aggregate that changes most is {worst}")
    if moved:
        notes.append(f"{moved} of {flat} aggregates whose interval has no width changed")
    if alone:
        notes.append(f"{alone} aggregates are in one of the two only")
    return of_differences(tally), notes


def _read(run: Run, name: str, columns: list[str]) -> pd.DataFrame | None:
    """Return a table of a run's metrics, or None where there is none."""
    if run.results is None:
        return None
    for room in ("metrics", "studies"):
        path = run.results / room / run.model / run.dataset / f"{name}.parquet"
        if path.is_file():
            try:
                return read_own(path, columns)
            except DamagedError as error:
                raise DataError(f"{path} {error}: delete it and rerun.") from error
    return None
