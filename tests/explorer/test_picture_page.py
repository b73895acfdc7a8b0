"""A page under the mouse: hovering, locking, painting, finding, attention, table and chart."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect
from tests.explorer import planted
from tests.explorer.conftest import Open
from tests.explorer.reading import (
    click,
    hover,
    listed,
    painted,
    point_of,
    set_layer,
    shown_token,
    title,
    tokens_of,
)


@pytest.mark.parametrize("patch", [0, planted.TIE, 7, 11, 19])
def test_hovering_shows_the_best_layer_and_the_top_tokens(open_page: Open, patch: int) -> None:
    page = open_page()
    set_layer(page, 6)
    hover(page, patch)
    assert title(page) == f"Patch {patch}"
    best = planted.best_layer(patch)
    where = page.locator("#details-where").inner_text()
    assert where.startswith(f"overview, row {patch // 5}, column {patch % 5}")
    assert f"position {3 + patch} of 77" in where
    assert f"best layer {best}" in where
    assert page.locator("#best-title").inner_text() == f"Best layer, {best}"
    assert listed(page, 0) == tokens_of(best, patch)
    assert listed(page, 1) == tokens_of(6, patch)


def test_bars_are_as_long_as_the_probabilities(open_page: Open) -> None:
    page = open_page()
    hover(page, 0)
    bars = page.locator("#details > div").first.locator(".bar").all()
    for bar, (_, shown) in zip(bars, tokens_of(1, 0), strict=True):
        outer, inner = bar.bounding_box(), bar.locator("i").bounding_box()
        assert outer is not None
        assert inner is not None
        share = float(shown.removesuffix(" %")) / 100
        assert inner["width"] / outer["width"] == pytest.approx(share, abs=0.01)


def test_leaving_the_picture_ends_the_hover(open_page: Open) -> None:
    page = open_page()
    hover(page, 4)
    page.mouse.move(5, 5)
    assert page.locator("#details").is_hidden()


def test_a_click_locks_another_moves_and_the_same_unlocks(open_page: Open) -> None:
    page = open_page()
    click(page, 7)
    hover(page, 12)
    assert title(page) == "Patch 7"
    expect(page.locator("#locked")).to_be_visible()
    click(page, 12)
    hover(page, 1)
    assert title(page) == "Patch 12"
    click(page, 12)
    hover(page, 1)
    assert title(page) == "Patch 1"
    expect(page.locator("#locked")).to_be_hidden()
    click(page, 2)
    page.keyboard.press("Escape")
    hover(page, 1)
    assert title(page) == "Patch 1"


def test_the_slider_paints_by_probability(open_page: Open) -> None:
    page = open_page()
    page.locator("#opacity").fill("100")
    set_layer(page, 6)
    # At its best layer a patch has 0.9: the square root is 95 % of the way to yellow.
    red, _, blue, opacity = painted(page, 2)
    assert (red > 200, blue < 100, opacity) == (True, True, 255)
    set_layer(page, 1)
    assert painted(page, 0)[0] > 200
    assert painted(page, 2)[0] < 200
    expect(page.locator("#legend")).to_contain_text("Likeliest token, layer 1")
    ticks = page.locator("#legend .ticks span").all_inner_texts()
    assert ticks == ["0", "1 %", "10 %", "25 %", "50 %", "100 %"]


def test_the_slider_paints_by_entropy(open_page: Open) -> None:
    page = open_page()
    page.get_by_text("Entropy", exact=True).click()
    page.locator("#opacity").fill("100")
    shades = []
    for layer in (0, 4, 8):
        set_layer(page, layer)
        shades.append(sum(painted(page, 12)[:2]))
    assert shades == sorted(shades)
    # The largest entropy planted is 0.5 + 8 + 0.068.
    assert page.locator("#legend .ticks span").last.inner_text() == "8.57"


def test_the_slider_paints_by_script(open_page: Open) -> None:
    page = open_page()
    page.get_by_text("Script", exact=True).click()
    page.locator("#opacity").fill("100")
    set_layer(page, 4)
    assert painted(page, 11)[:3] != painted(page, 12)[:3]
    assert painted(page, 12)[:3] == painted(page, 13)[:3] == (0x00, 0x72, 0xB2)
    expect(page.locator("#legend")).to_contain_text("Han 1")
    expect(page.locator("#legend")).to_contain_text("Latin 18")


def test_best_layers_are_painted(open_page: Open) -> None:
    page = open_page()
    page.get_by_text("Best layer", exact=True).click()
    page.locator("#opacity").fill("100")
    # Patches 0 and 3 have theirs at 1, patch 2 at 6; all at once, whatever the slider says.
    assert painted(page, 0)[:3] == painted(page, 3)[:3] == (18, 53, 112)
    assert painted(page, 2)[0] > 150
    assert page.locator("#legend .ticks span").all_inner_texts() == ["0", "3", "5", "8"]


def test_a_token_is_found_over_patches_and_layers(open_page: Open) -> None:
    page = open_page()
    page.locator("#token").fill("needle")
    expect(page.locator("#hits")).to_have_text("3 hits at 2 positions, 2 patches among them.")
    page.locator("#part").check()
    expect(page.locator("#hits")).to_have_text("4 hits at 3 positions, 3 patches among them.")
    page.locator("#part").uncheck()
    page.get_by_text("Chosen token", exact=True).click()
    page.locator("#opacity").fill("100")
    set_layer(page, 4)
    assert painted(page, 7)[3] == 255
    assert painted(page, 8)[3] == 0
    page.locator("#next").click()
    seen = []
    for _ in range(3):
        seen.append((title(page), page.locator("#layer").input_value()))
        expect(page.locator("#table .active")).to_have_class(re.compile("hit"))
        page.locator("#next").click()
    assert seen == [("Patch 7", "4"), ("Patch 7", "5"), ("Patch 20", "3")]
    assert page.locator("#hits").inner_text().endswith("Hit 1: Patch 7, layer 4.")
    page.locator("#previous").click()
    assert page.locator("#hits").inner_text().endswith("Hit 3: Patch 20, layer 3.")
    page.locator("#token").fill("nowhere")
    expect(page.locator("#hits")).to_contain_text("Not among the top tokens")


def test_hits_are_marked_in_the_picture(open_page: Open) -> None:
    page = open_page()
    page.get_by_text("Nothing", exact=True).click()
    set_layer(page, 4)
    shot = page.locator("#stage").screenshot()
    page.locator("#token").fill("needle")
    assert page.locator("#stage").screenshot() != shot


def test_a_listed_token_can_be_searched_for(open_page: Open) -> None:
    page = open_page()
    click(page, 6)
    page.locator("#details li button").first.click()
    assert page.locator("#token").input_value() == "⟨fragment⟩ \ufffd"
    expect(page.locator("#hits")).to_contain_text("1 hit at 1 position")


def test_blank_patches_are_masked_on_request(open_page: Open) -> None:
    page = open_page()
    expect(page.locator("#blank-count")).to_have_text("(2 of 69)")
    page.get_by_text("Nothing", exact=True).click()
    assert painted(page, 3)[3] == 0
    page.locator("#mask").check()
    assert [painted(page, patch)[3] > 200 for patch in (2, 3, 4, 6)] == [False, True, True, False]
    hover(page, 3)
    assert "blank" in page.locator("#details-where").inner_text()
    assert listed(page, 0)[0][0] == "∅"


def test_the_attention_of_a_head_is_laid_over_the_picture(open_page: Open) -> None:
    page = open_page()
    page.get_by_text("Attention", exact=True).click()
    page.locator("#opacity").fill("100")
    set_layer(page, 3)
    page.locator("#head").select_option("1")
    assert painted(page, 9)[:3] == (254, 232, 56)
    assert painted(page, 8)[:3] == (0, 34, 78)
    expect(page.locator("#legend")).to_contain_text("Attention of head 1 in layer 3")
    expect(page.locator("#legend")).to_contain_text("80.0 % of this head’s attention")
    page.locator("#head").select_option("0")
    assert painted(page, 8)[:3] != (0, 34, 78)
    set_layer(page, 0)
    expect(page.locator("#legend")).to_contain_text("No attention was kept at layer 0")


def test_each_view_is_a_true_grid_over_its_box(open_page: Open) -> None:
    page = open_page()
    page.locator("#view").select_option("1")
    hover(page, 20)
    assert page.locator("#details-where").inner_text().startswith("tiles, row 0, column 0")
    hover(page, 67)
    assert page.locator("#details-where").inner_text().startswith("tiles, row 5, column 7")
    x, y = point_of(page, 67)
    page.mouse.move(x, y + 100)  # The tiles cover three quarters of the picture.
    assert page.locator("#details").is_hidden()
    ring = page.locator("#ring")
    hover(page, 67)
    box = ring.bounding_box()
    assert box is not None
    assert (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2) == pytest.approx(
        (x, y), abs=1.5
    )


def test_table_scrolls_with_the_selection_and_back(open_page: Open) -> None:
    page = open_page()
    page.locator("#view").select_option("1")
    hover(page, 66)
    chosen = page.locator("#table .chosen")
    expect(chosen).to_contain_text("#66 5, 6")
    expect(chosen).to_be_in_viewport()
    page.locator("#table").evaluate("table => { table.scrollTop = 0; table.scrollLeft = 0; }")
    cell = page.locator("#table [role=row][aria-rowindex='12'] [aria-colindex='4']")
    cell.click()
    assert title(page) == "Patch 7"
    assert page.locator("#layer").input_value() == "2"
    assert page.locator("#view").input_value() == "0"
    expect(page.locator("#locked")).to_be_visible()
    assert cell.inner_text() == tokens_of(2, 7)[0][0]
    expect(page.locator("#ring")).to_be_visible()


def test_table_has_every_position_and_only_some_elements(open_page: Open) -> None:
    page = open_page()
    table = page.locator("#table")
    assert table.get_attribute("aria-rowcount") == "79"
    seen = set()
    for top in range(0, 3000, 300):
        table.evaluate("(table, top) => { table.scrollTop = top; }", top)
        page.wait_for_timeout(30)
        heads = table.locator("[role=rowheader]:visible").all_inner_texts()
        assert len(heads) < 40
        seen |= set(heads)
    assert len(seen) == 78
    assert {"#68 outside", "+1 ␣three"} <= seen


def test_the_trajectory_is_drawn(open_page: Open) -> None:
    page = open_page()
    set_layer(page, 3)
    chart = page.locator("#trajectory svg")
    label = chart.get_attribute("aria-label")
    assert label == (
        "Probability of the token ␣three and of the gold token by layer, step 0; "
        "it stays the likeliest from layer 5 on"
    )
    path = page.locator("#trajectory path.final").get_attribute("d")
    points = [tuple(map(float, pair.split())) for pair in re.split("[ML]", path or "")[1:]]
    at, grid = page.locator("#trajectory .at"), page.locator("#trajectory .grid")
    assert float(at.get_attribute("x1") or 0) == pytest.approx(points[3][0], abs=0.1)
    zero, full = (float(grid.nth(i).get_attribute("y1") or 0) for i in (0, 4))
    share = [(zero - y) / (zero - full) for _, y in points]
    assert share[5:] == pytest.approx([0.5, 0.6, 0.7, 0.8], abs=0.01)
    assert max(share[:5]) < 0.01
    converged = page.locator("#trajectory .converged").get_attribute("x1")
    assert float(converged or 0) == pytest.approx(points[5][0], abs=0.1)
    tops = page.locator("#trajectory text.token").all_inner_texts()
    assert len(tops) == 9
    assert page.locator("#trajectory text.same").count() == 4
    expect(page.locator("#trajectory-note")).to_contain_text("rank 37")
    page.locator("#step").select_option("1")
    assert "step 1" in (chart.get_attribute("aria-label") or "")
    page.locator("#scale").select_option("logprob")
    expect(page.locator("#trajectory text").first).to_have_text("-9.0")


def test_the_head_of_the_page_says_what_was_asked_and_answered(open_page: Open) -> None:
    page = open_page()
    about = page.locator("#about")
    question = planted.QUESTION.replace("\u202e", "⟨U+202E⟩")
    expect(about).to_contain_text(question)
    expect(about.locator(".badge")).to_have_text("right")
    page = open_page("planted-llava/scenes/scenes-1.html")
    expect(page.locator("#about .badge")).to_have_text("wrong")
    assert "gold token" not in page.locator("#trajectory-note").inner_text()


def test_text_alone_has_table_and_trajectory_but_no_picture(open_page: Open) -> None:
    page = open_page("planted-gpt/facts/facts-0.html")
    assert page.locator("img, #stage").count() == 0
    heads = page.locator("#table [role=rowheader]:visible").all_inner_texts()
    assert heads[-2:] == ["+1 ␣three", f"+2 {shown_token(planted.TOKENS[73][0])}"]
    assert len(heads) == 9
    page.locator("#table").evaluate("table => { table.scrollLeft = 0; }")
    page.locator("#table [aria-rowindex='3'] [aria-colindex='3']").click()
    assert title(page) == "Position 1"
    assert page.locator("#layer").input_value() == "1"
    expect(page.locator("#trajectory svg")).to_be_visible()


def test_an_import_has_no_answer_no_entropy_and_no_attention(open_page: Open) -> None:
    page = open_page("lens/x/sweater.html")
    assert page.locator("#trajectory").count() == 0
    assert page.locator("#about .badge").count() == 0
    for name in ("entropy", "attention"):
        expect(page.locator(f"input[value={name}]")).to_be_disabled()
    box = page.locator("#stage").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 8, box["y"] + box["height"] / 8)
    assert title(page) == "Patch 0"
    assert "entropy" not in page.locator("#now-title").inner_text()
