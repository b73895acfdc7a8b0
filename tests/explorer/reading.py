"""What tests know without the page's code: planted values, shown texts, points of the picture."""

from __future__ import annotations

import re
from decimal import Decimal
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from playwright.sync_api import Page
from tests.explorer import planted


def shown_probability(p: float) -> str:
    """Return a probability with three significant digits, as Python prints it."""
    number = Decimal(f"{p:.2e}")
    return (
        f"{number.scaleb(2):f} %" if number >= Decimal("1e-4") else f"{p:.2e}".replace("e-0", "e-")
    )


def shown_token(text: str, fragment: bool = False) -> str:
    if fragment:
        return f"⟨fragment⟩ {text}"
    for character, sign in ((" ", "␣"), ("\n", "↵")):
        text = text.replace(character, sign)
    text = re.sub("[\u202e\u2028\x07]", lambda match: f"⟨U+{ord(match[0]):04X}⟩", text)
    return {"": "∅", "\u0301": "◌\u0301"}.get(text, text)


@cache
def rows() -> pd.DataFrame:
    """Return the planted patches, by layer and patch."""
    frame = planted.patches("scenes-0", planted.VIEWS, 3, True, 1)
    return frame.set_index(["layer", "patch"])


def tokens_of(layer: int, patch: int) -> list[tuple[str, str]]:
    """Return the five top tokens and their probabilities as they must be shown."""
    row = rows().loc[(layer, patch)]
    texts = [planted.TOKENS[token] for token in row.top_id[:5]]
    return [
        (shown_token(text, fragment), shown_probability(float(np.exp(np.float32(logprob)))))
        for (text, _, fragment), logprob in zip(texts, row.top_logprob, strict=False)
    ]


def listed(page: Page, which: int) -> list[tuple[str, str]]:
    """Return what a list of the details says: 0 the best layer's, 1 the slider's."""
    items = page.locator(f"#details > div:nth-of-type({which + 1}) li")
    return [
        (item.locator("button").inner_text(), item.locator(".number").inner_text())
        for item in items.all()
    ]


def point_of(page: Page, patch: int) -> tuple[float, float]:
    """Return the middle of a patch on the screen."""
    number, count = 0, patch
    for number, view in enumerate(planted.VIEWS):  # noqa: B007
        if count < view["rows"] * view["cols"]:
            break
        count -= view["rows"] * view["cols"]
    view: Any = planted.VIEWS[number]
    left, top, right, bottom = view["box"]
    x = left + (count % view["cols"] + 0.5) * (right - left) / view["cols"]
    y = top + (count // view["cols"] + 0.5) * (bottom - top) / view["rows"]
    box = page.locator("#stage").bounding_box()
    assert box is not None
    return box["x"] + x * box["width"], box["y"] + y * box["height"]


def hover(page: Page, patch: int) -> None:
    page.mouse.move(*point_of(page, patch))


def click(page: Page, patch: int) -> None:
    page.mouse.click(*point_of(page, patch))


def painted(page: Page, patch: int) -> tuple[int, ...]:
    """Return the paint (red, green, blue, opacity) in the middle of a patch, a bit off a hit."""
    x, y = point_of(page, patch)
    found = page.evaluate(
        """([x, y]) => {
          const canvas = document.getElementById("paint-layer");
          const box = canvas.getBoundingClientRect();
          const at = [(x - box.left) / box.width * canvas.width,
                      (y - box.top) / box.height * canvas.height];
          return [...canvas.getContext("2d").getImageData(...at.map(Math.round), 1, 1).data];
        }""",
        [x + 3, y],
    )
    return tuple(found)


def set_layer(page: Page, layer: int) -> None:
    page.locator("#layer").fill(str(layer))


def title(page: Page) -> str:
    return page.locator("#details-title").inner_text()


def hash_of(page: Page) -> dict[str, str]:
    """Return what the address says, once it has caught up."""
    page.wait_for_timeout(200)
    pairs = page.evaluate("[...new URLSearchParams(location.hash.slice(1))]")
    return dict(pairs)
