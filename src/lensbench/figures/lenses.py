"""What other lenses say: without the norm, and of attention and MLP alone; one panel a run."""

from __future__ import annotations

from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lensbench.figures import layout, style
from lensbench.figures.by_dataset import rank_axis

CAPTION = (
    "Share of samples whose top-1 token is the final one, by layer and lens (95 % "
    "interval). Normed: the residual stream read through the final norm, as in every other figure. "
    "Raw: the same stream without it, at the last layer too, where the top-1 token then need not "
    "be the model's own. Attention and MLP: what that part of a block writes, read by itself "
    "through the norm. First row: the model with most layers, also how sure it is under the normed "
    "and the raw lens (mean entropy) and where they rank the final token (median; 0 is the top, "
    "the axis linear below 1 and logarithmic above). A number of the one lens is never to be held "
    "against a number of the other, from here or from elsewhere."
)
INPUTS = ("lenses",)
NAMES = {
    "normed": "normed",
    "raw": "raw (no norm)",
    "mid": "between attention and MLP",
    "attention": "attention by itself",
    "mlp": "MLP by itself",
}
# Metric → title, of the panels that hold the normed lens against the raw one.
AGAINST = {
    "entropy_nats": "the same: entropy (nats)",
    "final_rank_median": "the same: rank of the final token",
}


def lens_styles() -> dict[str, dict[str, Any]]:
    """Return how each lens is drawn; raw is dashed, so that normed is seen beneath it."""
    base = sns.color_palette("colorblind", 10)
    colors = {"normed": style.INK, "raw": base[3], "mid": base[4], "attention": base[0],
              "mlp": base[2]}  # fmt: skip
    return {
        lens: {"color": color, "linestyle": (0, (3, 1.5)) if lens == "raw" else "-"}
        for lens, color in colors.items()
    }


def runs_shown(table: pd.DataFrame) -> list[tuple[str, str]]:
    """Return the runs that were read through more than one lens."""
    return [run for run in style.runs_of(table) if style.of_run(table, *run)["lens"].nunique() > 1]


def deepest(table: pd.DataFrame, runs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the first run of the model with most layers among those read both ways, or none."""
    both = [run for run in runs if {"normed", "raw"} <= set(style.of_run(table, *run)["lens"])]
    layers = {run: int(style.of_run(table, *run)["layer"].max()) for run in both}
    return sorted(both, key=lambda run: -layers[run])[:1]


def draw_lenses(ax: Axes, rows: pd.DataFrame, lenses: list[str]) -> None:
    """Draw one metric of one run, a line a lens."""
    styles = lens_styles()
    # The lens that is meant elsewhere lies on top, but for the raw one's dashes.
    for lens in sorted(lenses, key=lambda lens: list(NAMES).index(lens), reverse=True):
        of_lens = rows[rows["lens"] == lens]
        if not of_lens.empty:
            style.line_with_band(ax, of_lens, **styles[lens], zorder=3 if lens == "raw" else 2)
    style.layer_axis(ax, int(rows["layer"].max()))


@style.themed
def draw(frames: style.Frames) -> Figure:
    """Draw `lenses`: agreement with the final token, and normed against raw in the deepest model.

    Args:
        frames: `lenses` (model, dataset, lens, metric, layer, value, low, high).
    """
    table = frames["lenses"]
    table = table[table["value"].notna()]
    runs = runs_shown(table)
    if not runs:
        return style.sentence("No run was read through more than one lens.")
    shown = [lens for lens in NAMES if lens in set(table["lens"])]
    both = deepest(table, runs)
    rest = [run for run in runs if run not in both]
    groups = [1 + len(AGAINST)] * len(both) + layout.group_sizes([dataset for _, dataset in rest])
    facets = layout.facets(groups, height=1.35, min_height=0.75, share_y=False)
    places = [facets.axes[0], *facets.axes[groups[0] :]] if both else facets.axes
    for run, ax in zip([*both, *rest], places, strict=True):
        rows = style.of_run(table, *run)
        draw_lenses(ax, rows[rows["metric"] == "agreement"], shown)
        ax.set_title(style.run_title(*run))
        ax.set_ylim(-0.03, 1.03)
    facets.label("layer", "top-1 is final")
    for ax in places:
        ax.tick_params(labelleft=bool(ax.get_ylabel()))
    for run in both:
        rows = style.of_run(table, *run)
        for (metric, name), ax in zip(AGAINST.items(), facets.axes[1:], strict=False):
            of_metric = rows[rows["metric"] == metric]
            draw_lenses(ax, of_metric, ["normed", "raw"])
            ax.set_title(name)
            ax.set_xlabel("layer" if len(facets.rows) == 1 else "")
            ax.set_ylabel("")
            ax.set_ylim(bottom=0)
            if metric == "final_rank_median":
                rank_axis(ax)
                ax.set_ylim(-0.15, 2 * float(of_metric["high"].max()))
    styles = lens_styles()
    handles = [Line2D([], [], **styles[lens]) for lens in shown]
    layout.legend_above(facets.figure, handles, [NAMES[lens] for lens in shown])
    return facets.figure
