"""Where the objects of a picture lie on its grid of patches, and which tokens name them.

A color is named by the first tokens of the lexicon's forms that stand for it alone. The lexicon has
no family of shapes, so that a shape is named by the tokens whose text is its English name or its
plural, case and outer space aside ("star", " Stars"): a shape that the vocabulary cuts in two is
not found, and no other language's word is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lensbench.lexicon import fold
from lensbench.metrics.patch_data import PatchData

INSIDE, BORDER, OUTSIDE = "inside", "border", "outside"
KINDS = ("color", "shape")


@dataclass(frozen=True)
class Target:
    """What can be named in one picture, such as its red things: where they lie and their tokens.

    Args:
        sample: row of `PatchData.samples`.
        kind: "color" or "shape".
        name: such as "red".
        rows: [p] the patches of the sample's first view.
        within: [p] whether the center of the patch's cell lies in the box of one of the things.
        ids: the tokens that name it; maybe none.
    """

    sample: int
    kind: str
    name: str
    rows: np.ndarray
    within: np.ndarray
    ids: np.ndarray


@dataclass(frozen=True)
class Found:
    """The patches' regions, and which tokens would name what is there.

    Args:
        region: [P] "inside", "border", "outside", or "" where no boxes are known.
        naming: kind → for each patch the token ids that name it (the same object for many).
        targets: what can be named in each picture.
    """

    region: np.ndarray
    naming: dict[str, list[frozenset[int]]]
    targets: list[Target]

    def hits(self, ids: np.ndarray, kind: str) -> np.ndarray:
        """Return whether the patch's token names an object there, [P] or [P, ...] for any of many.

        Args:
            ids: [P] or [P, n] token ids.
            kind: "color" or "shape".
        """
        table = ids.reshape(len(ids), -1)
        return np.array(
            [
                bool(wanted) and not wanted.isdisjoint(row.tolist())
                for row, wanted in zip(table, self.naming[kind], strict=True)
            ],
            dtype=bool,
        )


def cells(view: dict[str, Any], rows: np.ndarray, cols: np.ndarray, size: Any) -> np.ndarray:
    """Return the rectangles of cells in pixels of the picture: left, top, right, bottom, [p, 4].

    Args:
        view: rows and cols of the grid, and box, the part of the picture it covers, in fractions.
        rows: [p] of the cells.
        cols: [p] of the cells.
        size: width and height of the picture in pixels.
    """
    left, top, right, bottom = view["box"]
    across, down = (right - left) / view["cols"], (bottom - top) / view["rows"]
    x, y = left + cols * across, top + rows * down
    return np.stack([x, y, x + across, y + down], axis=1) * np.array([*size, *size])


def region_of(cell: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return each cell's region, [p], and which boxes it shares area with, [p, b].

    A cell is inside if it lies wholly in a box, outside if it shares no area with any, and on the
    border if an edge of a box crosses it and it is in no other box. Rounding to a millionth of a
    pixel decides what touches.

    Args:
        cell: [p, 4] left, top, right, bottom.
        boxes: [b, 4] likewise, b at least 1.
    """
    c, b = np.round(cell, 6)[:, None, :], np.asarray(boxes, dtype=np.float64)[None, :, :]
    shares = (
        (c[..., 0] < b[..., 2])
        & (c[..., 2] > b[..., 0])
        & (c[..., 1] < b[..., 3])
        & (c[..., 3] > b[..., 1])
    )
    within = (
        (c[..., 0] >= b[..., 0])
        & (c[..., 2] <= b[..., 2])
        & (c[..., 1] >= b[..., 1])
        & (c[..., 3] <= b[..., 3])
    )
    region = np.where(
        within.any(axis=1), INSIDE, np.where(shares.any(axis=1), BORDER, OUTSIDE)
    ).astype(object)
    return region, shares


def naming_ids(data: PatchData, kind: str, name: str) -> frozenset[int]:
    """Return the tokens that name a color or shape; none where the model's forms are not known."""
    if data.forms is None:
        return frozenset()
    if kind == "color":
        forms = data.forms[data.forms["kept"] & (data.forms["concept"] == f"color:{name}")]
        return frozenset(int(token) for token in forms["token_id"] if token >= 0)
    words = {fold(name), fold(name) + "s"}
    return frozenset(token for token, text in data.vocabulary.entries() if fold(text) in words)


def find_objects(data: PatchData) -> Found:
    """Lay the pictures' objects over the patches.

    A patch inside or on the border is asked for the objects whose boxes it shares area with; one
    outside for any object of its picture, which is generous to the outside. Patches of every view
    have their region; the targets, of which one map of the picture is wanted, are over the first.
    """
    n = len(data.owner)
    region = np.full(n, "", dtype=object)
    nothing: frozenset[int] = frozenset()
    naming = {kind: [nothing] * n for kind in KINDS}
    targets: list[Target] = []
    ids: dict[tuple[str, str], frozenset[int]] = {}
    view_of = data.places["view"].to_numpy()
    for sample, (objects, size) in enumerate(zip(data.objects, data.sizes, strict=True)):
        if objects is None or data.forms is None:
            continue
        for thing in objects:
            for kind in KINDS:
                key = (kind, str(thing[kind]))
                if key not in ids:
                    ids[key] = naming_ids(data, *key)
        boxes = np.array([thing["box"] for thing in objects], dtype=np.float64)
        mine = np.flatnonzero(data.owner == sample)
        for number, view in enumerate(data.views(sample)):
            rows = mine[view_of[mine] == number]
            if not len(rows):
                continue
            place = data.places.iloc[rows]
            cell = cells(view, place["row"].to_numpy(), place["col"].to_numpy(), size)
            region[rows], shares = region_of(cell, boxes)
            for row, there in zip(rows, shares, strict=True):
                asked = np.flatnonzero(there) if there.any() else range(len(objects))
                for kind in KINDS:
                    sets = [ids[kind, str(objects[at][kind])] for at in asked]
                    naming[kind][row] = frozenset().union(*sets)
            if number == 0:
                targets += _targets(sample, rows, cell, objects, boxes, ids)
    return Found(region, naming, targets)


def _targets(
    sample: int,
    rows: np.ndarray,
    cell: np.ndarray,
    objects: list[dict[str, Any]],
    boxes: np.ndarray,
    ids: dict[tuple[str, str], frozenset[int]],
) -> list[Target]:
    """Return one target a color and a shape of the picture: equal things are one target."""
    # Rounded as in `region_of`: a center on a box's edge is not moved across it by a last bit.
    x, y = np.round((cell[:, :2] + cell[:, 2:]) / 2, 6).T
    held = (
        (x[:, None] >= boxes[:, 0])
        & (x[:, None] < boxes[:, 2])
        & (y[:, None] >= boxes[:, 1])
        & (y[:, None] < boxes[:, 3])
    )
    found = []
    for kind in KINDS:
        for name in sorted({str(thing[kind]) for thing in objects}):
            mine = [str(thing[kind]) == name for thing in objects]
            tokens = np.array(sorted(ids[kind, name]), dtype=np.int64)
            found.append(Target(sample, kind, name, rows, held[:, mine].any(axis=1), tokens))
    return found
