"""Whether the tokens of a layer, or a text, are the gold answer, and in which language.

A layer says an answer by its likeliest tokens, one a step: token i of a form counts only where the
tokens generated before it are the form's own, since those are what the model has read.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lensbench.scripts import script_of

_UNSPACED = ("Han", "Kana", "Hangul", "Thai")
#: 三 begins 三十 and 三百, which are other numbers.
_NUMERALS = frozenset("零〇一二三四五六七八九十百千万萬两兩億亿")


def language_of_hit(
    ids: np.ndarray, gold: np.ndarray, forms: pd.DataFrame, languages: Sequence[str]
) -> np.ndarray:
    """Return the index of the language in which each token begins a gold form, else -1.

    Only first tokens that stand for the gold alone (`kept`) count.

    Args:
        ids: token ids, [n, ...].
        gold: concept ids, [n].
        forms: the run's forms.
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


@dataclass(frozen=True)
class Form:
    """A form of a concept: its tokens, how it is spelled, and the languages that have it."""

    tokens: tuple[int, ...]
    text: str
    languages: tuple[int, ...]


@dataclass(frozen=True)
class Spelling:
    """How a vocabulary writes each gold concept.

    Args:
        forms: concept → its forms, none twice.
        text: gives the text of a token id.
        languages: labels that the forms' languages are indices of.
    """

    forms: dict[str, list[Form]]
    text: Callable[[int], str]
    languages: tuple[str, ...]

    @classmethod
    def of(
        cls,
        forms: pd.DataFrame,
        golds: Iterable[str],
        text: Callable[[int], str],
        languages: Sequence[str],
    ) -> Spelling:
        """Return how the `forms` table of a model writes these concepts."""
        known = forms[(forms["reason"] != "unknown") & forms["concept"].isin(set(golds))]
        rank = {language: index for index, language in enumerate(languages)}
        found: dict[str, dict[tuple[int, ...], Form]] = defaultdict(dict)
        columns = (known[name] for name in ("concept", "language", "form", "token_ids"))
        for concept, language, spelling, tokens in zip(*columns, strict=True):
            ids = tuple(int(token) for token in tokens)
            same = found[concept].get(ids, Form(ids, spelling, ()))
            spoken = tuple(sorted({*same.languages, rank[language]}))
            found[concept][ids] = Form(ids, same.text, spoken)
        written = {concept: list(of.values()) for concept, of in found.items()}
        return cls(written, text, tuple(languages))


@dataclass(frozen=True)
class Followed:
    """What the layers of n samples say of the gold answer.

    Args:
        language: [n, L+1] index of the language of the gold form that the layer says, else -1.
        readable: [n] whether a gold form in the language asked for can be read at all.
    """

    language: np.ndarray
    readable: np.ndarray

    @property
    def right(self) -> np.ndarray:
        """Whether the layer says the gold answer, [n, L+1]."""
        return self.language >= 0


def followed(
    top1: np.ndarray, begin: np.ndarray, offset: np.ndarray, samples: pd.DataFrame, how: Spelling
) -> Followed:
    """Return which layers say a gold form to its end, and in which language.

    A layer says a form where its top-1 tokens at the form's steps are the form's, and what begins
    there does not go on: neither in the layer's next top-1 token nor in the text generated. Where
    the model leaves a form before its last token, a layer that would have gone on can't be seen
    to, and has not said it. Where the text is cut off within a form, the form can't be read.

    Args:
        top1: likeliest token of every step and layer, [steps of all samples, L+1].
        begin: row of `top1` at which each sample's answer is read, [n].
        offset: the step that this is, [n].
        samples: gold, language, generated, generated_ids and generated_ends, n rows.
        how: how the vocabulary writes the golds.
    """
    n = len(samples)
    language = np.full((n, top1.shape[1]), -1)
    readable = np.zeros(n, dtype=bool)
    alike: dict[tuple[str, str, tuple[int, ...], str], list[int]] = defaultdict(list)
    ends = []
    columns = (
        samples[name]
        for name in ("gold", "language", "generated", "generated_ids", "generated_ends")
    )
    for row, (gold, asked, text, ids, stops) in enumerate(zip(*columns, strict=True)):
        step = int(offset[row])
        start = int(stops[step - 1]) if step else 0
        ends.append([int(stop) - start for stop in stops[step:]])
        alike[gold, asked, tuple(int(token) for token in ids[step:]), text[start:]].append(row)
    for (gold, asked, ids, text), rows in alike.items():
        at = begin[rows]
        first = set(np.unique(top1[at]))
        for form in how.forms.get(gold, ()):
            tokens = form.tokens
            shared = _shared(tokens, ids)
            if shared == len(ids) < len(tokens):
                continue
            if asked in {how.languages[index] for index in form.languages}:
                readable[rows] = True
            if tokens[0] not in first or shared < len(tokens) - 1:
                continue
            says = np.ones((len(rows), top1.shape[1]), dtype=bool)
            for step, token in enumerate(tokens):
                says &= top1[at + step] == token
            if shared == len(tokens) < len(ids):
                if goes_on(form.text, text[ends[rows[0]][len(tokens) - 1] :], gold):
                    continue
                following = top1[at + len(tokens)]
                for token in np.unique(following[says]):
                    if goes_on(form.text, how.text(int(token)), gold):
                        says &= following != token
            own = language[rows]
            own[says & ((own < 0) | (own > form.languages[0]))] = form.languages[0]
            language[rows] = own
    return Followed(language, readable)


def goes_on(form: str, after: str, concept: str) -> bool:
    """Say whether a text that begins with a form is another answer: 1 and 2 are 12."""
    return not _starts_with(_plain(form + after), _plain(form))


def _shared(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many tokens two sequences begin with in common."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))


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
