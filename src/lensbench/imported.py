"""Patch lenses that others made, as folders of our own: the same tables, from a foreign file."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from lensbench import __version__
from lensbench.errors import DataError
from lensbench.files import sha256_of
from lensbench.imported_file import PatchLens, read_patch_lens, shown
from lensbench.lexicon import LANGUAGES
from lensbench.models.prompt import open_picture
from lensbench.scripts import SCRIPTS, scripts_of
from lensbench.trace import write_import
from lensbench.trace_meta import TraceMeta

PICTURE = "picture.png"
NORM_NOTE = (
    "This lens applied the final norm to every state, the last one too, which had it already: its "
    "last layer is not the model's own output."
)
TEXT_NOTE = (
    "The file names tokens by their texts, without leading spaces: an id of this folder stands for "
    "a text, which several tokens of the model may have, and a top k may list one text twice."
)
#: A picture's sides may be off the grid's ratio by this much, as rounding to pixels makes them.
_RATIO_SLACK = 0.02
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_BYTES = re.compile(r"(<0x[0-9A-Fa-f]{2}>)+")
_SPECIAL = frozenset({"<s>", "</s>", "<unk>", "<pad>", "<image>"})


def import_patch_lens(
    file: str | Path,
    out: str | Path,
    model: str = "llava-1.5-7b",
    picture: str | Path | None = None,
    grid: tuple[int, int] | None = None,
    box: Sequence[float] | None = None,
) -> None:
    """Import one foreign patch lens; its folder is replaced as a whole, or not at all.

    Args:
        file: JSON or JSON packed with gzip, as `read_patch_lens` describes it.
        out: the folder to make: samples, patches, words, vocabulary, provenance.json and, with a
            picture, picture.png. Its name becomes the dataset's and the sample's.
        model: name of the model that the lens is of.
        picture: the picture the model was given.
        grid: rows and columns of the image positions; a square by default.
        box: left, top, right and bottom of what the model saw of the picture, as fractions of it;
            all of it by default.

    Raises:
        LensbenchError: in one sentence, for whatever is wrong; nothing is written then.
    """
    name = Path(out).name
    for what, text in (("folder", name), ("model", model)):
        if not _NAME.fullmatch(text):
            raise DataError(
                f"{shown(text)!r} can't name a {what}: use letters, digits, dots, hyphens and "
                "underscores, a letter or digit first."
            )
    lens = read_patch_lens(file)
    rows, cols = _grid(lens, grid, shown(Path(file).name))
    image = None if picture is None else open_picture(picture)
    view = {"name": "picture", "rows": rows, "cols": cols, "box": _box(box, image, rows, cols)}
    meta = TraceMeta(
        model=model,
        dataset=name,
        shard=0,
        n_shards=1,
        k=lens.top_id.shape[2],
        scripts=SCRIPTS,
        languages=LANGUAGES,
        n_layers=len(lens.top_id) - 1,
        n_heads=0,
        lens="normed",
        head_layers=(),
    )
    tables = {
        "samples": _samples(lens, name, view, image is not None),
        "patches": _patches(lens, name, cols),
        "words": _words(lens, name),
        "vocabulary": _vocabulary(lens),
    }
    provenance = {
        "lensbench": __version__,
        "file": shown(Path(file).name),
        "file_sha256": lens.sha256,
        "image": lens.image,
        "picture_sha256": None if picture is None else sha256_of(picture),
        "printed_zeros": int((lens.probability == 0).sum()),
        "printed_zero_stands_for": lens.zero,
        "notes": [NORM_NOTE, TEXT_NOTE],
    }
    write_import(out, tables, meta, provenance, {} if image is None else {PICTURE: image})


def _grid(lens: PatchLens, grid: tuple[int, int] | None, name: str) -> tuple[int, int]:
    n = len(lens.image_positions)
    side = round(n**0.5)
    if grid is None:
        if side * side != n:
            raise DataError(
                f"{name} has {n} image positions, which make no square: give their rows and "
                "columns, as in --grid 24x36."
            )
        return side, side
    if min(grid) < 1 or grid[0] * grid[1] != n:
        raise DataError(
            f"A grid of {grid[0]}x{grid[1]} does not hold the {n} image positions of {name}: "
            "correct --grid."
        )
    return grid


def _box(
    box: Sequence[float] | None, image: Image.Image | None, rows: int, cols: int
) -> list[float]:
    """Return the checked box; a picture whose sides don't fit the grid needs one."""
    if box is None:
        if image is not None and abs(image.width * rows / (image.height * cols) - 1) > _RATIO_SLACK:
            raise DataError(
                f"The picture has {image.width}×{image.height} pixels, which does not fit a grid "
                f"of {rows} rows and {cols} columns: say with --box which part of it the model saw."
            )
        return [0.0, 0.0, 1.0, 1.0]
    sides = [float(side) for side in box]
    # Beyond the picture lies what a processor padded it with.
    if len(sides) != 4 or not all(-10 <= side <= 10 for side in sides):
        raise DataError("A box has four numbers: left, top, right, bottom as fractions.")
    if sides[0] >= sides[2] or sides[1] >= sides[3]:
        raise DataError(f"The box {sides} is empty: give left, top, right and bottom in order.")
    return sides


