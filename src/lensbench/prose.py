"""What notebooks are made of: sentences with numbers in them, tables and figures, tokens escaped.

Nothing here computes: numbers come from the tables and are rounded, texts are made visible.
"""

from __future__ import annotations

import base64
import io
import json
import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from lensbench.errors import LensbenchError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SHOWN = 120  # pixels an inch on a page; pictures are twice as fine
_TINY = 1e-3  # what is smaller is written with a power of ten
_MOST_DECIMALS = 4  # what needs more of them, too


class NothingToTellError(LensbenchError):
    """These results lack all that a notebook is about; it ends here, and that is no failure."""


def results_folder() -> Path:
    """Return the folder of results: LENSBENCH_RESULTS, else results/ here or beside notebooks/.

    Raises:
        LensbenchError: if there is none.
    """
    named = os.environ.get("LENSBENCH_RESULTS")
    for folder in [Path(named)] if named else [Path("results"), Path("../results")]:
        if folder.is_dir():
            return folder
    raise LensbenchError(
        "There is no folder of results: run the workflow, or name one in LENSBENCH_RESULTS."
    )


def options(**defaults: Any) -> dict[str, Any]:
    """Return a notebook's settings: the defaults, changed by the JSON in LENSBENCH_OPTIONS.

    Raises:
        LensbenchError: if there is a setting that the notebook doesn't have.
    """
    given = json.loads(os.environ.get("LENSBENCH_OPTIONS") or "{}")
    unknown = sorted(set(given) - set(defaults))
    if unknown:
        raise LensbenchError(
            f"This notebook has no setting {unknown[0]}: there are {', '.join(defaults) or 'none'}."
        )
    return {**defaults, **given}


def first_of(table: pd.DataFrame, datasets: Sequence[str]) -> str:
    """Return the first of these datasets that a table has rows of; the last if it has none."""
    there = set(table["dataset"])
    return next((name for name in datasets if name in there), datasets[-1])


def text_run(heads: pd.DataFrame, model: str = "", prefer: str = "") -> tuple[str, str]:
    """Return the model and dataset of the first run without pictures.

    Args:
        heads: the table of that name: without a picture no head attends to one.
        model: of this model only.
        prefer: of this model, if it is among them.

    Raises:
        NothingToTellError: if there is no such run.
    """
    seen = heads.groupby(["model", "dataset"], sort=False)["image_mass"].max()
    runs = [(str(name), str(dataset)) for name, dataset in seen.index[seen == 0]]
    wanted = [run for run in runs if run[0] == model] if model else runs
    if not wanted:
        raise NothingToTellError(
            f"These results have no run of words alone{f' of {model}' if model else ''}: add a "
            "text model and a text dataset to the configuration."
        )
    return next((run for run in wanted if run[0] == prefer), wanted[0])


def say(text: str) -> Any:
    """Return Markdown for a notebook to show; tokens in it go through `quoted`."""
    from IPython.display import Markdown

    return Markdown(text)


def quoted(text: Any) -> str:
    """Return a token or another foreign text as Markdown code, every character of it visible."""
    from lensbench.figures.fonts import printable

    shown = printable(str(text)).replace("|", "∣")  # a bar would end a cell of a Markdown table
    longest = max((len(run) for run in _runs(shown, "`")), default=0)
    fence = "`" * (longest + 1)
    pad = " " if longest else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def _runs(text: str, char: str) -> list[str]:
    return [run for run in "".join(c if c == char else " " for c in text).split() if run]


def number(value: Any, digits: int = 2) -> str:
    """Return a number as prose has it: "75,406", "0.53", "0.0036", "3.8e-05"; "–" if there is none.

    Only zero is printed as zero: what the digits would make one gets more of them, or a power of
    ten.
    """
    if value is None or pd.isna(value):
        return "–"
    real = float(value)
    if real.is_integer() and (isinstance(value, int) or abs(real) >= 1000 or not digits):
        return _plain(real, 0)
    return together([real], digits)[0]


