"""The font files that have every token's characters, and which of them has which character."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path

from fontTools.ttLib import TTFont

from lensbench.errors import LensbenchError

# Order matters: the first font that has a character prints it. DejaVu comes before the CJK font,
# whose arrows and symbols are as wide as an ideograph.
_SCRIPTS = (
    "Arabic", "Hebrew", "Devanagari", "Thai", "Armenian", "Bengali", "Ethiopic", "Georgian",
    "Gujarati", "Gurmukhi", "Kannada", "Khmer", "Lao", "Malayalam", "Myanmar", "Oriya", "Sinhala",
    "Tamil", "Telugu",
)  # fmt: skip
_CHAIN: tuple[tuple[str, str], ...] = (
    ("manimgx_fonts", "NotoSans[wght].ttf"),
    *(("manimgx_fonts", f"NotoSans{script}[wght].ttf") for script in _SCRIPTS),
    ("matplotlib", "mpl-data/fonts/ttf/DejaVuSans.ttf"),
    ("cvttf_NotoSansCJK_Regular", "NotoSansCJKtc-Regular.otf"),
    ("manimgx_fonts", "NotoSansSymbols[wght].ttf"),
    ("manimgx_fonts", "NotoEmoji[wght].ttf"),
)
_DISTRIBUTION = {
    "manimgx_fonts": "manimgx-fonts",
    "cvttf_NotoSansCJK_Regular": "cvttf-notosanscjk-regular",
}


def font_paths() -> tuple[Path, ...]:
    """Return the absolute paths of the chain's font files, the first choice first.

    Raises:
        LensbenchError: if a font package isn't installed, or lacks its file.
    """
    return tuple(_font_path(module, file) for module, file in _CHAIN)


def _font_path(module: str, file: str) -> Path:
    # Found, not imported: matplotlib takes its time.
    spec = importlib.util.find_spec(module)
    folder = Path(spec.origin).parent if spec is not None and spec.origin else None
    if folder is None or not (folder / file).is_file():
        raise LensbenchError(
            f"The font {Path(file).name} isn't installed: "
            f"run `pip install {_DISTRIBUTION.get(module, module)}`."
        )
    # LaTeX keeps where a font lay; a linked environment may be gone when it looks there again.
    return (folder / file).resolve()


@cache
def first_font() -> dict[int, int]:
    """Return, for each code point that can be printed, the place in the chain of its font."""
    place_of: dict[int, int] = {}
    for place, path in enumerate(font_paths()):
        with TTFont(path, lazy=True) as font:
            for point in font.getBestCmap():
                place_of.setdefault(point, place)
    return place_of
