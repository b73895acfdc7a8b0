"""The index: every card, its filters, its search, and the address that holds them."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page, expect
from tests.explorer.conftest import Open

INDEX = "index.html"


def titles(page: Page) -> list[str]:
    return page.locator("#cards li:visible .title").all_inner_texts()


ALL = ["scenes-0", "scenes-1", "facts-0", "facts-1", "sweater"]


def test_every_page_has_a_card_that_leads_to_it(open_page: Open, site: Path) -> None:
    page = open_page(INDEX)
    assert titles(page) == ALL
    assert page.locator("#cards img").count() == 3
    for link in page.locator("#cards a").all():
        assert (site / (link.get_attribute("href") or "")).is_file()
    page.locator("#cards a").first.click()
    page.wait_for_selector("html[data-ready]")
    assert page.title() == "planted-llava · scenes · scenes-0"
    page.get_by_text("All samples").click()
    expect(page).to_have_title("What the models see · lensbench")


def test_the_way_back_leads_to_the_index_as_it_was_filtered(open_page: Open) -> None:
    page = open_page(INDEX)
    page.locator("#answer").select_option("wrong")
    page.locator("#q").fill("many")
    expect(page.locator("#count")).to_have_text("1 of 5 samples")
    page.locator("#cards li:not([hidden]) a").click()
    page.wait_for_selector("html[data-ready]")
    page.get_by_text("All samples").click()
    expect(page.locator("#count")).to_have_text("1 of 5 samples")
    assert titles(page) == ["scenes-1"]


def test_cards_are_filtered(open_page: Open) -> None:
    page = open_page(INDEX)
    page.locator("#model").select_option("planted-gpt")
    assert titles(page) == ["facts-0", "facts-1"]
    page.locator("#model").select_option("")
    page.locator("#dataset").select_option("scenes")
    assert titles(page) == ["scenes-0", "scenes-1"]
    page.locator("#answer").select_option("wrong")
    assert titles(page) == ["scenes-1"]
    page.locator("#dataset").select_option("")
    page.locator("#answer").select_option("unknown")
    assert titles(page) == ["facts-0", "facts-1", "sweater"]
    expect(page.locator("#count")).to_have_text("3 of 5 samples")
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#count")).to_have_text("5 of 5 samples")


def test_cards_are_filtered_by_convergence_layer(open_page: Open) -> None:
    page = open_page(INDEX)
    page.locator("#from").fill("3")
    assert titles(page) == ["scenes-0", "facts-0"]
    page.locator("#from").fill("")
    page.locator("#to").fill("4")
    assert titles(page) == ["scenes-1", "facts-1"]
    page.locator("#from").fill("3")
    assert titles(page) == []


def test_cards_are_searched(open_page: Open) -> None:
    page = open_page(INDEX)
    page.locator("#q").fill("NEEDLES sweater")
    assert titles(page) == ["sweater"]
    page.locator("#q").fill("number:3 facts-1")
    assert titles(page) == ["facts-1"]


def test_the_address_holds_the_filters(open_page: Open) -> None:
    page = open_page(INDEX)
    page.locator("#dataset").select_option("scenes")
    page.locator("#to").fill("4")
    fragment = page.evaluate("location.hash")
    assert fragment == "#dataset=scenes&to=4"
    again = open_page(INDEX, fragment)
    assert titles(again) == ["scenes-1"]
    assert again.locator("#dataset").input_value() == "scenes"
    again.evaluate("location.hash = '#q=facts-0'")
    expect(again.locator("#count")).to_have_text("1 of 5 samples")
    assert titles(again) == ["facts-0"]


def test_a_senseless_address_filters_nothing(open_page: Open) -> None:
    page = open_page(INDEX, "#model=<img>&answer=maybe&from=x&to=-1&dataset=%00")
    assert titles(page) == ALL
