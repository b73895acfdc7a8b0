"""Pictures that are seen whole and in tiles: where their positions lie, as transformers packs them.

The tiles are stitched into one grid, beside the grid of the whole picture, the overview.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from transformers.image_processing_utils import select_best_resolution

from lensbench.models.views import Box, Layout, View, cells, placed, single

_LARGEST = 4096  # pixels that Idefics3 and SmolVLM make a picture wide or high at most


def anyres(processor: Any, pixels: Sequence[int], size: tuple[int, int]) -> Layout | None:
    """Return the layout of LLaVA-NeXT and LLaVA-OneVision: the overview, then the tiles.

    The tiles are those of the resolution that fits the picture best; rows or columns of patches
    that hold nothing but padding are cut off on both sides, and a line end follows each row.
    OneVision shrinks what is still too much. As `pack_image_features` and `unpad_image` do it in
    transformers.

    Args:
        processor: the model's processor.
        pixels: height and width of a tile.
        size: (width, height) of the picture.
    """
    (width, height), side = size, int(pixels[-1])
    tokens = getattr(processor, "num_image_tokens", None)
    each = math.isqrt(tokens) if isinstance(tokens, int) else side // processor.patch_size
    best = select_best_resolution((height, width), processor.image_processor.image_grid_pinpoints)
    if pixels[0] != side or best is None or any(length % side for length in best):
        return None
    patch = side // each
    whole = each * best[0] // side, each * best[1] // side  # rows and columns before the cut
    top, left = _padding(whole, size)
    rows, cols = whole[0] - 2 * top, whole[1] - 2 * left

    def edges(first: int, count: int) -> tuple[int, int]:
        """Return where in the tiles the patches begin and end; those of a tile may not fill it."""
        last = first + count - 1
        begin, end = (at // each * side + at % each * patch for at in (first, last))
        return begin, end + patch

    box = _on_picture(edges(left, cols), edges(top, rows), best, size)
    limit = str(getattr(processor, "vision_aspect_ratio", "")).removeprefix("anyres_max_")
    if limit.isdecimal():
        ratio = math.sqrt(rows * cols / (int(limit) * each**2))
        if ratio > 1.1:
            rows, cols = int(rows // ratio), int(cols // ratio)
    row, col = cells(rows, cols + 1)
    ends = col == cols
    row[ends] = col[ends] = -1
    covered = each * patch / side
    views = [View("overview", each, each, (0.0, 0.0, covered, covered))]
    # Of a strip a few pixels high, nothing but padding may be left.
    views += [View("tiles", rows, cols, box)] if rows * cols else []
    return placed(views, [(0, *cells(each, each)), (1, row, col)])


def _padding(whole: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    """Return how many rows and columns of patches are cut off on either side."""
    (rows, cols), (width, height) = whole, size
    if width / height > cols / rows:
        return (rows - int(round(height * (cols / width), 7))) // 2, 0
    return 0, (cols - int(round(width * (rows / height), 7))) // 2


def _on_picture(
    across: tuple[int, int], down: tuple[int, int], best: Sequence[int], size: tuple[int, int]
) -> Box:
    """Return a part of the padded picture in fractions of the picture in its middle.

    Args:
        across: pixels at which the part begins and ends from the left.
        down: the same from the top.
        best: height and width of the padded picture.
        size: (width, height) of the picture as opened.
    """
    (high, wide), (width, height) = best, size
    scale = min(wide / width, high / height)
    # One of the two is filled; the other is rounded up.
    fits = (wide / width) < (high / height)
    inner = (
        wide if fits else min(math.ceil(width * scale), wide),
        min(math.ceil(height * scale), high) if fits else high,
    )
    (left, right), (top, bottom) = (
        tuple((at - (outer - own) // 2) / own for at in pair)
        for pair, outer, own in zip((across, down), (wide, high), inner, strict=True)
    )
    return left, top, right, bottom


def split(processor: Any, size: tuple[int, int]) -> Layout | None:
    """Return the layout of Idefics3 and SmolVLM: the tiles row by row, the overview last.

    Args:
        processor: the model's processor.
        size: (width, height) of the picture.
    """
    pictures, length = processor.image_processor, getattr(processor, "image_seq_len", None)
    if not isinstance(length, int):
        return None
    rows, cols = 0, 0
    if pictures.do_image_splitting:
        longest = pictures.size.get("longest_edge") if pictures.do_resize else None
        rows, cols = _tiles(size, longest, pictures.max_image_size["longest_edge"])
    return _stitched(math.isqrt(length), rows, cols)


def _tiles(size: tuple[int, int], longest: int | None, tile: int) -> tuple[int, int]:
    """Return rows and columns of tiles: a picture is resized, then filled up to whole tiles."""
    # In transformers' own steps, one after the other: rounding decides on a tile.
    if longest is not None:
        width, height = _shaped(size, longest)
        even = (width, height + height % 2) if size[0] >= size[1] else (width + width % 2, height)
        size = max(even[0], 1), max(even[1], 1)
        if max(size) > _LARGEST:
            width, height = _shaped(size, _LARGEST)
            size = max(width, 1), max(height, 1)
    width, height = _shaped(size, math.ceil(max(size) / tile) * tile)
    return math.ceil(height / tile), math.ceil(width / tile)


def _shaped(size: tuple[int, int], longer: int) -> tuple[int, int]:
    """Return (width, height) with a longer side of so many pixels, the other rounded down."""
    ratio = size[0] / size[1]
    return (longer, int(longer / ratio)) if size[0] >= size[1] else (int(longer * ratio), longer)


def cropped(processor: Any, count: int, size: tuple[int, int]) -> Layout | None:
    """Return the layout of InternVL: the tiles row by row, the overview (its thumbnail) last.

    Args:
        processor: the model's processor.
        count: image positions.
        size: (width, height) of the picture.
    """
    pictures, length = processor.image_processor, processor.image_seq_length
    side = math.isqrt(length)
    if count == length:
        return _stitched(side, 1, 1)
    canvas = getattr(sys.modules[type(pictures).__module__], "get_optimal_tiled_canvas", None)
    if canvas is None:
        return None
    tile = pictures.size.get("height"), pictures.size.get("width")
    cols, rows = canvas(size[::-1], tile, pictures.min_patches, pictures.max_patches)
    return _stitched(side, rows, cols)


def _stitched(side: int, rows: int, cols: int) -> Layout:
    """Return the layout of rows × cols tiles of side × side positions, before the overview."""
    if rows * cols <= 1:
        return single(side, side)
    row, col = cells(side, side)
    tiles: list[tuple[int, np.ndarray, np.ndarray]] = [
        (1, row + y * side, col + x * side) for y in range(rows) for x in range(cols)
    ]
    views = (View("overview", side, side), View("tiles", rows * side, cols * side))
    return placed(views, [*tiles, (0, row, col)])
