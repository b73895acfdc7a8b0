"""How a figure is saved: laid out once, every glyph there, equal figures as equal bytes."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from lensbench.errors import LensbenchError
from lensbench.figures.style import theme
from lensbench.files import atomic_path


def save(
    figure: Figure, out_stem: str | Path, formats: Sequence[str] = ("pdf", "png")
) -> list[Path]:
    """Write a figure, whole or not at all, without dates, so that equal figures are equal bytes.

    Args:
        figure: what to save, at its own size.
        out_stem: the path without its ending; a stem may hold dots.
        formats: endings of the files to write.

    Returns:
        The files written, in the order of `formats`.

    Raises:
        LensbenchError: if a character has no glyph; nothing is written then.
    """
    stem = Path(out_stem)
    written = []
    with mpl.rc_context(theme()):
        if figure.get_layout_engine() is not None:
            # Lay out once: the formats differ in nothing that moves a panel.
            _lay_out(figure)
        for ending in formats:
            target = stem.with_name(f"{stem.name}.{ending}")
            stripped = {"CreationDate": None} if ending == "pdf" else None
            with atomic_path(target) as temporary, _glyphs_required():
                # Drawn in memory: where a disk fills, the PDF's writer stumbles over itself.
                drawn = io.BytesIO()
                figure.savefig(drawn, format=ending, metadata=stripped)
                temporary.write_bytes(drawn.getvalue())
            written.append(target)
    return written


@contextmanager
def _glyphs_required() -> Iterator[None]:
    """Turn matplotlib's warning about a glyph that no font has into an error."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for warning in caught:
        if re.match(r"Glyph \d+", str(warning.message)):
            raise LensbenchError(
                f"A figure can't be printed: {str(warning.message).split(' missing')[0]} is in "
                "none of the fonts; pass the text through `printable`."
            )


def _lay_out(figure: Figure) -> None:
    """Place the panels for good, on a higher figure where they don't fit."""
    for _ in range(4):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            figure.draw_without_rendering()
        if not any("constrained_layout not applied" in str(entry.message) for entry in caught):
            break
        width, high = figure.get_size_inches()
        figure.set_size_inches(width, high * 1.3)
    figure.set_layout_engine("none")
