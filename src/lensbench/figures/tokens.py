"""One run's decoded tokens: layers as rows, generated tokens as columns, some samples abreast."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from lensbench.figures import style
from lensbench.figures.fonts import printable
from lensbench.figures.token_cells import (
    CELL_HEIGHT,
    draw_cells,
    fitted,
    probability_key,
)

CAPTION = (
    "The token decoded with the highest probability at each layer (rows) for each generated token "
    "(columns, its text on top), for the first samples of the run. Color: its probability."
)
INPUTS = ("tokens",)
MOST_COLUMNS = 8
_LEFT, _TOP, _BOTTOM, _GAP = 0.42, 0.42, 0.38, 0.1  # inches


def samples_shown(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the rows of the samples that fit abreast, by sample id, in order."""
    shown: dict[str, pd.DataFrame] = {}
    used = 0
    for sample_id, rows in table.groupby("sample_id", sort=True):
        steps = sorted(rows["step"].unique())[:MOST_COLUMNS]
        if used and used + len(steps) > MOST_COLUMNS:
            break
        used += len(steps)
        shown[str(sample_id)] = rows[rows["step"].isin(steps)]
    return shown


@style.themed
def draw(frames: style.Frames) -> Figure:
    """Draw `tokens` of one run as cells with the tokens written in them.

    Args:
        frames: `tokens` (sample_id, step, layer, text, probability, final_rank, generated_text).
    """
    samples = samples_shown(frames["tokens"])
    if not samples:
        return style.sentence("This run has no tokens to draw.")
    columns = sum(rows["step"].nunique() for rows in samples.values())
    room = style.TEXT_WIDTH - _LEFT - 0.05 - _GAP * (len(samples) - 1)
    cell = min(1.2, room / columns)
    layers = max(rows["layer"].nunique() for rows in samples.values())
    high = layers * CELL_HEIGHT + _TOP + _BOTTOM
    figure = Figure(figsize=(style.TEXT_WIDTH, high))
    left = _LEFT
    for place, (sample_id, rows) in enumerate(samples.items()):
        steps = sorted(rows["step"].unique())
        width = cell * len(steps)
        ax = figure.add_axes((
            left / style.TEXT_WIDTH, _BOTTOM / high, width / style.TEXT_WIDTH,
            (high - _TOP - _BOTTOM) / high,
        ))  # fmt: skip
        draw_cells(ax, rows, "step", cell, numbered=place == 0)
        generated = rows.drop_duplicates("step").set_index("step")["generated_text"]
        heads = [fitted(printable(generated[step]), cell - 0.05) for step in steps]
        ax.set_xticks([at + 0.5 for at in range(len(steps))], heads, rotation=0)
        ax.tick_params(axis="x", length=0, labeltop=True, labelbottom=False, pad=1)
        ax.set_title(fitted(printable(sample_id), width), color=style.QUIET, pad=13)
        left += width + _GAP
    probability_key(figure, _LEFT, 0.2, 1.3)
    return figure
