"""Which script a token is written in: one label a token, from the Unicode Script property.

The study of TallyQA that lensbench reproduces calls a token Chinese when any character lies in
U+4E00–U+9FFF. The rule here differs: extension blocks (㐀, 𠀀), radicals, 々 and 〇 count as Han
too, and every other script has its own label, so that the masses over all labels sum to one. No
token that the study calls Chinese gets another label here (but one that the caller says is special
or a fragment). A Japanese word with a kanji in it is Han under both rules.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import repeat

import regex

SCRIPTS: tuple[str, ...] = (
    "Latin",
    "Han",
    "Kana",
    "Hangul",
    "Cyrillic",
    "Greek",
    "Arabic",
    "Hebrew",
    "Devanagari",
    "Thai",
    "Other",
    "Digit",
    "Punctuation",
    "Symbol",
    "Space",
    "Fragment",
    "Special",
)

# The labels that are scripts of their own, by the names Unicode gives their scripts.
_UNICODE_SCRIPTS: dict[str, tuple[str, ...]] = {
    "Latin": ("Latin",),
    "Han": ("Han",),
    "Kana": ("Hiragana", "Katakana"),
    "Hangul": ("Hangul",),
    "Cyrillic": ("Cyrillic",),
    "Greek": ("Greek",),
    "Arabic": ("Arabic",),
    "Hebrew": ("Hebrew",),
    "Devanagari": ("Devanagari",),
    "Thai": ("Thai",),
}


def _any_of(property_name: str, scripts: tuple[str, ...]) -> regex.Pattern[str]:
    return regex.compile("[" + "".join(rf"\p{{{property_name}={s}}}" for s in scripts) + "]")


_OWN = {label: _any_of("Script", names) for label, names in _UNICODE_SCRIPTS.items()}
_SHARED = {label: _any_of("Script_Extensions", names) for label, names in _UNICODE_SCRIPTS.items()}
_NO_SCRIPT = regex.compile(r"[\p{Script=Common}\p{Script=Inherited}\p{Script=Unknown}]")

# What decides a mixed text: Han anywhere, else its first letter, else its first digit, and so on.
_HAN, _LETTER, _DIGIT, _SIGN, _REST, _SPACE = range(6)


@cache
def _label_of(character: str) -> tuple[int, str]:
    """Return how strongly a single character decides (0 the strongest) and its label."""
    category = unicodedata.category(character)
    if character.isspace() or category[0] == "Z":
        return _SPACE, "Space"
    if category == "Nd":  # Decimal digits of any script: ３ and ३ are digits as 3 is.
        return _DIGIT, "Digit"
    for label, pattern in _OWN.items():
        if pattern.match(character):
            return (_HAN if label == "Han" else _LETTER), label
    if not _NO_SCRIPT.match(character):
        return _LETTER, "Other"
    if category[0] in "LM":
        return _label_of_shared(character)
    if category[0] == "N":  # ½, ², ①: numbers that no script owns.
        return _DIGIT, "Digit"
    if category[0] == "P":
        return _SIGN, "Punctuation"
    if category[0] == "S":
        return _SIGN, "Symbol"
    return _REST, "Other"  # Controls, joiners, private use, unassigned.


def _label_of_shared(character: str) -> tuple[int, str]:
    """Label a letter or mark of no one script: ー is Kana, µ Greek, a bare accent Other."""
    labels = [label for label, pattern in _SHARED.items() if pattern.match(character)]
    if len(labels) == 1:
        return (_HAN if labels[0] == "Han" else _LETTER), labels[0]
    plain = unicodedata.normalize("NFKC", character)
    if plain != character and len(plain) == 1:
        return _label_of(plain)
    return _REST, "Other"


def script_of(text: str, *, is_fragment: bool = False, is_special: bool = False) -> str:
    """Return the script of a token's text: one of `SCRIPTS`.

    A text with any Han character is Han; else the script of its first letter (" 3rd" is Latin);
    else Digit if it has a number; else Punctuation or Symbol (emoji included) by its first sign;
    else Other (lone accents, controls, joiners, private use); Space if it is blank or empty.

    Args:
        text: what the token decodes to.
        is_fragment: its bytes are no whole character(s), so its text means nothing.
        is_special: a control or added token ("<|im_end|>"); this goes before `is_fragment`.

    Source: the Script and Script_Extensions properties, Unicode Standard Annex #24.
    """
    if is_special:
        return "Special"
    if is_fragment:
        return "Fragment"
    best, found = _SPACE, "Space"
    for character in text:
        strength, label = _label_of(character)
        if strength < best:
            best, found = strength, label
            if strength == _HAN:
                break
    return found


def scripts_of(
    texts: Sequence[str],
    fragments: Iterable[bool] | None = None,
    specials: Iterable[bool] | None = None,
) -> list[str]:
    """Return `script_of` for a whole vocabulary (152,000 tokens take well under a second).

    Args:
        texts: [V] the text of each token.
        fragments: [V] whether each is a fragment; none are if left out.
        specials: [V] whether each is special; none are if left out.

    Raises:
        ValueError: if the lists differ in length.
    """
    size = len(texts)
    fragments = repeat(False, size) if fragments is None else fragments
    specials = repeat(False, size) if specials is None else specials
    return [
        script_of(text, is_fragment=bool(fragment), is_special=bool(special))
        for text, fragment, special in zip(texts, fragments, specials, strict=True)
    ]
