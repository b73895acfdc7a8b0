"""Where each image position of a prompt lies in the picture: the views a model has of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

#: Left, top, right, bottom in fractions of the picture.
Box = tuple[float, float, float, float]
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
#: Names of the views that show a picture as a whole: no layout has more than one of them.
FIRST = ("picture", "overview")


@dataclass(frozen=True)
class View:
    """A grid of image positions that lies over a part of the picture.

    Args:
        name: "picture" where it is seen once, else "overview" and "tiles".
        rows: of the grid.
        cols: of the grid.
        box: left, top, right, bottom of the grid in fractions of the opened picture; below 0 and
            above 1 where its outer cells lie on padding around the picture.
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


def single(rows: int, cols: int, box: Box = WHOLE) -> Layout:
    """Return the layout of a picture that is seen once, row by row."""
    return placed((View("picture", rows, cols, box),), [(0, *cells(rows, cols))])


def placed(views: Sequence[View], parts: Sequence[tuple[int, np.ndarray, np.ndarray]]) -> Layout:
    """Return the layout of parts of a prompt that follow each other.

    Args:
        views: the grids.
        parts: index into views, rows and columns of each part's positions; row -1 at line ends.
    """
    view = [np.where(row < 0, -1, index) for index, row, _ in parts]
    row, col = ([part[axis] for part in parts] for axis in (1, 2))
    return Layout(tuple(views), np.concatenate(view), np.concatenate(row), np.concatenate(col))


def cells(rows: int, cols: int) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and columns of a grid's cells, row by row."""
    row, col = np.divmod(np.arange(rows * cols), max(cols, 1))
    return row, col
