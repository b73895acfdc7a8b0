"""An executed notebook as one HTML file: figures inside, code a click away, nothing loaded."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from pygments.formatters import HtmlFormatter

from lensbench.webfonts import font_faces

_SHOWN = ["text/html", "text/markdown", "image/png", "image/svg+xml", "text/plain"]
_HERE = Path(__file__).parent
_LIGHT, _DARK = "default", "github-dark"


def to_html(notebook: Any, source: str) -> str:
    """Return a notebook as a page whose bytes follow from its cells and outputs alone.

    Args:
        notebook: with its outputs; cells' outputs on stderr are left out.
        source: the name of its file.
    """
    from nbconvert import HTMLExporter
    from traitlets.config import Config

    exporter = HTMLExporter(
        config=Config({"NbConvertBase": {"display_data_priority": _SHOWN}}),
        extra_loaders=[jinja2.FileSystemLoader(_HERE)],
        template_name="basic",
        template_file="notebook_cells.html.jinja",
        filters={"said": markdown},
    )
    cells, _ = exporter.from_notebook_node(_settled(notebook))
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE), autoescape=True, undefined=jinja2.StrictUndefined
    )
    title = title_of(notebook) or source
    page = environment.get_template("notebook_page.html.jinja").render(
        title=title,
        cells=Markup(cells),
        source=source,
        code_style=Markup(_code_style()),
        faces=Markup(font_faces([unescape(cells), title, source])),
    )
    return page.strip() + "\n"


def markdown(text: str) -> str:
    """Return Markdown as HTML; what stands in it as HTML is shown, not obeyed."""
    from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

    renderer = IPythonRenderer(escape=True, allow_harmful_protocols=False)
    return str(MarkdownWithMath(renderer=renderer).render(text))


def title_of(notebook: Any) -> str:
    """Return the first heading of a notebook's first cell of text, "" if there is none."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            found = re.match(r"#\s+(.+)", cell.source.strip())
            return found[1].strip() if found else ""
    return ""


def _settled(notebook: Any) -> Any:
    """Return the notebook without what differs from run to run: ids, times, progress."""
    for place, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{place}"
        cell["metadata"] = {}
        if cell.cell_type == "code":
            cell["outputs"] = [output for output in cell.outputs if output.get("name") != "stderr"]
    return notebook


def _code_style() -> str:
    """Return the colors of code, for light pages and for dark ones."""
    light = HtmlFormatter(style=_LIGHT).get_style_defs(".highlight")
    dark = HtmlFormatter(style=_DARK).get_style_defs(".highlight")
    plain = ".highlight { background: transparent !important; }"
    return f"{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}\n{plain}"
