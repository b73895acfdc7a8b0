"""Mass on the gold answer's forms, by language: which language a middle layer answers in.

Source: Wendler et al. 2024 (arXiv 2402.10588). A form whose first token another gold of the dataset
shares is left out, and counted in `summary`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from lensbench.answers import UNREAD

#: Rows with this in `asked` or `family` are over all samples, whatever was asked for.
ALL = "all"
#: A family of answers with fewer samples than this has no rows of its own.
FEWEST = 5


def by_asked(asked: np.ndarray, languages: Sequence[str]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield "all" and each language asked for, in order, with the mask of its samples.

    Args:
        asked: language asked for, [n].
        languages: their order.
    """
    if len(asked):
        yield ALL, np.ones(len(asked), dtype=bool)
    for language in languages:
        mask = asked == language
        if mask.any():
            yield language, mask


def family_of(gold: np.ndarray) -> np.ndarray:
    """Return the family of each concept, [n]: "number" of "number:3"."""
    return np.array([str(concept).partition(":")[0] for concept in gold], dtype=object)


def families(golds: Mapping[str, int]) -> list[str]:
    """Return the families of answers that have rows of their own, sorted.

    A family alone is all there is and has none, nor has one of few samples.

    Args:
        golds: concept → how many samples have it.
    """
    counts: Counter[str] = Counter()
    for gold, n in golds.items():
        if gold in ("", UNREAD):
            continue
        counts[str(family_of(np.array([gold], dtype=object))[0])] += n
    return [name for name in sorted(counts) if len(counts) > 1 and counts[name] >= FEWEST]


def by_family(gold: np.ndarray, named: Sequence[str]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield "all" and each named family of answers with the mask of its samples.

    Args:
        gold: concepts, [n].
        named: the families, as `families` gives them.
    """
    yield ALL, np.ones(len(gold), dtype=bool)
    family = family_of(gold)
    for name in named:
        yield name, family == name


def languages_with_forms(
    gold: Iterable[str], forms: pd.DataFrame, languages: Sequence[str]
) -> list[str]:
    """Return the languages in which any of the gold concepts has a form, in order."""
    known = forms[(forms["reason"] != "unknown") & forms["concept"].isin(set(gold))]
    found = set(known["language"])
    return [language for language in languages if language in found]


def forms_kept(gold: Iterable[str], forms: pd.DataFrame) -> tuple[int, int]:
    """Return how many forms of the gold concepts were kept, and how many were tried."""
    tried = forms[forms["concept"].isin(set(gold))]
    return int(tried["kept"].sum()), len(tried)
