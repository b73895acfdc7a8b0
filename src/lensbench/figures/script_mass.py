"""Probability mass by script and layer: a row of panels a run, a column a script, with floors."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from lensbench.figures import layout, style
from lensbench.figures.fonts import printable
from lensbench.figures.frames import pooled
from lensbench.scripts import SCRIPTS

CAPTION = (
    "Probability mass on the tokens of a script, by layer (mean over samples, 95 % bootstrap "
    "interval). Dashed: the script's share of the vocabulary. Dotted: its mass when the state is "
    "a random direction of the same norm. The scripts with the highest values are shown. All "
    "languages asked in are taken together."
)
INPUTS = ("script_mass",)
MOST_SCRIPTS = 5
LEAST_MASS = 0.01


def scripts_shown(table: pd.DataFrame) -> list[str]:
    """Return the scripts to draw: those whose mass peaks highest in any run, in the usual order."""
    peaks = table.groupby("script")["value"].max()
    peaks = peaks[(peaks >= LEAST_MASS) | (peaks == peaks.max())]
    order = {script: place for place, script in enumerate(SCRIPTS)}
    # Han is what the benchmark asks about: it is shown even where the mass on it is small.
    chosen = sorted(peaks.index, key=lambda script: (script != "Han", -peaks[script], script))
    return sorted(chosen[:MOST_SCRIPTS], key=lambda script: (order.get(script, 99), script))


@style.themed
def draw(frames: style.Frames) -> Figure:
    """Draw `script_mass` as lines by layer with both floors.

    Args:
        frames: `script_mass` and, optionally, `models`.
    """
    table = pooled(frames["script_mass"])
    table = table[table["value"].notna()]
    if table.empty:
        return style.sentence("No run has a mass by script to draw.")
    colors = style.palette(frames)
    runs, scripts = style.runs_of(table), scripts_shown(table)
    height = max(0.68, min(1.05, (layout.PAGE_HEIGHT - 0.6) / len(runs)))
    figure = Figure(figsize=(style.TEXT_WIDTH, height * len(runs) + 0.6), layout="constrained")
    axes = figure.subplots(len(runs), len(scripts), squeeze=False, sharey=True)
    top = min(1.0, 1.1 * float(table[["high", "floor_vocabulary", "floor_random"]].max().max()))
    for place, (model, dataset) in enumerate(runs):
        rows = style.of_run(table, model, dataset)
        for column, script in enumerate(scripts):
            ax = axes[place, column]
            of_script = rows[rows["script"] == script].sort_values("layer")
            # Titles of spaces keep the room that the run's name, wider than its panel, needs.
            ax.set_title(f"{script}\n " if place == 0 else " ", loc="center")
            if column == 0:
                ax.text(
                    0, 1.06, style.run_title(model, dataset), transform=ax.transAxes,
                    ha="left", va="bottom", in_layout=False,
                )  # fmt: skip
            ax.set_ylim(-0.04 * top, 1.04 * top)
            ax.yaxis.set_major_locator(MaxNLocator(2))
            style.layer_axis(ax, int(rows["layer"].max()), room=4)
            if of_script.empty:  # this vocabulary has no token of the script
                ax.text(0.5, 0.5, "none", transform=ax.transAxes, ha="center", color=style.QUIET)
                continue
            style.line_with_band(ax, of_script, colors[model])
            ax.set(xlabel="layer" if place == len(runs) - 1 else "", ylabel="")
            layers = of_script["layer"]
            ax.plot(layers, of_script["floor_vocabulary"], color=style.INK, lw=0.7, ls=(0, (4, 2)))
            ax.plot(layers, of_script["floor_random"], color=style.INK, lw=0.9, ls=(0, (1, 1.2)))
    figure.supylabel("probability mass", fontsize=style.SMALL + 0.5)
    handles = [
        Line2D([], [], color=style.INK, lw=1.3),
        Line2D([], [], color=style.INK, lw=0.7, ls=(0, (4, 2))),
        Line2D([], [], color=style.INK, lw=0.9, ls=(0, (1, 1.2))),
    ]
    labels = ["run (in its model's color)", "share of the vocabulary", "random direction"]
    layout.legend_above(figure, handles, [printable(label) for label in labels])
    return figure