def _samples(lens: PatchLens, name: str, view: dict[str, Any], with_picture: bool) -> pd.DataFrame:
    row = {
        "sample_id": name,
        "prompt": lens.prompt,
        "n_tokens": len(lens.labels),
        "n_image_tokens": len(lens.image_positions),
        "grid_h": view["rows"],
        "grid_w": view["cols"],
        "views": json.dumps([view]),
        "generated": "",
        "generated_ids": [],
        "generated_ends": [],
        "gold": "",
        "language": "",
        "family": "",
        # Where the user's own words begin in the prompt, the file does not say.
        "asked": lens.prompt,
        "image": PICTURE if with_picture else None,
        "picture": name,
        "rejected": None,
    }
    return pd.DataFrame([row])


def _tops(lens: PatchLens, name: str, positions: np.ndarray) -> dict[str, Any]:
    """Return what `patches` and `words` share: a row a layer × position."""
    layers, k = len(lens.top_id), lens.top_id.shape[2]
    n = layers * len(positions)
    return {
        "sample_id": np.repeat(np.asarray([name], dtype=object), n),
        "layer": np.repeat(np.arange(layers), len(positions)),
        "position": np.tile(positions, layers),
        "top_id": list(lens.top_id[:, positions].reshape(n, k)),
        "top_logprob": list(lens.logprob[:, positions].reshape(n, k)),
        "entropy_nats": pd.Series([None] * n, dtype="float64"),  # the top k don't tell it
    }


def _patches(lens: PatchLens, name: str, cols: int) -> pd.DataFrame:
    positions, layers = lens.image_positions, len(lens.top_id)
    patch = np.tile(np.arange(len(positions)), layers)
    return pd.DataFrame(
        {
            **_tops(lens, name, positions),
            "patch": patch,
            "view": 0,
            "row": patch // cols,
            "col": patch % cols,
        }
    )


def _words(lens: PatchLens, name: str) -> pd.DataFrame:
    positions = np.flatnonzero(lens.label_ids >= 0)
    token = np.tile(lens.label_ids[positions], len(lens.top_id))
    return pd.DataFrame({**_tops(lens, name, positions), "token_id": token})


def _vocabulary(lens: PatchLens) -> pd.DataFrame:
    fragments = ["\ufffd" in text or bool(_BYTES.fullmatch(text)) for text in lens.texts]
    specials = [text in _SPECIAL for text in lens.texts]
    return pd.DataFrame(
        {
            "token_id": range(len(lens.texts)),
            "text": lens.texts,
            "script": scripts_of(lens.texts, fragments, specials),
            "is_fragment": fragments,
        }
    )
