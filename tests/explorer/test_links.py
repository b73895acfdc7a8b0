"""Deep links: the address holds what is chosen, brings it back, and can't be misused."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect
from tests.explorer import planted
from tests.explorer.conftest import Open
from tests.explorer.reading import click, hash_of, hover, listed, set_layer, title, tokens_of

LINK = "#layer=4&patch=25&head=2&view=1&paint=attention&step=1&token=needle&mask=1"


def test_a_link_brings_everything_back(open_page: Open) -> None:
    page = open_page(fragment=LINK)
    assert title(page) == "Patch 25"
    assert listed(page, 1) == tokens_of(4, 25)
    hover(page, 30)
    assert title(page) == "Patch 25"
    values = {name: page.locator(f"#{name}").input_value() for name in ("layer", "view", "head")}
    assert values == {"layer": "4", "view": "1", "head": "2"}
    expect(page.locator("input[value=attention]")).to_be_checked()
    expect(page.locator("#mask")).to_be_checked()
    assert page.locator("#token").input_value() == "needle"
    assert page.locator("#step").input_value() == "1"
    expect(page.locator("#hits")).to_contain_text("3 hits")


def test_the_address_follows_what_is_chosen(open_page: Open) -> None:
    page = open_page()
    click(page, 7)
    set_layer(page, 2)
    told = hash_of(page)
    assert (told["patch"], told["layer"], told["head"]) == ("7", "2", "0")
    link = page.url
    other = open_page(fragment=link[link.index("#") :])
    assert title(other) == "Patch 7"
    assert other.locator("#layer").input_value() == "2"


def test_a_changed_address_is_followed(open_page: Open) -> None:
    page = open_page()
    page.evaluate("location.hash = '#pos=1&layer=3'")
    expect(page.locator("#details-title")).to_have_text("Position 1")
    assert page.locator("#layer").input_value() == "3"
    page.evaluate("location.hash = '#patch=12&lock=0'")
    expect(page.locator("#details-title")).to_have_text("Patch 12")
    hover(page, 1)
    assert title(page) == "Patch 1"


def test_a_link_shows_the_same_whatever_was_chosen_before(open_page: Open) -> None:
    page = open_page(fragment=LINK)
    page.evaluate("location.hash = '#layer=3'")
    fresh = open_page(fragment="#layer=3")
    expect(page.locator("#layer")).to_have_value("3")
    assert hash_of(page) == hash_of(fresh)
    for name in ("#token", "#view", "#head", "#step"):
        assert page.locator(name).input_value() == fresh.locator(name).input_value(), name
    assert page.locator("#mask").is_checked() == fresh.locator("#mask").is_checked()
    assert title(page) == title(fresh)


@pytest.mark.parametrize(
    "fragment",
    [
        "#layer=99&patch=100000&head=-1&view=7&paint=__proto__&step=NaN",
        "#layer=1e0&patch=0x1&pos=%00&head=1.5",
        "#layer=&patch=&token=&paint=<script>alert(1)</script>",
        "#%E0%A4%A&=&&&layer",
        "#" + "a" * 5000,
    ],
)
def test_senseless_addresses_change_nothing(open_page: Open, fragment: str) -> None:
    page = open_page(fragment=fragment)
    assert page.locator("#layer").input_value() == str(planted.CONVERGENCE)
    assert page.locator("#details").is_hidden()
    expect(page.locator("input[value=probability]")).to_be_checked()
    click(page, 7)
    assert title(page) == "Patch 7"


def test_a_token_of_the_address_is_text(open_page: Open) -> None:
    text = "<img src=x onerror=alert(1)>"
    page = open_page(fragment="#token=%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E")
    assert page.locator("#token").input_value() == text
    expect(page.locator("#hits")).to_contain_text("1 hit at 1 position, 1 patch among them.")


def test_an_import_takes_no_paint_that_it_lacks(open_page: Open) -> None:
    page = open_page("lens/x/sweater.html", "#paint=entropy&head=0&patch=3")
    expect(page.locator("input[value=probability]")).to_be_checked()
    assert title(page) == "Patch 3"