def together(values: Sequence[Any], digits: int = 2, sign: str = "") -> list[str]:
    """Return numbers that belong together in one format, so that their order is what is printed.

    All have as many decimals as it takes for none but zero to be printed as zero, or all have a
    power of ten: "0.0036" beside "0.0012", "9.9e-04" beside "5.0e-03". Zero is "0.00" in each.

    Args:
        values: numbers, some perhaps missing ("–").
        digits: decimals where that is enough; none from 1,000 on.
        sign: "+" to print it.
    """
    reals = [None if value is None or pd.isna(value) else float(value) for value in values]
    sizes = [abs(real) for real in reals if real]
    decimals = 0 if sizes and max(sizes) >= 1000 else digits
    if any(round(size, decimals) == 0 for size in sizes):
        # Two digits of the largest tell it from the others.
        while decimals < _MOST_DECIMALS and (
            round(max(sizes) * 10**decimals) < 10 or any(round(s, decimals) == 0 for s in sizes)
        ):
            decimals += 1
    fine = all(round(size, decimals) for size in sizes) and max(sizes, default=1) >= _TINY
    return [
        "–"
        if real is None
        else _plain(real, decimals if fine else digits, sign)
        if fine or real == 0
        else f"{real:{sign}.1e}"
        for real in reals
    ]


def _plain(real: float, decimals: int, sign: str = "") -> str:
    # Adding zero makes -0.0 a plain zero.
    return f"{real + 0.0:{sign},.{decimals}f}"


def interval(row: Any, digits: int = 2) -> str:
    """Return "0.53 (0.41 to 0.65, n = 36)" of a row with value, low, high and n."""
    value, low, high = together([row[name] for name in ("value", "low", "high")], digits)
    return f"{value} ({low} to {high}, n = {int(row['n'])})"


def grid(
    frame: pd.DataFrame, names: Mapping[str, str] | None = None, digits: int = 2, caption: str = ""
) -> Any:
    """Return a table for a notebook: texts visible and escaped, numbers rounded and to the right.

    Args:
        frame: its index is left out.
        names: column → heading, for those that are to be shown; all as they are by default.
        digits: of reals.
        caption: what stands above.
    """
    from IPython.display import HTML

    from lensbench.figures.fonts import printable

    shown = dict(names or {str(name): str(name) for name in frame.columns})
    numeric = {name: pd.api.types.is_numeric_dtype(frame[name]) for name in shown}
    whole = {name: pd.api.types.is_integer_dtype(frame[name]) for name in shown}
    head = "".join(
        f"<th{' class=number' if numeric[name] else ''}>{escape(title)}</th>"
        for name, title in shown.items()
    )
    rows = []
    for _, row in frame.iterrows():
        cells = []
        for name in shown:
            value = row[name]
            if numeric[name]:
                text = number(value, 0 if whole[name] else digits)
                cells.append(f"<td class=number>{text}</td>")
            else:
                text = "–" if pd.isna(value) else printable(str(value), 200)
                cells.append(f"<td><bdi>{escape(text)}</bdi></td>")
        rows.append(f"<tr>{''.join(cells)}</tr>")
    top = f"<caption><bdi>{_caption(caption)}</bdi></caption>" if caption else ""
    return HTML(f"<table>{top}<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>")


def png(figure: Figure) -> tuple[bytes, dict[str, int]]:
    """Return a figure as PNG, twice as fine as it is shown, with the size it is shown at."""
    import matplotlib as mpl

    from lensbench.figures import style

    stream = io.BytesIO()
    with mpl.rc_context(style.theme()):
        # No version of a library in the file: pages are the same wherever figures are.
        figure.savefig(stream, format="png", dpi=2 * _SHOWN, metadata={"Software": None})
    wide, high = (round(inches * _SHOWN) for inches in figure.get_size_inches())
    return stream.getvalue(), {"width": wide, "height": high}


def drawn(figure: Figure, caption: str) -> Any:
    """Return a figure with its caption for a notebook to show."""
    content, size = png(figure)
    return _figure(content, size["width"], caption)


def saved(path: str | Path, caption: str) -> Any:
    """Return a figure that the workflow has drawn, as a .png file, with its caption.

    Raises:
        LensbenchError: if the file isn't there.
    """
    from PIL import Image

    try:
        content = Path(path).read_bytes()
        with Image.open(io.BytesIO(content)) as picture:
            wide = picture.width
    except OSError as error:
        raise LensbenchError(
            f"The figure {path} is missing or damaged: run the workflow's figures first."
        ) from error
    # The workflow saves 200 pixels an inch.
    return _figure(content, round(wide * _SHOWN / 200), caption)


def _figure(content: bytes, width: int, caption: str) -> Any:
    from IPython.display import HTML

    data, said = base64.b64encode(content).decode("ascii"), _caption(caption)
    return HTML(
        f'<figure><img src="data:image/png;base64,{data}" width="{width}" alt="{said}">'
        f"<figcaption><bdi>{said}</bdi></figcaption></figure>"
    )


def _caption(text: str) -> str:
    """Return a caption, which may hold what a model wrote, as it may stand in HTML."""
    from lensbench.figures.fonts import printable

    return escape(printable(text))
