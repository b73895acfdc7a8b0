"""Whether the answer arrives in Chinese before English: shares of samples, lead in layers."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from lensbench.figures import layout, style
from lensbench.figures.concept_mass import NAMES, language_colors
from lensbench.figures.frames import counting

CAPTION = (
    "Whether a form of the gold answer arrives among the first k tokens (k = 1 and 10) in Chinese "
    "before English. Counting questions, all questions of a dataset without them. Left: shares of "
    "the samples whose gold has forms in both; right: layer of the English arrival less that of "
    "the Chinese one, over the samples in which both arrive (mean, 95 % bootstrap interval; right "
    "of 0 Chinese is earlier). Hollow: the same of wrong answers of the same kind (the mean of all "
    "others), the floor, since a language with more forms is likelier there by chance; it is of "
    "the samples in which a wrong answer arrives in both, which may be others."
)
INPUTS = ("language_lead",)
FIRST, SECOND = "zh", "en"
ARRIVALS = {"top1": "on top", "top10": "among the first 10"}


def segments(colors: dict[str, Any]) -> dict[str, tuple[str, Any]]:
    """Return metric → name and color of the parts of a bar, from Chinese to English to neither."""
    first, second = colors[FIRST], colors[SECOND]
    names = NAMES[FIRST], NAMES[SECOND]
    return {
        "share_only_first": (f"{names[0]} only", first),
        "share_first_earlier": (f"{names[0]} earlier", _pale(first)),
        "share_tie": ("same layer", "#d9d9d9"),
        "share_second_earlier": (f"{names[1]} earlier", _pale(second)),
        "share_only_second": (f"{names[1]} only", second),
        "share_neither": ("neither", "#ffffff"),
    }


def _pale(color: Any, share: float = 0.5) -> tuple[float, float, float]:
    red, green, blue = (share * channel + 1 - share for channel in to_rgb(color))
    return red, green, blue


@style.themed
def draw(frames: style.Frames) -> Figure:
    """Draw `language_lead` (Chinese against English): a row of panels a way to arrive.

    Args:
        frames: `language_lead` and, optionally, `models`.
    """
    table = counting(frames["language_lead"])
    table = table[
        (table["asked"] == "all") & (table["first"] == FIRST) & (table["second"] == SECOND)
    ]
    arrivals = [name for name in ARRIVALS if name in set(table["arrival"])]
    if not arrivals:
        return style.sentence("No run has answers with forms in Chinese and in English.")
    parts = segments(language_colors(pd.DataFrame({"language": [FIRST, SECOND]})))
    models = style.palette(frames)
    runs = style.runs_of(table)
    high = 0.15 * len(runs) + 0.42
    figure = Figure(figsize=(style.TEXT_WIDTH, high * len(arrivals) + 0.35), layout="constrained")
    axes = figure.subplots(
        len(arrivals), 2, squeeze=False, sharey=True, width_ratios=(1.5, 1), sharex="col"
    )
    for (bars, leads), arrival in zip(axes, arrivals, strict=True):
        rows = table[table["arrival"] == arrival]
        _bars(bars, rows, runs, parts)
        _leads(leads, table[table["arrival"] == f"{arrival}_other"], runs, models, hollow=True)
        _leads(leads, rows, runs, models)
        bars.set_title(f"first time {ARRIVALS[arrival]}: share of samples")
        leads.set_title("lead of Chinese (layers)")
    labels = [style.run_title(*run) for run in runs]
    axes[0, 0].set_yticks(range(len(runs)), labels)
    axes[0, 0].set_ylim(len(runs) - 0.4, -0.6)
    axes[-1, 0].set_xlim(0, 1)
    axes[-1, 0].set_xlabel("share of samples")
    axes[-1, 1].set_xlabel("layers")
    handles = [Patch(facecolor=color, edgecolor="#999999", lw=0.4) for _, color in parts.values()]
    layout.legend_above(figure, handles, [name for name, _ in parts.values()])
    return figure


def _bars(
    ax: Axes, rows: pd.DataFrame, runs: list[tuple[str, str]], parts: dict[str, tuple[str, Any]]
) -> None:
    ax.grid(axis="y", visible=False)
    for place, run in enumerate(runs):
        values = style.of_run(rows, *run).set_index("metric")["value"]
        left = 0.0
        for metric, (_, color) in parts.items():
            width = float(values.get(metric, 0.0))
            ax.barh(place, width, left=left, height=0.7, color=color, ec="#999999", lw=0.4)
            left += width


def _leads(
    ax: Axes,
    rows: pd.DataFrame,
    runs: list[tuple[str, str]],
    colors: dict[str, Any],
    hollow: bool = False,
) -> None:
    ax.grid(axis="y", visible=False)
    if not hollow:
        ax.axvline(0, color=style.QUIET, lw=0.6)
    rows = rows[(rows["metric"] == "lead_layers") & rows["value"].notna()]
    for place, run in enumerate(runs):
        for row in style.of_run(rows, *run).itertuples():
            at = place + (0.25 if hollow else -0.1)
            style.dot(ax, row, at, colors[run[0]], horizontal=True, hollow=hollow)
            if hollow:
                continue
            ax.annotate(
                f"n = {row.n}", (1.03, place), xycoords=("axes fraction", "data"), ha="left",
                va="center", fontsize=style.SMALL - 1, color=style.QUIET,
            )  # fmt: skip
