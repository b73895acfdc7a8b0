"""One run's answers on their way: top token by layer, raw beside normed, and the answer's rank."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullLocator

from lensbench.figures import style
from lensbench.figures.fonts import printable
from lensbench.figures.lenses import lens_styles
from lensbench.figures.token_cells import CELL_HEIGHT, draw_cells, fitted, probability_key

CAPTION = (
    "The likeliest token at each layer (rows; embeddings on top, last layer at the bottom) where "
    "the first token is predicted, without the final norm (raw) and with it (normed), for the "
    "first sample of each answer. Color: its probability. Beside it, where each lens ranks the "
    "token the model generates (0 is the top, the axis linear below 1 and logarithmic above). The "
    "raw lens leaves the norm out at the last layer too."
)
INPUTS = ("answer_way",)
#: Samples abreast, and the lenses of each from left to right.
MOST, ORDER = 3, ("raw", "normed")
_LEFT, _TOP, _BOTTOM, _GAP, _CURVE = 0.42, 0.42, 0.62, 0.16, 0.62  # inches
_WIDEST = 1.2  # inches: a cell


def samples_shown(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the first sample of each answer, as many as fit abreast, by sample id, in order."""
    shown: dict[str, pd.DataFrame] = {}
    seen: set[str] = set()
    for sample_id, rows in table.groupby("sample_id", sort=True):
        answer = str(rows["final_text"].iloc[0])
        if answer not in seen and len(shown) < MOST:
            seen.add(answer)
            shown[str(sample_id)] = rows
    return shown


@style.themed
def draw(frames: style.Frames) -> Figure:
    """Draw `answer_way` of one run: cells a lens, and the ranks beside them.

    Args:
        frames: `answer_way` (sample_id, lens, layer, text, probability, final_rank, final_text).
    """
    samples = samples_shown(frames["answer_way"])
    if not samples:
        return style.sentence("This run has no answers to draw.")
    lenses = [lens for lens in ORDER if lens in set(frames["answer_way"]["lens"])]
    room = style.TEXT_WIDTH - _LEFT - 0.08 - (len(samples) - 1) * _GAP
    block = room / len(samples)
    cell = min(_WIDEST, (block - _CURVE - 0.06) / len(lenses))
    layers = max(rows["layer"].nunique() for rows in samples.values())
    tall = layers * CELL_HEIGHT
    high = tall + _TOP + _BOTTOM
    worst = max(float(rows["final_rank"].max()) for rows in samples.values())
    figure = Figure(figsize=(style.TEXT_WIDTH, high))
    left = _LEFT
    for place, (sample_id, rows) in enumerate(samples.items()):
        wide = cell * len(lenses)
        ax = figure.add_axes(
            (left / style.TEXT_WIDTH, _BOTTOM / high, wide / style.TEXT_WIDTH, tall / high)
        )
        placed = rows.assign(place=[lenses.index(lens) for lens in rows["lens"]])
        draw_cells(ax, placed, "place", cell, numbered=place == 0)
        ax.set_xticks([at + 0.5 for at in range(len(lenses))], lenses, rotation=0)
        ax.tick_params(axis="x", length=0, labeltop=True, labelbottom=False, pad=1)
        answer = printable(str(rows["final_text"].iloc[0]))
        title = fitted(f"{printable(sample_id)} → {answer}", wide + _CURVE)
        ax.set_title(title, color=style.QUIET, pad=13)
        beside = figure.add_axes((
            (left + wide + 0.06) / style.TEXT_WIDTH, _BOTTOM / high, _CURVE / style.TEXT_WIDTH,
            tall / high,
        ))  # fmt: skip
        _ranks(beside, rows, lenses, layers, worst)
        left += wide + 0.06 + _CURVE + _GAP
    probability_key(figure, _LEFT, 0.2, 1.0)
    styles = lens_styles()
    handles = [Line2D([], [], **styles[lens]) for lens in lenses]
    figure.legend(
        handles, [f"rank of the answer, {lens}" for lens in lenses], loc="lower right",
        bbox_to_anchor=(1, 0), ncols=1, borderaxespad=0.1,
    )  # fmt: skip
    return figure


def _ranks(ax: Axes, rows: pd.DataFrame, lenses: list[str], layers: int, worst: float) -> None:
    """Draw each lens' rank of the answer downwards, in line with the cells."""
    styles = lens_styles()
    for lens in reversed(lenses):
        of_lens = rows[rows["lens"] == lens].sort_values("layer")
        ax.plot(
            of_lens["final_rank"], of_lens["layer"] + 0.5, lw=1.0, marker="o", ms=1.5,
            zorder=3 if lens == "raw" else 2, **styles[lens],
        )  # fmt: skip
    ax.set_ylim(layers, 0)
    ax.set_yticks([])
    ax.set_xscale("symlog", linthresh=1, linscale=0.5)
    ax.set_xlim(-0.3, 3 * max(worst, 1))
    ax.xaxis.set_minor_locator(NullLocator())
    power = 10.0 ** (len(str(int(worst))) - 1)
    # Two labels fit: the top, and the last power of ten that is reached.
    ax.set_xticks([0, power])
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
