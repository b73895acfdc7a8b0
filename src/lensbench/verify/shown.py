"""Figures, tables and pages read again: they open, and are what their names say."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import Image

from lensbench.made import FOLDER
from lensbench.verify.problems import Problem

_FOLDERS = ("figures", "tables", "explorer", "notebooks", "paper")
_TAIL = 2048


def check_shown(root: Path, promised: set[Path]) -> Iterator[Problem]:
    """Yield what can't be opened among figures, tables, pages and the paper."""
    for path in sorted(promised):
        parts = path.relative_to(root).parts
        look = _LOOKS.get(path.suffix)
        if parts[0] not in _FOLDERS or look is None or FOLDER in parts or not path.is_file():
            continue
        try:
            wrong = look(path)
        except Exception:  # Whatever a reader raises for a file that it can't read.
            wrong = "can't be opened"
        if wrong:
            yield Problem(root, path, wrong)


def _pdf(path: Path) -> str:
    with open(path, "rb") as stream:
        head = stream.read(5)
        stream.seek(-min(_TAIL, path.stat().st_size), 2)
        tail = stream.read()
    return "" if head == b"%PDF-" and b"%%EOF" in tail else "is no whole PDF"


def _png(path: Path) -> str:
    with Image.open(path, formats=["PNG"]) as picture:
        picture.load()
        return "" if picture.format == "PNG" else "is no PNG"


def _html(path: Path) -> str:
    with open(path, "rb") as stream:
        stream.seek(-min(_TAIL, path.stat().st_size), 2)
        return "" if b"</html>" in stream.read() else "is no whole page"


def _text(path: Path) -> str:
    with open(path, encoding="utf-8") as stream:
        return "" if any(line.strip() for line in stream) else "is empty"


def _cards(path: Path) -> str:
    cards = json.loads(path.read_text(encoding="utf-8"))["cards"]
    missing = [card["href"] for card in cards if not (path.parent / card["href"]).is_file()]
    return f"names the page {missing[0]}, which is not there" if missing else ""


_LOOKS: dict[str, Callable[[Path], str]] = {
    ".pdf": _pdf,
    ".png": _png,
    ".html": _html,
    ".csv": _text,
    ".tex": _text,
    ".json": _cards,
}
