"""Which patches name the object: inside its box, on the border, outside; one panel a run."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lensbench.figures import layout, style
from lensbench.figures.patch_best_layer import first_view, grouped

CAPTION = (
    "Share of patches whose likeliest token names an object there, by color or shape, at the "
    "patch's best layer (of 1 to L) and at any layer (of 0 to L), and share of patches that are "
    "blank at their best layer: patches inside an object's box, crossed by its edge, and outside "
    "of all (there, naming any object of the picture counts); of a picture that is seen twice, "
    "patches of the overview. Bars: 95 % intervals over samples; a bar of no length says that "
    "there is one sample or that all have the same share, not that others would."
)
INPUTS = ("patch_by_region",)
REGIONS = ("inside", "border", "outside")
# Metric → (legend, marker, filled, place beside the tick).
METRICS = {
    "names_object": ("names the object at its best layer", "o", True, -0.2),
    "names_object_any_layer": ("names it at any layer", "o", False, 0.0),
    "share_blank": ("is blank at its best layer", "s", True, 0.2),
}


def _draw_metric(ax: Axes, rows: pd.DataFrame, metric: str, color: Any) -> None:
    _, marker, filled, shift = METRICS[metric]
    for place, region in enumerate(REGIONS):
        here = rows[(rows["metric"] == metric) & (rows["region"] == region)]
        for value, low, high in here[["value", "low", "high"]].to_numpy(dtype=float):
            x = place + shift
            ax.plot([x, x], [low, high], color=color, lw=1.1, solid_capstyle="butt")
            ax.plot(
                [x], [value], marker=marker, ms=4, color=color, clip_on=False, ls="",
                markerfacecolor=color if filled else "white", markeredgewidth=1.0, zorder=3,
            )  # fmt: skip


def region_labels(rows: pd.DataFrame) -> list[str]:
    """Return the regions with their numbers of patches, as they are printed below a panel."""
    counts = rows.drop_duplicates("region").set_index("region")["n_patches"]
    return [f"{name}\n{int(counts.get(name, 0)):,}" for name in REGIONS]


@style.themed
def draw(frames: style.Frames) -> Figure:
    """Draw `patch_by_region` as points with intervals.

    Args:
        frames: `patch_by_region` and, optionally, `models`.
    """
    table = first_view(frames["patch_by_region"])
    table = table[table["value"].notna() & table["region"].isin(REGIONS)]
    if table.empty:
        return style.sentence(
            "No run has close-ups of pictures whose objects are known, so no patch has a region."
        )
    colors = style.palette(frames)
    runs, sizes = grouped(style.runs_of(table))
    panels = layout.facets(sizes, height=1.6, min_height=1.1)
    for ax, (model, dataset) in zip(panels.axes, runs, strict=True):
        rows = style.of_run(table, model, dataset)
        for metric in METRICS:
            _draw_metric(
                ax, rows, metric, style.QUIET if metric == "share_blank" else colors[model]
            )
        ax.set_title(style.run_title(model, dataset))
        ax.set_xticks(range(len(REGIONS)), region_labels(rows))
        ax.set_xlim(-0.5, len(REGIONS) - 0.5)
        ax.set_ylim(0, 1)
        ax.grid(False, axis="x")
        ax.tick_params(axis="x", length=0)
    panels.label("region, and its number of patches", "share of patches")
    handles = [
        Line2D(
            [], [], ls="", marker=marker, ms=4, markerfacecolor=color if filled else "white",
            color=color, markeredgewidth=1.0,
        )
        for metric, (_, marker, filled, _) in METRICS.items()
        for color in [style.QUIET if metric == "share_blank" else style.INK]
    ]  # fmt: skip
    layout.legend_above(panels.figure, handles, [label for label, *_ in METRICS.values()])
    return panels.figure
