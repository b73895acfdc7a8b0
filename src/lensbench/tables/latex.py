"""LaTeX that no text can break: one escape, and tables with booktabs."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import cache

import jinja2

# Pairs that TeX's fonts would print as one other character.
_LIGATURES = {"--", ",,", "?`", "!`", "``", "''", "<<", ">>"}
# Every character that TeX gives a meaning to, or a font may lack.
_SPECIAL = {
    "\\": "\\textbackslash{}",
    "{": "\\{",
    "}": "\\}",
    "$": "\\$",
    "&": "\\&",
    "#": "\\#",
    "%": "\\%",
    "_": "\\_",
    "^": "\\textasciicircum{}",
    "~": "\\textasciitilde{}",
    "<": "\\textless{}",
    ">": "\\textgreater{}",
    "|": "\\textbar{}",
    '"': "\\textquotedbl{}",
    "'": "\\textquotesingle{}",
    "`": "\\textasciigrave{}",
    "[": "{[}",  # after \\ a bracket would be an argument
    "]": "{]}",
    "*": "{*}",
    "…": "\\ldots{}",
    "⟨": "\\textlangle{}",
    "⟩": "\\textrangle{}",
    "␣": "\\textvisiblespace{}",
    "\ufffd": "\\textlangle{}U+FFFD\\textrangle{}",  # LuaTeX takes it for a broken file
}


def latex_escape(text: str) -> str:
    """Return LaTeX that prints a text as it is, whatever is in it.

    Characters beyond ASCII pass through (the paper's fonts have them); what can't be printed, such
    as a control character, is written as its code point in angle brackets. The result is for text
    mode, holds no line end, and never ends a paragraph, a cell or a group.
    """
    parts = []
    for place, char in enumerate(text):
        parts.append(_SPECIAL.get(char) or _passed(char))
        if text[place : place + 2] in _LIGATURES:
            parts.append("\\kern0pt{}")  # an empty group would not part them in LuaTeX
    return "".join(parts)


def _passed(char: str) -> str:
    if char == " " or unicodedata.category(char)[0] not in "CZ":
        return char
    return f"\\textlangle{{}}U+{ord(char):04X}\\textrangle{{}}"


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("lensbench.tables", "."),
        # TeX is made of braces and percent signs: the template's own marks are others.
        block_start_string="<%", block_end_string="%>", variable_start_string="<<",
        variable_end_string=">>", comment_start_string="<#", comment_end_string="#>",
        undefined=jinja2.StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True,
    )  # fmt: skip
    return environment.get_template("booktabs.tex.jinja")


def tabular(
    header: Sequence[str], rows: Sequence[Sequence[str]], columns: str, *, note: str = ""
) -> str:
    """Return a `tabular` with booktabs rules.

    Args:
        header: the columns' names, already LaTeX.
        rows: the cells, already LaTeX; a row that starts another group than the one above it,
            told by its first cell not being empty, gets a little space above.
        columns: TeX's column types, such as "llr".
        note: plain text to print when there are no rows.
    """
    return _template().render(
        header=header, rows=rows, columns=columns, note=latex_escape(note or "Nothing to show.")
    )
