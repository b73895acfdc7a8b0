"""Changed pictures beside native ones: resolution, and how much Han there is for any input.

A variant is the same samples with the picture shrunk, or blank (a plain gray one of the same size).
Every difference is paired: the same sample under both. The Han that is there for a blank picture is
no answer to the picture; what the native one has beyond it (the excess) may be.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from lensbench.errors import DataError
from lensbench.metrics.accuracy import generated_is_gold, is_told
from lensbench.metrics.bootstrap import Bootstrap
from lensbench.metrics.concepts import ALL, by_asked, by_family, families, family_of
from lensbench.metrics.convergence import convergence_layer, hits
from lensbench.metrics.intervals import Estimate
from lensbench.metrics.options import MetricOptions
from lensbench.metrics.reading import open_run
from lensbench.metrics.rundata import Block
from lensbench.metrics.scripts import script_in_topk
from lensbench.metrics.study_tables import finished_study
from lensbench.metrics.tables import along_layers

NATIVE, BLANK = "native", "blank"
#: Samples that aren't asked for a Chinese answer: Han there is none that was asked for.
HAN_ASKED, NOT_ASKED = "zh", "not zh"
#: Metrics that are 0 or 1 of a sample.
SHARES = ("accuracy", "accuracy_generated", "accuracy_generated_lenient")
#: Han among the first k, for these k.
RANKS = (1, 5)


def compute_variants(
    variants: Mapping[str, str | Path | Sequence[str | Path]],
    model_folder: str | Path,
    options: MetricOptions | None = None,
) -> dict[str, pd.DataFrame]:
    """Compute `by_variant` and `han_floor` of one model on one dataset.

    Args:
        variants: variant → its shard, or its shards; "native" must be there.
        model_folder: where the model's vocabulary and forms are.
        options: defaults if None.

    Returns:
        The two tables, columns as in `STUDY_TABLES`. A difference to native is a metric that ends
        in _minus_native; han_…_max_not_zh is the highest of the layers' means, over the samples
        that aren't asked for Chinese. In `han_floor` the variant "excess" is native − blank, and
        `asked` is "all", "not zh" or a language.

    Raises:
        DataError: if native is missing, or no sample of a variant could be read.
        TraceError: if a shard is missing, damaged, or the variants are of several runs.
    """
    options = options or MetricOptions()
    boot = Bootstrap(options.seed, options.resamples, options.confidence)
    if NATIVE not in variants:
        raise DataError(
            f"The variants are {', '.join(sorted(variants)) or 'none'}, without native, which the "
            "others are compared with: add its folder."
        )
    runs = {
        name: open_run(_folders(of), model_folder, options.max_rejected).whole()
        for name, of in variants.items()
    }
    of = {(run.meta.model, run.meta.dataset) for run in runs.values()}
    if len(of) > 1:
        raise DataError(
            f"The variants are of several runs, {sorted(of)}: give those of one model on one "
            "dataset."
        )
    (model, dataset) = of.pop()
    parts = {
        "by_variant": _by_variant(runs, boot),
        "han_floor": _han_floor(runs, boot),
    }
    return {name: finished_study(name, found, model, dataset) for name, found in parts.items()}


def _folders(given: str | Path | Sequence[str | Path]) -> list[str | Path]:
    return [given] if isinstance(given, (str, Path)) else list(given)


def order(variant: str) -> tuple[int, float, str]:
    """Return the key that sorts variants: blank, picture sides by size, native, others."""
    if variant == BLANK:
        return 0, 0.0, ""
    if variant.isdecimal():
        return 1, float(variant), ""
    return (2, 0.0, "") if variant == NATIVE else (3, 0.0, variant)


def _measured(run: Block) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return what is averaged, by metric: which samples have a value, [n], and all values, [n]."""
    gold = run.samples["gold"].to_numpy(dtype=object)
    first, n = run.content, len(run.samples)
    every = np.ones(n, dtype=bool)
    layer = convergence_layer(hits(first.top1, first.final))
    told = is_told(gold, run.forms)
    texts = run.samples["generated"].tolist(), gold.tolist()
    written, found = (generated_is_gold(*texts, lenient=lenient) for lenient in (False, True))
    return {
        "n_image_tokens": (every, run.samples["n_image_tokens"].to_numpy(dtype=np.float64)),
        "accuracy": (run.strict.readable, run.strict.right[:, -1].astype(np.float64)),
        "accuracy_generated": (told, written.astype(np.float64)),
        "accuracy_generated_lenient": (told, found.astype(np.float64)),
        "convergence_layer": (every, layer.astype(np.float64)),
        "convergence_depth": (every, layer / run.meta.n_layers),
    }


def _han(run: Block) -> dict[str, np.ndarray]:
    """Return han_top1, han_top5 and han_mass, each [n, L+1]."""
    found = script_in_topk(run.content.top_id, run.vocabulary)
    han = {f"han_top{k}": found[:, :, k - 1] for k in RANKS if k <= found.shape[2]}
    if "Han" in run.meta.scripts:
        han["han_mass"] = run.content.script_mass[:, :, run.meta.scripts.index("Han")]
    return {name: values.astype(np.float64) for name, values in han.items()}


