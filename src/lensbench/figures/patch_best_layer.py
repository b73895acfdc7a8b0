"""At which layer a patch's likeliest token is likeliest: the best layer, one panel a run."""

from __future__ import annotations

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from lensbench.figures import layout, style

CAPTION = (
    "Distribution over patches of the best layer, the one from layer 1 on where the likeliest "
    "token's probability is highest; layer 0, the embedding, is left out (bars: share of all "
    "patches, of a picture that is seen twice those of the overview; gray: patches whose token "
    "there is blank, empty or white space only). Shaded: the last third of the layers, with the "
    "share of patches in it. A lens that norms the last state twice, as imported ones may, has a "
    "last layer that is not the model's own output."
)
INPUTS = ("patch_best", "patch_summary")
_BLANK = "#b5b5b5"


def first_view(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the overview where a run has it, and those of all patches where not.

    Args:
        table: with model, dataset and view_name.
    """
    overview = table["view_name"] == "overview"
    twice = overview.groupby([table["model"], table["dataset"]]).transform("any")
    return table[overview | (~twice & (table["view_name"] == "all"))]


def late_text(summary: pd.DataFrame, model: str, dataset: str) -> str:
    """Return the printed share of a run's patches in the last third; "" where it is not known."""
    rows = first_view(style.of_run(summary, model, dataset))
    values = rows.loc[rows["metric"] == "share_last_third", "value"]
    return "" if values.empty else f"\n{100 * float(values.iloc[0]):.0f} % in the last third"


def grouped(runs: list[tuple[str, str]]) -> tuple[list[tuple[str, str]], list[int]]:
    """Return runs with how many of them belong together: a dataset's, then all that stand alone.

    An imported lens is a dataset of its own, and a row for each would be wasted.

    Args:
        runs: sorted by dataset, then by model.
    """
    of = [dataset for _, dataset in runs]
    together = [run for run in runs if of.count(run[1]) > 1]
    alone = [run for run in runs if of.count(run[1]) == 1]
    sizes = layout.group_sizes([dataset for _, dataset in together])
    return together + alone, sizes + [len(alone)] * bool(alone)


@style.themed
def draw(frames: style.Frames) -> Figure:
    """Draw `patch_best` as stacked bars by layer.

    Args:
        frames: `patch_best`, `patch_summary` and, optionally, `models`.
    """
    table = frames["patch_best"]
    # The first view, or positions without a view.
    table = table[table["best_layer"].notna() & (table["view"] <= 0)]
    if table.empty:
        return style.sentence("No run has close-ups or imported lenses, so no patch has a layer.")
    colors = style.palette(frames)
    runs, sizes = grouped(style.runs_of(table))
    panels = layout.facets(sizes, height=1.5, min_height=0.95)
    for ax, (model, dataset) in zip(panels.axes, runs, strict=True):
        rows = style.of_run(table, model, dataset)
        last = int(rows["n_layers"].max())
        sns.histplot(
            data=rows.assign(blank=rows["blank"] > 0), x="best_layer", hue="blank", ax=ax,
            stat="proportion", multiple="stack", hue_order=[True, False], discrete=True,
            palette={True: _BLANK, False: colors[model]}, legend=False, alpha=1, shrink=0.9,
            edgecolor="none", common_norm=True,
        )  # fmt: skip
        ax.axvspan(2 * last / 3, last + 0.5, color="#f1efe6", lw=0, zorder=0)
        ax.set_title(style.run_title(model, dataset))
        ax.set_xlim(-0.6, last + 0.6)
        ax.set_xticks(style.layer_ticks(last))
        late = late_text(frames["patch_summary"], model, dataset)
        ax.text(
            0.03, 0.97, f"{len(rows):,} patches{late}",
            transform=ax.transAxes, va="top", color=style.QUIET, linespacing=1.3,
        )  # fmt: skip
    # Room for the two lines of text, whatever the highest bar is.
    first = panels.axes[0]
    first.set_ylim(0, 1.7 * max(ax.dataLim.y1 for ax in panels.axes))
    first.set_yticks([tick for tick in first.get_yticks() if 0 <= tick <= 1])
    panels.label("best layer (of 1 to L)", "share of patches")
    handles = [Patch(color=style.INK), Patch(color=_BLANK)]
    layout.legend_above(panels.figure, handles, ["a token, in its model's color", "a blank token"])
    return panels.figure
