"""Everything without a mouse: no test here moves or clicks one."""

from __future__ import annotations

from playwright.sync_api import Page, expect
from tests.explorer import planted
from tests.explorer.conftest import Open
from tests.explorer.reading import hash_of, listed, title, tokens_of


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def layer(page: Page) -> str:
    return page.locator("#layer").input_value()


def status(page: Page) -> str:
    return page.locator("#status").inner_text()


def test_arrows_move_the_patch_and_brackets_the_layer(open_page: Open) -> None:
    page = open_page()
    press(page, "g", "ArrowRight")
    assert title(page) == "Patch 0"
    press(page, "ArrowRight", "ArrowRight", "ArrowDown")
    assert title(page) == "Patch 7"
    assert layer(page) == str(planted.CONVERGENCE)
    press(page, "[", "PageUp", "]", "PageDown", "[")
    assert layer(page) == "4"
    assert listed(page, 1) == tokens_of(4, 7)
    press(page, "End", "ArrowRight")
    assert title(page) == "Patch 9"
    press(page, "Home", "ArrowUp", "ArrowUp")
    assert title(page) == "Patch 0"


def test_what_is_chosen_is_told(open_page: Open) -> None:
    page = open_page()
    press(page, "g", "ArrowRight", "ArrowRight", "[")
    token, probability = tokens_of(4, 1)[0]
    best, most = tokens_of(3, 1)[0]
    assert status(page) == (
        f"Patch 1, overview, row 0, column 1; layer 4: {token} {probability}; "
        f"best layer 3: {best} {most}"
    )
    stage = page.locator("#stage")
    assert (
        stage.get_attribute("aria-label") == "Patches of the picture, overview: 4 rows by 5 columns"
    )


def test_enter_locks_and_escape_unlocks(open_page: Open) -> None:
    page = open_page()
    press(page, "g", "ArrowDown", "Enter")
    expect(page.locator("#locked")).to_be_visible()
    assert status(page).endswith("; locked")
    press(page, "ArrowRight")
    assert title(page) == "Patch 1"
    press(page, "Escape")
    expect(page.locator("#locked")).to_be_hidden()
    press(page, " ", "Enter")
    expect(page.locator("#locked")).to_be_hidden()


def test_a_token_is_found_and_hits_are_stepped_through(open_page: Open) -> None:
    page = open_page()
    press(page, "/")
    page.keyboard.type("needle")
    press(page, "Enter")
    assert (title(page), layer(page)) == ("Patch 7", "4")
    press(page, "Escape", "n")
    assert (title(page), layer(page)) == ("Patch 7", "5")
    press(page, "N", "N")
    assert (title(page), layer(page)) == ("Patch 20", "3")
    assert page.locator("#view").input_value() == "1"


def test_paint_head_view_mask_and_step_have_keys(open_page: Open) -> None:
    page = open_page()
    press(page, "a", "h", "h", "H", "v", "m", "s")
    told = hash_of(page)
    assert told["paint"] == "attention"
    assert (told["head"], told["view"], told["mask"], told["step"]) == ("1", "1", "1", "1")
    press(page, "a", "p", "p", "P", "H", "v", "m", "S")
    told = hash_of(page)
    assert told["paint"] == "entropy"
    assert (told["head"], told["view"], told["step"]) == ("0", "0", "0")
    assert "mask" not in told


def test_the_table_is_walked_through(open_page: Open) -> None:
    page = open_page()
    press(page, "x", "ArrowDown", "ArrowDown", "ArrowRight", "ArrowRight", "ArrowLeft")
    assert title(page) == "Position 1"
    assert layer(page) == "6"
    active = page.locator("#table").get_attribute("aria-activedescendant")
    cell = page.locator(f"#{active}")
    assert cell.get_attribute("aria-colindex") == "8"
    assert cell.locator("..").get_attribute("aria-rowindex") == "3"
    press(page, "Control+End")
    assert title(page) == "Step 2"
    expect(page.locator("#cell-now")).to_be_in_viewport()
    press(page, "Home", "Control+Home")
    assert (title(page), layer(page)) == ("Position 0", "0")
    press(page, "Enter")
    expect(page.locator("#locked")).to_be_visible()


def test_the_best_layer_is_a_key_away(open_page: Open) -> None:
    page = open_page()
    press(page, "g", "ArrowRight", "ArrowRight", "ArrowRight", "b")
    assert layer(page) == str(planted.best_layer(2))


def test_help_opens_and_shortcuts_can_be_switched_off(open_page: Open) -> None:
    page = open_page()
    press(page, "?")
    expect(page.locator("#keys")).to_be_visible()
    expect(page.locator("#keys")).to_contain_text("next hit, previous hit")
    page.locator("#single").focus()
    press(page, " ", "Escape")
    expect(page.locator("#keys")).to_be_hidden()
    press(page, "]")
    assert layer(page) == str(planted.CONVERGENCE)
    press(page, "PageDown")
    assert layer(page) == str(planted.CONVERGENCE + 1)


def test_the_tab_key_reaches_every_control_in_order(open_page: Open) -> None:
    page = open_page()
    reached = []
    for _ in range(40):
        press(page, "Tab")
        name = page.evaluate("document.activeElement.id || document.activeElement.tagName")
        if name == "BODY":
            break
        reached.append(name)
    wanted = [
        "theme",
        "help",
        "view",
        "stage",
        "layer",
        "opacity",
        "mask",
        "token",
        "part",
        "table",
    ]
    assert [name for name in reached if name in wanted] == wanted
    assert {"step", "scale"} <= set(reached)


def test_the_theme_has_a_key_and_a_memory(open_page: Open) -> None:
    page = open_page()
    assert page.locator("html").get_attribute("data-theme") == "light"
    press(page, "d")
    assert page.locator("html").get_attribute("data-theme") == "dark"
    page.reload()
    page.wait_for_selector("html[data-ready]")
    assert page.locator("html").get_attribute("data-theme") == "dark"
