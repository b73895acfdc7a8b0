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
    """Return each value by region and the paired difference border − inside.

    All are means over the region's patches; samples are resampled, the same ones on both sides of
    the difference. `n` counts the samples that have a patch there (of the difference: in both).
    """
    columns = STUDY_TABLES["patch_by_region"][2:]
    values = measured(data, best, found)
    told = [sample for sample, objects in enumerate(data.objects) if objects is not None]
    number = {sample: place for place, sample in enumerate(told)}
    kept = found.region != ""
    if not told or not kept.any():
        return pd.DataFrame(columns=columns)
    owner = np.array([number[sample] for sample in data.owner[kept]])
    region, n = found.region[kept], len(told)
    rows: list[tuple[str, str, float, float, float, int, int]] = []

    def add(name: str, metric: str, e: Estimate, *wholes: np.ndarray) -> None:
        n_samples = int(np.all([whole > 0 for whole in wholes], axis=0).sum())
        n_patches = int(np.sum(wholes))
        interval = (float(e.value), float(e.low), float(e.high))
        rows.append((name, metric, *interval, n_samples, n_patches))

    for metric, each in values.items():
        sums = {
            name: (
                np.bincount(owner[region == name], each[kept][region == name], minlength=n),
                np.bincount(owner[region == name], minlength=n),
            )
            for name in REGIONS
        }
        for name, (parts, wholes) in sums.items():
            if wholes.any():
                add(name, metric, boot.ratio(parts, wholes), wholes)
        if sums[BORDER][1].any() and sums[INSIDE][1].any():
            e = boot.ratio(*sums[BORDER], less=sums[INSIDE])
            add(DIFFERENCE, metric, e, sums[BORDER][1], sums[INSIDE][1])
    return pd.DataFrame(rows, columns=columns)
