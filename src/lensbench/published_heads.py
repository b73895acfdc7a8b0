"""Published image masses of single heads beside ours, and what switching heads off amounts to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from lensbench.metrics.heads import kind
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
    """Return how many heads of the first blocks are of which kind, published and in our runs.

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


def verdict(row: Mapping[str, Any] | pd.Series) -> str:
    """Return what a contrast says of image heads, where its interval and its p agree.

    The interval takes the random groups as given, p the samples: one of them alone is not enough.

    Args:
        row: of `ablation_contrast`, of a log-probability.
    """
    apart = row["high"] < 0 or row["low"] > 0
    far = row["p"] <= max(_LEVEL, row["p_floor"])
    if apart and far:
        than = "more" if row["high"] < 0 else "less"
        if row["p_floor"] > _LEVEL:
            # At the floor no random group is as far out, which is all that a few can tell.
            return (
                f"image heads off cost the answer {than} than any random group did, but so few "
                f"groups allow no p below {number(row['p_floor'])}"
            )
        return f"image heads off cost the answer {than} than others do"
    if apart:
        return "the interval tells image heads from the mean of the others, p does not"
    if far:
        return "p tells image heads from the others, the interval does not"
    return "image heads and others can't be told apart"


def _row(source: str, model: str, dataset: str, heads: pd.DataFrame) -> dict[str, object]:
    kinds = kind(heads["image_mass"].to_numpy(dtype=np.float64))
    return {
        "source": source,
        "model": model,
        "dataset": dataset,
        "blocks": f"1–{int(heads['layer'].max())}",
        "n_heads": len(heads),
        "mean_image_mass": float(heads["image_mass"].mean()),
        **{name: int((kinds == name).sum()) for name in ("image", "mixed", "text")},
    }
