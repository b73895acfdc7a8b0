"""Fonts inside pages: their glyphs are those asked for, and a browser draws with them."""

from __future__ import annotations

import base64
import dataclasses
import io
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fontTools.pens.boundsPen import BoundsPen
from fontTools.ttLib import TTFont
from hypothesis import given, settings
from hypothesis import strategies as st
from playwright.sync_api import Browser, Page
from tests.explorer import realistic

from lensbench.explorer.html import render
from lensbench.explorer.pages import page_of
from lensbench.explorer.sample import Vocabulary
from lensbench.fontfiles import first_font, font_paths
from lensbench.notebooks import run_notebook
from lensbench.webfonts import FAMILY, font_faces

RULE = re.compile(
    r'@font-face \{ font-family: "lensbench tokens"; font-weight: 400; font-style: normal; '
    r"unicode-range: ((?:U\+[0-9A-F]+(?:-[0-9A-F]+)?(?:, )?)+); "
    r'src: url\(data:font/woff;base64,([A-Za-z0-9+/=]+)\) format\("woff"\); \}'
)


def parsed(css: str) -> list[tuple[set[int], TTFont]]:
    """Return each rule's range and font; every byte of the style must belong to a rule."""
    faces = []
    for line in css.splitlines():
        rule = RULE.fullmatch(line)
        assert rule is not None, line[:200]
        points: set[int] = set()
        for part in rule[1].split(", "):
            first, _, last = part.removeprefix("U+").partition("-")
            points.update(range(int(first, 16), int(last or first, 16) + 1))
        font = TTFont(io.BytesIO(base64.b64decode(rule[2], validate=True)))
        assert font.flavor == "woff"
        faces.append((points, font))
    return faces


def held(css: str) -> set[str]:
    """Return the characters a style has, each with a picture where it must have one."""
    characters: set[str] = set()
    for points, font in parsed(css):
        assert set(font.getBestCmap()) == points
        glyphs = font.getGlyphSet()
        for point, name in font.getBestCmap().items():
            pen = BoundsPen(glyphs)
            glyphs[name].draw(pen)
            assert pen.bounds is not None, f"U+{point:04X} is empty"
            characters.add(chr(point))
    return characters


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("中文 国 红紅", "中文国红紅"),
        ("한글 さん サン", "한글さんサン"),
        ("Москва τρία", "Москваτρία"),
        ("مرحبا שלום", "مرحباשלום"),
        ("␣ ∅ ⏎ → ★ 🙂 ⟨ ①", "␣∅⏎→★🙂⟨①"),
        # A mark's own font has the circle under it, and what browsers take characters apart into.
        ("नमस्ते", "नमस्ते◌"),
        ("ไทย", "ไทย"),
        ("ำ", "ำํา"),
        ("கொ", "கொ\u0bc6\u0bbe◌"),
        # Left to the reader's fonts, or nothing to be seen, or in no font of the chain.
        ("naïve Łódź “x” – ệ € …", "€"),
        ("\u200b\u202e\ufeff\u3000\x07\ud800\ue000\u0f40", ""),
        ("", ""),
    ],
)
def test_a_style_holds_the_characters_asked_for_and_no_other(text: str, wanted: str) -> None:
    assert held(font_faces([text])) == set(wanted)


def test_an_outline_is_that_of_the_font() -> None:
    ((_, font),) = parsed(font_faces(["国"]))
    place = first_font()[ord("国")]
    source = TTFont(font_paths()[place])
    boxes = []
    for each in (font, source):
        glyphs, name = each.getGlyphSet(), each.getBestCmap()[ord("国")]
        pen = BoundsPen(glyphs)
        glyphs[name].draw(pen)
        boxes.append((pen.bounds, glyphs[name].width, each["head"].unitsPerEm))
    assert boxes[0] == boxes[1]
    for table, value in (("hhea", "ascent"), ("hhea", "descent"), ("OS/2", "sTypoAscender")):
        assert getattr(font[table], value) == getattr(source[table], value)


def test_what_comes_first_is_kept_when_it_is_too_much() -> None:
    assert held(font_faces(["abc 三", "→二三一"], most=3)) == set("三→二")


def test_the_same_texts_give_the_same_bytes_in_any_process() -> None:
    text = "中文 नमस्ते مرحبا ไทย ␣ 🙂"
    code = f"from lensbench.webfonts import font_faces; print(font_faces([{text!r}]))"
    made = {
        subprocess.run(
            [sys.executable, "-c", code], env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True, check=True,
        ).stdout.decode().strip()
        for seed in ("1", "2")
    }  # fmt: skip
    assert made == {font_faces([text])}
    for _, font in parsed(font_faces([text])):
        # Those of the font's own file, not of today.
        assert font["head"].modified in {
            TTFont(path, lazy=True)["head"].modified for path in font_paths()
        }


