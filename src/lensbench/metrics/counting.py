"""Counting questions: answers up to five against more, simple against complex at equal counts.

A question is simple or complex where its family says so (TallyQA). Where it doesn't, only drawn
scenes tell: there, as in TallyQA, a counting question that names an attribute is complex, and the
only attribute there is a color, whose English name stands in the user's words.
"""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from lensbench.lexicon import load_lexicon
from lensbench.metrics.accuracy import language_of_hit
from lensbench.metrics.bootstrap import Bootstrap, Estimate
from lensbench.metrics.convergence import convergence_layer, hits
from lensbench.metrics.rundata import RunData

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
        lexicon = load_lexicon()
        colors = [
            form
            for concept in lexicon.concepts
            if concept.startswith("color:")
            for language, form in lexicon.forms(concept)
            if language == "en"
        ]
        named = samples["asked"].str.contains(
            rf"\b(?:{'|'.join(map(re.escape, colors))})\b", case=False, regex=True
        )
        counted = np.isin(family, _COUNTED)
        kinds = np.where(counted, np.where(named, "complex", "simple"), kinds)
    return kinds.astype(object)


def matched_weights(simple: np.ndarray, complex_: np.ndarray) -> dict[int, float]:
    """Return count → share of the standard population: the smaller of the kinds' numbers.

    Counts of which a kind has fewer than two questions are left out: a question alone would be
    drawn again in every resample, as if its count were known without error.

    Args:
        simple: counts of the simple questions.
        complex_: counts of the complex ones.
    """
    common = sorted(set(simple.tolist()) & set(complex_.tolist()))
    smaller = {c: min(int((simple == c).sum()), int((complex_ == c).sum())) for c in common}
    smaller = {count: n for count, n in smaller.items() if n >= FEWEST}
    total = sum(smaller.values())
    return {count: n / total for count, n in smaller.items()}


def _measured(run: RunData) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Return rows of samples that count and have a gold form, their counts, and what is averaged.

    Returns:
        indices into the samples, [m]; counts, [m]; metric → values, [m].
    """
    counts = counts_of(run.samples["gold"].to_numpy(dtype=object))
    rows = np.flatnonzero(run.has_gold & (counts >= 0))
    first = run.first
    layer = convergence_layer(hits(first.top1[rows], first.final[rows]))
    values = {
        "accuracy": _right(run, rows)[:, -1],
        "convergence_layer": layer,
        "convergence_depth": layer / run.meta.n_layers,
    }
    return rows, counts[rows], values


def _right(run: RunData, rows: np.ndarray) -> np.ndarray:
    gold = run.samples["gold"].to_numpy(dtype=object)[rows]
    top1 = run.first.top1[rows]
    return language_of_hit(top1, gold, run.forms, run.meta.languages) >= 0


def by_count(run: RunData, boot: Bootstrap) -> list[pd.DataFrame]:
    """Return accuracy and convergence of answers 0–5 and of more, by group and metric.

    accuracy_best is the largest accuracy of a layer, best_layer the first layer that has it.

    Args:
        run: one model on one dataset.
        boot: for the intervals.
    """
    rows, counts, values = _measured(run)
    right = _right(run, rows).astype(np.float64)
    found = []
    for group, mask in ((f"0-{FEW}", counts <= FEW), (f"{FEW + 1}+", counts > FEW)):
        if not mask.any():
            continue
        estimates = {metric: boot.mean(v[mask]) for metric, v in values.items()}
        estimates["accuracy_best"] = boot.of_means(right[mask], lambda means: means.max(axis=1))
        estimates["best_layer"] = boot.of_means(right[mask], lambda means: means.argmax(axis=1))
        found += [_row(e, group=group, metric=metric) for metric, e in estimates.items()]
    return [pd.DataFrame(found)] if found else []


def matched_kinds(run: RunData, boot: Bootstrap) -> list[pd.DataFrame]:
    """Return simple, complex and complex − simple, as they are and at matched counts.

    Matched by direct standardisation: every count weighs what the smaller of the kinds has of it,
    so counts that only one kind has, or has one question of, weigh nothing. Resampled within each
    kind and count.

    Args:
        run: one model on one dataset.
        boot: for the intervals.

    Returns:
        Nothing unless both kinds have two questions or more of one count.
    """
    rows, counts, values = _measured(run)
    kinds = kinds_of(run.samples.iloc[rows], run.meta.dataset)
    weights = matched_weights(*(counts[kinds == kind] for kind in KINDS))
    if not weights:
        return []
    found = []
    for metric, v in values.items():
        raw = {kind: [v[kinds == kind]] for kind in KINDS}
        matched = {
            kind: [v[(kinds == kind) & (counts == count)] for count in weights] for kind in KINDS
        }
        for weighting, strata, shares in (
            ("as they are", raw, [1.0]),
            ("matched", matched, list(weights.values())),
        ):
            for kind in KINDS:
                e = boot.stratified(strata[kind], shares)
                found.append(_row(e, kind=kind, weighting=weighting, metric=metric))
            both = [*strata["complex"], *strata["simple"]]
            e = boot.stratified(both, [*shares, *(-share for share in shares)])
            found.append(_row(e, kind="difference", weighting=weighting, metric=metric))
    return [pd.DataFrame(found)]


def _row(estimate: Estimate, **labels: object) -> dict[str, object]:
    return {
        **labels,
        "value": float(estimate.value),
        "low": float(estimate.low),
        "high": float(estimate.high),
        "n": estimate.n,
    }
