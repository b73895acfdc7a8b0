"""Counting questions: answers up to five against more, simple against complex at equal counts.

A question is simple or complex where its family says so (TallyQA). Where it doesn't, only drawn
scenes tell: there, as in TallyQA, a counting question that names an attribute is complex, and the
only attribute there is a color, whose English name stands in the user's words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from itertools import product

import numpy as np
import pandas as pd

from lensbench.lexicon import load_lexicon
from lensbench.metrics.concepts import ALL, by_asked
from lensbench.metrics.convergence import convergence_layer, hits
from lensbench.metrics.intervals import Estimate, difference
from lensbench.metrics.rundata import Block, Run
from lensbench.metrics.tables import along_layers, peak_layer
from lensbench.metrics.tally import Key, Tally

#: Counts up to this one are one group, all above it the other.
FEW = 5
#: A kind with fewer questions of a count than this is not matched there: one alone has no spread.
FEWEST = 2
KINDS = ("simple", "complex")
_DRAWN = "scenes"
_COUNTED = ("count", "large count")


def counts_of(gold: np.ndarray) -> np.ndarray:
    """Return the number that a gold concept is, -1 where it is none, [n]."""
    names = [str(concept).partition(":") for concept in gold]
    return np.array(
        [int(n) if family == "number" and n.isdecimal() else -1 for family, _, n in names],
        dtype=int,
    )


def kinds_of(samples: pd.DataFrame, dataset: str) -> np.ndarray:
    """Return "simple", "complex" or "" where it can't be told, [n].

    Args:
        samples: `samples` of the trace.
        dataset: its name; only of drawn scenes do the words tell.
    """
    family = samples["family"].to_numpy(dtype=object)
    kinds = np.where(np.isin(family, KINDS), family, "")
    if dataset == _DRAWN:
        named = samples["asked"].str.contains(_color(), case=False, regex=True)
        counted = np.isin(family, _COUNTED)
        kinds = np.where(counted, np.where(named, "complex", "simple"), kinds)
    return kinds.astype(object)


@cache
def _color() -> str:
    """Return a pattern of the English names of colors: once, as every block asks."""
    lexicon = load_lexicon()
    colors = [
        form
        for concept in lexicon.concepts
        if concept.startswith("color:")
        for language, form in lexicon.forms(concept)
        if language == "en"
    ]
    return rf"\b(?:{'|'.join(map(re.escape, colors))})\b"


def matched_weights(simple: Mapping[int, int], complex_: Mapping[int, int]) -> dict[int, float]:
    """Return count → share of the standard population: the smaller of the kinds' numbers.

    Counts of which a kind has fewer than two questions are left out: a question alone would be
    drawn again in every resample, as if its count were known without error.

    Args:
        simple: count → how many simple questions have it.
        complex_: of the complex ones.
    """
    smaller = {c: min(simple[c], complex_[c]) for c in sorted(set(simple) & set(complex_))}
    smaller = {count: n for count, n in smaller.items() if n >= FEWEST}
    total = sum(smaller.values())
    return {count: n / total for count, n in smaller.items()}


GROUPS = (f"0-{FEW}", f"{FEW + 1}+")
METRICS = ("accuracy", "convergence_layer", "convergence_depth")
#: Which of them is a share, and between what it lies.
SHARE, BOUNDS = METRICS[0], (0.0, 1.0)


def measure(block: Block, tally: Tally) -> None:
    """Note what `by_count` and `matched_kinds` report of a block."""
    counts = counts_of(block.gold)
    counted = block.strict.readable & (counts >= 0)
    if not counted.any():
        return
    right = block.strict.right
    layer = convergence_layer(hits(block.content.top1, block.content.final))
    values = {
        "accuracy": right[:, -1],
        "convergence_layer": layer,
        "convergence_depth": layer / block.meta.n_layers,
    }
    kinds = kinds_of(block.samples, block.meta.dataset)
    for asked, of_asked in by_asked(block.asked, block.meta.languages):
        among = counted & of_asked
        for group, mask in zip(GROUPS, (counts <= FEW, counts > FEW), strict=True):
            for metric, of_samples in values.items():
                note = tally.share if metric == SHARE else tally.mean
                note(("by_count", asked, group, metric), of_samples, among & mask)
            layers = ("by_count", asked, group, "layers")
            tally.share((*layers, SHARE), right, among & mask)
            tally.mean(layers, right, among & mask, BOUNDS)
        for kind in KINDS:
            of_kind = among & (kinds == kind)
            key = ("matched_kinds", asked, kind)
            tally.share((*key, SHARE), values[SHARE], of_kind)
            for metric, of_samples in values.items():
                bounds = BOUNDS if metric == SHARE else None
                tally.mean((*key, ALL, metric), of_samples, of_kind, bounds)
                for count in np.unique(counts[of_kind]):
                    of_count = of_kind & (counts == count)
                    tally.mean((*key, int(count), metric), of_samples, of_count, bounds)


def by_count(run: Run, tally: Tally) -> list[pd.DataFrame]:
    """Return accuracy and convergence of answers 0–5 and of more, by language asked for.

    accuracy_best is the largest accuracy of a layer from 1 on, best_layer the first layer that has
    it, which has no row where the accuracy peaks nowhere (see `tables.peak_layer`).

    Args:
        run: one model on one dataset.
        tally: of its blocks.
    """
    found = []
    for asked, group in product((ALL, *run.meta.languages), GROUPS):
        key = ("by_count", asked, group)
        if not tally.n(layers := (*key, "layers")):
            continue
        estimates = {metric: tally.estimate((*key, metric)) for metric in METRICS}
        estimates["accuracy_best"] = tally.of_means(
            layers, lambda means: means[:, 1:].max(axis=1), BOUNDS
        )
        curve = along_layers(tally.estimate((*layers, SHARE)), run.layers)
        if peak_layer(curve[curve["layer"] > 0]) is not None:
            estimates["best_layer"] = tally.of_means(
                layers, lambda means: 1 + means[:, 1:].argmax(axis=1)
            )
        labels = {"asked": asked, "group": group}
        found += [_row(e, **labels, metric=metric) for metric, e in estimates.items()]
    return [pd.DataFrame(found)] if found else []


def matched_kinds(run: Run, tally: Tally) -> list[pd.DataFrame]:
    """Return simple, complex and complex − simple, by language, as they are and at matched counts.

    Matched by direct standardisation: every count weighs what the smaller of the kinds has of it,
    so counts that only one kind has, or has one question of, weigh nothing. Shares have Wilson's
    interval and their differences Newcombe's (`intervals`), all else the bootstrap's.

    Args:
        run: one model on one dataset.
        tally: of its blocks.

    Returns:
        Nothing of a language (or "all") unless both kinds have two questions or more of one count.
    """
    found = []
    for asked in (ALL, *run.meta.languages):
        found += _matched(run, tally, asked)
    return [pd.DataFrame(found)] if found else []


def _matched(run: Run, tally: Tally, asked: str) -> list[dict[str, object]]:
    weights = matched_weights(*(_by_count(run, tally, asked, kind) for kind in KINDS))
    if not weights:
        return []
    found = []
    for metric in METRICS:
        for weighting, shares in (("as they are", {ALL: 1.0}), ("matched", weights)):
            strata: dict[str, dict[Key, float]] = {
                kind: {("matched_kinds", asked, kind, c, metric): w for c, w in shares.items()}
                for kind in KINDS
            }
            for kind, e in _told(tally, strata, asked, metric).items():
                found.append(_row(e, asked=asked, kind=kind, weighting=weighting, metric=metric))
    return found


def _told(
    tally: Tally, strata: Mapping[str, Mapping[Key, float]], asked: str, metric: str
) -> dict[str, Estimate]:
    """Return simple, complex and their difference."""
    simple, complex_ = (strata[kind] for kind in KINDS)
    if metric != SHARE:
        less = {key: -weight for key, weight in simple.items()}
        gap = tally.stratified({**complex_, **less})
        return {**{kind: tally.stratified(of) for kind, of in strata.items()}, "difference": gap}
    e = {
        # A kind as it is has no strata.
        kind: tally.estimate(("matched_kinds", asked, kind, SHARE))
        if ("matched_kinds", asked, kind, ALL, SHARE) in of
        else tally.stratified_share(of)
        for kind, of in strata.items()
    }
    apart = difference(e["complex"], e["simple"], tally.correlation(complex_, simple))
    return {**e, "difference": Estimate(*apart, e["simple"].n + e["complex"].n)}


def _by_count(run: Run, tally: Tally, asked: str, kind: str) -> dict[int, int]:
    """Return count → questions of a kind."""
    counts = sorted({int(n) for n in counts_of(np.array(list(run.groups.golds), dtype=object))})
    found = {c: tally.n(("matched_kinds", asked, kind, c, SHARE)) for c in counts}
    return {count: n for count, n in found.items() if n}


def _row(estimate: Estimate, **labels: object) -> dict[str, object]:
    return {
        **labels,
        "value": float(estimate.value),
        "low": float(estimate.low),
        "high": float(estimate.high),
        "n": estimate.n,
    }