@settings(max_examples=25, deadline=None)
@given(st.text(max_size=30))
def test_no_text_gets_into_a_style(text: str) -> None:
    hostile = f'{text}"); }} </style><script>alert(1)</script> @import url(//x) 中'
    parsed(font_faces([hostile]))


# In a browser, whether or not its machine has fonts for these.

WORDS = ("中文", "한글", "ไทย", "น้ำ", "नमस्ते", "ि", "مرحبا", "さん", "বাংলা", "கொடி", "🙂")
#: Pairs of characters that are one and the same empty box where there is no font.
PAIRS = ("中国", "한글", "नम", "さん", "ไท", "→␣")
HOSTILE = "</style><script>alert(1)</script>\u202e"
Open = Callable[[Path], Page]


@pytest.fixture
def opened(browser: Browser) -> Iterator[Open]:
    """Return what opens a page; at the end it must have asked for nothing and reported nothing."""
    trouble: list[str] = []
    context = browser.new_context(viewport={"width": 1200, "height": 900})

    def open_page(path: Path) -> Page:
        page = context.new_page()
        page.on("console", lambda message: trouble.append(message.text))
        page.on("dialog", lambda dialog: (trouble.append("dialog"), dialog.dismiss()))
        page.goto(path.as_uri())
        return page

    yield open_page
    context.close()
    assert trouble == []


def drawn(page: Page, selector: str) -> set[bool]:
    """Return whether the page brought the fonts that an element's text is drawn with."""
    session = page.context.new_cdp_session(page)
    session.send("DOM.enable")
    session.send("CSS.enable")
    root = session.send("DOM.getDocument")["root"]["nodeId"]
    node = session.send("DOM.querySelector", {"nodeId": root, "selector": selector})["nodeId"]
    found = session.send("CSS.getPlatformFontsForNode", {"nodeId": node})["fonts"]
    return {font["isCustomFont"] for font in found}


def pictures(page: Page, parent: str, characters: str) -> list[bytes]:
    """Return each character's pixels as that part of the page shows it."""
    taken = []
    for character in characters:
        page.evaluate(
            """([parent, text]) => {
              document.getElementById("probe")?.remove();
              const probe = document.createElement("span");
              probe.id = "probe";
              probe.textContent = text;
              document.querySelector(parent).prepend(probe);
              return document.fonts.ready;
            }""",
            [parent, character],
        )
        box = page.locator("#probe").bounding_box()
        assert box is not None
        # Of one width, so that the width alone makes no difference.
        taken.append(page.screenshot(clip={**box, "width": 14.0}))
    page.evaluate("document.getElementById('probe').remove()")
    return taken


def ems_of_first_two(page: Page, selector: str) -> float:
    """Return the width of an element's first two characters as they were first laid out, in em."""
    page.wait_for_timeout(400)
    return float(
        page.locator(selector).first.evaluate(
            """node => {
              const text = document.createTreeWalker(node, NodeFilter.SHOW_TEXT).nextNode();
              const range = document.createRange();
              range.setStart(text, 0);
              range.setEnd(text, 2);
              const em = parseFloat(getComputedStyle(node).fontSize);
              return range.getBoundingClientRect().width / em;
            }"""
        )
    )


def assert_no_boxes(page: Page, parent: str) -> None:
    family = page.locator(parent).first.evaluate("node => getComputedStyle(node).fontFamily")
    assert family.endswith(f'"{FAMILY}"')
    loaded = page.evaluate(
        """async ([family, words]) => {
          const faces = await Promise.all(words.map((word) => document.fonts.load(family, word)));
          return faces.map((each) => each.length > 0 && each.every((f) => f.status === "loaded"));
        }""",
        [f'16px "{FAMILY}"', [*WORDS, *PAIRS]],
    )
    assert loaded == [True] * (len(WORDS) + len(PAIRS))
    for pair in PAIRS:
        first, second = pictures(page, parent, pair)
        assert first != second, f"{pair[0]} looks like {pair[1]}"


@pytest.mark.parametrize("word", WORDS)
def test_a_browser_draws_a_word_with_the_page_s_own_font(
    opened: Open, tmp_path: Path, word: str
) -> None:
    path = tmp_path / "page.html"
    style = f'p {{ font-family: "{FAMILY}"; }}'
    text = f"<p id=its>{word}<p id=latin>three"
    path.write_text(f"<meta charset=utf-8><style>{style}{font_faces([word])}</style>{text}")
    page = opened(path)
    page.evaluate("document.fonts.ready")
    assert drawn(page, "#its") == {True}
    assert drawn(page, "#latin") == {False}


