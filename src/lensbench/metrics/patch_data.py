"""What every image position says, as arrays [patches, layers]: one close-up or imported lens."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from PIL import Image

from lensbench.errors import DataError, TraceError
from lensbench.metrics.rundata import Vocabulary
from lensbench.models.vocabulary import without_shared
from lensbench.parquets import DamagedError, read_columns
from lensbench.pixels import FORMATS
from lensbench.trace import read_meta, read_table, stack
from lensbench.trace_meta import TraceMeta

#: The view of what is measured over all patches, whichever view they are of.
ALL_VIEWS = "all"
_ORIENTATION = 0x0112  # the EXIF tag; 5 to 8 are lying pictures


@dataclass(frozen=True)
class PatchData:
    """The patches of all samples, sample by sample in order, each sample's in prompt order.

    Where some positions of a sample lie in a grid, those that don't (ends of lines) are no patches
    and are left out; where none does, all are kept.

    Args:
        meta: of the folders.
        samples: `samples` less the rejected and those without patches, sorted by sample_id.
        owner: [P] row of `samples` that each patch is of.
        places: one row a patch: patch, view, row, col.
        top_id: [P, L+1, k] token ids, likeliest first.
        top_logprob: [P, L+1, k] float64.
        vocabulary: what the ids are.
        forms: the model's `forms`; None for an imported lens.
        objects: one list a sample of {"shape", "color", "box"}, None where the dataset has none.
        sizes: (width, height) of each sample's picture in pixels, None where it has no objects.
    """

    meta: TraceMeta
    samples: pd.DataFrame
    owner: np.ndarray
    places: pd.DataFrame
    top_id: np.ndarray
    top_logprob: np.ndarray
    vocabulary: Vocabulary
    forms: pd.DataFrame | None
    objects: list[list[dict[str, Any]] | None]
    sizes: list[tuple[int, int] | None]

    @property
    def pictures(self) -> np.ndarray:
        """Which picture each sample shows, [samples] texts."""
        return self.samples["picture"].to_numpy(dtype=object)

    @property
    def n_layers(self) -> int:
        """L: layers are 0 … L."""
        return self.meta.n_layers

    def views(self, sample: int) -> list[dict[str, Any]]:
        """Return the grids of a sample's picture."""
        found: list[dict[str, Any]] = json.loads(self.samples["views"].iloc[sample])
        return found

    def view_masks(self) -> dict[str, np.ndarray]:
        """Return the patches of all views, [P] booleans, and of each where there are several.

        Pooled, what a picture says where it is seen whole and in tiles is weighted by how many
        patches either has: an overview of 27 × 27 beside four such tiles is a fifth.
        """
        names = [[str(view["name"]) for view in self.views(n)] for n in range(len(self.samples))]
        view_of = self.places["view"].to_numpy()
        pairs = zip(self.owner, view_of, strict=True)
        named = np.array([names[n][at] if at >= 0 else "" for n, at in pairs], dtype=object)
        masks = {ALL_VIEWS: np.ones(len(named), dtype=bool)}
        found = list(dict.fromkeys(name for each in names for name in each))
        present = {name: named == name for name in found if (named == name).any()}
        return {**masks, **present} if len(present) > 1 else masks


