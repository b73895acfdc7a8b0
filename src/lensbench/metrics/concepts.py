"""Mass on the gold answer's forms, by language: which language a middle layer answers in.

Source: Wendler et al. 2024 (arXiv 2402.10588). A form whose first token another concept shares is
left out at extraction and counted in `forms`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

#: Rows with this in `asked` are over all samples, whatever language was asked for.
ALL = "all"


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


def languages_with_forms(
    gold: np.ndarray, forms: pd.DataFrame, languages: Sequence[str]
) -> list[str]:
    """Return the languages in which any of the gold concepts has a kept form, in order."""
    kept = forms[forms["kept"] & forms["concept"].isin(set(gold))]
    found = set(kept["language"])
    return [language for language in languages if language in found]


def forms_kept(gold: np.ndarray, forms: pd.DataFrame) -> tuple[int, int]:
    """Return how many forms of the gold concepts were kept, and how many were tried."""
    tried = forms[forms["concept"].isin(set(gold))]
    return int(tried["kept"].sum()), len(tried)
