"""Fonts that print every token: Noto and DejaVu files from PyPI, chained by what they hold.

Nothing is taken from the system, so that a figure looks the same on every machine. A text that the
chain can't print is either rewritten by `printable` or refused when the figure is saved.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import unicodedata
from functools import cache
from pathlib import Path

from matplotlib import font_manager

from lensbench.files import atomic_path
from lensbench.fontfiles import first_font, font_paths

_NAMED = {" ": "␣", "\n": "⏎", "\t": "⇥", "\r": "⟨CR⟩"}
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_VARIATION = {chr(code) for code in range(0xFE00, 0xFE10)}
_JOINERS = {"\u200c", "\u200d"}


@cache
def register() -> tuple[str, ...]:
    """Make the chain known to matplotlib and return its family names, the first choice first.

    The names are the project's own, so that a system font of the same family is never taken.
    """
    families = []
    for path in font_paths():
        family = f"lensbench {path.name.split('[')[0].split('.')[0]}"
        font_manager.fontManager.addfont(path)
        entry = font_manager.fontManager.ttflist[-1]
        font_manager.fontManager.ttflist.insert(
            0, dataclasses.replace(entry, name=family, style="normal", weight=400)
        )
        families.append(family)
    return tuple(families)


def covered() -> frozenset[int]:
    """Return the code points that some font of the chain has a glyph for."""
    return frozenset(first_font())


@cache
def families_for(text: str) -> tuple[str, ...]:
    """Return the families a text needs, in the chain's order, the main one always first.

    matplotlib looks up every family it is given at every layout of a text: two dozen of them make
    a figure ten times slower, and most texts need one.
    """
    place_of, families = first_font(), register()
    needed = {place_of[ord(char)] for char in text if ord(char) in place_of}
    return tuple(families[place] for place in sorted(needed | {0}))


def missing_glyphs(text: str) -> set[str]:
    """Return the characters of `text` that no font of the chain can print; line ends aside."""
    return {char for char in text if char != "\n" and ord(char) not in first_font()}


def printable(text: str, width: int | None = None) -> str:
    """Return a token's text so that every character of it is seen, and none changes the layout.

    A space at either end becomes ␣, a line end ⏎, a byte ⟨E4⟩, a character that is invisible or
    in no font its code point (⟨U+200B⟩). Joiners and variation selectors inside a text, which
    only choose a glyph's form, are left out.

    Args:
        text: the token as it was decoded, hostile or not.
        width: the most columns to use, a CJK character counting two; longer texts end in "…".
    """
    if not text:
        return "⟨empty⟩"
    byte = _BYTE.fullmatch(text)
    if byte:
        return f"⟨{byte[1].upper()}⟩"
    shown = _visible(text)
    return shown if width is None else _shortened(shown, width)


def _visible(text: str) -> str:
    inner_from = len(text) - len(text.lstrip(" "))
    inner_to = len(text.rstrip(" "))
    parts: list[str] = []
    for place, char in enumerate(text):
        if char == " " and inner_from <= place < inner_to:
            parts.append(" ")
        elif char == "\ufffd":
            if not place or text[place - 1] != "\ufffd":
                parts.append("⟨bytes⟩")
        elif (char in _VARIATION and place) or (char in _JOINERS and 0 < place < len(text) - 1):
            continue
        else:
            parts.append(_shown_char(char, first=not place))
    return "".join(parts)


def _shown_char(char: str, *, first: bool) -> str:
    if (
        "\u2400" <= char <= "\u2421"
    ):  # the picture of a control character, as the CSV tables have it
        char = chr(ord(char) - 0x2400) if char < "\u2420" else {"\u2420": " "}.get(char, "\x7f")
    if char in _NAMED:
        return _NAMED[char]
    if "\udc80" <= char <= "\udcff":  # Python's own notation for a byte that isn't UTF-8
        return f"⟨{ord(char) - 0xDC00:02X}⟩"
    category = unicodedata.category(char)
    if category[0] in "CZ" or missing_glyphs(char):
        return f"⟨U+{ord(char):04X}⟩"
    if category[0] == "M" and first:
        return f"◌{char}"
    return char


def display_width(text: str) -> int:
    """Return how many columns a text takes: two a wide character, none a combining mark."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )


def _shortened(text: str, width: int) -> str:
    if display_width(text) <= width:
        return text
    kept = text
    while kept and display_width(kept) > width - 1:
        kept = kept[:-1]
    return f"{kept}…"


def latex_fonts() -> str:
    """Return LaTeX (for LuaLaTeX) that loads the chain by absolute path.

    It defines the family `\\lbfont` and a fallback list named `lensbench`, for any font's
    `RawFeature={fallback=lensbench}`: characters that the main font lacks are taken from the first
    font of the chain that has them. XeTeX has no fallback: there `\\lbfont` is the main font alone.
    """
    paths = font_paths()
    main, others = paths[0], paths[1:]
    lines = [
        "% Written by lensbench.figures.fonts: the fonts that print every token.",
        "\\RequirePackage{fontspec}",
        "\\ifdefined\\directlua",
        "\\directlua{luaotfload.add_fallback('lensbench', {",
        *(f"  '[{path.as_posix()}]:mode=node;'," for path in others),
        "})}",
        f"\\newfontfamily\\lbfont{{{main.name}}}[Path={main.parent.as_posix()}/,"
        "RawFeature={fallback=lensbench}]",
        "\\else",
        f"\\newfontfamily\\lbfont{{{main.name}}}[Path={main.parent.as_posix()}/]",
        "\\fi",
    ]
    return "\n".join(lines) + "\n"


def write_latex_fonts(out: str | Path) -> Path:
    """Write `latex_fonts()` to a file, for the paper's preamble, and return its path."""
    target = Path(out)
    with atomic_path(target) as temporary:
        temporary.write_text(latex_fonts(), encoding="utf-8", newline="\n")
    return target


def main() -> None:
    """Print the chain's paths, or with --latex FILE write the paper's font setup."""
    parser = argparse.ArgumentParser(prog="python -m lensbench.figures.fonts")
    parser.add_argument("--latex", metavar="FILE", help="write the LaTeX font setup to FILE")
    arguments = parser.parse_args()
    if arguments.latex:
        write_latex_fonts(arguments.latex)
        return
    for path in font_paths():
        print(path)


if __name__ == "__main__":
    main()
