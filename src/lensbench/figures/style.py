"""How every figure looks: sizes, palette, axes of layers, bands, cells, text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, ParamSpec

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

from lensbench.errors import LensbenchError
from lensbench.figures.fonts import families_for, printable, register

TEXT_WIDTH = 6.3  # inches: the paper's, so that a figure is printed at its own size
SMALL = 7.0  # points: the smallest text of a figure
INK = "#222222"
QUIET = "#777777"
PUBLISHED = "#222222"  # a published result is drawn in ink, never in a model's color
NAN_FACE, NAN_HATCH = "#e9e9e9", "#c4c4c4"

Frames = Mapping[str, pd.DataFrame]
P = ParamSpec("P")


def theme() -> Any:
    """Return the matplotlib settings every figure is drawn and saved under."""
    return {
        **sns.axes_style("ticks"),
        "font.family": [register()[0]],  # `dress` gives each text what else it needs
        "font.size": SMALL,
        "axes.labelsize": SMALL + 0.5,
        "axes.titlesize": SMALL + 0.5,
        "axes.titlepad": 3.0,
        "axes.labelpad": 2.5,
        "axes.linewidth": 0.6,
        "axes.edgecolor": "#666666",
        "axes.labelcolor": INK,
        "axes.titlelocation": "left",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": "#ececec",
        "grid.linewidth": 0.5,
        "text.color": INK,
        "xtick.color": "#444444",
        "ytick.color": "#444444",
        "xtick.labelsize": SMALL,
        "ytick.labelsize": SMALL,
        "xtick.major.size": 2.0,
        "ytick.major.size": 2.0,
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
        "xtick.major.pad": 2.0,
        "ytick.major.pad": 2.0,
        "legend.fontsize": SMALL,
        "legend.frameon": False,
        "legend.handlelength": 1.6,
        "legend.columnspacing": 1.4,
        "lines.linewidth": 1.3,
        "hatch.linewidth": 0.5,
        "figure.dpi": 100,
        "savefig.dpi": 200,
        "figure.facecolor": "white",
        "savefig.facecolor": "white",
        "text.parse_math": False,  # a token "$x$" is text, never a formula
        "axes.unicode_minus": True,
        "pdf.fonttype": 3,  # matplotlib can't embed OpenType CFF fonts as type 42
        "figure.constrained_layout.h_pad": 0.03,
        "figure.constrained_layout.w_pad": 0.03,
    }


def themed(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Make a drawing function work under the project's settings, whatever the caller's are."""

    @wraps(draw)
    def inner(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with mpl.rc_context(theme()):
            return dress(draw(*args, **kwargs))

    return inner


def dress(figure: Figure) -> Figure:
    """Give every text of a figure the fonts that its characters need; return the figure."""
    for text in figure.findobj(Text):
        if isinstance(text, Text):
            text.set_fontfamily(list(families_for(text.get_text())))
    for ax in figure.axes:
        # Tick labels may be made anew when drawn: the axis itself must know its fonts.
        for axis in (ax.xaxis, ax.yaxis):
            texts = "".join(label.get_text() for label in axis.get_ticklabels())
            families = families_for("".join(sorted(set(texts + "0123456789−.,"))))
            axis.set_tick_params(labelfontfamily=list(families))
    return figure


def palette(frames: Frames) -> dict[str, Any]:
    """Return a color for each model, the same in every figure made from the same results.

    Args:
        frames: tables by name; `models`, where it is there, says which models there are.
    """
    names = {
        str(name)
        for frame in frames.values()
        if isinstance(frame, pd.DataFrame) and "model" in frame and "origin" not in frame
        for name in frame["model"].unique()
    }
    base = [*sns.color_palette("colorblind", 10)]
    # That palette's pink and yellow are too pale for a thin line: a purple and a brown stand in.
    colors = [
        *(base[place] for place in (0, 1, 2, 4, 3, 9)),
        "#6a3d9a",
        base[5],
        "#7a5a10",
        base[7],
    ]
    if len(names) > len(colors):
        colors = sns.husl_palette(len(names), s=0.8, l=0.5)
    return dict(zip(sorted(names), colors, strict=False))


def runs_of(frame: pd.DataFrame) -> list[tuple[str, str]]:
    """Return the (model, dataset) pairs of a table, sorted by dataset, then by model."""
    pairs = frame[["model", "dataset"]].drop_duplicates().to_numpy()
    return sorted(
        ((str(model), str(dataset)) for model, dataset in pairs), key=lambda run: (run[1], run[0])
    )


def of_run(frame: pd.DataFrame, model: str, dataset: str) -> pd.DataFrame:
    """Return the rows of one run."""
    return frame[(frame["model"] == model) & (frame["dataset"] == dataset)]


def run_title(model: str, dataset: str) -> str:
    """Return a run's name as it is printed above its panel."""
    return f"{printable(model, 26)} · {printable(dataset, 16)}"


def answer_text(concept: str) -> str:
    """Return a concept's name without its family: "number:3" is printed as "3"."""
    return printable(concept.split(":", 1)[-1])


def layer_ticks(last: int, room: int = 8, first: int = 0) -> list[int]:
    """Return about `room` layer numbers at most, evenly spaced, the last layer among them.

    Args:
        last: the last layer, which a reader looks for first.
        room: how many steps fit.
        first: the first layer, printed too.
    """
    steps = [step for step in range(1, last + 1) if last / step <= room] or [max(1, last)]
    even = [step for step in steps[: len(steps) // 2 + 1] if last % step == 0]
    step = even[0] if even and even[0] <= 2 * steps[0] else steps[0]
    ticks = [
        tick for tick in range(0, last + 1, step) if tick > first and last - tick >= step * 0.6
    ]
    if ticks and first and ticks[0] - first < step * 0.6:
        ticks = ticks[1:]
    return [first, *ticks, last] if last > first else [first]


def layer_axis(ax: Axes, last: int, room: int = 8) -> None:
    """Give a panel of lines an x axis of whole layers from 0 to `last`."""
    ax.set_xlim(-0.02 * last, last * 1.02)
    ax.set_xticks(layer_ticks(last, room))


def line_with_band(
    ax: Axes, rows: pd.DataFrame, color: Any, *, x: str = "layer", **kwargs: Any
) -> Line2D:
    """Draw `value` over `x` as a line and `low`…`high` as a band; return the line."""
    rows = rows.sort_values(x)
    sns.lineplot(
        data=rows, x=x, y="value", ax=ax, color=color, estimator=None, errorbar=None,
        legend=False, **kwargs,
    )  # fmt: skip
    ax.fill_between(rows[x], rows["low"], rows["high"], color=color, alpha=0.18, linewidth=0)
    return ax.lines[-1]


def dot(
    ax: Axes,
    row: Any,
    at: float,
    color: Any,
    *,
    horizontal: bool = False,
    marker: str = "o",
    hollow: bool = False,
) -> None:
    """Draw one `value` as a dot and its `low`…`high` as a line through it.

    Args:
        ax: the panel.
        row: with value, low and high.
        at: its place on the other axis.
        color: of both.
        horizontal: whether values run along the x axis.
        marker: of matplotlib.
        hollow: whether the dot is only an outline.
    """
    ends, places = [row.low, row.high], [at, at]
    ax.plot(*((ends, places) if horizontal else (places, ends)), color=color, lw=1.0)
    x, y = (row.value, at) if horizontal else (at, row.value)
    ax.plot(
        [x], [y], color=color, ls="", marker=marker, ms=3.4, mew=0.9,
        mfc="white" if hollow else color,
    )  # fmt: skip


def pivot(frame: pd.DataFrame, index: str, columns: str, values: str) -> pd.DataFrame:
    """Return a table as a matrix of cells, rows and columns sorted; absent cells are NaN.

    Raises:
        LensbenchError: if two rows claim one cell.
    """
    if frame.duplicated([index, columns]).any():
        raise LensbenchError(
            f"A metric table has two rows for one {index} and {columns}: collect the metrics again."
        )
    return frame.pivot(index=index, columns=columns, values=values).sort_index().sort_index(axis=1)


def cells(
    ax: Axes, matrix: pd.DataFrame, *, cmap: str = "mako_r", vmin: float = 0.0, vmax: float = 1.0
) -> None:
    """Draw a matrix (layers as columns) as colored cells; a NaN cell is gray and hatched."""
    sns.heatmap(
        matrix.astype(float), ax=ax, cmap=cmap, vmin=vmin, vmax=vmax, cbar=False,
        xticklabels=False, yticklabels=False, rasterized=True,
    )  # fmt: skip
    ax.grid(False)
    ax.set_facecolor(NAN_FACE)
    ax.patch.set(hatch="//////", edgecolor=NAN_HATCH)
    for spine in ax.spines.values():
        spine.set(visible=True, linewidth=0.5, color="#999999")
    layers = [int(layer) for layer in matrix.columns]
    ticks = layer_ticks(layers[-1], first=layers[0])
    ax.set_xticks(
        [layers.index(tick) + 0.5 for tick in ticks if tick in layers],
        [str(tick) for tick in ticks if tick in layers],
        rotation=0,
    )
    ax.set_xlabel("")
    ax.set_ylabel("")


def sentence(text: str) -> Figure:
    """Return a small figure that says in one sentence why there is nothing to draw."""
    with mpl.rc_context(theme()):
        figure = Figure(figsize=(TEXT_WIDTH, 0.7))
        figure.text(0.5, 0.5, text, ha="center", va="center", color=QUIET, fontsize=SMALL + 1)
        return figure


def text_on(color: Sequence[float]) -> str:
    """Return black or white, whichever is legible on a color (WCAG relative luminance)."""
    channels = np.asarray(color[:3], dtype=float)
    linear = np.where(channels <= 0.03928, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ np.array([0.2126, 0.7152, 0.0722]))
    return "white" if 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.05 else "black"
