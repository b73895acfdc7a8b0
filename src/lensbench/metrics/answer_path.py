"""Where the right answer is born, what becomes of its form, where it is lost, and the last layers.

The answer is found at a layer whose top-1 token is a form of the gold concept, in any language;
unlike the convergence layer, this looks at what is right, not at what the model ends with.
"""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pandas as pd

from lensbench.metrics.accuracy import language_of_hit
from lensbench.metrics.concepts import ALL, by_asked, by_family, families
from lensbench.metrics.convergence import hits
from lensbench.metrics.rundata import Block, Run
from lensbench.metrics.tally import Tally

#: The last so many layers below L must all have y on top.
AGREEING = (1, 2, 4)
#: What can change between two layers that have the answer on top, in the order they are told.
CHANGES = ("case", "space", "word", "language")


def found_lost_regained(right: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return whether the answer is found at some layer, lost at the last, found-lost-found, [n].

    Args:
        right: whether top-1 is the answer, [n, L+1].

    Returns:
        found; found below L but not at L; found, then not, then again, wherever it ends.
    """
    found = np.asarray(right.any(axis=1))
    lost = np.asarray(right[:, :-1].any(axis=1) & ~right[:, -1])
    # Each time it appears is a step from not right to right.
    starts = right[:, :1].sum(axis=1) + (right[:, 1:] & ~right[:, :-1]).sum(axis=1)
    return found, lost, np.asarray(starts > 1)


def change(before: str, after: str, same_language: bool) -> str:
    """Return what differs between two forms of one answer: "" or one of `CHANGES`.

    Args:
        before: a token, leading space kept.
        after: that of the next layer with the answer.
        same_language: whether both are forms in one language.

    The greatest difference is told: another language, else another word, else case, else space.
    """
    if not same_language:
        return "language"
    if before.strip().casefold() != after.strip().casefold():
        return "word"
    if before.strip() != after.strip():
        return "case"
    return "space" if before != after else ""


def changes(texts: np.ndarray, language: np.ndarray) -> dict[str, np.ndarray]:
    """Return how often each of `CHANGES` happens, and how often the answer is left, [n] each.

    Forms are compared between successive layers that have the answer on top, layers between them
    that have not left out; the answer is left where the next layer has none.

    Args:
        texts: top-1 tokens, [n, L+1].
        language: index of the language of which the token is a gold form, -1 if it is none,
            [n, L+1].
    """
    right = language >= 0
    counted = {name: np.zeros(len(texts), dtype=int) for name in CHANGES}
    for row, (tokens, own) in enumerate(zip(texts, language, strict=True)):
        at = np.flatnonzero(own >= 0)
        for one, other in pairwise(at):
            kind = change(tokens[one], tokens[other], own[one] == own[other])
            if kind:
                counted[kind][row] += 1
    return {**counted, "leave": (right[:, :-1] & ~right[:, 1:]).sum(axis=1)}


#: Of all samples.
_LAST = (
    *(f"last_{k}_agree" for k in AGREEING),
    "last_block_change", "last_block_js_nats", "last_block_kl_nats",
)  # fmt: skip
_AFTER = (*CHANGES, "leave")
#: In the order of the table.
METRICS = (
    *_LAST,
    "gold_found", "gold_first_layer", "gold_first_depth", "gold_lost", "gold_lost_of_found",
    "gold_regained",
    *(f"{how}_{name}" for name in _AFTER for how in ("after", "n")),
    "gold_found_raw", "gold_first_layer_raw", "gold_first_layer_paired",
    "gold_first_layer_raw_paired", "gold_first_layer_raw_minus_normed",
)  # fmt: skip

#: Which samples of a block have a value, [n], and the values of all, [n].
Told = tuple[np.ndarray, np.ndarray]


def measure(block: Block, tally: Tally) -> None:
    """Note what `answer_path` reports of a block."""
    every = np.ones(len(block.samples), dtype=bool)
    values = {name: (every, of_samples) for name, of_samples in _last_layers(block).items()}
    values |= _gold(block)
    named = families(block.run.groups.golds)
    for family, of_family in by_family(block.gold, named):
        for asked, of_asked in by_asked(block.asked, block.meta.languages):
            for metric, (has, of_samples) in values.items():
                note = tally.share if of_samples.dtype == bool else tally.mean
                key = ("answer_path", family, asked, metric)
                note(key, of_samples, of_family & of_asked & has)


def answer_path(run: Run, tally: Tally) -> list[pd.DataFrame]:
    """Return one row a family of answers, language asked for and metric.

    Each is over the samples it is defined for.

    Args:
        run: one model on one dataset.
        tally: of its blocks.

    Returns:
        family ("all", or of answers, "number"), asked ("all", or a language), metric, value, low,
        high, n. gold_* over samples whose gold has a usable form, the first layers over those of
        them in which it is found (…_paired and their difference: in which both lenses find it);
        after_* (share of samples) and n_* (mean number) over those in which it is found; last_*
        over all samples.
    """
    rows = []
    labels = product((ALL, *families(run.groups.golds)), (ALL, *run.meta.languages), METRICS)
    for row in labels:
        if tally.n(key := ("answer_path", *row)):
            e = tally.estimate(key)
            rows.append((*row, float(e.value), float(e.low), float(e.high), e.n))
    return [pd.DataFrame(rows, columns=["family", "asked", "metric", "value", "low", "high", "n"])]


def _last_layers(block: Block) -> dict[str, np.ndarray]:
    """Return what the layers below L say of the last, each [n samples]."""
    hit = hits(block.content.top1, block.content.final)
    columns = block.content.columns
    agree: dict[str, np.ndarray] = {
        f"last_{k}_agree": np.asarray(hit[:, -1 - k : -1].all(axis=1))
        for k in AGREEING
        if k < hit.shape[1]
    }
    return {
        **agree,
        "last_block_change": ~hit[:, -2],
        "last_block_js_nats": columns["js_to_final_nats"][:, -2],
        "last_block_kl_nats": columns["kl_to_final_nats"][:, -2],
    }


def _gold(block: Block) -> dict[str, Told]:
    """Return the way of the answer; where the gold has no usable form, nothing is told."""
    has, language = block.has_gold, block.language_of_top1
    right = language >= 0
    there, lost, regained = found_lost_regained(right)
    layer = right.argmax(axis=1)
    values: dict[str, Told] = {
        "gold_found": (has, there),
        "gold_first_layer": (there, layer),
        "gold_first_depth": (there, layer / block.meta.n_layers),
        "gold_lost": (has, lost),
        "gold_lost_of_found": (there, lost),
        "gold_regained": (has, regained),
    }
    counted = changes(block.vocabulary.text(block.content.top1[there]), language[there])
    for name, of_found in counted.items():
        count = np.zeros(len(has), dtype=int)
        count[there] = of_found
        values |= {f"after_{name}": (there, count > 0), f"n_{name}": (there, count)}
    if "raw" in block.lenses and block.meta.lens != "raw":
        top1 = block.lenses["raw"][1]["top_id"]
        found = language_of_hit(top1, block.gold, block.forms, block.meta.languages) >= 0
        raw_there, raw_layer = np.asarray(found.any(axis=1)), found.argmax(axis=1)
        values |= {
            "gold_found_raw": (has, raw_there),
            "gold_first_layer_raw": (raw_there, raw_layer),
            "gold_first_layer_paired": (there & raw_there, layer),
            "gold_first_layer_raw_paired": (there & raw_there, raw_layer),
            "gold_first_layer_raw_minus_normed": (there & raw_there, raw_layer - layer),
        }
    return values
