"""What a look shows at a glance: tidy tables laid out as cells, for a terminal or a notebook."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import pandas as pd

from lensbench.figures.fonts import printable
from lensbench.models.views import FIRST

#: The most positions laid out side by side; a table of more is read with pandas.
MOST = 64
_BYTES = re.compile(r"(?:<0x[0-9A-F]{2}>)+")
#: What the column of ranks says.
RANK = "rank: of the last layer's own token, at each layer; 0 is the likeliest."


@dataclass(frozen=True)
class Cell:
    """One token in its place.

    Args:
        text: the token, every character of it visible.
        probability: its probability.
        final: whether it is the last layer's own token at this position.
        hint: the other likely tokens, a line each.
    """

    text: str
    probability: float
    final: bool = False
    hint: str = ""


@dataclass(frozen=True)
class Row:
    """A line of cells with its name before them and what is noted after them."""

    label: str
    cells: tuple[Cell | None, ...]
    tail: str = ""


@dataclass(frozen=True)
class View:
    """Cells in rows and columns.

    Args:
        title: what is shown.
        corner: what the rows' names are.
        heads: names of the columns.
        rows: the rows, as many cells as heads each.
        tail: name of what stands after the cells, "" if nothing does.
        note: what a reader must know of it, "" if nothing.
        numbered: whether each cell's probability is printed too.
    """

    title: str
    corner: str
    heads: tuple[str, ...]
    rows: tuple[Row, ...]
    tail: str = ""
    note: str = ""
    numbered: bool = True

    def part(self, first: int, last: int) -> View:
        """Return the columns from `first` up to, not including, `last`."""
        rows = tuple(replace(row, cells=row.cells[first:last]) for row in self.rows)
        return replace(self, heads=self.heads[first:last], rows=rows)


def position_view(rows: pd.DataFrame, title: str) -> View:
    """Return one position: a row a layer, a column a place in its list of top tokens.

    Args:
        rows: of `Look.to_frame`, those of one position: layer, rank, token, token_id, probability,
            final_id and final_rank.
        title: what is shown.
    """
    lines = [
        Row(str(found["layer"]), cells, str(found["final_rank"]))
        for found, cells in _lists(rows, ["layer"])
    ]
    return View(title, "layer", _places(rows), tuple(lines), "rank", RANK)


def layers_view(frame: pd.DataFrame, by: str, heads: Mapping[Any, str], title: str) -> View:
    """Return several positions: a row a layer, a column a position, its top token in each cell.

    Args:
        frame: rows of `Look.to_frame`, of one position or more.
        by: the column that tells positions apart.
        heads: what stands above each position.
        title: what is shown.
    """
    positions = list(heads)
    abreast, note = positions[:MOST], ""
    if len(positions) > MOST:
        note = f"The first {MOST} of {len(positions)} positions; to_frame() has all."
    lines: dict[int, dict[Any, Cell]] = {}
    for found, cells in _lists(frame[frame[by].isin(abreast)], ["layer", by]):
        below = f"rank of the final token: {found['final_rank']}"
        cell = _hinted(cells, f"layer {found['layer']}", below)
        lines.setdefault(found["layer"], {})[found[by]] = cell
    rows = tuple(
        Row(str(layer), tuple(there.get(position) for position in abreast))
        for layer, there in lines.items()
    )
    return View(title, "layer", tuple(heads[position] for position in abreast), rows, note=note)


def part_views(parts: pd.DataFrame) -> list[View]:
    """Return what each part writes, and the stream after it: a row a part, its top tokens across.

    Args:
        parts: rows of `Look.parts_frame`.
    """
    titles = {"own": "what each part writes", "cumulated": "the stream after each part"}
    views = []
    for reading, title in titles.items():
        rows = parts[parts["reading"] == reading]
        lines = [
            Row(f"{found['layer']} {found['part']}", cells)
            for found, cells in _lists(rows, ["layer", "part"])
        ]
        views.append(View(title, "layer, part", _places(parts), tuple(lines)))
    return views


def best_layers(patches: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of each image position at its best layer, where its top token is likeliest.

    Layer 0, the embedding, is left out.

    Args:
        patches: rows of `Look.patches_frame`.
    """
    first = patches[(patches["rank"] == 0) & (patches["layer"] > 0)]
    best = first.loc[first.groupby("position")["probability"].idxmax(), ["position", "layer"]]
    return patches.merge(best, on=["position", "layer"], how="inner")


