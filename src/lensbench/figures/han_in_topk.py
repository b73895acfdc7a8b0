"""Han tokens among the first k by layer: one panel of cells a run."""

from __future__ import annotations

from matplotlib.figure import Figure

from lensbench.figures import layout, style
from lensbench.figures.accuracy_by_answer import Panel
from lensbench.figures.by_dataset import beside
from lensbench.figures.fonts import printable
from lensbench.figures.frames import pooled

CAPTION = (
    "Share of samples with a Han token (a Chinese character, or a Japanese or Korean use of one) "
    "among the first k tokens decoded at a layer. All languages "
    "asked in are taken together."
)
INPUTS = ("han_in_topk",)


def panels_of(frames: style.Frames) -> list[Panel]:
    """Return the panels to draw, runs sorted, a published result right after its run."""
    table = pooled(frames["han_in_topk"])
    table = table[table["value"].notna()]
    runs = style.runs_of(table)
    printed = beside(frames.get("published"), runs)
    panels = []
    for model, dataset in runs:
        rows = style.of_run(table, model, dataset)
        matrix = style.pivot(rows, "k", "layer", "value")
        panels.append(Panel(dataset, style.run_title(model, dataset), matrix))
        theirs = printed[(printed["model"] == model) & (printed["panel"] == dataset)]
        for origin_set, published_rows in theirs.groupby("dataset"):
            name = f"{printable(model, 26)} · {printable(str(origin_set))}, published"
            cells = style.pivot(published_rows, "k", "layer", "value")
            panels.append(Panel(dataset, name, cells))
    return panels


@style.themed
def draw(frames: style.Frames) -> Figure:
    """Draw `han_in_topk` as k × layer cells.

    Args:
        frames: `han_in_topk` and, optionally, `published` (k, layer, value).
    """
    panels = panels_of(frames)
    if not panels:
        return style.sentence("No run has tokens to look for Han in.")
    facets = layout.facets(
        layout.group_sizes([panel.dataset for panel in panels]), height=1.05, min_height=0.9,
        share_y=False, color_bar=True, extra=0.6,
    )  # fmt: skip
    for ax, panel in zip(facets.axes, panels, strict=True):
        style.cells(ax, panel.matrix)
        ax.set_title(panel.title)
        ranks = [str(int(k)) for k in panel.matrix.index]
        ax.set_yticks([place + 0.5 for place in range(len(ranks))], ranks, rotation=0)
        ax.tick_params(axis="y", length=0)
    facets.label("layer", "k")
    facets.add_color_bar("share of samples")
    return facets.figure