def _common(run: Block, native: Block) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of the samples that both have, in one order.

    Raises:
        DataError: if they share none.
    """
    ids = run.samples["sample_id"].to_numpy(dtype=object)
    others = native.samples["sample_id"].to_numpy(dtype=object)
    shared, here, there = np.intersect1d(ids, others, return_indices=True)
    if not len(shared):
        raise DataError(
            f"A variant of {run.meta.model} on {run.meta.dataset} shares no sample with native: "
            "make both from one manifest."
        )
    return here, there


def _in_family(run: Block, family: str) -> np.ndarray:
    """Return which samples' answer is of the family, [n]; all of them of "all"."""
    own = family_of(run.samples["gold"].to_numpy(dtype=object))
    return (own == family) | (family == ALL)


def _families(run: Block) -> Iterator[tuple[str, np.ndarray]]:
    return by_family(run.gold, families(run.run.groups.golds))


def _asked(run: Block) -> np.ndarray:
    return run.samples["language"].to_numpy(dtype=object)


def _by_variant(runs: Mapping[str, Block], boot: Bootstrap) -> list[pd.DataFrame]:
    native = runs[NATIVE]
    measured = {name: _measured(run) for name, run in runs.items()}
    han = {name: _han(run) for name, run in runs.items()}
    rows = []
    groups = product(
        [family for family, _ in _families(native)],
        [asked for asked, _ in by_asked(_asked(native), native.meta.languages)],
        sorted(runs, key=order),
    )
    for family, asked, variant in groups:
        run = runs[variant]
        here, there = _common(run, native)
        among = _in_family(run, family) & ((_asked(run) == asked) | (asked == ALL))
        estimates: dict[str, Estimate] = {}
        for metric, (has, values) in measured[variant].items():
            share = metric in SHARES
            if (told := has & among).any():
                note = boot.share if share else boot.mean
                estimates[metric] = note(values[told], run.pictures[told])
            native_has, native_values = measured[NATIVE][metric]
            both = (has & among)[here] & native_has[there]
            if variant != NATIVE and both.any():
                difference = (values[here] - native_values[there])[both]
                note = boot.difference if share else boot.mean
                pictures = native.pictures[there][both]
                estimates[f"{metric}_minus_native"] = note(difference, pictures)
        unasked = among & (_asked(run) != HAN_ASKED)
        both = unasked[here]
        for metric, by_layer in han[variant].items():
            name = f"{metric}_max_not_zh"
            if unasked.any():
                estimates[name] = boot.of_means(
                    by_layer[unasked], _highest, run.pictures[unasked], (0.0, 1.0)
                )
            if variant != NATIVE and both.any():
                both_layers = [by_layer[here][both], han[NATIVE][metric][there][both]]
                estimates[f"{name}_minus_native"] = boot.of_means(
                    np.concatenate(both_layers, axis=1),
                    _difference_of_highest,
                    native.pictures[there][both],
                    (-1.0, 1.0),
                )
        rows += [
            (family, asked, variant, metric, float(e.value), float(e.low), float(e.high), e.n)
            for metric, e in estimates.items()
        ]
    names = ["family", "asked", "variant", "metric", "value", "low", "high", "n"]
    return [pd.DataFrame(rows, columns=names)]


def _highest(means: np.ndarray) -> np.ndarray:
    return means.max(axis=1)


def _difference_of_highest(means: np.ndarray) -> np.ndarray:
    half = means.shape[1] // 2
    return means[:, :half].max(axis=1) - means[:, half:].max(axis=1)


def _asked_groups(run: Block) -> Iterator[tuple[str, np.ndarray]]:
    """Yield "all", "not zh" and each language asked for, with the mask of its samples."""
    asked = _asked(run)
    for name, mask in by_asked(asked, run.meta.languages):
        yield name, mask
        if name == ALL and (asked != HAN_ASKED).any():
            yield NOT_ASKED, asked != HAN_ASKED


def _han_floor(runs: Mapping[str, Block], boot: Bootstrap) -> list[pd.DataFrame]:
    """Return Han by layer of native and blank pictures, what is in excess, and the floors.

    Floors: the mass on Han of random directions (for the mass alone), and the vocabulary's share of
    Han, for the first k the chance that one of k random tokens is Han. They are the same whatever
    is asked.
    """
    native = runs[NATIVE]
    han = {name: _han(runs[name]) for name in (NATIVE, BLANK) if name in runs}
    share = native.vocabulary.share("Han")
    parts = []
    groups = [
        (family, asked, of_family & of_asked)
        for family, of_family in _families(native)
        for asked, of_asked in _asked_groups(native)
    ]
    for family, asked, among in groups:
        if not among.any():
            continue
        for metric, values in han[NATIVE].items():
            k = 1 if metric == "han_mass" else int(metric.removeprefix("han_top"))
            random = np.full(len(native.layers), np.nan)
            if metric == "han_mass":
                random = native.run.floor[:, native.meta.scripts.index("Han")]
            counted = metric != "han_mass"
            note = boot.share if counted else boot.mean
            estimates = {NATIVE: note(values[among], native.pictures[among])}
            if BLANK in han:
                here, there = _common(runs[BLANK], native)
                both = among[there]
                if both.any():
                    # All three of the same samples, so that the excess is the difference shown.
                    pictures = native.pictures[there][both]
                    own, blank = values[there][both], han[BLANK][metric][here][both]
                    estimates = {NATIVE: note(own, pictures), BLANK: note(blank, pictures)}
                    less = boot.difference if counted else boot.mean
                    estimates["excess"] = less(own - blank, pictures)
            parts += [
                along_layers(
                    e, native.layers, family=family, asked=asked, metric=metric, variant=name
                ).assign(floor_random=random, floor_vocabulary=1 - (1 - share) ** k)
                for name, e in estimates.items()
            ]
    return parts
