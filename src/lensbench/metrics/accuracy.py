"""Whether a token is a form of the gold answer, and in which language; and whether a text is.

Token accuracy goes by ids: the likeliest token must be the first token of a form kept for the gold
concept (case and leading space are variants in `forms`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

import numpy as np
import pandas as pd

from lensbench.scripts import script_of

_UNSPACED = ("Han", "Kana", "Hangul", "Thai")
#: 三 begins 三十 and 三百, which are other numbers.
_NUMERALS = frozenset("零〇一二三四五六七八九十百千万萬两兩億亿")


def language_of_hit(
    ids: np.ndarray, gold: np.ndarray, forms: pd.DataFrame, languages: Sequence[str]
) -> np.ndarray:
    """Return the index of the language in which each token is a form of the gold concept, else -1.

    Args:
        ids: token ids, [n, ...].
        gold: concept ids, [n].
        forms: the model's `forms`.
        languages: their order; a token that is a form in two languages counts for the first.
    """
    found = np.full(ids.shape, -1)
    if not ids.size:
        return found
    kept = forms[forms["kept"] & forms["concept"].isin(set(gold))]
    rank = {language: index for index, language in enumerate(languages)}
    most = int(ids.max())
    for concept, group in kept.groupby("concept"):
        rows = np.flatnonzero(gold == concept)
        # One look-up for each token, however many forms there are.
        owner = np.full(most + 1, len(rank), dtype=np.int16)
        for token, language in zip(group["token_id"], group["language"], strict=True):
            if token <= most:
                owner[token] = min(rank[language], owner[token])
        owner[owner == len(rank)] = -1
        found[rows] = owner[ids[rows]]
    return found


def generated_is_gold(
    generated: Sequence[str], gold: Sequence[str], forms: pd.DataFrame
) -> np.ndarray:
    """Return whether each text starts with a form of its gold concept, as a whole word, [n].

    Forms left out for their first token count here: a whole text tells them apart. Case, width,
    surrounding space and punctuation are ignored. Chinese, Japanese, Korean and Thai are written
    without spaces, so there a prefix is enough, unless a Han numeral goes on.

    Args:
        generated: the texts, [n].
        gold: concept ids, [n].
        forms: the model's `forms`.
    """
    by_concept = {
        concept: sorted({_plain(form) for form in group["form"]} - {""})
        for concept, group in forms.groupby("concept")
    }
    return np.array(
        [
            any(_starts_with(_plain(text), form) for form in by_concept.get(concept, []))
            for text, concept in zip(generated, gold, strict=True)
        ],
        dtype=bool,
    )


def _plain(text: str) -> str:
    """Return the text without case, width, and surrounding space or punctuation."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return re.sub(r"^[\W_]+|[\W_]+$", "", folded)


def _starts_with(text: str, form: str) -> bool:
    if not text.startswith(form):
        return False
    rest = text[len(form) :]
    if not rest:
        return True
    if form[-1] in _NUMERALS and rest[0] in _NUMERALS:
        return False
    if script_of(form[-1]) in _UNSPACED:
        return True
    if form[-1].isdigit() and re.match(r"[.,:/]\d", rest):  # 3.5 and 3:15 are not 3
        return False
    return not (rest[0].isalnum() or rest[0] == "_" or unicodedata.category(rest[0])[0] == "M")
