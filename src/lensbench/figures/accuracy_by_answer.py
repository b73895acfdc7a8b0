"""Accuracy by gold answer and layer: one panel of cells a run."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lensbench.figures import layout, style
from lensbench.figures.by_dataset import beside
from lensbench.figures.fonts import printable
from lensbench.figures.frames import pooled

CAPTION = (
    "Share of samples whose top-1 tokens at a layer are a form of the gold answer, by gold answer. "
    "Of a run with many answers the most frequent are shown. Hatched: no sample. All languages "
    "asked in are taken together."
)
INPUTS = ("accuracy_by_answer",)
MOST_ANSWERS = 12


@dataclass(frozen=True)
class Panel:
    """One panel: its run's dataset, its title and its cells, layers as columns."""

    dataset: str
    title: str
    matrix: pd.DataFrame


def answer_order(answer: str) -> tuple[str, float, str]:
    """Return the key that sorts answers by family, numbers by size, and the rest by name."""
    family, _, name = answer.rpartition(":")
    return (family, float(name) if name.isdecimal() else float("inf"), name)


def panels_of(frames: style.Frames) -> list[Panel]:
    """Return the panels to draw, runs sorted, a published result right after its run."""
    table = pooled(frames["accuracy_by_answer"])
    table = table[table["value"].notna()]
    runs = style.runs_of(table)
    printed = beside(frames.get("published"), runs)
    panels = []
    for model, dataset in runs:
        rows = style.of_run(table, model, dataset)
        answers = _most_frequent(rows)
        title = style.run_title(model, dataset)
        panels.append(Panel(dataset, title, _matrix(rows[rows["answer"].isin(answers)])))
        theirs = printed[(printed["model"] == model) & (printed["panel"] == dataset)]
        for origin_set, published_rows in theirs.groupby("dataset"):
            name = f"{printable(model, 26)} · {printable(str(origin_set))}, published"
            panels.append(Panel(dataset, name, _matrix(published_rows)))
    return panels


def _most_frequent(rows: pd.DataFrame) -> list[str]:
    counts = rows.groupby("answer")["n"].max()
    order = sorted(counts.index, key=lambda answer: (-counts[answer], answer_order(answer)))
    return order[:MOST_ANSWERS]


def _matrix(rows: pd.DataFrame) -> pd.DataFrame:
    matrix = style.pivot(rows, "answer", "layer", "value")
    return matrix.loc[sorted(matrix.index, key=answer_order)]


@style.themed
def draw(frames: style.Frames) -> Figure:
    """Draw `accuracy_by_answer` as answer × layer cells.

    Args:
        frames: `accuracy_by_answer` and, optionally, `published` (answer, layer, value).
    """
    panels = panels_of(frames)
    if not panels:
        return style.sentence("No run has an accuracy by answer to draw.")
    facets = layout.facets(
        layout.group_sizes([panel.dataset for panel in panels]), height=1.3, most=3,
        share_y=False, color_bar=True, extra=0.6, min_height=4.0,
        ratios=lambda rows: _row_heights(panels, rows),
    )  # fmt: skip
    for ax, panel in zip(facets.axes, panels, strict=True):
        style.cells(ax, panel.matrix)
        ax.set_title(panel.title)
        _answers(ax, panel.matrix)
    facets.label("layer", "gold answer")
    facets.add_color_bar("accuracy")
    return facets.figure


def _row_heights(panels: list[Panel], rows: list[int]) -> list[float]:
    """Return each row's height in inches: a line of text for every answer of its tallest panel."""
    left = iter(panels)
    answers = [max(len(next(left).matrix) for _ in range(width)) for width in rows]
    return [0.36 + 0.13 * max(count, 3) for count in answers]


def _answers(ax: Axes, matrix: pd.DataFrame) -> None:
    labels = [printable(style.answer_text(answer), 12) for answer in matrix.index]
    ax.set_yticks([place + 0.5 for place in range(len(labels))], labels, rotation=0)
    ax.tick_params(axis="y", length=0)
