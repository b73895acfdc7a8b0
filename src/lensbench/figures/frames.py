"""Read the tidy metric tables, exactly: text stays text, a missing number is NaN."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path

import pandas as pd

from lensbench.errors import LensbenchError

# Every other column is text: a token may read "NA", "null" or "1e5" and must stay what it is.
NUMBERS = frozenset({
    "value", "limit", "low", "high", "n", "layer", "depth", "k", "step", "head", "image_mass",
    "enrichment", "image_mass_no_sink", "sink_mass", "text_mass", "spread", "image_max",
    "overview_mass", "tiles_mass", "separation", "first_layer", "last_layer",
    "convergence_layer", "first_hit_layer",
    "stable1_layer", "stable2_layer", "stable4_layer", "changes_of_mind", "found_and_lost",
    "last_block_js", "last_block_change", "correct_final", "n_layers", "top_id", "probability",
    "final_rank", "floor_vocabulary", "floor_random", "n_heads", "n_parameters",
    "vocabulary_size", "rank", "accuracy", "share", "p", "n_random", "gold_rank", "view", "row",
    "col", "patch", "best_layer", "blank", "names_object", "n_patches", "p_floor", "random_median",
    "p999", "within", "best_layer_with_layer_0", "image_sink_mass", "picture_share", "odds_ratio",
    "odds_low", "odds_high", "odds_n", "p_holm", "holm_runs",
})  # fmt: skip
#: The family of answers that are counts.
COUNTING = "number"
_TRUTHS = {"True": 1.0, "False": 0.0, "true": 1.0, "false": 0.0}


def read_table(path: str | Path) -> pd.DataFrame:
    """Return a metric table; number columns as floats (or ints where all are whole).

    Raises:
        LensbenchError: if the file is missing, has no header or holds text where a number belongs.
    """
    source = Path(path)
    try:
        with open(source, encoding="utf-8", newline="") as stream:
            # The csv module keeps carriage returns in quoted tokens; pandas' reader drops them.
            rows = list(csv.reader(stream))
    except FileNotFoundError:
        raise LensbenchError(
            f"The metric table {source} is missing: run the metrics stage first."
        ) from None
    if not rows:
        raise LensbenchError(f"The metric table {source} is empty: delete it and collect again.")
    header, body = rows[0], rows[1:]
    if any(len(row) != len(header) for row in body):
        raise LensbenchError(
            f"The metric table {source} has a row of another length than its header: "
            "delete it and collect the metrics again."
        )
    frame = pd.DataFrame(body, columns=pd.Index(header), dtype=object)
    for column in header:
        if column in NUMBERS:
            frame[column] = _numbers(frame[column], source, column)
    return frame


def pooled(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows over questions in all languages together, of a table that has each apart."""
    return table[table["asked"] == "all"]


def counting(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of counting questions, all questions' of a run that has no such rows.

    A dataset of nothing but counting questions has no family of its own beside "all".

    Args:
        table: one with `family` of answers, such as `language_lead`.
    """
    counted = table["family"] == COUNTING
    runs = table["model"].astype(str) + "\0" + table["dataset"].astype(str)
    apart = runs.isin(set(runs[counted]))
    return table[counted | (~apart & (table["family"] == "all"))]


def _numbers(values: pd.Series, source: Path, column: str) -> pd.Series:
    plain = values.replace({"": "nan", **{text: str(truth) for text, truth in _TRUTHS.items()}})
    try:
        numbers = plain.astype(float)
    except ValueError:
        raise LensbenchError(
            f"Column {column} of {source} holds text where a number belongs: "
            "delete it and collect the metrics again."
        ) from None
    whole = bool(numbers.notna().all()) and bool((numbers % 1 == 0).all())
    # Means that happen to be whole stay floats; only counts and places are ints.
    return numbers.astype(int) if whole and column in _INTS else numbers


_INTS = frozenset({
    "n", "layer", "k", "step", "head", "first_layer", "last_layer", "n_layers", "top_id",
    "n_heads", "n_parameters", "vocabulary_size", "final_rank", "n_random",
    "view", "row", "col", "patch", "best_layer", "blank", "n_patches", "within",
    "best_layer_with_layer_0", "odds_n", "holm_runs",
})  # fmt: skip


def read_tables(folder: str | Path, names: Iterable[str]) -> dict[str, pd.DataFrame]:
    """Return the named tables of a results/metrics folder."""
    return {name: read_table(Path(folder) / f"{name}.csv") for name in names}


@cache
def published(figure: str) -> pd.DataFrame:
    """Return the published numbers that belong beside a figure, with their `origin`.

    Args:
        figure: a figure's name; one without published numbers gets an empty table.
    """
    resource = files("lensbench") / "data" / "reference" / f"{figure}.csv"
    if not resource.is_file():
        return pd.DataFrame({"model": [], "dataset": [], "origin": []}, dtype=object)
    with as_file(resource) as path:
        return read_table(path)
