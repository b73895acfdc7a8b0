"""Best layers of patches, and which are blank: maps of a few pictures, as the model saw them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from lensbench.figures import layout, style
from lensbench.figures.fonts import printable
from lensbench.figures.patch_best_layer import grouped

CAPTION = (
    "Maps of the first pictures of each run, a cell a patch (of a picture that is seen twice, the "
    "overview): left, the layer from 1 on (the embedding left out) at which the likeliest token's "
    "probability is highest; right, "
    "patches whose token there is blank and patches whose token names an object there. Outlined: "
    "patches that an object's box touches, where boxes are known."
)
INPUTS = ("patch_best",)
_ABREAST = 3  # pictures in a row, two maps each
_FEW_RUNS = 6
OTHER, NAMES, BLANK = "#eeece8", "#d55e00", "#222222"
KINDS = {"blank": BLANK, "names an object there": NAMES, "anything else": OTHER}


def pictures_of(table: pd.DataFrame) -> list[tuple[str, str, str, pd.DataFrame]]:
    """Return (model, dataset, sample, its patches in the first grid) of what is drawn.

    Three pictures a run, or one where there are many runs.
    """
    table = table[table["view"] == 0]
    runs, _ = grouped(style.runs_of(table))
    most = _ABREAST if len(runs) <= _FEW_RUNS else 1
    found = []
    for model, dataset in runs:
        rows = style.of_run(table, model, dataset)
        for sample in sorted(rows["sample_id"].unique())[:most]:
            found.append((model, dataset, str(sample), rows[rows["sample_id"] == sample]))
    return found


def grid_of(rows: pd.DataFrame, values: pd.Series) -> np.ndarray:
    """Return values of patches as a matrix, NaN where the grid has no patch."""
    grid = np.full((int(rows["row"].max()) + 1, int(rows["col"].max()) + 1), np.nan)
    grid[rows["row"].astype(int), rows["col"].astype(int)] = values
    return grid


def kind_of(rows: pd.DataFrame) -> pd.Series:
    """Return 0 for any token, 1 for one that names an object there, 2 for a blank one."""
    kinds = (rows["names_object"] == 1).astype(float)
    return kinds.where(rows["blank"] == 0, 2.0)


def outline(touched: np.ndarray) -> list[list[tuple[int, int]]]:
    """Return the edges between cells that are touched and cells that are not, or the border."""
    padded = np.pad(touched, 1)
    edges = []
    for row, col in np.argwhere(padded[:, 1:] != padded[:, :-1]):
        edges.append([(int(col), int(row) - 1), (int(col), int(row))])
    for row, col in np.argwhere(padded[1:] != padded[:-1]):
        edges.append([(int(col) - 1, int(row)), (int(col), int(row))])
    return edges


def _map(ax: Axes, rows: pd.DataFrame, values: pd.Series, **colors: Any) -> None:
    grid = grid_of(rows, values)
    ax.pcolormesh(grid, rasterized=True, **colors)
    ax.set(xticks=[], yticks=[], aspect="equal", xlim=(0, grid.shape[1]), ylim=(grid.shape[0], 0))
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set(visible=True, linewidth=0.5, color="#999999")
    touched = grid_of(rows, rows["region"].isin(["inside", "border"]).astype(float)) == 1
    for width, color in ((1.6, "white"), (0.7, style.INK)):
        ax.add_collection(LineCollection(outline(touched), colors=color, linewidths=width))


@style.themed
def draw(frames: style.Frames) -> Figure:
    """Draw `patch_best` as pairs of maps, a pair a picture.

    Args:
        frames: `patch_best`.
    """
    pictures = pictures_of(frames["patch_best"])
    if not pictures:
        return style.sentence("No run has close-ups or imported lenses, so there is no map.")
    across = min(_ABREAST, len(pictures))
    down = -(-len(pictures) // across)
    tallest = max((rows["row"].max() + 1) / (rows["col"].max() + 1) for _, _, _, rows in pictures)
    side = style.TEXT_WIDTH / (2 * across) - 0.08
    high = down * (side * min(float(tallest), 1.5) + 0.36) + 0.95
    figure = Figure(figsize=(style.TEXT_WIDTH, high), layout="constrained")
    grid = figure.add_gridspec(down, across, wspace=0.04)
    kinds = ListedColormap([OTHER, NAMES, BLANK])
    axes = []
    for place, (model, dataset, sample, rows) in enumerate(pictures):
        pair = grid[place // across, place % across].subgridspec(1, 2, wspace=0.03)
        left, right = (figure.add_subplot(pair[side]) for side in (0, 1))
        depth = rows["best_layer"] / rows["n_layers"]
        _map(left, rows, depth, cmap="mako_r", vmin=0, vmax=1)
        _map(right, rows, kind_of(rows), cmap=kinds, vmin=0, vmax=2)
        name = printable(dataset, 16) if dataset == sample else printable(sample, 18)
        left.set_title(f"{printable(model, 22)}\n{name}", linespacing=1.0)
        axes.append(left)
    layout.legend_above(
        figure, [Patch(facecolor=color, edgecolor="#999999", lw=0.4) for color in KINDS.values()],
        list(KINDS),
    )  # fmt: skip
    panels = layout.Facets(figure, axes, [], layout.bar_below(figure))
    panels.add_color_bar("best layer ÷ number of layers")
    return figure
