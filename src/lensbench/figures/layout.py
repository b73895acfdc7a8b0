"""How a figure's panels are laid out: rows as wide as the paper's text, a legend, a color bar."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.layout_engine import ConstrainedLayoutEngine

from lensbench.figures.fonts import families_for
from lensbench.figures.style import SMALL, TEXT_WIDTH

PAGE_HEIGHT = 8.6  # inches: what a page of the paper leaves for a figure, its caption aside


def group_sizes(keys: Sequence[str]) -> list[int]:
    """Return how many neighbors in a list are equal, as in [a, a, b] → [2, 1]."""
    return [len(list(group)) for _, group in itertools.groupby(keys)]


@dataclass(frozen=True)
class Facets:
    """A figure and its panels, wrapped into rows; no place of a row is empty."""

    figure: Figure
    axes: list[Axes]
    rows: list[list[Axes]]
    bar: Axes | None = None

    def add_color_bar(self, label: str) -> None:
        """Draw the one color bar of all panels of cells into the row kept for it."""
        bar = self.figure.colorbar(
            self.axes[0].collections[0], cax=self.bar, orientation="horizontal", label=label
        )
        bar.outline.set_linewidth(0.4)
        bar.ax.grid(False)

    def label(self, x: str, y: str) -> None:
        """Name the x axes of the lowest row and the y axis of each row's first panel."""
        for row in self.rows:
            for ax in row:
                ax.set_xlabel(x if row is self.rows[-1] else "")
                ax.set_ylabel(y if ax is row[0] else "")


def rows_of(groups: Sequence[int], most: int) -> list[int]:
    """Return how many panels each row gets: a group starts a row, and its rows are balanced.

    Args:
        groups: how many panels belong together, such as those of one dataset.
        most: the most panels in a row.
    """
    rows = []
    for size in groups:
        n_rows = math.ceil(size / most)
        rows += [size // n_rows + (place < size % n_rows) for place in range(n_rows)]
    return rows


def facets(
    groups: Sequence[int],
    *,
    height: float,
    most: int = 3,
    min_height: float = 0.7,
    share_y: bool = True,
    extra: float = 0.3,
    ratios: Callable[[list[int]], list[float]] | None = None,
    color_bar: bool = False,
) -> Facets:
    """Return a figure as wide as the paper's text with its panels in rows, none of them empty.

    Args:
        groups: how many panels belong together; each group starts a row of its own.
        height: of a row of panels, in inches; less, down to `min_height`, where the page is full.
        most: the most panels in a row.
        min_height: the least height of a row, in inches; then the figure outgrows the page.
        share_y: whether all panels have one y axis.
        extra: room for a legend above or a color bar below, in inches.
        ratios: from the rows' numbers of panels, each row's height in inches, instead of `height`.
        color_bar: whether a narrow row below is kept for `Facets.add_color_bar`.
    """
    widths = rows_of(groups, most)
    heights = ratios(widths) if ratios else [height] * len(widths)
    shrink = min(1.0, (PAGE_HEIGHT - extra) / sum(heights))
    heights = [max(min(high, min_height), high * shrink) for high in heights]
    heights[-1] += 0.17  # for the name of the x axis
    # Without a canvas that draws: seaborn would draw the whole figure anew for every panel.
    figure = Figure(figsize=(TEXT_WIDTH, sum(heights) + extra), layout="constrained")
    grid = figure.add_gridspec(len(widths), 1, height_ratios=heights)
    rows: list[list[Axes]] = []
    first: Axes | None = None
    for place, width in enumerate(widths):
        within = grid[place].subgridspec(1, width)
        row: list[Axes] = []
        for column in range(width):
            ax = figure.add_subplot(within[column], sharey=first if share_y else None)
            if share_y:
                first = first or ax
                ax.tick_params(labelleft=not column)
            row.append(ax)
        rows.append(row)
    bar = bar_below(figure) if color_bar else None
    return Facets(figure, [ax for row in rows for ax in row], rows, bar)


def bar_below(figure: Figure) -> Axes:
    """Return axes for a color bar in a strip at the figure's foot that the panels leave free."""
    high = figure.get_size_inches()[1]
    engine = figure.get_layout_engine()
    if isinstance(engine, ConstrainedLayoutEngine):
        engine.set(rect=(0, 0.56 / high, 1, 1 - 0.56 / high))
    ax = figure.add_axes((0.3, 0.42 / high, 0.4, 0.08 / high))
    ax.set_in_layout(False)
    return ax


@cache
def _renderer() -> RendererAgg:
    return FigureCanvasAgg(Figure(figsize=(1, 1), dpi=100)).get_renderer()


def text_width(text: str, size: float = SMALL) -> float:
    """Return the width of one line of text in inches, as the figures' own fonts set it."""
    font = FontProperties(family=list(families_for(text)), size=size)
    width, _, _ = _renderer().get_text_width_height_descent(text, font, False)
    return float(width) / 100


def legend_above(figure: Figure, handles: Sequence[Any], labels: Sequence[str]) -> None:
    """Put one legend above all panels, read row by row, in as many rows as the names need."""
    widths = [text_width(label) + 0.42 for label in labels]
    n = len(labels)
    columns = next(
        count
        for count in range(n, 0, -1)
        if count == 1 or sum(max(widths[at::count]) for at in range(count)) < TEXT_WIDTH
    )
    # matplotlib fills a legend column by column.
    order = [place for column in range(columns) for place in range(column, n, columns)]
    figure.legend(
        [handles[place] for place in order], [labels[place] for place in order],
        loc="outside upper center", ncols=columns,
    )  # fmt: skip
