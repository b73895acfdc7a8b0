"""The glyphs a page needs beyond Latin, as fonts inside its style: no reader sees empty boxes.

A page names the reader's own fonts first and `FAMILY` last; a browser then takes from it, character
by character, what those lack.
"""

from __future__ import annotations

import base64
import io
import unicodedata
from collections.abc import Iterable
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from fontTools import subset
from fontTools.fontBuilder import FontBuilder
from fontTools.misc.psCharStrings import T2CharString
from fontTools.pens.t2CharStringPen import T2CharStringPen
from fontTools.ttLib import TTFont
from fontTools.varLib import instancer

from lensbench.fontfiles import first_font, font_paths

#: The name under which a page's style asks for these fonts.
FAMILY = "lensbench tokens"
#: Characters at most: these take 0.3 MB, and a vocabulary of 32,000 tokens has about as many.
MOST = 1200
# Latin with its accents, and the punctuation it is set with: every font of text has these.
_PLAIN = ((0x0000, 0x024F), (0x1E00, 0x1EFF), (0x2000, 0x206F))
# What joins letters and puts marks in place. What only looks better (kerning, ligatures of Latin,
# fractions) is left out.
_FEATURES = (
    "ccmp", "locl", "rlig", "rclt", "calt", "clig", "curs", "mark", "mkmk", "abvm", "blwm", "dist",
    "isol", "init", "medi", "med2", "fina", "fin2", "fin3", "mset", "stch",
    "nukt", "akhn", "rphf", "rkrf", "pref", "blwf", "half", "abvf", "pstf", "cfar", "vatu", "cjct",
    "pres", "abvs", "blws", "psts", "haln",
)  # fmt: skip
_DROPPED = ("BASE", "FFTM", "MATH", "STAT", "VORG", "gasp", "kern", "vhea", "vmtx")
# A mark alone stands on this circle, which must come from the mark's own font.
_CIRCLE = 0x25CC
# Characters that browsers take apart before they look for glyphs, besides canonical decomposition.
_APART = {
    0x0E33: (0x0E4D, 0x0E32), 0x0EB3: (0x0ECD, 0x0EB2),
    **dict.fromkeys((0x17BE, 0x17BF, 0x17C0, 0x17C4, 0x17C5), (0x17C1,)),
}  # fmt: skip


def font_faces(texts: Iterable[str], most: int = MOST) -> str:
    """Return `@font-face` rules with a glyph for each character beyond Latin that some font has.

    The same texts give the same bytes. Nothing of a text gets into the rules but code points.

    Args:
        texts: what the page may show.
        most: characters at most; those that come first in the texts are kept.
    """
    seen = dict.fromkeys(char for text in texts for char in dict.fromkeys(text))
    place_of = first_font()
    asked = [ord(c) for c in seen if _beyond_latin(c) and ord(c) in place_of][:most]
    by_font: dict[int, list[int]] = {}
    for point in sorted(asked):
        by_font.setdefault(place_of[point], []).append(point)
    paths = font_paths()
    return "\n".join(_rule(paths[place], by_font[place]) for place in sorted(by_font))


def _beyond_latin(char: str) -> bool:
    """Say whether a character is one to embed: not Latin, and not one that has no picture."""
    point = ord(char)
    if any(first <= point <= last for first, last in _PLAIN):
        return False
    return unicodedata.category(char)[0] not in "CZ"


def _rule(path: Path, points: list[int]) -> str:
    """Return the rule of one font's characters (sorted)."""
    points = sorted({*points, *(_parts(points) & _characters(path))})
    data = base64.b64encode(_woff(path, tuple(points))).decode("ascii")
    return (
        f'@font-face {{ font-family: "{FAMILY}"; font-weight: 400; font-style: normal; '
        f"unicode-range: {_ranges(points)}; "
        f'src: url(data:font/woff;base64,{data}) format("woff"); }}'
    )


def _parts(points: Iterable[int]) -> set[int]:
    """Return what a browser needs of the same font to put marks and vowels in their places."""
    parts: set[int] = set()
    for point in points:
        char = chr(point)
        parts.update(_APART.get(point, ()))
        if unicodedata.category(char)[0] == "M":
            parts.update((_CIRCLE, *map(ord, unicodedata.normalize("NFD", char))))
    return parts


