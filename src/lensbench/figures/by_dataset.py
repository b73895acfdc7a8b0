"""Lines by layer of one metric: one panel a dataset, one line a model, published results dashed."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator, SymmetricalLogLocator

from lensbench.figures import layout, style
from lensbench.figures.fonts import printable

# Where a dataset of a published result was not run, the one of ours that asks the same stands in.
STAND_IN = {"tallyqa": "scenes"}


def beside(published: pd.DataFrame | None, runs: list[tuple[str, str]]) -> pd.DataFrame:
    """Return the published rows of models that were run, with `panel`, the run's dataset, added.

    Args:
        published: published numbers, or None.
        runs: (model, dataset) pairs that were run.
    """
    if published is None or published.empty:
        return pd.DataFrame({"model": [], "dataset": [], "panel": []}, dtype=object)
    panels = {
        (model, dataset): _panel(model, dataset, runs)
        for model, dataset in style.runs_of(published)
    }
    keys = zip(published["model"], published["dataset"], strict=True)
    placed = published.assign(panel=[panels[model, dataset] for model, dataset in keys])
    return placed[placed["panel"] != ""]


def _panel(model: str, dataset: str, runs: list[tuple[str, str]]) -> str:
    for candidate in (dataset, STAND_IN.get(dataset, "")):
        if (model, candidate) in runs:
            return candidate
    return ""


def draw_by_dataset(
    frames: style.Frames, *, metric: str, y_label: str, y_limits: tuple[float, float] | None,
    symlog: bool, nothing: str,
) -> Figure:  # fmt: skip
    """Draw one metric of `by_layer` for every run.

    Args:
        frames: `by_layer` and, optionally, `published` and `models`.
        metric: the value of the column `metric` to draw.
        y_label: the name of the y axis.
        y_limits: of the y axis, or None for what the data need.
        symlog: a y axis that is linear below 1 and logarithmic above, layer 0's rank on top.
        nothing: the sentence to print when no run has this metric.
    """
    table = frames["by_layer"]
    table = table[(table["metric"] == metric) & table["value"].notna()]
    if table.empty:
        return style.sentence(nothing)
    colors = style.palette(frames)
    datasets = sorted(table["dataset"].unique())
    printed = beside(frames.get("published"), style.runs_of(table))
    most = 3 if len(datasets) % 3 == 0 else 2
    panels = layout.facets([len(datasets)], height=1.9, most=most, min_height=1.2)
    handles: dict[str, object] = {}
    for ax, dataset in zip(panels.axes, datasets, strict=True):
        here = table[table["dataset"] == dataset]
        for model in sorted(here["model"].unique()):
            rows = here[here["model"] == model]
            handles[printable(model)] = style.line_with_band(ax, rows, colors[model])
        theirs = printed[printed["panel"] == dataset]
        for (model, origin_set), rows in theirs.groupby(["model", "dataset"]):
            rows = rows.sort_values("layer")
            (line,) = ax.plot(
                rows["layer"], rows["value"], color=style.PUBLISHED, linestyle=(0, (4, 2)), lw=1.0
            )
            handles[f"{printable(model)} on {origin_set}, published"] = line
        ax.set_title(printable(dataset))
        last = int(max(here["layer"].max(), theirs["layer"].max() if len(theirs) else 0))
        style.layer_axis(ax, last, room=10 if most < 3 else 6)
        if y_limits:
            ax.set_ylim(*y_limits)
    if symlog:
        highest = max(
            float(table["high"].max()), *(float(v) for v in printed.get("value", [])), 1.0
        )
        for (
            ax
        ) in panels.axes:  # after the lines: seaborn would send them through the scale and back
            rank_axis(ax)
        panels.axes[0].set_ylim(-0.15, 2 * highest)
    panels.label("layer", y_label)
    names = sorted(handles, key=lambda name: ("published" in name, name))
    layout.legend_above(panels.figure, [handles[name] for name in names], names)
    return panels.figure


def rank_axis(ax: Axes) -> None:
    """Give ranks, which start at 0, a logarithmic axis with plain numbers."""
    ax.set_yscale("symlog", linthresh=1, linscale=0.5)
    ax.yaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=1))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
