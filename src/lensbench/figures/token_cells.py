"""Tokens written into cells colored by probability, cut to fit, measured and never clipped."""

from __future__ import annotations

import re
from functools import cache

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lensbench.figures import layout, style
from lensbench.figures.fonts import printable

# Lighter than the cells of the other figures, for a token must be read on every color.
CMAP = "light:#14425f"
CELL_HEIGHT = 0.132  # inches: a line of the smallest text and a little air
MARK = "#d95f0e"
_WORDS = re.compile(r"\s*[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff]|\s*[^\s\u2e80-\u9fff]+")


@cache
def _cmap() -> mpl.colors.Colormap:
    return sns.color_palette(CMAP, as_cmap=True)


def fitted(text: str, room: float, size: float = style.SMALL) -> str:
    """Return a printable text cut to a width in inches; what is cut ends in "…"."""
    if layout.text_width(text, size) <= room:
        return text
    kept = text
    while len(kept) > 1 and layout.text_width(f"{kept}…", size) > room:
        kept = kept[:-1]
    return f"{kept}…"


def wrapped(text: str, room: float, lines: int, size: float = style.SMALL) -> str:
    """Return a text broken into at most `lines` lines of a width in inches."""
    words = _WORDS.findall(" ".join(text.split()))
    done: list[str] = []
    current = ""
    for word in words:
        longer = current + word if current else word.lstrip()
        if current and layout.text_width(longer, size) > room:
            done.append(current)
            current = word.lstrip()
        else:
            current = longer
    done.append(current)
    if len(done) > lines:
        done = [*done[: lines - 1], " ".join(done[lines - 1 :])]
    return "\n".join(fitted(line, room, size) for line in done)


def draw_cells(
    ax: Axes, rows: pd.DataFrame, columns: str, cell_width: float, *, numbered: bool
) -> None:
    """Draw tokens as cells: layers downwards, `columns` sideways, color = probability.

    A mark at a cell's left says that its token is the one the model generates.

    Args:
        ax: where to draw.
        rows: `layer`, `text`, `probability`, `final_rank` and the column named by `columns`.
        columns: the column that goes sideways, such as "step".
        cell_width: of a cell, in inches.
        numbered: whether the layers' numbers are printed at the left.
    """
    probability = style.pivot(rows, "layer", columns, "probability")
    text = style.pivot(rows, "layer", columns, "text")
    rank = style.pivot(rows, "layer", columns, "final_rank")
    sns.heatmap(
        probability.astype(float), ax=ax, cmap=_cmap(), vmin=0, vmax=1, cbar=False,
        xticklabels=False, yticklabels=False, linewidths=0.4, linecolor="white",
    )  # fmt: skip
    ax.grid(False)
    ax.set_facecolor(style.NAN_FACE)
    ax.set(xlabel="", ylabel="")
    colors = _cmap()
    for y, layer in enumerate(probability.index):
        for x, column in enumerate(probability.columns):
            token = text.loc[layer, column]
            if not isinstance(token, str):
                continue
            chance = float(probability.loc[layer, column])
            ax.text(
                x + 0.5, y + 0.53, fitted(printable(token), cell_width - 0.07),
                ha="center", va="center", color=style.text_on(colors(chance)), fontsize=style.SMALL,
            )  # fmt: skip
            if rank.loc[layer, column] == 0:
                bar = 0.035 / cell_width
                ax.add_patch(Rectangle((x, y), bar, 1, color=MARK, linewidth=0))
    layers = [int(layer) for layer in probability.index]
    ticks = [tick for tick in style.layer_ticks(layers[-1], room=16) if tick in layers]
    if numbered:
        ax.set_yticks([layers.index(tick) + 0.5 for tick in ticks], [str(tick) for tick in ticks])
        ax.tick_params(axis="y", length=0, rotation=0)
        ax.set_ylabel("layer")


def probability_key(figure: Figure, left: float, bottom: float, width: float) -> None:
    """Add the color bar of `draw_cells` and its mark's meaning; places in inches."""
    across, high = figure.get_size_inches()
    ax = figure.add_axes((left / across, bottom / high, width / across, 0.07 / high))
    scale = mpl.cm.ScalarMappable(mpl.colors.Normalize(0, 1), _cmap())
    bar = figure.colorbar(scale, cax=ax, orientation="horizontal")
    bar.outline.set_linewidth(0.4)
    ax.grid(False)
    ax.tick_params(pad=1.5)
    ax.text(1.06, 0.5, "probability", transform=ax.transAxes, va="center")
    figure.text((left + width + 1.0) / across, (bottom + 0.035) / high, "▌", color=MARK,
                va="center", fontsize=style.SMALL)  # fmt: skip
    figure.text((left + width + 1.1) / across, (bottom + 0.035) / high,
                "the token the model generates", va="center")  # fmt: skip
