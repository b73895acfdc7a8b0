"""Published image masses of single heads beside ours, and what switching heads off amounts to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from lensbench.metrics.heads import kind_by_mass
from lensbench.prose import number

_LEVEL = 0.05


def head_differences(published: pd.DataFrame, heads: pd.DataFrame) -> pd.DataFrame:
    """Return each published head beside the same head of the same model on the same dataset.

    Args:
        published: model, dataset, layer, head, image_mass.
        heads: that table of our runs.

    Returns:
        model, dataset, layer, head, published, ours, low, high, n and difference (ours less the
        published); no row where no such model was run.
    """
    keys = ["model", "dataset", "layer", "head"]
    theirs = published[[*keys, "image_mass"]].rename(columns={"image_mass": "published"})
    both = theirs.merge(heads[[*keys, "image_mass", "low", "high", "n"]], on=keys)
    both = both.rename(columns={"image_mass": "ours"})
    both["difference"] = both["ours"] - both["published"]
    order = [*keys, "published", "ours", "low", "high", "n", "difference"]
    return both[order].sort_values(keys).reset_index(drop=True)


def kinds_beside(published: pd.DataFrame, n_layers: int, heads: pd.DataFrame) -> pd.DataFrame:
    """Return how many heads of the first blocks are of which kind by mass, theirs and in our runs.

    Of our runs it is the blocks down to the depth that the published heads reach, block ÷ number
    of blocks, at least one.

    Args:
        published: model, dataset, layer, head, image_mass.
        n_layers: number of blocks of the published model.
        heads: that table of our runs.

    Returns:
        One row for the published heads and one a run: source ("published" or "here"), model,
        dataset, blocks (and where they are not whole how many heads of them), n_heads,
        mean_image_mass, image, mixed and text (numbers of heads).
    """
    rows = []
    for (model, dataset), theirs in published.groupby(["model", "dataset"]):
        row = _row("published", str(model), str(dataset), theirs)
        # A block of which fewer heads are printed than of the others is not printed whole.
        counts = theirs["layer"].value_counts()
        if counts.nunique() > 1:
            row["blocks"] = f"{row['blocks']} (the first {len(theirs)} heads)"
        rows.append(row)
    reach = published["layer"].max() / n_layers
    for (model, dataset), ours in heads.groupby(["model", "dataset"], sort=False):
        deepest = max(1, int(np.floor(reach * ours["layer"].max() + 1e-9)))
        rows.append(_row("here", str(model), str(dataset), ours[ours["layer"] <= deepest]))
    return pd.DataFrame(rows)


def verdict(row: Mapping[str, Any] | pd.Series, least: Mapping[str, Any] | pd.Series) -> str:
    """Return what a run's primary contrast says of the image group, and what the other one does.

    Against random heads interval and p must agree: the interval takes the groups as given, p the
    samples. Against the heads that look least there is an interval alone.

    Args:
        row: of `ablation_contrast`, the primary contrast.
        least: the same against the heads that look least.
    """
    return f"the image group {_against_random(row)}; it {_against(least)} the heads that look least"


def _against_random(row: Mapping[str, Any] | pd.Series) -> str:
    whom = "random heads of the same blocks"
    floor = min(1.0, row["p_floor"] * row["holm_runs"])
    apart = row["high"] < 0 or row["low"] > 0
    if row["p_holm"] <= _LEVEL:
        if apart:
            return f"{_against(row)} {whom}"
        return f"is told from {whom} by p, not by the interval"
    if apart and floor > _LEVEL and row["p"] <= row["p_floor"]:
        # At the floor no random group is as far out, which is all that a few can tell.
        than = "more" if row["high"] < 0 else "less"
        return (
            f"costs the answer {than} than any group of {whom} does, but so few groups for so "
            f"many runs allow no corrected p below {number(floor)}"
        )
    if apart:
        return f"is told from the mean of {whom} by the interval, not by p"
    return f"can't be told from {whom}"


def _against(row: Mapping[str, Any] | pd.Series) -> str:
    """Return the sign that an interval has, "costs the answer more than" …."""
    if row["high"] < 0 or row["low"] > 0:
        return f"costs the answer {'more' if row['high'] < 0 else 'less'} than"
    return "can't be told by the interval from"


def _row(source: str, model: str, dataset: str, heads: pd.DataFrame) -> dict[str, object]:
    kinds = kind_by_mass(heads["image_mass"].to_numpy(dtype=np.float64))
    return {
        "source": source,
        "model": model,
        "dataset": dataset,
        "blocks": f"1–{int(heads['layer'].max())}",
        "n_heads": len(heads),
        "mean_image_mass": float(heads["image_mass"].mean()),
        **{name: int((kinds == name).sum()) for name in ("image", "mixed", "text")},
    }
