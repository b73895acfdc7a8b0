from __future__ import annotations

import string
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lensbench.errors import LensbenchError
from lensbench.figures import fonts, saving, style

TEXTS = {
    "Latin": "naïve Łódź Straße ñandú œuvre ŷ",
    "Han, simplified and traditional": "三个 两條 零無 红紅 巴黎 龍龙 一定程度",
    "Kana": "さん サン ァィ ゔ ー",
    "Hangul": "셋 한국어 뷁 파리",
    "Cyrillic": "три Москва Ёё ЇїЄє",
    "Greek": "τρία Αθήνα ώ",
    "Arabic": "ثلاثة باريس ۳ پ",
    "Hebrew": "שלום שלוש",
    "Devanagari": "तीन हिन्दी",
    "Thai": "การ สาม น้ำ",
    "other scripts": "ქართული Հայերեն বাংলা தமிழ் తెలుగు ಕನ್ನಡ മലയാളം ខ្មែរ",
    "more scripts": "ລາວ မြန်မာ አማርኛ සිංහල ગુજરાતી ਪੰਜਾਬੀ ଓଡ଼ିଆ",
    "symbols": "→ ≤ ≥ ∑ √ ∞ € ₽ ¥ № ™ ½ ① ♀ ★ ␣ ⏎ ⇥ ⟨⟩ … – — ‖ ÷ −",
    "emoji": "🙂🚀🎉👩🐶🌍🔥❤",
    "ASCII": string.printable.strip(),
}  # fmt: skip


@pytest.mark.parametrize("name", TEXTS)
def test_every_character_has_a_glyph(name: str) -> None:
    assert fonts.missing_glyphs(TEXTS[name]) == set()


def test_a_character_no_font_has_is_reported() -> None:
    # Tibetan and a private-use character are in none of the files.
    assert fonts.missing_glyphs("a\u0f40\ue000") == {"\u0f40", "\ue000"}


@pytest.mark.parametrize("name", TEXTS)
def test_a_drawn_text_is_saved_without_a_missing_glyph(name: str, tmp_path: Path) -> None:
    saving.save(style.dress(style.sentence(TEXTS[name])), tmp_path / "text", ("png",))


def test_a_missing_glyph_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    figure = style.dress(style.sentence("unprintable: \u0f40"))
    with pytest.raises(LensbenchError, match="Glyph 3904"):
        saving.save(figure, tmp_path / "text")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("token", "shown"),
    [
        (" Paris", "␣Paris"),
        ("a b ", "a b␣"),
        ("   ", "␣␣␣"),
        ("\n\n", "⏎⏎"),
        ("\t\r", "⇥⟨CR⟩"),
        ("␊", "⏎"),  # as the CSV tables write a line feed
        ("", "⟨empty⟩"),
        ("<0xE4>", "⟨E4⟩"),
        ("\udce4", "⟨E4⟩"),
        ("\ufffd\ufffd", "⟨bytes⟩"),
        ("\u200b", "⟨U+200B⟩"),
        ("\x00", "⟨U+0000⟩"),
        ("\xa0", "⟨U+00A0⟩"),
        ("\u0f40", "⟨U+0F40⟩"),
        ("\u0301", "◌\u0301"),
        ("❤\ufe0f", "❤"),
        ("👩\u200d🚀", "👩🚀"),
        ("\u202eabc", "⟨U+202E⟩abc"),
        ("$x_1$", "$x_1$"),
        ("三个", "三个"),
    ],
)
def test_a_token_is_shown_visibly(token: str, shown: str) -> None:
    assert fonts.printable(token) == shown


def test_a_long_token_is_cut_to_its_columns() -> None:
    assert fonts.printable("abcdefgh", 8) == "abcdefgh"
    assert fonts.printable("abcdefghi", 8) == "abcdefg…"
    # A CJK character takes two columns.
    assert fonts.printable("三个三个三", 8) == "三个三…"


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.characters(), max_size=12))
def test_any_text_is_printable(token: str) -> None:
    shown = fonts.printable(token)
    assert shown
    assert fonts.missing_glyphs(shown) == set()
    assert "\n" not in shown


def test_a_text_gets_only_the_fonts_it_needs() -> None:
    main = fonts.register()[0]
    assert fonts.families_for("Paris 12") == (main,)
    assert "NotoSansCJKtc-Regular" in fonts.families_for("三")[1]
    assert "NotoSansArabic" in fonts.families_for("ثلاثة")[1]


def test_the_latex_chain_names_every_font_by_a_path_that_exists(tmp_path: Path) -> None:
    written = fonts.write_latex_fonts(tmp_path / "fonts.tex").read_text(encoding="utf-8")
    for path in fonts.font_paths():
        assert path.is_file()
        assert path.name in written
    assert "luaotfload.add_fallback" in written


def test_drawing_never_imports_torch() -> None:
    code = (
        "import sys, lensbench.figures as f, lensbench.tables, lensbench.numbers; f.FIGURES; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
