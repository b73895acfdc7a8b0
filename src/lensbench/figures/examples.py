"""A sheet of one run's inputs: picture, prompt, the top-1 token at every layer, gold, generated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from lensbench.errors import DataError
from lensbench.figures import layout, style
from lensbench.figures.fonts import printable
from lensbench.figures.token_cells import (
    CELL_HEIGHT,
    draw_cells,
    fitted,
    probability_key,
    wrapped,
)
from lensbench.pixels import FORMATS

CAPTION = (
    "Examples of one run: the picture, the question, the token decoded at each layer where the "
    "first generated token is predicted (embeddings on top, last layer at the bottom; color: "
    "probability), the gold answer and what the model generated."
)
INPUTS = ("tokens",)
_ABREAST, _LEFT, _GAP, _BOTTOM, _LINE = 5, 0.42, 0.12, 0.4, 0.122
_PROMPT_LINES = 4


def examples_of(
    tokens: pd.DataFrame, manifest: pd.DataFrame
) -> list[tuple[pd.Series, pd.DataFrame]]:
    """Return each sample's manifest row with its tokens, the samples in order.

    Args:
        tokens: the run's `tokens` table.
        manifest: the dataset's manifest.

    Raises:
        DataError: if a sample of the run isn't in the manifest.
    """
    by_id = {str(row["sample_id"]): row for _, row in manifest.iterrows()}
    pairs = []
    for sample_id, rows in tokens.groupby("sample_id", sort=True):
        if sample_id not in by_id:
            raise DataError(
                f"Sample {sample_id} of a run isn't in its dataset's manifest: "
                "the manifest changed after the extraction; run the extraction again."
            )
        pairs.append((by_id[str(sample_id)], rows))
    return pairs


@style.themed
def draw(frames: style.Frames, manifest_folder: str | Path) -> Figure:
    """Draw the example sheet of one run.

    Args:
        frames: `tokens` and `manifest` of the run.
        manifest_folder: the folder that the manifest's pictures are relative to.

    Raises:
        DataError: if a picture is missing or unreadable, or a sample isn't in the manifest.
    """
    pairs = examples_of(frames["tokens"], frames["manifest"])
    if not pairs:
        return style.sentence("This run has no examples to draw.")
    # Six examples are two rows of three, not five and one.
    across = -(-len(pairs) // -(-len(pairs) // _ABREAST))
    cell = (style.TEXT_WIDTH - _LEFT - 0.05 - _GAP * (across - 1)) / max(across, 3)
    pictured = any(isinstance(row["image"], str) and row["image"] for row, _ in pairs)
    picture = min(cell, 1.0) if pictured else 0.0
    # A wide column has the question beside its picture, a narrow one below it.
    beside = pictured and cell > 1.7
    room = cell - picture - 0.08 if beside else cell
    most = int(picture / _LINE) if beside else _PROMPT_LINES
    layers = max(rows["layer"].nunique() for _, rows in pairs)
    prompts = [wrapped(_prompt(row), room, most).split("\n") for row, _ in pairs]
    lines = 0 if beside else max(len(prompt) for prompt in prompts)
    block = 0.35 + picture + lines * _LINE + layers * CELL_HEIGHT + 2 * _LINE + 0.2
    fit = max(1, int((layout.PAGE_HEIGHT - _BOTTOM) / block)) * across
    pairs = pairs[:fit]
    high = block * -(-len(pairs) // across) + _BOTTOM
    figure = Figure(figsize=(style.TEXT_WIDTH, high))
    for place, ((row, rows), prompt) in enumerate(zip(pairs, prompts, strict=False)):
        left = _LEFT + (place % across) * (cell + _GAP)
        top = (place // across) * block + 0.05
        _draw_example(
            figure, row, rows[rows["step"] == 0], _generated(rows), Path(manifest_folder),
            left=left, top=top, cell=cell, picture=picture, prompt=prompt, lines=lines,
            numbered=place % across == 0,
        )  # fmt: skip
    probability_key(figure, _LEFT, 0.2, 1.3)
    return figure


def _prompt(row: pd.Series) -> str:
    return " ".join(printable(word) for word in str(row["prompt"]).split())


def _generated(rows: pd.DataFrame) -> str:
    steps = rows.drop_duplicates("step").sort_values("step")
    return "".join(str(text) for text in steps["generated_text"])


def _draw_example(
    figure: Figure, row: pd.Series, rows: pd.DataFrame, generated: str, folder: Path, *,
    left: float, top: float, cell: float, picture: float, prompt: list[str], lines: int,
    numbered: bool,
) -> None:  # fmt: skip
    """Draw one sample's column; places are in inches from the figure's upper left corner."""
    width, high = figure.get_size_inches()

    def at(x: float, y: float) -> tuple[float, float]:
        return x / width, 1 - y / high

    figure.text(*at(left, top), fitted(printable(row["sample_id"]), cell), va="top",
                color=style.QUIET)  # fmt: skip
    y = top + 0.15
    if isinstance(row["image"], str) and row["image"]:
        corner = at(left, y + picture)
        ax = figure.add_axes((*corner, picture / width, picture / high))
        ax.imshow(_picture(folder / row["image"]), interpolation="nearest")
        ax.set(xticks=[], yticks=[], anchor="NW")
        for spine in ax.spines.values():
            spine.set(visible=True, linewidth=0.5, color="#999999")
        ax.grid(False)
    beside = bool(picture) and not lines
    line_y = y if beside else y + picture + (0.06 if picture else 0)
    for line in prompt:
        # Line by line: a line of Chinese is higher than one of English, and would push the others.
        x = left + picture + 0.08 if beside else left
        figure.text(*at(x, line_y + 0.75 * _LINE), line)
        line_y += _LINE
    y += picture + (0.06 if picture else 0) + lines * _LINE + 0.08
    layers = rows["layer"].nunique()
    corner = at(left, y + layers * CELL_HEIGHT)
    ax = figure.add_axes((*corner, cell / width, layers * CELL_HEIGHT / high))
    draw_cells(ax, rows, "step", cell, numbered=numbered)
    y += layers * CELL_HEIGHT + 0.05
    gold = style.answer_text(str(row["gold"]))
    for name, text in (("gold", gold), ("output", printable(generated))):
        figure.text(*at(left, y + 0.75 * _LINE), name, color=style.QUIET)
        figure.text(*at(left + 0.36, y + 0.75 * _LINE), fitted(text, cell - 0.36))
        y += _LINE


def _picture(path: Path) -> np.ndarray:
    """Return a picture as RGB, at most 320 pixels a side."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            rgb = image.convert("RGB")
            rgb.thumbnail((320, 320))
            return np.asarray(rgb)
    # Hostile bytes make Pillow's decoders raise anything: SyntaxError, struct.error, …
    except Exception as error:
        raise DataError(
            f"The picture {path} is missing or can't be read: make the dataset again."
        ) from error
