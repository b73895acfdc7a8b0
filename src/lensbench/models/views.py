"""Where each image position of a prompt lies in the picture: the views a model has of it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from torch import Tensor

#: Left, top, right, bottom in fractions of the picture.
Box = tuple[float, float, float, float]
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class View:
    """A grid of image positions that lies over a part of the picture.

    Args:
        name: "picture" where it is seen once, else "overview" and "tiles".
        rows: of the grid.
        cols: of the grid.
        box: left, top, right, bottom of the part in fractions of the opened picture.
    """

    name: str
    rows: int
    cols: int
    box: Box = WHOLE


@dataclass(frozen=True, eq=False)
class Layout:
    """Where the n image positions of a prompt lie, in the prompt's order.

    Args:
        views: the grids, the overview first where there is one; none if no place is known.
        view: [n] index into views; -1 for line ends and positions without a place.
        row: [n] row in that view, -1 where there is none.
        col: [n] column in that view, -1 where there is none.
    """

    views: tuple[View, ...]
    view: np.ndarray
    row: np.ndarray
    col: np.ndarray

    @property
    def grid(self) -> tuple[int, int]:
        """(rows, columns) of the first view, (0, 0) where there is none."""
        return (self.views[0].rows, self.views[0].cols) if self.views else (0, 0)

    def __len__(self) -> int:
        """Return the number of image positions."""
        return len(self.view)

    def __eq__(self, other: object) -> bool:
        """Say whether views and places are the same."""
        return (
            isinstance(other, Layout)
            and self.views == other.views
            and all(
                np.array_equal(getattr(self, name), getattr(other, name))
                for name in ("view", "row", "col")
            )
        )

    __hash__ = None  # type: ignore[assignment]

    def to_json(self) -> str:
        """Return the views as a JSON list, as `samples.views` holds them."""
        return json.dumps([asdict(view) for view in self.views], separators=(",", ":"))


def unplaced(count: int) -> Layout:
    """Return the layout of positions whose place in the picture is not known."""
    nowhere = np.full(count, -1)
    return Layout((), nowhere, nowhere, nowhere)


def layouts_of(
    processor: Any,
    inputs: Mapping[str, Tensor],
    counts: Sequence[int],
    sizes: Sequence[tuple[int, int]],
) -> list[Layout]:
    """Return where the image positions of each prompt lie, as the processor laid them out.

    Args:
        processor: the model's processor.
        inputs: what it made of the prompts.
        counts: image positions of each prompt.
        sizes: (width, height) of each opened picture, one a prompt, or none at all.
    """
    if not any(counts) or len(sizes) != len(counts):
        return [unplaced(count) for count in counts]
    if "image_grid_thw" in inputs:
        merge = processor.image_processor.merge_size
        thw = inputs["image_grid_thw"][:, 1:].div(merge, rounding_mode="floor").tolist()
        grids = [(int(h), int(w)) for h, w in thw]
    elif isinstance(getattr(processor, "num_image_tokens", None), int):
        side = math.isqrt(processor.num_image_tokens)
        grids = [(side, side)] * len(counts)
    elif isinstance(getattr(processor, "patch_size", None), int):
        height, width = inputs["pixel_values"].shape[-2:]
        patch = processor.patch_size
        grids = [(height // patch, width // patch)] * len(counts)
    else:
        grids = [(math.isqrt(count), math.isqrt(count)) for count in counts]
    return [_first_view(grid, count) for grid, count in zip(grids, counts, strict=True)]


def _first_view(grid: tuple[int, int], count: int) -> Layout:
    high, wide = grid
    if not 0 < high * wide <= count:
        return unplaced(count)
    view, row, col = np.full((3, count), -1)
    view[: high * wide] = 0
    row[: high * wide], col[: high * wide] = np.divmod(np.arange(high * wide), wide)
    name = "picture" if high * wide == count else "overview"
    return Layout((View(name, high, wide),), view, row, col)
