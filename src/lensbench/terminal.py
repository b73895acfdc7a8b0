"""Tables that fit a terminal: columns measured as they are printed, nothing in them is obeyed."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Sequence
from typing import Literal

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lensbench.look_views import Cell, View

#: Columns between two columns, and those of a probability with the space before it.
_GAP, _NUMBER = 2, 5
#: How many columns a token gets at most, and at least before a column is left out.
_WIDEST, _NARROWEST = 20, 7


def terminal_width() -> int:
    """Return the terminal's columns; COLUMNS, or else 80, where there is no terminal."""
    return max(20, shutil.get_terminal_size((80, 24)).columns)


def show(*parts: Table | Text) -> None:
    """Print tables and lines, in colors only if stdout is a terminal."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Whatever its encoding lacks is written as its escape.
        sys.stdout.reconfigure(errors="backslashreplace")
    width = terminal_width()
    if not sys.stdout.isatty():
        print(as_text(parts, width))
        return
    screen = Console(width=width, highlight=False, markup=False, emoji=False)
    for part in parts:
        screen.print(part)


def view_tables(view: View, width: int, fold: bool = False) -> list[Table | Text]:
    """Return a view as tables and lines of at most `width` columns.

    Args:
        view: what is shown.
        width: columns of the terminal.
        fold: whether columns that don't fit follow below; else they are left out, which is said.
    """
    first, parts = 0, []
    while first < len(view.heads):
        widths = _widths(view.part(first, len(view.heads)), width)
        parts.append((view.part(first, first + len(widths)), widths))
        first += len(widths)
        if not fold:
            break
    out: list[Table | Text] = [Text(view.title, style="bold")] if view.title else []
    for place, (part, widths) in enumerate(parts):
        out += [*([Text("")] if place else []), _table(part, widths)]
    notes = [view.note] if view.note else []
    if first < len(view.heads):
        notes.append(f"{first} of {len(view.heads)} columns fit here.")
    return [*out, *(Text(note, style="dim") for note in notes)]


def as_text(parts: Sequence[Table | Text], width: int) -> str:
    """Return tables and lines as plain text without colors."""
    stream = io.StringIO()
    plain = Console(
        file=stream, width=width, color_system=None, force_terminal=False, force_jupyter=False,
        highlight=False, markup=False, emoji=False, legacy_windows=False,
    )  # fmt: skip
    for part in parts:
        plain.print(part)
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines())


def rows_table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()
) -> Table:
    """Return texts as a table; the widest column is folded where the terminal is too narrow.

    Args:
        heads: names of the columns.
        rows: the texts, as many as heads in each row.
        right: which columns stand at their right.
    """
    table = _empty()
    needs = [max(cell_len(row[at]) for row in (heads, *rows)) for at in range(len(heads))]
    longest = max(range(len(heads)), key=needs.__getitem__)
    for at, head in enumerate(heads):
        side: Literal["left", "right"] = "right" if at in right else "left"
        table.add_column(Text(head), justify=side, no_wrap=at != longest, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _empty() -> Table:
    return Table(
        box=None, padding=(0, _GAP, 0, 0), pad_edge=False, collapse_padding=True,
        header_style="bold", expand=False,
    )  # fmt: skip


def _widths(view: View, width: int) -> list[int]:
    """Return the columns that each cell's token gets; as many cells as fit."""
    label = max(cell_len(text) for text in (view.corner, *(row.label for row in view.rows)))
    tail = max(cell_len(text) for text in (view.tail, *(row.tail for row in view.rows)))
    number = _NUMBER if view.numbered else 0
    room = width - label - (tail + _GAP if view.tail else 0)
    needs = []
    for at, head in enumerate(view.heads):
        texts = [cell.text for row in view.rows if (cell := row.cells[at]) is not None]
        longest = max((cell_len(text) for text in texts), default=1)
        needs.append(max(longest, cell_len(head) - number, 1))
    for count in range(len(needs), 0, -1):
        for most in range(_WIDEST, (_NARROWEST if count > 1 else 1) - 1, -1):
            widths = [min(need, most) for need in needs[:count]]
            if sum(widths) + count * (number + _GAP) <= room:
                return widths
    return [1]


def _table(view: View, widths: Sequence[int]) -> Table:
    table, number = _empty(), _NUMBER if view.numbered else 0
    table.add_column(Text(view.corner), justify="right", no_wrap=True)
    for head, room in zip(view.heads, widths, strict=True):
        title = Text(head)
        title.truncate(room + number, overflow="ellipsis")
        table.add_column(title, width=room + number, no_wrap=True)
    if view.tail:
        table.add_column(Text(view.tail), justify="right", no_wrap=True)
    for row in view.rows:
        cells = [
            _cell(cell, room, view.numbered) for cell, room in zip(row.cells, widths, strict=True)
        ]
        table.add_row(row.label, *cells, *([row.tail] if view.tail else []))
    return table


def _cell(cell: Cell | None, room: int, numbered: bool) -> Text:
    if cell is None:
        return Text("")
    text = Text(cell.text, style="bold green" if cell.final else "")
    text.truncate(room, overflow="ellipsis", pad=True)
    if numbered:
        text.append(f" {cell.probability:.2f}", style="" if cell.probability >= 0.1 else "dim")
    return text
