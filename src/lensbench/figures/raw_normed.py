"""Why raw and normed readouts disagree, by layer: top tokens, sureness, direction and length."""

from __future__ import annotations

from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lensbench.figures import layout, style

CAPTION = (
    "One answer read four ways, means over its steps (95 % bootstrap interval over the steps). "
    "Normed: through the final norm. Raw: without it. Length: the raw direction at the normed "
    "length. Direction: the normed direction at the raw length. Upper left: share of steps with "
    "the normed reading's token on top; the direction reading has it by construction, the length "
    "reading is as far off as the raw one. Upper right: probability of whatever is on top. Lower "
    "left: cosine between a state and the same state after the norm, and the share of its squared "
    "length that its largest coordinate has. Lower right: length of the state and after the norm."
)
INPUTS = ("raw_normed",)


def readings() -> dict[str, dict[str, Any]]:
    """Return how each reading is drawn; those that lie on others by construction are dashed."""
    base = sns.color_palette("colorblind", 10)
    return {
        "normed": {"color": style.INK},
        "raw": {"color": base[3]},
        "length": {"color": base[1], "linestyle": (0, (3, 1.5))},
        "direction": {"color": base[0], "linestyle": (0, (3, 1.5))},
    }


@style.themed
def draw(frames: style.Frames) -> Figure:
    """Draw what `raw_normed.by_layer` returns.

    Args:
        frames: `raw_normed` (reading, metric, layer, value, low, high).
    """
    table = frames["raw_normed"]
    if table.empty:
        return style.sentence("There is no answer to draw.")
    facets = layout.facets([2, 2], height=1.6, most=2, share_y=False)
    same, sure, direction, length = facets.axes
    styles = readings()
    for ax, metric in ((same, "same_top1"), (sure, "probability")):
        for reading, kept in styles.items():
            _line(ax, table, reading, metric, **kept)
        ax.set_ylim(-0.03, 1.03)
    same.set_title("top token as normed (share of steps)")
    sure.set_title("probability of the top token")
    base = sns.color_palette("colorblind", 10)
    told = {
        direction: [
            ("cosine", "cosine, before and after the norm", base[4], "-"),
            ("largest_share", "largest coordinate before", base[2], "-"),
            ("normed_largest_share", "largest coordinate after", base[2], (0, (3, 1.5))),
        ],
        length: [
            ("norm", "length before the norm", style.INK, "-"),
            ("normed_norm", "length after the norm", style.INK, (0, (3, 1.5))),
        ],
    }
    for ax, lines in told.items():
        for metric, name, color, dash in lines:
            _line(ax, table, "", metric, color=color, linestyle=dash)
            ax.lines[-1].set_label(name)
        low, high = ax.get_ylim()
        # Above the lines, so that the legend covers none.
        ax.set_ylim(min(low, 0), high + (high - min(low, 0)) * 0.16 * (len(lines) + 1))
        ax.legend(loc="upper left")
    direction.axhline(0, color="#999999", lw=0.5)
    direction.set_yticks([0, 0.5, 1])
    direction.set_title("direction")
    length.set_title("length")
    facets.label("layer", "")
    last = int(table["layer"].max())
    for ax in facets.axes:
        style.layer_axis(ax, last)
        ax.tick_params(labelleft=True)
    handles = [Line2D([], [], **kept) for kept in styles.values()]
    layout.legend_above(facets.figure, handles, list(styles))
    return facets.figure


def _line(ax: Axes, table: pd.DataFrame, reading: str, metric: str, **kept: Any) -> None:
    rows = table[(table["reading"] == reading) & (table["metric"] == metric)]
    style.line_with_band(ax, rows, kept.pop("color"), **kept)