def patch_list(patches: pd.DataFrame, title: str) -> View:
    """Return image positions as rows: each one's top tokens at its best layer (of 1 to L).

    Args:
        patches: rows of `Look.patches_frame`.
        title: what is shown.
    """
    lines = []
    for found, cells in _lists(best_layers(patches), ["position"]):
        label = f"{found['position']}"
        if not pd.isna(found["row"]):
            name = "" if found["view"] in FIRST else f"{found['view']} "
            label = f"{name}{found['row']},{found['col']}"
        lines.append(Row(label, cells, str(found["layer"])))
    return View(title, "patch", _places(patches), tuple(lines), "layer")


def patch_grid(patches: pd.DataFrame, title: str) -> View:
    """Return image positions where they lie in the picture: each one's top token at its best layer.

    Positions that have no place in the grid of the whole picture, such as tiles and line ends, are
    left out.

    Args:
        patches: rows of `Look.patches_frame`.
        title: what is shown.
    """
    placed = best_layers(patches[patches["view"].isin(FIRST)])
    lines: dict[int, dict[int, Cell]] = {}
    for found, cells in _lists(placed, ["position"]):
        row, column = found["row"], found["col"]
        where = f"row {row}, column {column}, layer {found['layer']}"
        lines.setdefault(row, {})[column] = _hinted(cells, where)
    columns = sorted({column for there in lines.values() for column in there})
    rows = tuple(
        Row(str(row), tuple(there.get(column) for column in columns))
        for row, there in sorted(lines.items())
    )
    n = patches["position"].nunique()
    out = n - placed["position"].nunique()
    note = f"{out} of {n} positions have no place in the grid." if out else ""
    heads = tuple(map(str, columns))
    return View(title, "row", heads, rows, note=note, numbered=False)


@lru_cache(maxsize=100_000)
def shown(token: str) -> str:
    """Return a token so that every character of it is seen; bytes of no character as ⟨E4B8⟩."""
    if _BYTES.fullmatch(token):
        return f"⟨{token.replace('<0x', '').replace('>', '')}⟩"
    return printable(token)


def _places(rows: pd.DataFrame) -> tuple[str, ...]:
    return tuple(f"top {place + 1}" for place in range(rows["rank"].max() + 1))


def _lists(
    rows: pd.DataFrame, keys: list[str]
) -> Iterator[tuple[dict[str, Any], tuple[Cell, ...]]]:
    """Yield each list of top tokens: the columns of its first row, and its cells in order.

    Args:
        rows: rows of a frame, the lists whole and in order, rank after rank.
        keys: the columns that tell lists apart; the lists come in the order of the first of them.
    """
    ordered = rows.sort_values([keys[0]], kind="stable")
    size = rows["rank"].max() + 1
    tokens, chances = ordered["token"].tolist(), ordered["probability"].tolist()
    finals = [False] * len(ordered)
    if "final_id" in ordered:
        finals = (ordered["token_id"] == ordered["final_id"]).tolist()
    for start, found in zip(
        range(0, len(ordered), size), ordered.iloc[::size].to_dict("records"), strict=True
    ):
        part = slice(start, start + size)
        yield (
            {str(name): value for name, value in found.items()},
            tuple(map(Cell, map(shown, tokens[part]), chances[part], finals[part])),
        )


def _hinted(cells: tuple[Cell, ...], above: str, below: str = "") -> Cell:
    """Return the first of a list's cells with all of them as its hint."""
    lines = [above, *(f"{cell.text}  {cell.probability:.3f}" for cell in cells), below]
    return replace(cells[0], hint="\n".join(filter(None, lines)))