def test_letters_are_joined_and_vowels_in_their_places(opened: Open, tmp_path: Path) -> None:
    """What is shaped has another width than its letters have, each for itself."""
    path = tmp_path / "page.html"
    words = {"مرحبا": False, "क्ष": False, "中文": True}
    spans = "".join(
        f"<div><span>{word}</span></div><div>{''.join(f'<i>{c}</i> ' for c in word)}</div>"
        for word in words
    )
    style = f'* {{ font: normal 40px "{FAMILY}"; }} i {{ display: inline-block; }}'
    path.write_text(f"<meta charset=utf-8><style>{style}{font_faces(words)}</style>{spans}")
    page = opened(path)
    page.evaluate("document.fonts.ready")
    whole = page.evaluate(
        "[...document.querySelectorAll('span')].map(n => n.getBoundingClientRect().width)"
    )
    parts = page.evaluate(
        """[...document.querySelectorAll('div:nth-child(even)')].map((row) =>
          [...row.querySelectorAll('i')].reduce((sum, n) =>
            sum + n.getBoundingClientRect().width, 0))"""
    )
    same = [abs(a - b) < 0.5 for a, b in zip(whole, parts, strict=True)]
    assert same == list(words.values())
    assert whole[2] == pytest.approx(80)  # two ideographs, an em each


def test_a_notebook_s_page_has_no_empty_boxes(opened: Open, tmp_path: Path) -> None:
    said = " ".join([*WORDS, *PAIRS])
    source = tmp_path / "tiny.py"
    # A heading like this one stayed boxes where the page named system-ui.
    cells = (
        "# %% [markdown]\n# # 中文 and ไทย: tokens of a page\n"
        "# Words such as नमस्ते, مرحبا, 한글 and さん in prose, `中文` in code, 🙂.\n"
        f"# %%\nprint({said + HOSTILE!r})\n"
    )
    source.write_text(cells, encoding="utf-8")
    (tmp_path / "results").mkdir()
    run_notebook(source, tmp_path / "results", tmp_path / "tiny.html")
    page = opened(tmp_path / "tiny.html")
    assert ems_of_first_two(page, "h1") == pytest.approx(2, abs=0.01)  # two ideographs
    assert_no_boxes(page, "h1")
    assert_no_boxes(page, "pre.stream")


def test_an_explorer_s_pages_have_no_empty_boxes(opened: Open, tmp_path: Path) -> None:
    words = [*WORDS, *PAIRS, HOSTILE, " three"]
    frame = pd.DataFrame({"text": words, "script": "Latin", "is_fragment": False})
    texts = Vocabulary(frame.rename_axis("token_id"))
    small = realistic.sample(4, 4, layers=6, k=3)
    ids = np.arange(small.top_id.size).reshape(small.top_id.shape) % len(words)
    sample = dataclasses.replace(small, top_id=ids, token_id=small.token_id % len(words))
    (tmp_path / "page.html").write_text(page_of(sample, texts, None), encoding="utf-8")
    card = {
        "title": "a", "model": "m", "dataset": "d", "thumbnail": None, "right": None,
        "convergence_layer": None, "n_layers": 2, "question": " ".join(words), "answer": "中",
        "gold": "", "href": "page.html",
    }  # fmt: skip
    (tmp_path / "index.html").write_text(render("index", {"cards": [card]}), encoding="utf-8")
    for name in ("page.html", "index.html"):
        page = opened(tmp_path / name)
        page.wait_for_selector("html[data-ready]")
        if name == "index.html":
            assert ems_of_first_two(page, ".question") == pytest.approx(2, abs=0.01)
        assert_no_boxes(page, "main")


def test_a_large_page_with_the_characters_of_a_real_vocabulary_stays_small() -> None:
    """As many characters of each script as a vocabulary of 32,000 tokens has, and more."""
    ranges = ((0x4E00, 0x4E00 + 800), (0xAC00, 0xAC00 + 120), (0x3041, 0x30FF), (0x400, 0x480))
    characters = [chr(point) for first, end in ranges for point in range(first, end)]
    words = realistic.vocabulary()
    texts = [
        f"{words.of(i)[0]}{characters[i % len(characters)]}" if i % 8 == 0 else words.of(i)[0]
        for i in range(32_000)
    ]
    frame = pd.DataFrame({"text": texts, "script": "Latin", "is_fragment": False})
    sample = realistic.sample(24, 24)
    page = page_of(sample, Vocabulary(frame.rename_axis("token_id")), None).encode()
    # What the commonest tokens of the sample have of it.
    assert 100_000 < sum(map(len, re.findall(rb"@font-face.*", page))) < 350_000
    assert len(page) < 1_000_000 - 150_000  # what is left is for the picture
