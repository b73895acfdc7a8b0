"""The index of all pages: cards with thumbnails, to be filtered and searched."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lensbench.errors import LensbenchError
from lensbench.explorer.html import render
from lensbench.explorer.pages import CARDS
from lensbench.files import atomic_path


def write_index(runs: Sequence[str | Path], out: str | Path) -> None:
    """Write the index of the runs' pages.

    Args:
        runs: folders written by `write_pages`, in the order of the index.
        out: the HTML file; links to the pages are relative to its folder.

    Raises:
        LensbenchError: if no run is named, or one has no readable cards.
    """
    if not runs:
        raise LensbenchError("No folder of pages was named: make pages first.")
    cards = [card for run in runs for card in _cards(Path(run), Path(out).parent)]
    with atomic_path(out) as path:
        path.write_text(render("index", {"cards": cards}), encoding="utf-8", newline="\n")


def _cards(run: Path, start: Path) -> list[dict[str, Any]]:
    """Return a run's cards, each link seen from the index's folder."""
    path = run / CARDS
    try:
        cards = json.loads(path.read_text(encoding="utf-8"))["cards"]
        way = Path(os.path.relpath(run, start)).as_posix()
        return [card | {"href": quote(f"{way}/{card['href']}")} for card in cards]
    except (OSError, ValueError, KeyError, TypeError):
        raise LensbenchError(f"{path} is missing or damaged: make the run's pages again.") from None
