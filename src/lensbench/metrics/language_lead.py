"""Whether the answer arrives in one language before it arrives in another, sample by sample.

The answer has arrived in a language at the first layer at which a form of the gold concept in that
language is among the first k tokens, or has a mass of 0.1. A token that is a form in two languages
counts for the first of them, so a numeral that Chinese and Japanese share is Chinese. Only samples
whose gold concept has a usable form in both languages are compared. The languages have different
numbers of forms, and the one with more is the likelier to be among the first k by chance: so the
same is told of a wrong answer of the same kind ("top10_other"), as a floor.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from lensbench.metrics.accuracy import language_of_hit
from lensbench.metrics.bootstrap import Bootstrap
from lensbench.metrics.concepts import by_asked
from lensbench.metrics.rundata import RunData

#: Who is held against whom: first, second.
PAIRS = (("zh", "en"), ("zh", "digit"), ("en", "digit"))
#: A form is there if it is among so many tokens, or if the language's forms have this mass.
RANKS, MASS = (1, 10), 0.1
#: Stands for the layer of what never arrives.
NEVER = -1


def arrival_layer(there: np.ndarray) -> np.ndarray:
    """Return the first layer at which it is there, NEVER where it is at none, [n].

    Args:
        there: [n, L+1].
    """
    return np.where(there.any(axis=1), there.argmax(axis=1), NEVER)


def compared(first: np.ndarray, second: np.ndarray) -> dict[str, np.ndarray]:
    """Return what is averaged, by metric: shares over all samples, the lead over some.

    Args:
        first: arrival layer in the first language, [n], NEVER if none.
        second: in the second.

    Returns:
        share_first_earlier, share_second_earlier, share_tie, share_only_first, share_only_second
        and share_neither, each [n], which sum to 1; lead_layers (second − first, positive where the
        first is earlier) and lead_share, over the samples in which both arrive.
    """
    has_first, has_second = first != NEVER, second != NEVER
    both = has_first & has_second
    lead = second - first
    return {
        "share_first_earlier": both & (lead > 0),
        "share_second_earlier": both & (lead < 0),
        "share_tie": both & (lead == 0),
        "share_only_first": has_first & ~has_second,
        "share_only_second": has_second & ~has_first,
        "share_neither": ~has_first & ~has_second,
        "lead_layers": lead[both],
        "lead_share": (lead > 0)[both],
    }


def another(gold: np.ndarray) -> np.ndarray:
    """Return a wrong answer of the same family for each sample, "" where there is none, [n].

    It is the next of the run's answers by name, so that every answer is as often wrong as right.

    Args:
        gold: concepts, [n].
    """
    families: dict[str, list[str]] = {}
    for concept in sorted(set(gold)):
        families.setdefault(concept.split(":")[0], []).append(concept)
    following = {
        concept: of_family[(place + 1) % len(of_family)] if len(of_family) > 1 else ""
        for of_family in families.values()
        for place, concept in enumerate(of_family)
    }
    return np.array([following[concept] for concept in gold], dtype=object)


def arrivals(run: RunData) -> Iterator[tuple[str, np.ndarray, dict[str, np.ndarray]]]:
    """Yield each way to arrive, "top1", "top10" and "mass", with each language's layers.

    Args:
        run: one model on one dataset.

    Yields:
        the name, with "_other" for a wrong answer; the answers looked for, of the samples with a
        gold form, [n]; and language → arrival layer, [n].
    """
    labels, first = run.meta.languages, run.first
    gold = run.samples["gold"].to_numpy(dtype=object)[run.has_gold]
    wanted = dict.fromkeys(language for pair in PAIRS for language in pair)
    spoken = [language for language in wanted if language in labels]
    widest = max(RANKS)
    top = first.top_id[run.has_gold][:, :, :widest]
    for answer, ending in ((gold, ""), (another(gold), "_other")):
        found = language_of_hit(top, answer, run.forms, labels)
        # A run that lists fewer tokens says nothing of the tenth.
        for k in (k for k in RANKS if k <= found.shape[2]):
            yield (
                f"top{k}{ending}",
                answer,
                {
                    language: arrival_layer((found[:, :, :k] == labels.index(language)).any(axis=2))
                    for language in spoken
                },
            )
    mass = first.concept_mass[run.has_gold]
    yield (
        "mass",
        gold,
        {
            language: arrival_layer(mass[:, :, labels.index(language)] >= MASS)
            for language in spoken
        },
    )


def _writable(run: RunData, gold: np.ndarray, language: str) -> np.ndarray:
    """Return whether the gold concept has a usable form in the language, [n].

    A token that an earlier language owns is no form of this one: it would never be found.
    """
    kept = run.forms[run.forms["kept"]]
    rank = {name: place for place, name in enumerate(run.meta.languages)}
    owned = kept.assign(rank=kept["language"].map(rank)).groupby(["concept", "token_id"])["rank"]
    owners = owned.min().reset_index()
    return np.isin(gold, owners.loc[owners["rank"] == rank[language], "concept"].unique())


def language_lead(run: RunData, boot: Bootstrap) -> list[pd.DataFrame]:
    """Return one row a language asked for, pair of languages, way to arrive and metric.

    Args:
        run: one model on one dataset.
        boot: for the intervals.
    """
    asked = run.samples["language"].to_numpy(dtype=object)[run.has_gold]
    rows = []
    for arrival, answer, layers in arrivals(run):
        for first, second in PAIRS:
            if first not in layers or second not in layers:
                continue
            usable = _writable(run, answer, first) & _writable(run, answer, second)
            for name, mask in by_asked(asked, run.meta.languages):
                among = usable & mask
                if not among.any():
                    continue
                for metric, values in compared(layers[first][among], layers[second][among]).items():
                    if len(values):
                        e = boot.mean(values)
                        rows.append((name, first, second, arrival, metric, float(e.value),
                                     float(e.low), float(e.high), e.n))  # fmt: skip
    names = ["asked", "first", "second", "arrival", "metric", "value", "low", "high", "n"]
    return [pd.DataFrame(rows, columns=names)]
