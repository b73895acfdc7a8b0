"""Published image masses of single heads beside ours: tables, not sentences."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lensbench.metrics.heads import kind


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
        dataset, blocks, n_heads, mean_image_mass, image, mixed and text (numbers of heads).
    """
    rows = []
    for (model, dataset), theirs in published.groupby(["model", "dataset"]):
        rows.append(_row("published", str(model), str(dataset), theirs))
    reach = published["layer"].max() / n_layers
    for (model, dataset), ours in heads.groupby(["model", "dataset"], sort=False):
        deepest = max(1, int(np.floor(reach * ours["layer"].max() + 1e-9)))
        rows.append(_row("here", str(model), str(dataset), ours[ours["layer"] <= deepest]))
    return pd.DataFrame(rows)


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
