"""The tables of a run that have a row a layer: agreement, accuracy, masses on scripts and forms."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from lensbench.metrics import by_layer, concepts, scripts
from lensbench.metrics.bootstrap import Estimate
from lensbench.metrics.rundata import Block, Run
from lensbench.metrics.tables import along_layers
from lensbench.metrics.tally import Tally


def measure(block: Block, tally: Tally, tau: float) -> None:
    """Note what the tables below report of a block.

    Args:
        block: the samples.
        tally: where it is noted.
        tau: threshold of early exit.
    """
    first, has_gold = block.content, block.has_gold
    said, labels = block.strict, block.meta.languages
    tally.share(("by_layer", "accuracy"), said.right, said.readable)
    later = block.lenient
    tally.share(("by_layer", "accuracy_lenient"), later.right, later.readable)
    for metric, values in by_layer.averaged(first, tau).items():
        note = tally.share if metric in by_layer.SHARES else tally.mean
        note(("by_layer", metric), values)
    tally.median(("by_layer", "final_rank_median"), first.columns["final_rank"])
    tally.median(("by_layer", "gold_rank_median"), first.columns["gold_rank"], has_gold)
    han = scripts.script_in_topk(first.top_id, block.vocabulary)
    spoken = [(language, labels.index(language)) for language in _spoken(block.run)]
    for asked, mask in concepts.by_asked(block.asked, labels):
        for language, index in spoken:
            key = (asked, language)
            in_language = said.language == index
            tally.share(("accuracy_by_language", *key), in_language, said.readable & mask)
            mass = first.concept_mass[:, :, index]
            tally.mean(("concept_mass", *key), mass, has_gold & mask)
        for gold in set(block.gold[said.readable & mask]):
            of_gold = said.readable & mask & (block.gold == gold)
            tally.share(("accuracy_by_answer", asked, gold), said.right, of_gold)
        tally.share(("han_in_topk", asked), han, mask)
        tally.mean(("script_mass", asked), first.script_mass, mask)


def _spoken(run: Run) -> list[str]:
    """Return the languages in which any answer of the run has a form."""
    return concepts.languages_with_forms(run.groups.golds, run.forms, run.meta.languages)


def by_layers(run: Run, tally: Tally) -> list[pd.DataFrame]:
    """Return `by_layer`: how far each layer's prediction is from the last one's."""
    estimates = {
        str(key[1]): tally.estimate(key)
        for metric in ("accuracy", "accuracy_lenient", *by_layer.METRICS)
        if tally.n(key := ("by_layer", metric))
    }
    estimates["final_rank_median"] = tally.median_of(("by_layer", "final_rank_median"))
    if run.usable_golds:
        estimates["gold_rank_median"] = tally.median_of(("by_layer", "gold_rank_median"))
    depth = run.layers / run.meta.n_layers
    return [
        along_layers(estimate, run.layers, metric=metric).assign(depth=depth)
        for metric, estimate in estimates.items()
    ]


def accuracy_by_answer(run: Run, tally: Tally) -> list[pd.DataFrame]:
    """Return the accuracy of every gold concept that can be read, by language asked for."""
    return [
        along_layers(tally.estimate(key), run.layers, asked=asked, answer=gold)
        for asked in (concepts.ALL, *run.meta.languages)
        for gold in run.groups.golds
        if tally.n(key := ("accuracy_by_answer", asked, gold))
    ]


def by_language(run: Run, tally: Tally, table: str) -> list[pd.DataFrame]:
    """Return `accuracy_by_language` or `concept_mass`, by language asked for and of the form."""
    return [
        along_layers(tally.estimate(key), run.layers, asked=asked, language=language)
        for asked in (concepts.ALL, *run.meta.languages)
        for language in _spoken(run)
        if tally.n(key := (table, asked, language))
    ]


def han_in_topk(run: Run, tally: Tally) -> list[pd.DataFrame]:
    """Return the share of samples with a Han token among the first k, by language asked for."""
    return [
        along_layers(e.of(np.s_[:, k]), run.layers, asked=asked, k=k + 1)
        for asked, e in _by_asked(run, tally, "han_in_topk")
        for k in range(e.value.shape[1])
    ]


def script_mass(run: Run, tally: Tally) -> list[pd.DataFrame]:
    """Return the mass on every script, by language asked for, with its floors beside it."""
    share = run.vocabulary.share
    return [
        along_layers(e.of(np.s_[:, s]), run.layers, asked=asked, script=script).assign(
            floor_vocabulary=share(script), floor_random=np.asarray(run.floor)[:, s]
        )
        for asked, e in _by_asked(run, tally, "script_mass")
        for s, script in enumerate(run.meta.scripts)
    ]


def _by_asked(run: Run, tally: Tally, table: str) -> Iterator[tuple[str, Estimate]]:
    """Yield "all" and each language asked for, with its means."""
    for asked in (concepts.ALL, *run.meta.languages):
        if tally.n(key := (table, asked)):
            yield asked, tally.estimate(key)
