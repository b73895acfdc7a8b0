"""Whether the tokens of a layer, or a text, are the gold answer, and in which language.

A layer says an answer by its likeliest tokens, one a step: token i of a form counts only where the
tokens generated before it are the form's own, since those are what the model has read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
import regex

from lensbench.answers import Reading, begins_with, find_answer, generated_answer, kind_of


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
    there does not go on: neither the text generated, nor the layer's next top-1 token (`goes_on`),
    which may be anything where the model's answer is at its end. Where
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
    alike: dict[tuple[str, str, tuple[int, ...], str, str], list[int]] = defaultdict(list)
    ends = []
    columns = (
        samples[name]
        for name in ("gold", "language", "generated", "generated_ids", "generated_ends")
    )
    for row, (gold, asked, text, ids, stops) in enumerate(zip(*columns, strict=True)):
        step = int(offset[row])
        start = int(stops[step - 1]) if step else 0
        ends.append([int(stop) - start for stop in stops[step:]])
        # A sign or a point before a number makes it another: it hangs on to it.
        before = "".join(regex.findall(r"[^\w\s]*$", text[:start])[:1])
        tail = tuple(int(token) for token in ids[step:])
        alike[gold, asked, tail, before, text[start:]].append(row)
    for (gold, asked, ids, before, text), rows in alike.items():
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
            follows = np.ones((len(rows), top1.shape[1]), dtype=bool)
            for step, token in enumerate(tokens):
                follows &= top1[at + step] == token
            after = ""
            if shared == len(tokens) < len(ids):
                after = text[ends[rows[0]][len(tokens) - 1] :]
                following = top1[at + len(tokens)]
                for token in np.unique(following[follows]):
                    if goes_on(form.text, how.text(int(token)), gold):
                        follows &= following != token
            if not says(before, form.text, after, gold):
                continue
            own = language[rows]
            own[follows & ((own < 0) | (own > form.languages[0]))] = form.languages[0]
            language[rows] = own
    return Followed(language, readable)


@lru_cache(maxsize=100_000)
def says(before: str, form: str, after: str, concept: str) -> bool:
    """Return whether a form is the answer still, with what stands around it: 1 before 2 is 12.

    A form that `begins_with` doesn't read by itself is one as long as no word goes on with it.
    """
    if begins_with(form, concept):
        return begins_with(before + form + after, concept)
    return not regex.match(r"\w", after)


@lru_cache(maxsize=100_000)
def goes_on(form: str, token: str, concept: str) -> bool:
    """Return whether a token makes another number or word of a form: 1 and 2, six and teen."""
    if begins_with(form + token, concept):
        return False
    if form[-1].isalpha() and token[:1].islower():
        return True
    digit = regex.match(r"[\s.,/\-–−]*\p{N}", token) or find_answer(token, "count")
    return concept.startswith("number:") and bool(digit)


def _shared(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many tokens two sequences begin with in common."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))


@lru_cache(maxsize=100_000)
def answer_in(text: str, kind: str, lenient: bool) -> Reading | None:
    """Return what a text answers, as `generated_answer` reads it; None without a kind."""
    return generated_answer(text, kind, lenient=lenient) if kind else None


def generated_is_gold(
    generated: Sequence[str], gold: Sequence[str], *, lenient: bool = False
) -> np.ndarray:
    """Return whether each text answers its gold concept, as `generated_answer` reads it, [n].

    Args:
        generated: the texts, [n].
        gold: concept ids, [n].
        lenient: whether the only answer in a text that says more counts too.
    """
    readings = [
        answer_in(text, kind_of(concept), lenient)
        for text, concept in zip(generated, gold, strict=True)
    ]
    return np.array(
        [
            reading is not None and reading.concept == concept
            for reading, concept in zip(readings, gold, strict=True)
        ],
        dtype=bool,
    )


def is_told(gold: np.ndarray, forms: pd.DataFrame) -> np.ndarray:
    """Return which golds a written answer can name: all numbers, and concepts with a form, [n].

    Args:
        gold: concept ids, [n].
        forms: the model's `forms`.
    """
    numbers = np.array([concept.startswith("number:") for concept in gold], dtype=bool)
    return numbers | np.isin(gold, forms["concept"].unique())
