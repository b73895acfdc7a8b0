"""What tests of looks share: a lens on a model in memory, and readers of what is shown."""

from __future__ import annotations

import re
import unicodedata
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lensbench import Lens
from lensbench.models.gate import Check, GateReport


def picture(side: int = 32) -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return Image.fromarray(noise)


def lens_of(loaded: Any) -> Lens:
    return Lens(loaded.model, loaded.processor, loaded.name, verify=False)


def columns_of(text: str) -> int:
    """Return the columns that a text takes in a terminal."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


class Page(HTMLParser):
    """The rows of a page's tables as texts, and every tag that is in it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self._cell = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self._cell = True

    def handle_endtag(self, tag: str) -> None:
        self._cell = self._cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._cell:
            self.rows[-1][-1] += data


def table(text: str, rows: int) -> list[tuple[str, str, str, str]]:
    """Return layer, first token, its probability and rank from the first table in a text."""
    lines = text.splitlines()
    start = next(at for at, line in enumerate(lines) if line.startswith("layer"))
    found = [
        re.fullmatch(r" *(\d+)  (\S+) +(\d\.\d\d).* (\d+)", line)
        for line in lines[start + 1 : start + 1 + rows]
    ]
    return [(match[1], match[2], match[3], match[4]) for match in found if match]


def refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = (
        Check("hooks", 0.0, 0.0, True, "the largest change"),
        Check("sums", 0.5, 0.1, False, "the largest error of a sum"),
    )
    monkeypatch.setattr("lensbench.look.run_gate", lambda loaded: GateReport(loaded.name, checks))
