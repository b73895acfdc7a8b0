"""One prompt's look: layers as rows, positions as columns; or patches where they lie."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lensbench.figures import style
from lensbench.figures.fonts import printable
from lensbench.figures.token_cells import CELL_HEIGHT, CMAP, draw_cells, fitted, probability_key
from lensbench.models.views import FIRST

#: The most positions drawn, and how many of them abreast.
MOST, ABREAST = 64, 8
_LEFT, _TOP, _BOTTOM, _GAP, _HEADS = 0.42, 0.34, 0.38, 0.12, 0.17  # inches
_CELL, _LEAST = 0.95, 3.9  # inches: a position's width, and a figure's
_PATCH, _SMALL = 0.9, 0.42  # inches: a patch's width at most and at least
_EDGE = 0.08  # inches beside the patches
_TALL = 0.22  # inches: a patch's height
_SHOWN = 120  # pixels an inch in a notebook


class NotebookFigure(Figure):
    """A figure that a notebook shows although pyplot never heard of it."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        """Return it as PNG, twice as fine as it is shown, with the size it is shown at."""
        stream = io.BytesIO()
        with mpl.rc_context(style.theme()):
            self.savefig(stream, format="png", dpi=2 * _SHOWN)
        wide, high = (round(inches * _SHOWN) for inches in self.get_size_inches())
        return stream.getvalue(), {"width": wide, "height": high}


@style.themed
def draw_positions(
    frame: pd.DataFrame, by: str, heads: Mapping[Any, str], title: str, said: str
) -> NotebookFigure:
    """Draw the top token of each layer and position, in rows of a few positions.

    Args:
        frame: layer, rank, token, token_id, probability, final_id and the column named by `by`.
        by: the column that tells positions apart, or "rank" to draw one position's whole list.
        heads: what stands above each position drawn.
        title: what stands above all.
        said: prompt and answer.
    """
    places = list(heads)
    out = len(places) - MOST
    places = places[:MOST]
    blocks = [places[at : at + ABREAST] for at in range(0, len(places), ABREAST)]
    rows = (frame if by == "rank" else frame[frame["rank"] == 0]).rename(columns={"token": "text"})
    # What `draw_cells` marks is a rank of 0.
    rows = rows.assign(final_rank=(rows["token_id"] != rows["final_id"]).astype(int))
    tall = rows["layer"].nunique() * CELL_HEIGHT
    high = _TOP + len(blocks) * (_HEADS + tall + _GAP) + _BOTTOM
    wide = max(_LEAST, _LEFT + 0.05 + _CELL * min(len(places), ABREAST))
    figure = NotebookFigure(figsize=(wide, high))
    more = f" · the first {MOST} of {len(heads)} positions" if out > 0 else ""
    _caption(figure, title + more, said)
    top = _TOP
    for block in blocks:
        width = _CELL * len(block)
        bottom = high - top - _HEADS - tall
        ax = figure.add_axes((_LEFT / wide, bottom / high, width / wide, tall / high))
        draw_cells(ax, rows[rows[by].isin(block)], by, _CELL, numbered=True)
        names = [fitted(heads[place], _CELL - 0.05) for place in block]
        ax.set_xticks([at + 0.5 for at in range(len(block))], names, rotation=0)
        ax.tick_params(axis="x", length=0, labeltop=True, labelbottom=False, pad=1)
        top += _HEADS + tall + _GAP
    _key(figure, _LEFT, "the last layer's token")
    return figure


@style.themed
def draw_patches(rows: pd.DataFrame, title: str, said: str) -> NotebookFigure:
    """Draw one token a patch, where it lies in the picture; without a grid, in reading order.

    Of a picture that is seen in tiles too, the view of the whole is drawn.

    Args:
        rows: one row a patch: position, view, row, col, layer, token, probability.
        title: what stands above all.
        said: prompt and answer.
    """
    placed = rows[rows["view"].isin(FIRST)]
    note = ""
    if placed.empty:
        placed = rows.sort_values("position").reset_index(drop=True)
        side = math.ceil(math.sqrt(len(placed)))
        placed = placed.assign(row=placed.index // side, col=placed.index % side)
        note = " · positions in order, for they have no grid"
    elif len(placed) < len(rows):
        note = f" · {len(rows) - len(placed)} further positions have no place in the grid"
    high, across = int(placed["row"].max()) + 1, int(placed["col"].max()) + 1
    cell = min(_PATCH, max(_SMALL, (style.TEXT_WIDTH - 2 * _EDGE) / across))
    wide = max(_LEAST, 2 * _EDGE + cell * across)
    tall = _TOP + _GAP + _TALL * high + _BOTTOM
    figure = NotebookFigure(figsize=(wide, tall))
    _caption(figure, title + note, said)
    ax = figure.add_axes((_EDGE / wide, _BOTTOM / tall, cell * across / wide, _TALL * high / tall))
    _patch_cells(ax, placed, (high, across), cell)
    _key(figure, _EDGE, "")
    return figure


def _patch_cells(ax: Axes, placed: pd.DataFrame, shape: tuple[int, int], cell: float) -> None:
    probability = np.full(shape, np.nan)
    at = (placed["row"].astype(int).to_numpy(), placed["col"].astype(int).to_numpy())
    probability[at] = placed["probability"].to_numpy()
    colors = sns.color_palette(CMAP, as_cmap=True)
    sns.heatmap(
        probability, ax=ax, cmap=colors, vmin=0, vmax=1, cbar=False, linewidths=0.4,
        linecolor="white", xticklabels=False, yticklabels=False,
    )  # fmt: skip
    ax.grid(False)
    ax.set_facecolor(style.NAN_FACE)
    for y, x, token in zip(*at, placed["token"], strict=True):
        chance = float(probability[y, x])
        ax.text(
            x + 0.5, y + 0.53, fitted(printable(token), cell - 0.05), ha="center", va="center",
            color=style.text_on(colors(chance)), fontsize=style.SMALL,
        )  # fmt: skip


def _key(figure: Figure, left: float, meaning: str) -> None:
    """Add the color bar, and what the mark of a cell means here; no mark without a meaning."""
    probability_key(figure, left, 0.2, 1.0)
    mark, words = figure.texts[-2:]
    words.set_text(meaning)
    mark.set_visible(bool(meaning))


def _caption(figure: Figure, title: str, said: str) -> None:
    wide, high = figure.get_size_inches()
    for line, (text, color) in enumerate(((title, style.INK), (said, style.QUIET))):
        figure.text(
            _EDGE / wide, 1 - (0.1 + 0.14 * line) / high, fitted(text, wide - 2 * _EDGE),
            va="center", color=color, fontsize=style.SMALL + (0 if line else 0.5),
        )  # fmt: skip
