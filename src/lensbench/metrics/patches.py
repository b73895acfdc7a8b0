"""At which layer a patch's likeliest token is likeliest, and which it is: tables of a patch lens.

A patch's best layer is the argmax over layers l ≥ 1 of max p_l. Layer 0 is the embedding, where
nothing was computed yet. The study counts layer 0 too: what follows from its rule has names that
end in `_with_layer_0`.

Source: Neo et al. 2024 (arXiv 2410.07149), and the study whose lenses `import-patch-lens` reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lensbench.metrics import patch_localisation, patch_regions
from lensbench.metrics.bootstrap import Bootstrap
from lensbench.metrics.patch_data import PatchData, load_patches
from lensbench.metrics.patch_objects import Found, find_objects
from lensbench.metrics.study_tables import STUDY_TABLES, finished_study

#: The first layer that may be the best.
FIRST_LAYER = 1
#: The ending of what counts layer 0 too, as the study does.
STUDY = "_with_layer_0"
#: The published share is of the patches with their best state at 22 or later of 32.
PUBLISHED_DEPTH = (22, 32)


@dataclass(frozen=True)
class PatchOptions:
    """How the tables of patches are computed.

    Args:
        seed: of the bootstrap.
        resamples: of the bootstrap.
        confidence: of its intervals.
    """

    seed: int = 0
    resamples: int = 1000
    confidence: float = 0.95


@dataclass(frozen=True)
class Best:
    """Each patch at its best layer: layer, token id and its probability, text and script, [P]."""

    layer: np.ndarray
    token_id: np.ndarray
    probability: np.ndarray
    text: np.ndarray
    script: np.ndarray

    @property
    def empty(self) -> np.ndarray:
        """Whether the token decodes to nothing at all, [P]."""
        return np.array([text == "" for text in self.text], dtype=bool)

    @property
    def blank(self) -> np.ndarray:
        """Whether it decodes to nothing but white space, the empty ones among them, [P]."""
        return np.array([not text.strip() for text in self.text], dtype=bool)


def compute_patches(
    folders: Sequence[str | Path],
    model_folder: str | Path | None = None,
    manifest_folder: str | Path | None = None,
    options: PatchOptions | None = None,
) -> dict[str, pd.DataFrame]:
    """Compute the tables of the patches of one run's close-ups, or of one imported lens.

    Args:
        folders: of the close-ups, or the one of the imported lens.
        model_folder: where the model's vocabulary and forms are; None for an imported lens.
        manifest_folder: the dataset; None where no objects are known.
        options: defaults if None.

    Returns:
        `patch_best`, `patch_summary`, `patch_by_region`, `patch_localisation`; the last two have
        no row where no objects are known.

    Raises:
        TraceError: if a table is missing, damaged, or of another schema, model or run.
        DataError: if there is no patch, or the dataset is not the one that was run.
    """
    options = options or PatchOptions()
    boot = Bootstrap(options.seed, options.resamples, options.confidence)
    data = load_patches(folders, model_folder, manifest_folder)
    best, study, found = best_of(data), best_of(data, first=0), find_objects(data)
    parts = {
        "patch_best": [_best_table(data, best, study, found)],
        "patch_summary": [_summary(data, {"": best, STUDY: study}, boot)],
        "patch_by_region": [patch_regions.by_region(data, best, found, boot)],
        "patch_localisation": [patch_localisation.localisation(data, found, boot)],
    }
    meta = data.meta
    return {
        name: finished_study(name, frames, meta.model, meta.dataset)
        for name, frames in parts.items()
        if name in STUDY_TABLES
    }


def best_layer(top_logprob: np.ndarray, first: int = FIRST_LAYER) -> np.ndarray:
    """Return the layer at which the likeliest token's probability is highest, [P].

    Ties go to the earliest.

    Args:
        top_logprob: [P, L+1] log-probability of the likeliest token, L at least `first`.
        first: the first layer that may be it; 0 is the study's rule.
    """
    return first + np.argmax(top_logprob[:, first:], axis=1)


def in_last_third(layer: np.ndarray, n_layers: int) -> np.ndarray:
    """Return whether 3 l ≥ 2 L: from layer 22 on where L is 32."""
    return 3 * np.asarray(layer) >= 2 * n_layers


def best_of(data: PatchData, first: int = FIRST_LAYER) -> Best:
    """Return every patch at its best layer, of those from `first` on."""
    layer = best_layer(data.top_logprob[:, :, 0], first)
    rows = np.arange(len(layer))
    ids = data.top_id[rows, layer, 0]
    return Best(
        layer=layer,
        token_id=ids,
        probability=np.exp(data.top_logprob[rows, layer, 0]),
        text=data.vocabulary.text(ids),
        script=data.vocabulary.script(ids),
    )


def _best_table(data: PatchData, best: Best, study: Best, found: Found) -> pd.DataFrame:
    names = data.samples["sample_id"].to_numpy(dtype=object)[data.owner]
    named = found.hits(best.token_id, "color") | found.hits(best.token_id, "shape")
    return pd.DataFrame(
        {
            "sample_id": names,
            **{key: data.places[key].to_numpy() for key in ("view", "row", "col", "patch")},
            "best_layer": best.layer,
            f"best_layer{STUDY}": study.layer,
            "n_layers": data.n_layers,
            "probability": best.probability,
            "text": best.text,
            "script": best.script,
            "blank": best.blank.astype(int),
            "region": found.region,
            "names_object": np.where(found.region == "", np.nan, named.astype(float)),
        }
    )


def _summary(data: PatchData, best: dict[str, Best], boot: Bootstrap) -> pd.DataFrame:
    """Return means over patches, by view; pictures resampled.

    Args:
        data: the patches.
        best: ending of the metrics' names → the best layers that they are of.
        boot: for the intervals.
    """
    parts = [
        _of_view(data, each, mask, boot, ending).assign(view_name=view)
        for view, mask in data.view_masks().items()
        for ending, each in best.items()
    ]
    return pd.concat(parts, ignore_index=True)[STUDY_TABLES["patch_summary"][2:]]


def _of_view(
    data: PatchData, best: Best, kept: np.ndarray, boot: Bootstrap, ending: str
) -> pd.DataFrame:
    late = in_last_third(best.layer, data.n_layers)
    above, below = PUBLISHED_DEPTH
    values = {
        "best_layer": best.layer,
        "best_depth": best.layer / data.n_layers,
        "share_last_third": late,
        "share_from_22_of_32": best.layer * below >= above * data.n_layers,
        "share_blank": best.blank,
        "share_empty": best.empty,
        "probability": best.probability,
    }
    # Samples without a patch of this view say nothing of it.
    samples, owner = np.unique(data.owner[kept], return_inverse=True)
    pictures = data.pictures[samples]
    wholes = np.bincount(owner)
    rows: list[tuple[str, float, float, float, int, str]] = []
    for metric, each in values.items():
        parts = np.bincount(owner, each[kept].astype(np.float64))
        bounds = (0.0, 1.0) if metric.startswith("share") else None
        e = boot.ratio(parts, wholes, pictures, bounds=bounds)
        rows.append((metric, float(e.value), float(e.low), float(e.high), e.n, "samples"))
    counted = {"n_last_third": late, "n_blank": best.blank, "n_empty": best.empty}
    if not ending:
        counted = {"n_patches": np.ones(len(late), dtype=bool), **counted}
    for metric, mask in counted.items():
        count = float(mask[kept].sum())
        rows.append((metric, count, count, count, int(kept.sum()), "patches"))
    columns = [name for name in STUDY_TABLES["patch_summary"][2:] if name != "view_name"]
    table = pd.DataFrame(rows, columns=columns)
    return table.assign(metric=table["metric"] + ending)
