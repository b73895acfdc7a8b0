"""What switching heads off does to the answer: image heads beside random others, a panel a run."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from lensbench.figures import layout, style

CAPTION = (
    "Change of the log-probability of the model's own answer (nats, mean over samples with 95 % "
    "interval) when a group of heads is switched off, at every position or at the last one alone. "
    "Random groups have as many heads in each block as the image group, drawn from the block's "
    "other heads: gray dots are single groups, all different, the marker below them their mean. "
    "The row least has as many heads, those that look least at the picture, of any block. p: how "
    "far out the image group lies among the random groups at every position, twice the smaller of "
    "(1 + groups at least as strong) and (1 + groups at most as strong) over (1 + groups); Holm's "
    "p is corrected for the number of runs. A change says that the answer depends on these heads, "
    "not how."
)
INPUTS = ("ablation", "ablation_contrast")
MEASURE = "final_logprob"
#: where → (legend, marker, filled, place above or below the row's middle).
PLACES: dict[str, tuple[str, str, bool, float]] = {
    "all": ("off at every position", "o", True, -0.16),
    "last": ("off at the last position", "D", False, 0.16),
}
_RANDOM = "random-mean"


def row_name(group: str) -> str:
    """Return what a group's row is called: "image-stage-2" is printed as "image, stage 2"."""
    if group == _RANDOM:
        return "random"
    return group.replace("-stage-", ", stage ").replace("-all", ", all")


def rows_of(table: pd.DataFrame) -> list[str]:
    """Return the groups that have a row of their own, in the table's order, random ones last."""
    groups = [str(group) for group in table["group"].unique()]
    single = set(table.loc[table["group_kind"] == "random", "group"])
    own = [group for group in groups if group not in single and group != _RANDOM]
    return [*own, _RANDOM] if _RANDOM in groups else own


@style.themed
def draw(frames: style.Frames) -> Figure:
    """Draw `ablation` as one row a group, with the p of `ablation_contrast`.

    Args:
        frames: `ablation`, `ablation_contrast` and, optionally, `models`.
    """
    table = frames["ablation"]
    table = table[table["measure"] == MEASURE]
    if table.empty:
        return style.sentence("No run has had heads switched off, so there is nothing to draw.")
    colors, runs = style.palette(frames), style.runs_of(table)
    most = max(len(rows_of(style.of_run(table, *run))) for run in runs)
    facets = layout.facets(
        layout.group_sizes([dataset for _, dataset in runs]),
        height=0.6 + 0.17 * most, min_height=1.0, share_y=False,
    )  # fmt: skip
    ends = table[table["group_kind"] != "random"]
    low, high = min(0.0, ends["low"].min()), max(0.0, ends["high"].max())
    room = 0.04 * max(high - low, 1e-6)
    for ax, (model, dataset) in zip(facets.axes, runs, strict=True):
        rows = style.of_run(table, model, dataset)
        _panel(ax, rows, colors[model])
        # The groups' names make panels narrow: a title ends where its panel does.
        ax.set_title(style.run_title(model, dataset), loc="left", x=1.0, ha="right")
        ax.set_xlim(min(low, rows["value"].min()) - room, high + room)
        ax.xaxis.set_major_locator(MaxNLocator(4))
        said = _p_value(style.of_run(frames["ablation_contrast"], model, dataset))
        ax.text(0.02, 0.03, said, transform=ax.transAxes, va="bottom", color=style.QUIET)
    facets.label("change of log p (nats)", "")
    handles = [
        Line2D([], [], color=style.INK, marker=marker, ms=4, mew=0.9, lw=1.0,
               mfc=style.INK if filled else "white")
        for _, marker, filled, _ in PLACES.values()
    ]  # fmt: skip
    handles.append(Line2D([], [], color="#aaaaaa", marker="o", ms=2.5, lw=0))
    labels = [*(label for label, *_ in PLACES.values()), "one random group"]
    layout.legend_above(facets.figure, handles, labels)
    return facets.figure


def _panel(ax: Axes, rows: pd.DataFrame, color: Any) -> None:
    """Draw one run's groups from top to bottom."""
    names = rows_of(rows)
    ax.axvline(0, color=style.INK, lw=0.6)
    for where, (_, marker, filled, shift) in PLACES.items():
        of = rows[rows["where"] == where].set_index("group")
        for place, name in enumerate(names):
            if name not in of.index:
                continue
            row, y = of.loc[name], place + shift
            shown = style.QUIET if name in (_RANDOM, "least") else color
            ax.plot([row["low"], row["high"]], [y, y], color=shown, lw=1.0, solid_capstyle="butt")
            ax.plot([row["value"]], [y], color=shown, marker=marker, ms=4, mew=0.9,
                    mfc=shown if filled else "white")  # fmt: skip
        single = of[of["group_kind"] == "random"]["value"]
        if _RANDOM in names:
            y = names.index(_RANDOM) + shift - 0.02
            ax.plot(single, [y] * len(single), color="#aaaaaa", marker="o", ms=2.2, lw=0, mew=0,
                    alpha=0.8, zorder=1.5)  # fmt: skip
    ax.set_yticks(range(len(names)), [row_name(name) for name in names])
    ax.set_ylim(len(names) + 0.9, -0.6)  # Room for what is said of p.
    ax.grid(axis="y", visible=False)


def _p_value(contrast: pd.DataFrame) -> str:
    """Return the p of the run's primary contrast, as it is printed."""
    primary = contrast[contrast["holm_runs"].astype(float) > 0]
    return "".join(
        f"p = {p:.2g}, Holm {holm:.2g}\n{int(n)} groups"
        for p, holm, n in zip(primary["p"], primary["p_holm"], primary["n_random"], strict=True)
    )
