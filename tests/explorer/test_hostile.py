"""Texts that would break a page: nothing of them runs, all of it is shown; the policy holds."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect
from tests.explorer import planted
from tests.explorer.conftest import Open
from tests.explorer.reading import click, set_layer, shown_token

from lensbench.explorer.html import render, script_json, visible


@pytest.mark.parametrize("layer", range(len(planted.HOSTILE)))
def test_a_hostile_token_is_shown_readably(open_page: Open, layer: int) -> None:
    page = open_page()
    set_layer(page, layer)
    click(page, 10)
    token = page.locator("#details > div").nth(1).locator("li button").first
    shown = shown_token(planted.HOSTILE[layer])
    assert token.inner_text().replace("\xa0", " ") == shown
    assert page.locator("#cell-now").text_content() == shown
    assert page.locator("script").count() == 2
    assert page.locator("img").count() == 1


def test_a_hostile_prompt_token_is_shown_readably(open_page: Open) -> None:
    page = open_page()
    page.locator("#table").evaluate("table => { table.scrollTop = 0; }")
    head = page.locator("#table [role=row][aria-rowindex='2'] [role=rowheader]")
    expect(head).to_have_text("0 </script><script>alert(2)</script>")


def test_texts_are_kept_from_turning_their_neighbours(open_page: Open) -> None:
    page = open_page()
    click(page, 10)
    token = page.locator("#details li button bdi").first
    assert token.evaluate("node => getComputedStyle(node).unicodeBidi") == "isolate"
    assert page.locator("#cell-now").evaluate("node => getComputedStyle(node).display") == "block"
    assert "\u202e" not in page.locator("body").inner_text()


def test_a_script_that_gets_in_does_not_run(browser: Browser, site: Path) -> None:
    page = browser.new_page()  # Not `open_page`: Chromium tells each refusal as an error.
    page.goto((site / "planted-llava/scenes/scenes-0.html").as_uri())
    page.wait_for_selector("html[data-ready]")
    tried = page.evaluate(
        """() => new Promise((done) => {
          const found = new Set();
          document.addEventListener("securitypolicyviolation", (event) => {
            found.add(event.effectiveDirective);
            if (found.size === 4) done([[...found].sort(), window.ran ?? null]);
          });
          const script = document.createElement("script");
          script.textContent = "window.ran = 'script'";
          const picture = document.createElement("img");
          picture.setAttribute("onerror", "window.ran = 'handler'");
          picture.src = "http://127.0.0.1:9/x.png";
          const styled = document.createElement("p");
          styled.setAttribute("style", "color: red");
          document.body.append(script, picture, styled);
        })"""
    )
    assert tried == [["img-src", "script-src-attr", "script-src-elem", "style-src-attr"], None]
    page.close()


def test_the_policy_names_exactly_what_is_there(site: Path) -> None:
    for path in sorted(site.rglob("*.html")):
        text = path.read_text(encoding="utf-8")
        policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)
        assert policy is not None
        (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
        (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
        hashes = [
            base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()
            for part in (script, style)
        ]
        assert policy[1].replace("&#39;", "'") == (
            f"default-src 'none'; script-src 'sha256-{hashes[0]}'; style-src 'sha256-{hashes[1]}'; "
            "img-src data:; font-src data:; base-uri 'none'; form-action 'none'"
        )
        assert not re.search(r"<[^>]+\s(on\w+|style)=", text.replace(script, ""))


def test_json_in_a_page_can_not_end_it_and_loses_nothing() -> None:
    texts = ["</script>", "<!--", "&lt;", "\u2028\u2029", "\ud800", "\udfff x", "\x00\r", "\ufeff"]
    packed = script_json(texts)
    assert not re.search("[<>&\u2028\u2029\ud800-\udfff]", packed)
    packed.encode("utf-8")
    assert json.loads(packed) == texts


def test_lone_halves_reach_the_page_and_are_shown(
    open_page: Open, site: Path, tmp_path: Path
) -> None:
    card = {
        "title": "\ud800 half", "model": "<b>m</b>", "dataset": "d\u202e", "thumbnail": None,
        "right": None, "convergence_layer": None, "n_layers": 2, "question": "q\x07",
        "answer": "a", "gold": "", "href": "x.html",
    }  # fmt: skip
    path = site / "halves.html"
    path.write_text(render("index", {"cards": [card]}), encoding="utf-8")
    page = open_page("halves.html")
    text = page.locator("#cards").inner_text()
    assert "⟨U+D800⟩ half" in text
    assert "<b>m</b> · d⟨U+202E⟩" in text
    assert "q⟨U+0007⟩" in text
    path.unlink()


def test_visible_writes_what_can_not_be_seen() -> None:
    assert visible("a b\u202e\n\u3000é") == "a b⟨U+202E⟩⟨U+000A⟩⟨U+3000⟩é"
