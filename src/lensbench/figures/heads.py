"""Attention mass of every head on the picture: one panel of head × layer cells a run."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.transforms import blended_transform_factory

from lensbench.figures import layout, style
from lensbench.figures.accuracy_by_answer import Panel
from lensbench.figures.by_dataset import beside
from lensbench.figures.fonts import printable

CAPTION = (
    "Mean attention mass of the last position on image positions, by head and layer; vertical "
    "lines part the stages found by change-points of the layers' mean. Hatched: not measured or "
    "not printed. Attention mass is not causal importance."
)
INPUTS = ("heads", "stages")


def panels_of(frames: style.Frames) -> list[tuple[Panel, list[int]]]:
    """Return each panel with the layers its stages end at, the last stage's end left out."""
    table = frames["heads"]
    # A run without image positions has no enrichment: there is no picture to attend to.
    table = table[table["image_mass"].notna() & table["enrichment"].notna()]
    runs = style.runs_of(table)
    printed = beside(frames.get("published"), runs)
    panels: list[tuple[Panel, list[int]]] = []
    for model, dataset in runs:
        rows = style.of_run(table, model, dataset)
        matrix = style.pivot(rows, "head", "layer", "image_mass")
        stages = style.of_run(frames["stages"], model, dataset)
        ends = sorted(int(end) for end in stages["last_layer"])[:-1]
        panels.append((Panel(dataset, style.run_title(model, dataset), matrix), ends))
        theirs = printed[(printed["model"] == model) & (printed["panel"] == dataset)]
        for origin_set, published_rows in theirs.groupby("dataset"):
            name = f"{printable(model, 26)} · {printable(str(origin_set))}, published"
            cells = style.pivot(published_rows, "head", "layer", "image_mass")
            # On our axes, so that one sees which heads the study did not print.
            panels.append((Panel(dataset, name, cells.reindex_like(matrix)), []))
    return panels


def head_ticks(matrix: pd.DataFrame) -> list[int]:
    """Return the heads whose number is printed: no more than fit the panel."""
    return [
        head for head in style.layer_ticks(int(matrix.index[-1]), room=5) if head in matrix.index
    ]


@style.themed
def draw(frames: style.Frames) -> Figure:
    """Draw `heads` as head × layer cells of image mass, with the bounds of `stages`.

    Args:
        frames: `heads`, `stages` and, optionally, `published` (layer, head, image_mass).
    """
    panels = panels_of(frames)
    if not panels:
        return style.sentence("No run has pictures, so that no head has a mass on one to draw.")
    facets = layout.facets(
        layout.group_sizes([panel.dataset for panel, _ in panels]), height=1.35,
        share_y=False, color_bar=True, extra=0.6,
    )  # fmt: skip
    for ax, (panel, ends) in zip(facets.axes, panels, strict=True):
        style.cells(ax, panel.matrix, cmap="rocket_r")
        ax.set_title(panel.title)
        ticks = head_ticks(panel.matrix)
        places = [list(panel.matrix.index).index(head) + 0.5 for head in ticks]
        ax.set_yticks(places, [str(head) for head in ticks], rotation=0)
        layers = [int(layer) for layer in panel.matrix.columns]
        above = blended_transform_factory(ax.transData, ax.transAxes)
        for end in ends:
            # White under ink: the line is seen on light and on dark cells.
            bound = layers.index(end) + 1
            ax.plot([bound, bound], [-0.05, 1.0], transform=above, color="white", lw=2.0,
                    clip_on=False)  # fmt: skip
            ax.plot([bound, bound], [-0.05, 1.0], transform=above, color=style.INK, lw=0.9,
                    clip_on=False)  # fmt: skip
    facets.label("layer", "head")
    facets.add_color_bar("mass on image positions")
    return facets.figure
