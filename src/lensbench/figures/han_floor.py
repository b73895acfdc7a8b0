"""How much of the Han by layer is there for any input: native pictures, blank ones, floors."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lensbench.figures import layout, style
from lensbench.figures.frames import counting

CAPTION = (
    "Han by layer for native pictures and for blank ones of the same size, with the same questions "
    "(mean over samples, 95 % bootstrap interval). Counting questions, all questions of a dataset "
    "without them; those that ask for a Chinese answer are left out, unless there are no others. "
    "Share of samples with a Han token on top or among the first 5, and probability mass on Han "
    "tokens. Floors: mass for a random direction of "
    "the same norm (dotted; it has no top-k share), and the vocabulary's share of Han tokens "
    "(broken; for the first 5 the chance that one of 5 random tokens is Han). What blank pictures "
    "have too is no trace of what is seen."
)
INPUTS = ("han_floor",)
#: Rows of the samples that are not asked for a Chinese answer, and of all.
NOT_ASKED, ALL = "not zh", "all"
METRICS = {
    "han_top1": "Han on top", "han_top5": "Han among the first 5", "han_mass": "mass on Han",
}  # fmt: skip


def unasked(table: pd.DataFrame) -> pd.DataFrame:
    """Return of each run the rows of samples not asked for Chinese, of all where there are none."""
    rest = table["asked"] == NOT_ASKED
    runs = table["model"].astype(str) + "\0" + table["dataset"].astype(str)
    apart = runs.isin(set(runs[rest]))
    return table[rest | (~apart & (table["asked"] == ALL))]


@style.themed
def draw(frames: style.Frames) -> Figure:
    """Draw `han_floor`: a row of panels a run, a panel a metric.

    Args:
        frames: `han_floor` and, optionally, `models`.
    """
    table = unasked(counting(frames["han_floor"]))
    table = table[table["metric"].isin(list(METRICS)) & table["value"].notna()]
    if table.empty:
        return style.sentence("No run was repeated with blank pictures.")
    colors = style.palette(frames)
    runs = style.runs_of(table)
    metrics = [metric for metric in METRICS if metric in set(table["metric"])]
    facets = layout.facets(
        [len(metrics)] * len(runs), height=1.3, min_height=0.85, most=len(metrics)
    )
    panels = [(run, metric) for run in runs for metric in metrics]
    for ax, (run, metric) in zip(facets.axes, panels, strict=True):
        rows = style.of_run(table, *run)
        rows = rows[rows["metric"] == metric]
        for variant, color in (("blank", style.QUIET), ("native", colors[run[0]])):
            of_variant = rows[rows["variant"] == variant]
            if not of_variant.empty:
                style.line_with_band(ax, of_variant, color)
        native = rows[rows["variant"] == "native"].sort_values("layer")
        for column, dashes in (("floor_vocabulary", (0, (4, 2))), ("floor_random", (0, (1, 1.2)))):
            if native[column].notna().any():
                ax.plot(native["layer"], native[column], color=style.INK, ls=dashes, lw=0.8)
        last = int(rows["layer"].max()) if len(rows) else 1
        style.layer_axis(ax, last, room=6)
        ax.set_ylim(-0.03, 1.03)
        # The run is named once a row; three names would not fit side by side.
        ax.set_title(f"{METRICS[metric]}")
        if metric == metrics[0]:
            ax.set_title(f"{style.run_title(*run)}\n{METRICS[metric]}")
    facets.label("layer", "share or mass")
    handles = [
        Line2D([], [], color=colors[runs[0][0]] if len({r[0] for r in runs}) == 1 else "#444444"),
        Line2D([], [], color=style.QUIET),
        Line2D([], [], color=style.INK, ls=(0, (4, 2)), lw=0.8),
        Line2D([], [], color=style.INK, ls=(0, (1, 1.2)), lw=0.8),
    ]
    names = [
        "native picture (the model's color)",
        "blank picture",
        "vocabulary",
        "random direction",
    ]
    layout.legend_above(facets.figure, handles, names)
    return facets.figure
