"""Do patches name the object at its border, as Neo et al. found and a later study guessed?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lensbench.metrics.bootstrap import Bootstrap, Estimate
from lensbench.metrics.patch_data import PatchData
from lensbench.metrics.patch_objects import BORDER, INSIDE, OUTSIDE, Found
from lensbench.metrics.study_tables import STUDY_TABLES

if TYPE_CHECKING:
    from lensbench.metrics.patches import Best

REGIONS = (INSIDE, BORDER, OUTSIDE)
#: The region of the rows that hold the paired difference, border less inside.
DIFFERENCE = "border_minus_inside"
#: The ending of the regions whose rows are of the difference's samples alone.
PAIRED = "_paired"
NAMING = ("names_object", "names_color", "names_shape")


def measured(data: PatchData, best: Best, found: Found) -> dict[str, np.ndarray]:
    """Return what is averaged over patches, [P] each.

    `names_…` is whether the likeliest token at the best layer names an object there,
    `names_…_any_layer` whether it does at any layer.
    """
    values: dict[str, np.ndarray] = {}
    for suffix, ids in (("", best.token_id), ("_any_layer", data.top_id[:, :, 0])):
        color, shape = found.hits(ids, "color"), found.hits(ids, "shape")
        for name, mask in zip(NAMING, (color | shape, color, shape), strict=True):
            values[name + suffix] = mask
    values["share_blank"] = best.blank
    values["probability"] = best.probability
    values["best_layer"] = best.layer
    return {name: each.astype(np.float64) for name, each in values.items()}


def by_region(data: PatchData, best: Best, found: Found, boot: Bootstrap) -> pd.DataFrame:
    """Return each value by view and region, and the paired difference border − inside.

    All are means over the region's patches, pictures resampled. The difference is taken over the
    samples that have patches both inside and on the border, the same ones on both sides; its two
    sides, over these samples too, are the regions border_paired and inside_paired. `n` counts
    the samples that have a patch there (of the difference: in both), `n_patches` their patches.
    """
    values = measured(data, best, found)
    told = [sample for sample, objects in enumerate(data.objects) if objects is not None]
    number = {sample: place for place, sample in enumerate(told)}
    parts = []
    for view, mask in data.view_masks().items():
        kept = mask & (found.region != "")
        if kept.any():
            owner = np.array([number[sample] for sample in data.owner[kept]])
            here = {name: each[kept] for name, each in values.items()}
            pictures = data.pictures[told]
            parts += _of_view(view, owner, found.region[kept], here, pictures, boot)
    return pd.DataFrame(parts, columns=STUDY_TABLES["patch_by_region"][2:])


def _of_view(
    view: str,
    owner: np.ndarray,
    region: np.ndarray,
    values: dict[str, np.ndarray],
    pictures: np.ndarray,
    boot: Bootstrap,
) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []

    def add(name: str, metric: str, e: Estimate, n_samples: int, n_patches: int) -> None:
        interval = (float(e.value), float(e.low), float(e.high))
        rows.append((view, name, metric, *interval, n_samples, n_patches))

    n = len(pictures)
    wholes = {name: np.bincount(owner[region == name], minlength=n) for name in REGIONS}
    both = (wholes[BORDER] > 0) & (wholes[INSIDE] > 0)
    for metric, each in values.items():
        share = metric not in ("probability", "best_layer")
        parts = {
            name: np.bincount(owner[region == name], each[region == name], minlength=n)
            for name in REGIONS
        }
        for name, whole in wholes.items():
            there = whole > 0
            if there.any():
                bounds = (0.0, 1.0) if share else None
                e = boot.ratio(parts[name][there], whole[there], pictures[there], bounds=bounds)
                add(name, metric, e, e.n, int(whole.sum()))
        if both.any():
            border, inside = ((parts[name][both], wholes[name][both]) for name in (BORDER, INSIDE))
            for name, side in ((BORDER, border), (INSIDE, inside)):
                bounds = (0.0, 1.0) if share else None
                e = boot.ratio(*side, pictures[both], bounds=bounds)
                add(f"{name}{PAIRED}", metric, e, e.n, int(side[1].sum()))
            bounds = (-1.0, 1.0) if share else None
            e = boot.ratio(*border, pictures[both], less=inside, bounds=bounds)
            add(DIFFERENCE, metric, e, e.n, int(border[1].sum() + inside[1].sum()))
    return rows
