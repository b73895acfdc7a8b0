"""Where the final answer is reached and kept: the distribution of the convergence layer."""

from __future__ import annotations

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lensbench.figures import layout, style

CAPTION = (
    "Distribution over samples of the convergence layer, from which on the top-1 token is the "
    "final one (bars: share of samples per layer; solid line: cumulated), beside the first "
    "layers where it is top-1 for one, two and four layers running (broken lines, cumulated). "
    "The x axis is depth: layer ÷ number of layers."
)
INPUTS = ("convergence",)
# Column → (legend, line style): the laxer the criterion, the shorter the dashes.
CRITERIA = {
    "convergence_layer": ("kept to the end (convergence)", "-"),
    "stable4_layer": ("four layers running", (0, (5, 1.5))),
    "stable2_layer": ("two layers running", (0, (2.5, 1.5))),
    "stable1_layer": ("first hit", (0, (1, 1.2))),
}


def depths(rows: pd.DataFrame, column: str) -> pd.Series:
    """Return a layer column of a run as depth, layer ÷ number of layers."""
    return (rows[column] / rows["n_layers"]).dropna()


@style.themed
def draw(frames: style.Frames) -> Figure:
    """Draw `convergence` (first generated token only) as bars and cumulated lines by depth.

    Args:
        frames: `convergence` and, optionally, `models`.
    """
    table = frames["convergence"]
    table = table[(table["step"] == 0) & table["convergence_layer"].notna()]
    if table.empty:
        return style.sentence("No run has a convergence layer to draw.")
    colors = style.palette(frames)
    runs = style.runs_of(table)
    facets = layout.facets(
        layout.group_sizes([dataset for _, dataset in runs]), height=1.5, min_height=0.95
    )
    for ax, (model, dataset) in zip(facets.axes, runs, strict=True):
        rows = style.of_run(table, model, dataset)
        n_layers = int(rows["n_layers"].max())
        sns.histplot(
            x=depths(rows, "convergence_layer"), ax=ax, stat="proportion", color=colors[model],
            bins=[(edge - 0.5) / n_layers for edge in range(n_layers + 2)], alpha=0.35,
            edgecolor="white", linewidth=0.3,
        )  # fmt: skip
        for column, (_, dashes) in CRITERIA.items():
            main = column == "convergence_layer"
            sns.ecdfplot(
                x=depths(rows, column), ax=ax, ls=dashes, lw=1.3 if main else 0.8,
                color=colors[model] if main else style.QUIET, zorder=3 if main else 2.5,
            )  # fmt: skip
        ax.set_title(style.run_title(model, dataset))
        ax.set_xlim(-0.5 / n_layers, 1 + 0.5 / n_layers)
        ax.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "¼", "½", "¾", "1"])
        ax.set_ylim(0, 1.02)
        ax.text(
            0.03, 0.97, f"n = {len(rows)}, {n_layers} layers", transform=ax.transAxes, va="top",
            color=style.QUIET,
        )  # fmt: skip
    facets.label("depth", "share of samples")
    handles = [
        Line2D(
            [], [], color=style.QUIET if place else style.INK, ls=dashes, lw=0.8 if place else 1.3
        )
        for place, (_, dashes) in enumerate(CRITERIA.values())
    ]
    layout.legend_above(facets.figure, handles, [label for label, _ in CRITERIA.values()])
    return facets.figure
