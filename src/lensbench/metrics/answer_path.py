"""Where the right answer is born, what becomes of its form, where it is lost, and the last layers.

The answer is found at a layer whose top-1 token is a form of the gold concept, in any language;
unlike the convergence layer, this looks at what is right, not at what the model ends with.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd

from lensbench.metrics.accuracy import language_of_hit
from lensbench.metrics.bootstrap import Bootstrap
from lensbench.metrics.concepts import by_family
from lensbench.metrics.convergence import hits
from lensbench.metrics.lenses import Reading
from lensbench.metrics.rundata import RunData

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


def answer_path(run: RunData, boot: Bootstrap, found: dict[str, Reading]) -> list[pd.DataFrame]:
    """Return one row a family of answers and metric, each over the samples it is defined for.

    Args:
        run: one model on one dataset.
        boot: for the intervals.
        found: what each lens reads, by its name, the main one first.

    Returns:
        family ("all", or of answers, "number"), metric, value, low, high, n. gold_* over samples
        whose gold has a usable form, the first layers over those of them in which it is found;
        after_* (share of samples) and n_* (mean number) over those in which it is found; last_*
        over all samples.
    """
    every = np.ones(len(run.samples), dtype=bool)
    values = {name: (every, of_samples) for name, of_samples in _last_layers(run).items()}
    if run.has_gold.any():
        values |= _gold(run, found)
    rows = []
    for family, mask in by_family(run.samples["gold"].to_numpy(dtype=object)):
        for metric, (has, of_samples) in values.items():
            chosen = of_samples[mask[has]]
            if len(chosen):
                e = boot.mean(chosen)
                rows.append((family, metric, float(e.value), float(e.low), float(e.high), e.n))
    return [pd.DataFrame(rows, columns=["family", "metric", "value", "low", "high", "n"])]


def _last_layers(run: RunData) -> dict[str, np.ndarray]:
    """Return what the layers below L say of the last, each [n samples]."""
    hit = hits(run.first.top1, run.first.final)
    columns = run.first.columns
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


def _gold(run: RunData, found: dict[str, Reading]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the way of the answer: which of all samples have a value, [n], and their values."""
    gold = run.samples["gold"].to_numpy(dtype=object)[run.has_gold]
    top1 = run.first.top1[run.has_gold]
    language = language_of_hit(top1, gold, run.forms, run.meta.languages)
    right = language >= 0
    there, lost, regained = found_lost_regained(right)
    layer = right.argmax(axis=1)
    values = {
        "gold_found": there,
        "gold_first_layer": layer[there],
        "gold_first_depth": layer[there] / run.meta.n_layers,
        "gold_lost": lost,
        "gold_lost_of_found": lost[there],
        "gold_regained": regained,
    }
    among = {"gold_first_layer": there, "gold_first_depth": there, "gold_lost_of_found": there}
    counted = changes(run.vocabulary.text(top1[there]), language[there])
    for name, count in counted.items():
        values |= {f"after_{name}": count > 0, f"n_{name}": count}
        among |= {f"after_{name}": there, f"n_{name}": there}
    if "raw" in list(found)[1:]:
        raw_top1 = found["raw"].top1[run.has_gold]
        raw = language_of_hit(raw_top1, gold, run.forms, run.meta.languages) >= 0
        raw_there, raw_layer = np.asarray(raw.any(axis=1)), raw.argmax(axis=1)
        both = there & raw_there
        values |= {
            "gold_found_raw": raw_there,
            "gold_first_layer_raw": raw_layer[raw_there],
            "gold_first_layer_raw_minus_normed": (raw_layer - layer)[both],
        }
        among |= {"gold_first_layer_raw": raw_there, "gold_first_layer_raw_minus_normed": both}
    rows = np.flatnonzero(run.has_gold)
    told = {}
    for metric, of_samples in values.items():
        has = np.zeros(len(run.samples), dtype=bool)
        has[rows[among[metric]] if metric in among else rows] = True
        told[metric] = (has, of_samples)
    return told
