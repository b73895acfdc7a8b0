"""A picture seen whole and in tiles: each head's mass on the overview against that on the tiles."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from lensbench.figures import layout, style

CAPTION = (
    "Mean attention mass of the last position on the overview of a picture and on its tiles (the "
    "positions that end a tile's lines included); one point a head, darker in later blocks, and "
    "only runs whose pictures are seen both ways. The broken line is attention spread evenly over "
    "image positions; points above it prefer the tiles."
)
INPUTS = ("heads", "head_summary")


@style.themed
def draw(frames: style.Frames) -> Figure:
    """Draw `heads` as one point a head, tiles over overview.

    Args:
        frames: `heads` and `head_summary`.
    """
    table, summary = frames["heads"], frames["head_summary"]
    runs = [
        run for run in style.runs_of(table) if (style.of_run(table, *run)["tiles_mass"] > 0).any()
    ]
    if not runs:
        return style.sentence("No run sees its pictures both whole and in tiles.")
    # Few runs: rows are filled whatever the dataset.
    facets = layout.facets([len(runs)], height=1.9, color_bar=True, extra=0.6)
    for ax, (model, dataset) in zip(facets.axes, runs, strict=True):
        rows = style.of_run(table, model, dataset)
        ax.scatter(
            rows["overview_mass"], rows["tiles_mass"], c=rows["layer"] / rows["layer"].max(),
            cmap="rocket_r", vmin=0, vmax=1, s=13, linewidths=0.3, edgecolors="#666666",
        )  # fmt: skip
        even = style.of_run(summary, model, dataset).query("metric == 'overview_positions'")
        for share in even["value"]:
            reach = np.array([0, 1])
            ax.plot(share * reach, (1 - share) * reach, color=style.QUIET, ls=(0, (3, 2)), lw=0.8)
        ax.plot([0, 1], [1, 0], color="#cccccc", lw=0.6, zorder=1)
        ax.set_xlim(-0.03, 1.03)
        ax.set_ylim(-0.03, 1.03)
        ax.set_title(style.run_title(model, dataset))
    facets.label("mass on the overview", "mass on the tiles")
    facets.add_color_bar("block ÷ number of blocks")
    return facets.figure
