"""What axe-core finds, narrow screens, paper, and a hover that waits for no frame."""

from __future__ import annotations

import re
from pathlib import Path

import axe_playwright_python
import pytest
from playwright.sync_api import Page
from tests.explorer.conftest import Open
from tests.explorer.reading import hash_of, point_of

AXE = Path(axe_playwright_python.__file__).parent / "axe.min.js"
PAGES = {
    "index.html": "",
    "planted-llava/scenes/scenes-0.html": "#patch=10&layer=4&token=needle&paint=attention",
    "planted-gpt/facts/facts-0.html": "#pos=2",
    "lens/x/sweater.html": "#patch=3&paint=script&mask=1",
}


def findings(page: Page) -> list[str]:
    """Return axe-core's serious and critical findings."""
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    assert found["passes"], "axe-core looked at nothing"
    return [
        f"{violation['id']}: {violation['nodes'][0]['html']}"
        for violation in found["violations"]
        if violation["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_nothing_serious_is_found(open_page: Open, name: str, theme: str) -> None:
    page = open_page(name, PAGES[name], theme=theme)
    assert findings(page) == []


def test_nothing_serious_is_found_in_the_list_of_keys(open_page: Open) -> None:
    page = open_page()
    page.keyboard.press("?")
    assert findings(page) == []


@pytest.mark.parametrize("name", PAGES)
def test_a_narrow_screen_has_one_column_and_no_sideways_scroll(open_page: Open, name: str) -> None:
    page = open_page(name, width=390)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    tops = [card.bounding_box() for card in page.locator(".card:visible").all()]
    lefts = {round(box["x"]) for box in tops if box}
    assert len(lefts) == 1


def test_print_shows_the_picture_and_hides_the_controls(open_page: Open) -> None:
    page = open_page(fragment="#patch=7", theme="dark")
    page.emulate_media(media="print")
    assert page.locator("#stage").is_visible()
    assert page.locator("#details li button").first.is_visible()
    assert page.locator("#token").is_hidden()
    assert page.locator("#layer").is_hidden()
    assert page.locator("#opacity").is_hidden()
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == "rgb(255, 255, 255)"


def test_what_is_printed_of_the_table_holds_the_choice_and_is_said(open_page: Open) -> None:
    page = open_page(fragment="#patch=60&layer=5")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    told = page.locator("#printed").inner_text()
    first, last, low, high = map(
        int,
        re.findall(r"\d+ to \d+", told)[0].split(" to ")
        + re.findall(r"\d+ to \d+", told)[2].split(" to "),
    )
    position = int(hash_of(page)["patch"]) + 3  # Three words stand before the picture.
    assert first <= position <= last
    assert low <= 5 <= high
    box, chosen = (page.locator(name).bounding_box() for name in ("#table", "#cell-now"))
    assert box is not None
    assert chosen is not None
    assert box["y"] <= chosen["y"]
    assert chosen["y"] + chosen["height"] <= box["y"] + box["height"]
    assert chosen["x"] + chosen["width"] <= box["x"] + box["width"]
    page.emulate_media(media="screen")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("#printed").is_hidden()
    assert page.locator("#table").evaluate("table => table.style.width") == ""


def test_a_hover_is_answered_within_the_event(open_page: Open) -> None:
    """How long it takes is test_times.py's; here, that nothing waits for a frame."""
    page = open_page()
    x, y = point_of(page, 7)
    answered = page.evaluate(
        """([clientX, clientY]) => {
          const at = { clientX, clientY, bubbles: true, pointerType: "mouse" };
          document.getElementById("stage").dispatchEvent(new PointerEvent("pointermove", at));
          return document.getElementById("details-title").textContent;
        }""",
        [x, y],
    )
    assert answered == "Patch 7"
