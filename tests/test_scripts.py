from __future__ import annotations

import sys
import time

import numpy as np
import pytest

from lensbench.scripts import SCRIPTS, script_of, scripts_of

HAND_CHOSEN = {
    "the": "Latin",
    " The": "Latin",
    "é": "Latin",
    "e\u0301": "Latin",  # A letter and a combining accent.
    "Ａ": "Latin",  # Full width.
    "ª": "Latin",
    "Ⅳ": "Latin",
    "ﬁ": "Latin",
    "𝐀": "Latin",  # A mathematical letter is the letter it stands for.
    " 3rd": "Latin",
    "(a": "Latin",
    "红": "Han",
    " 红色": "Han",
    "〇": "Han",
    "々": "Han",
    "〆": "Han",
    "㐀": "Han",  # Extension A.
    "𠀀": "Han",  # Extension B, beyond the basic plane.
    "𰀀": "Han",  # Extension G.
    "⼀": "Han",  # A radical.
    "食べる": "Han",  # Any Han character decides.
    "A股": "Han",
    "3个": "Han",
    "べる": "Kana",
    "ー": "Kana",
    "ｱ": "Kana",  # Half width.
    "ｶﾞ": "Kana",
    "\u3099": "Kana",  # The combining voiced mark belongs to kana alone.
    "다섯": "Hangul",
    "ㄱ": "Hangul",
    "\u1100": "Hangul",
    "красный": "Cyrillic",
    "λ": "Greek",
    "µ": "Greek",  # The micro sign.
    "عربي": "Arabic",
    "ـ": "Arabic",
    "שלום": "Hebrew",
    "नमस्ते": "Devanagari",
    "ไทย": "Thai",
    "ㄅ": "Other",  # Bopomofo.
    "தமிழ்": "Other",
    "\u0301": "Other",  # An accent without a letter.
    "\u200d": "Other",
    "\x00": "Other",
    "\ue000": "Other",
    "7": "Digit",
    " 42": "Digit",
    "３": "Digit",
    "٣": "Digit",
    "३": "Digit",
    "½": "Digit",
    "²": "Digit",
    "①": "Digit",
    "3.": "Digit",
    "(3)": "Digit",
    "3️⃣": "Digit",
    "。": "Punctuation",
    "，": "Punctuation",
    "「": "Punctuation",
    "...": "Punctuation",
    ' "': "Punctuation",
    "¿": "Punctuation",
    "+": "Symbol",
    "$": "Symbol",
    "←": "Symbol",
    "😀": "Symbol",
    "👨\u200d👩\u200d👧": "Symbol",
    "❤️": "Symbol",
    "👍🏽": "Symbol",
    "🇫🇷": "Symbol",
    "℃": "Symbol",
    "\ufffd": "Symbol",
    " ": "Space",
    "\n\n": "Space",
    "\t": "Space",
    "\u3000": "Space",
    "\xa0": "Space",
    "": "Space",
}


@pytest.mark.parametrize(("text", "script"), HAND_CHOSEN.items(), ids=map(ascii, HAND_CHOSEN))
def test_hand_chosen_tokens(text: str, script: str) -> None:
    assert script_of(text) == script


def test_scripts_are_the_contract() -> None:
    assert (
        *("Latin", "Han", "Kana", "Hangul", "Cyrillic", "Greek", "Arabic", "Hebrew"),
        *("Devanagari", "Thai", "Other", "Digit", "Punctuation", "Symbol"),
        *("Space", "Fragment", "Special"),
    ) == SCRIPTS
    assert len(set(SCRIPTS)) == 17


def test_fragments_and_specials_go_before_their_text() -> None:
    assert script_of("红", is_fragment=True) == "Fragment"
    assert script_of("<|im_end|>") == "Latin"
    assert script_of("<|im_end|>", is_special=True) == "Special"
    assert script_of("\ufffd", is_fragment=True, is_special=True) == "Special"


def test_every_character_has_one_of_the_labels() -> None:
    codes = [*range(0xD800), *range(0xE000, sys.maxunicode + 1, 7)]
    labels = {script_of(chr(code)) for code in codes}
    assert labels == set(SCRIPTS) - {"Fragment", "Special"}


def test_whatever_the_study_calls_chinese_is_han() -> None:
    assert {script_of(chr(c)) for c in range(0x4E00, 0xA000)} == {"Han"}
    # And what its rule misses.
    assert all(not 0x4E00 <= ord(c) <= 0x9FFF and script_of(c) == "Han" for c in "々〇㐀𠀀")


def test_a_vocabulary_equals_its_tokens_one_by_one_and_is_quick() -> None:
    rng = np.random.default_rng(0)
    starts = rng.choice([0x20, 0x400, 0x3040, 0x4E00, 0xAC00], size=(152_000, 4))
    codes = starts + rng.integers(0, 90, size=starts.shape)
    texts = ["".join(map(chr, row)) for row in codes.tolist()]
    begun = time.perf_counter()
    scripts = scripts_of(texts)
    assert time.perf_counter() - begun < 3
    for place in range(0, len(texts), 997):
        assert scripts[place] == script_of(texts[place])
    flags = [place % 2 == 0 for place in range(4)]
    assert scripts_of(["a", "b", "红", "1"], flags, [False, False, True, False]) == [
        *("Fragment", "Latin", "Special", "Digit")
    ]
    with pytest.raises(ValueError, match="shorter"):
        scripts_of(["a", "b"], [False])
