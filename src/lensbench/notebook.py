"""A look as a notebook shows it: HTML that needs no script and no style sheet, tokens escaped."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import jinja2
import matplotlib as mpl
import seaborn as sns
from PIL import Image

from lensbench.figures.style import text_on
from lensbench.figures.token_cells import CMAP, MARK
from lensbench.look_views import Cell, View

_HEAD = "padding: 1px 6px; font-weight: 500; white-space: nowrap; background: none;"
_BODY = (
    "padding: 1px 6px; text-align: left; white-space: nowrap; max-width: 14em; overflow: hidden; "
    "text-overflow: ellipsis; line-height: 20px; vertical-align: middle;"
)
_SIDE = 152  # pixels of the picture's longer side, twice what is shown


def page(
    lines: Sequence[tuple[str, str]],
    views: Sequence[View],
    legend: str,
    picture: Image.Image | None = None,
) -> str:
    """Return views as HTML.

    Args:
        lines: names and texts that stand above.
        views: the tables.
        legend: what stands below.
        picture: the picture that was asked about.
    """
    return _template().render(
        lines=lines,
        views=views,
        legend=legend,
        picture=None if picture is None else _thumbnail(picture),
        head=_HEAD,
        body=_BODY,
        colors=_colors,
    )


@cache
def _template() -> jinja2.Template:
    # Always escaped, whatever the file is called: a token may be anything.
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("look.html.jinja")


@cache
def _cmap() -> mpl.colors.Colormap:
    return sns.color_palette(CMAP, as_cmap=True)


def _colors(cell: Cell) -> str:
    """Return a cell's colors: darker if likelier, marked if it is the position's final token."""
    background = _cmap()(cell.probability)
    mark = MARK if cell.final else "transparent"
    return (
        f"background: {mpl.colors.to_hex(background)}; color: {text_on(background)}; "
        f"border-left: 4px solid {mark};"
    )


def _thumbnail(picture: Image.Image) -> str:
    """Return a small copy of a picture as a data URI."""
    small = picture.copy()
    small.thumbnail((_SIDE, _SIDE))
    stream = io.BytesIO()
    small.save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