def _ranges(points: list[int]) -> str:
    """Return sorted code points as CSS writes ranges of them."""
    runs: list[list[int]] = []
    for point in points:
        if runs and point == runs[-1][1] + 1:
            runs[-1][1] = point
        else:
            runs.append([point, point])
    return ", ".join(f"U+{a:X}" if a == b else f"U+{a:X}-{b:X}" for a, b in runs)


@cache
def _characters(path: Path) -> frozenset[int]:
    with TTFont(path, lazy=True) as font:
        return frozenset(font.getBestCmap())


# The pages of one run need much the same symbols.
@lru_cache(maxsize=64)
def _woff(path: Path, points: tuple[int, ...]) -> bytes:
    """Return a font of some of a font's characters, as WOFF."""
    font = _rebuilt(path, points) if path.suffix == ".otf" else _subset(path, points)
    font.flavor = "woff"
    packed = io.BytesIO()
    font.save(packed, reorderTables=False)
    return packed.getvalue()


def _subset(path: Path, points: tuple[int, ...]) -> TTFont:
    """Return a font cut down to some characters, at its regular weight, that shapes as before."""
    font = TTFont(path, lazy=True, recalcTimestamp=False)
    options = subset.Options(
        layout_features=list(_FEATURES), hinting=False, name_IDs=[], notdef_outline=True,
        bidi_closure=False,
    )  # fmt: skip
    options.drop_tables += _DROPPED
    cutter = subset.Subsetter(options)
    cutter.populate(unicodes=points)
    cutter.subset(font)
    if "fvar" in font:
        instancer.instantiateVariableFont(font, {"wght": 400}, inplace=True)
    return font


class _Ideographs:
    """The CJK font, kept open: it has 65,535 glyphs, and its tables alone take a while to read.

    Its characters need no shaping. So a font of some of them is made from their outlines, which is
    several times faster than cutting the whole font down, and keeps outlines for the next page.
    """

    def __init__(self, path: Path) -> None:
        font = TTFont(path, lazy=True)
        self.name_of: dict[int, str] = font.getBestCmap()
        self.head, self.across, self.os2 = font["head"], font["hhea"], font["OS/2"]
        self.widths = font["hmtx"]
        self._glyphs = font["CFF "].cff.topDictIndex[0].CharStrings
        self._outlines: dict[str, T2CharString] = {}

    def outline(self, name: str) -> T2CharString:
        """Return a glyph's outline without hints and subroutines."""
        if name not in self._outlines:
            pen = T2CharStringPen(self.widths[name][0], None)
            self._glyphs[name].draw(pen)
            self._outlines[name] = pen.getCharString()
        return self._outlines[name]


_ideographs = cache(_Ideographs)


def _rebuilt(path: Path, points: tuple[int, ...]) -> TTFont:
    """Return a new font of some characters of an OpenType font with PostScript outlines."""
    source = _ideographs(path)
    name_of = {point: source.name_of[point] for point in points}
    names = list(dict.fromkeys((".notdef", *name_of.values())))
    box = {edge: getattr(source.head, edge) for edge in ("xMin", "yMin", "xMax", "yMax")}
    private: dict[str, Any] = {}
    builder = FontBuilder(source.head.unitsPerEm, isTTF=False)
    # The whole font's box holds for a part as well, and so do its times, not those of today.
    builder.font.recalcBBoxes = False
    builder.updateHead(**box, created=source.head.created, modified=source.head.modified)
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap(name_of)
    outlines = {name: source.outline(name) for name in names}
    builder.setupCFF("lensbench", {"FontBBox": list(box.values())}, outlines, private)
    builder.setupHorizontalMetrics({name: source.widths[name] for name in names})
    across = ("ascent", "descent", "advanceWidthMax", "xMaxExtent")
    builder.setupHorizontalHeader(**{name: getattr(source.across, name) for name in across})
    builder.setupOS2(
        sTypoAscender=source.os2.sTypoAscender, sTypoDescender=source.os2.sTypoDescender,
        usWinAscent=source.os2.usWinAscent, usWinDescent=source.os2.usWinDescent,
    )  # fmt: skip
    builder.setupPost(keepGlyphNames=False)
    # Browsers refuse a font without this table, empty or not.
    builder.setupNameTable({})
    return builder.font
