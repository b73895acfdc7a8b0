"""Whether the answer arrives in one language before it arrives in another, sample by sample.

The answer has arrived in a language at the first layer at which a form of the gold concept in that
language is among the first k tokens, or has a mass of 0.1. A token that is a form in two languages
counts for the first of them, so a numeral that Chinese and Japanese share is Chinese. Only samples
whose gold concept has a usable form in both languages are compared.

The floor is a wrong answer: a language with more forms, or one that stands on top of middle layers
whatever is asked, comes first of any answer. The same is told of the wrong answers ("top10_other"),
each sample's being the mean over all other answers of the run of the same family that have forms in
both languages; and of the right one less the wrong ones, sample by sample (…_over_other). The two
sides of such a difference, over its samples alone, are …_paired. Masses are known of the gold
concept alone, so "mass" has no floor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
import pandas as pd

from lensbench.metrics.accuracy import language_of_hit
from lensbench.metrics.concepts import ALL, by_asked, by_family, families, family_of
from lensbench.metrics.rundata import Block, Run
from lensbench.metrics.tally import Key, Tally

#: Who is held against whom: first, second.
PAIRS = (("zh", "en"), ("zh", "digit"), ("en", "digit"))
#: A form is there if it is among so many tokens, or if the language's forms have this mass.
RANKS, MASS = (1, 10), 0.1
#: Stands for the layer of what never arrives.
NEVER = -1
#: Ways to arrive; with the ending, those of the wrong answers.
ARRIVALS = (*(f"top{k}" for k in RANKS), "mass")
OTHER = "_other"
#: In the order of the table.
METRICS = (
    "share_first_earlier", "share_second_earlier", "share_tie", "share_only_first",
    "share_only_second", "share_neither", "net_first", "lead_layers", "lead_share",
    "lead_paired", "lead_over_other", "net_first_paired", "net_first_over_other",
)  # fmt: skip

#: A metric's values of all samples, [n], NaN where it is not defined.
Values = dict[str, np.ndarray]


def arrival_layer(there: np.ndarray) -> np.ndarray:
    """Return the first layer at which it is there, NEVER where it is at none, [n].

    Args:
        there: [n, L+1].
    """
    return np.where(there.any(axis=1), there.argmax(axis=1), NEVER)


def compared(first: np.ndarray, second: np.ndarray) -> Values:
    """Return what is averaged, by metric, [n] each, NaN where a sample says nothing.

    Args:
        first: arrival layer in the first language, [n], NEVER if none.
        second: in the second.

    Returns:
        share_first_earlier, share_second_earlier, share_tie, share_only_first, share_only_second
        and share_neither, which sum to 1; net_first, 1 where the first is earlier or comes alone,
        −1 where the second does, else 0; and, conditional on both arriving, so of samples that may
        be few and unlike the others: lead_layers (second − first, positive where the first is
        earlier) and lead_share.
    """
    has_first, has_second = first != NEVER, second != NEVER
    both = has_first & has_second
    lead = second - first
    shares = {
        "share_first_earlier": both & (lead > 0),
        "share_second_earlier": both & (lead < 0),
        "share_tie": both & (lead == 0),
        "share_only_first": has_first & ~has_second,
        "share_only_second": has_second & ~has_first,
        "share_neither": ~has_first & ~has_second,
    }
    found = {name: values.astype(np.float64) for name, values in shares.items()}
    return {
        **found,
        "net_first": found["share_first_earlier"] + found["share_only_first"]
        - found["share_second_earlier"] - found["share_only_second"],
        "lead_layers": np.where(both, lead, np.nan),
        "lead_share": np.where(both, lead > 0, np.nan),
    }  # fmt: skip


def over_other(own: Values, other: Values) -> tuple[Values, Values]:
    """Return the right answer less the wrong ones and its sides, NaN where either is, [n] each.

    lead_over_other is of the samples in which all four arrive; net_first_over_other of all that
    have a wrong answer.

    Returns:
        of the right answers: lead_paired, lead_over_other, net_first_paired, net_first_over_other;
        and of the wrong ones: lead_paired, net_first_paired.
    """
    right: Values = {}
    wrong: Values = {}
    for name, metric in (("lead", "lead_layers"), ("net_first", "net_first")):
        difference = own[metric] - other[metric]
        right[f"{name}_over_other"] = difference
        for side, values in ((right, own), (wrong, other)):
            side[f"{name}_paired"] = np.where(np.isnan(difference), np.nan, values[metric])
    return right, wrong


@dataclass(frozen=True)
class Arrivals:
    """The layers at which one answer arrives in each language, of some samples."""

    concept: str
    rows: np.ndarray  # places of the samples, [m]
    layers: dict[str, np.ndarray]  # language → [m]


def _of_concept(run: Block, top: np.ndarray, concept: str, k: int) -> dict[str, np.ndarray]:
    """Return language → layer at which a form of the concept is among the first k, [m]."""
    labels = run.meta.languages
    forms = run.forms[run.forms["concept"] == concept]
    looked = np.full(len(top), concept, dtype=object)
    found = language_of_hit(top[:, :, :k], looked, forms, labels)
    return {
        language: arrival_layer((found == labels.index(language)).any(axis=2))
        for language in _spoken(run)
    }


def _spoken(run: Block) -> list[str]:
    wanted = dict.fromkeys(language for pair in PAIRS for language in pair)
    return [language for language in wanted if language in run.meta.languages]


def arrivals(run: Block) -> Iterator[tuple[str, list[Arrivals], list[Arrivals]]]:
    """Yield each way to arrive, "top1", "top10" and "mass", with the answers' layers.

    Args:
        run: samples of one model on one dataset.

    Yields:
        the name; the right answers' arrivals, each sample with a gold form once; and the wrong
        ones', each sample once for every other answer of the run of the same family.
    """
    gold = run.samples["gold"].to_numpy(dtype=object)[run.has_gold]
    family = family_of(gold)
    top = run.content.top_id[run.has_gold]
    concepts = list(run.run.usable_golds)
    for k in RANKS:
        if k > top.shape[2]:  # A run that lists fewer tokens says nothing of the tenth.
            continue
        right: list[Arrivals] = []
        wrong: list[Arrivals] = []
        for concept in concepts:
            of_family = np.flatnonzero(family == family_of(np.array([concept]))[0])
            layers = _of_concept(run, top[of_family], concept, k)
            own = gold[of_family] == concept
            for among, mask in ((right, own), (wrong, ~own)):
                chosen = {language: at[mask] for language, at in layers.items()}
                among.append(Arrivals(concept, of_family[mask], chosen))
        yield f"top{k}", right, wrong
    mass = run.content.concept_mass[run.has_gold]
    there = {
        language: arrival_layer(mass[:, :, run.meta.languages.index(language)] >= MASS)
        for language in _spoken(run)
    }
    rows = [np.flatnonzero(gold == concept) for concept in concepts]
    yield "mass", [
        Arrivals(concept, at, {language: layer[at] for language, layer in there.items()})
        for concept, at in zip(concepts, rows, strict=True)
    ], []  # fmt: skip


def averaged(answers: list[Arrivals], pair: tuple[str, str], writable: set[str], n: int) -> Values:
    """Return each metric of `compared`, the mean over a sample's answers that define it, [n].

    Args:
        answers: one or more a sample.
        pair: first and second language.
        writable: concepts that have forms in both.
        n: how many samples there are; NaN for those without an answer that defines the metric.
    """
    sums: Values = {}
    counts: Values = {}
    for answer in answers:
        if answer.concept not in writable:
            continue
        for metric, values in compared(*(answer.layers[language] for language in pair)).items():
            told = ~np.isnan(values)
            sums.setdefault(metric, np.zeros(n))[answer.rows[told]] += values[told]
            counts.setdefault(metric, np.zeros(n))[answer.rows[told]] += 1
    with np.errstate(invalid="ignore"):
        return {metric: sums[metric] / counts[metric] for metric in sums}


def _writable(run: Run, language: str) -> set[str]:
    """Return the concepts that have a usable form in the language.

    A token that an earlier language owns is no form of this one: it would never be found.
    """
    kept = run.forms[run.forms["kept"]]
    rank = {name: place for place, name in enumerate(run.meta.languages)}
    owned = kept.assign(rank=kept["language"].map(rank)).groupby(["concept", "token_id"])["rank"]
    owners = owned.min().reset_index()
    return set(owners.loc[owners["rank"] == rank[language], "concept"])


def _measured(run: Block) -> Iterator[tuple[str, str, str, Values]]:
    """Yield first, second, the way to arrive and each metric of the samples with a gold form."""
    n, spoken = int(run.has_gold.sum()), _spoken(run)
    writable = {language: _writable(run.run, language) for language in spoken}
    for arrival, right, wrong in arrivals(run):
        for first, second in PAIRS:
            if first not in spoken or second not in spoken:
                continue
            both = writable[first] & writable[second]
            own = averaged(right, (first, second), both, n)
            other = averaged(wrong, (first, second), both, n)
            if own and other:
                # Where the gold has no form in both, its wrong answers are of no use either.
                usable = ~np.isnan(own["net_first"])
                other = {name: np.where(usable, v, np.nan) for name, v in other.items()}
                right_paired, wrong_paired = over_other(own, other)
                own |= right_paired
                yield first, second, f"{arrival}{OTHER}", {**other, **wrong_paired}
            if own:
                yield first, second, arrival, own


def measure(block: Block, tally: Tally) -> None:
    """Note what `language_lead` reports of a block."""
    has = block.has_gold
    named = families(block.run.groups.golds)
    groups = [
        (family, name, of_family & of_asked)
        for family, of_family in by_family(block.gold, named)
        for name, of_asked in by_asked(block.asked, block.meta.languages)
    ]
    for first, second, arrival, values in _measured(block):
        for metric, of_gold in values.items():
            note = _noting(tally, metric, arrival)
            of_samples = np.full(len(has), np.nan)
            of_samples[has] = of_gold
            told = ~np.isnan(of_samples)
            for family, name, among in groups:
                key = ("language_lead", family, name, first, second, arrival, metric)
                note(key, of_samples, among & told)


def _noting(
    tally: Tally, metric: str, arrival: str
) -> Callable[[Key, np.ndarray, np.ndarray], None]:
    """Return what notes a metric: a wrong answer's values are means over several answers."""
    if metric == "net_first_over_other":
        return partial(tally.mean, bounds=(-2.0, 2.0))
    if not metric.endswith("share") and not metric.startswith(("share", "net")):
        return tally.mean
    signed = metric in ("net_first", "net_first_paired")
    if arrival.endswith(OTHER):
        return partial(tally.mean, bounds=(-1.0 if signed else 0.0, 1.0))
    return tally.difference if signed else tally.share


def language_lead(run: Run, tally: Tally) -> list[pd.DataFrame]:
    """Return one row a family, language asked for, pair of languages, way to arrive and metric.

    Args:
        run: one model on one dataset.
        tally: of its blocks.
    """
    rows = []
    labels = product(
        (ALL, *families(run.groups.golds)), (ALL, *run.meta.languages), ARRIVALS, PAIRS,
        (OTHER, ""), METRICS,
    )  # fmt: skip
    for family, asked, arrival, (first, second), whose, metric in labels:
        row = (family, asked, first, second, f"{arrival}{whose}", metric)
        key = ("language_lead", *row)
        if tally.n(key):
            e = tally.estimate(key)
            rows.append((*row, float(e.value), float(e.low), float(e.high), e.n))
    names = ["family", "asked", "first", "second", "arrival", "metric", "value", "low", "high", "n"]
    return [pd.DataFrame(rows, columns=names)]
