"""Simple against complex counting questions at matched counts: values and paired panels of dots."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lensbench.figures import layout, style
from lensbench.figures.frames import pooled

CAPTION = (
    "Simple against complex counting questions (a complex one names an attribute or more): "
    "accuracy at the last layer and convergence depth, and complex less simple, with 95 % "
    "intervals. Filled: both kinds weighted to the same counts; hollow: as they are."
)
INPUTS = ("matched_kinds",)
METRICS = {"accuracy": "accuracy", "convergence_depth": "convergence depth"}
#: Kind → (name, marker).
KINDS = {"simple": ("simple", "o"), "complex": ("complex", "s")}
WEIGHTINGS = ("matched", "as they are")


@style.themed
def draw(frames: style.Frames) -> Figure:
    """Draw `matched_kinds`: a row of two panels a metric, the kinds and their difference.

    Args:
        frames: `matched_kinds` and, optionally, `models`.
    """
    table = pooled(frames["matched_kinds"])
    table = table[table["metric"].isin(list(METRICS)) & table["value"].notna()]
    if table.empty:
        return style.sentence("No run has simple and complex questions with the same counts.")
    colors = style.palette(frames)
    runs = style.runs_of(table)
    high = 0.24 * len(runs) + 0.45
    figure = Figure(figsize=(style.TEXT_WIDTH, high * len(METRICS) + 0.35), layout="constrained")
    axes = figure.subplots(len(METRICS), 2, squeeze=False, sharey=True)
    for (values, difference), (metric, name) in zip(axes, METRICS.items(), strict=True):
        rows = table[table["metric"] == metric]
        for ax in (values, difference):
            ax.grid(axis="y", visible=False)
        _dots(values, rows, runs, colors, list(KINDS))
        _dots(difference, rows, runs, colors, ["difference"])
        values.set_xlim(-0.02, 1.02)
        difference.axvline(0, color=style.QUIET, lw=0.6)
        values.set_title(name)
        difference.set_title(f"{name}, complex − simple")
    axes[0, 0].set_yticks(range(len(runs)), [style.run_title(*run) for run in runs])
    axes[0, 0].set_ylim(len(runs) - 0.4, -0.6)
    handles = [
        Line2D([], [], color="#444444", ls="", marker=marker, ms=4)
        for _, marker in [*KINDS.values(), ("", "D")]
    ]
    handles.append(Line2D([], [], color="#444444", ls="", marker="o", ms=4, mfc="white"))
    names = [*(name for name, _ in KINDS.values()), "difference", "hollow: counts as they are"]
    layout.legend_above(figure, handles, names)
    return figure


def _dots(
    ax: Axes,
    rows: pd.DataFrame,
    runs: list[tuple[str, str]],
    colors: dict[str, Any],
    kinds: list[str],
) -> None:
    for place, run in enumerate(runs):
        of_run = style.of_run(rows, *run)
        lanes = [(kind, weighting) for kind in kinds for weighting in WEIGHTINGS]
        for lane, (kind, weighting) in enumerate(lanes):
            at = place + (lane - (len(lanes) - 1) / 2) * (0.64 / len(lanes))
            found = of_run[(of_run["kind"] == kind) & (of_run["weighting"] == weighting)]
            for row in found.itertuples():
                style.dot(
                    ax, row, at, colors[run[0]], horizontal=True,
                    marker=KINDS.get(kind, ("", "D"))[1], hollow=weighting != "matched",
                )  # fmt: skip