def load_patches(
    folders: Sequence[str | Path],
    model_folder: str | Path | None = None,
    manifest_folder: str | Path | None = None,
) -> PatchData:
    """Read close-ups, or one imported lens, with what is known of the objects in the pictures.

    Args:
        folders: of the close-ups of one run, or the one of an imported lens.
        model_folder: where the model's vocabulary and forms are; None for an imported lens, which
            has a vocabulary of its own.
        manifest_folder: the dataset; None where no objects are known.

    Raises:
        TraceError: if a table is missing, damaged, or of another schema, model or run.
        DataError: if there is no patch at all, or a sample or picture is not in the dataset.
    """
    paths = sorted((Path(folder) for folder in folders), key=str)
    patches = read_table(paths, "patches")
    meta = read_meta(paths[0])
    home = paths[0] if model_folder is None else Path(model_folder)
    if read_meta(home).model != meta.model:
        raise TraceError(
            f"{home} holds the vocabulary of {read_meta(home).model}, but the patches are of "
            f"{meta.model}: give the folder that inspect wrote for it."
        )
    if patches.empty:
        raise DataError(
            f"{meta.model} on {meta.dataset} has no patch: its samples are no pictures."
        )
    patches = patches.sort_values(["sample_id", "patch", "layer"], kind="stable")
    layers = meta.n_layers + 1
    first = patches.iloc[::layers].reset_index(drop=True)
    placed = first["view"] >= 0
    kept = (placed | ~placed.groupby(first["sample_id"]).transform("any")).to_numpy()
    samples = read_table(paths, "samples")
    samples = samples[samples["sample_id"].isin(first["sample_id"])].reset_index(drop=True)
    k = meta.k
    objects, sizes = _truth(samples, manifest_folder)
    return PatchData(
        meta=meta,
        samples=samples,
        owner=np.searchsorted(samples["sample_id"].to_numpy(str), first["sample_id"].to_numpy(str))[
            kept
        ],
        places=first.loc[kept, ["patch", "view", "row", "col"]].reset_index(drop=True),
        top_id=stack(patches, "top_id").reshape(-1, layers, k)[kept],
        top_logprob=stack(patches, "top_logprob").reshape(-1, layers, k)[kept].astype(np.float64),
        vocabulary=Vocabulary(read_table(home, "vocabulary")),
        forms=None if model_folder is None else _color_forms(read_table(home, "forms")),
        objects=objects,
        sizes=sizes,
    )


def _color_forms(forms: pd.DataFrame) -> pd.DataFrame:
    """Return the forms as colors share their first tokens: GRE is neither GREY nor GREEN."""
    colors = [concept for concept in set(forms["concept"]) if concept.startswith("color:")]
    return without_shared(forms, colors)


def _truth(
    samples: pd.DataFrame, manifest_folder: str | Path | None
) -> tuple[list[list[dict[str, Any]] | None], list[tuple[int, int] | None]]:
    """Return each sample's objects and its picture's size, None where no objects are known."""
    if manifest_folder is None:
        return [None] * len(samples), [None] * len(samples)
    manifest = _manifest(Path(manifest_folder) / "manifest.parquet")
    objects: list[list[dict[str, Any]] | None] = []
    sizes: list[tuple[int, int] | None] = []
    for sample in samples["sample_id"]:
        if sample not in manifest:
            raise DataError(
                f"Sample {sample} isn't in the manifest of {manifest_folder}: the dataset changed "
                "after the extraction; run it again."
            )
        truth, image = manifest[sample]
        found = json.loads(truth or "[]")
        objects.append(found or None)
        sizes.append(_size(Path(manifest_folder) / image) if found else None)
    return objects, sizes


def _manifest(path: Path) -> dict[str, tuple[str, str]]:
    """Return the objects, as JSON, and the picture's place, by sample."""
    try:
        table = read_columns(path, dict.fromkeys(("sample_id", "objects", "image"), pa.string()))
    except DamagedError as error:
        raise DataError(
            f"{path} is missing or damaged: make the dataset again, or give its folder."
        ) from error
    names, objects, images = (column.to_pylist() for column in table.columns)
    return dict(zip(names, zip(objects, images, strict=True), strict=True))


def _size(path: Path) -> tuple[int, int]:
    """Return a picture's width and height in pixels, turned as its camera says."""
    try:
        with Image.open(path, formats=FORMATS) as picture:
            width, height = picture.size
            lying = picture.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
    except (OSError, ValueError) as error:
        raise DataError(
            f"The picture {path} is missing or can't be read: make the dataset again."
        ) from error
    return (height, width) if lying else (width, height)
