"""Do the patches that name a color or shape lie where it is: AUC, pointing, IoU by layer.

The score of a patch is p_l of the tokens that name the target. A trace has the k likeliest tokens
only; of the others no more is known than that they are less likely than the k-th, so that they
score 0 and tie with each other. That hides order among low scores, and can make a layer look
worse, never better.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from lensbench.metrics.bootstrap import Bootstrap
from lensbench.metrics.patch_data import PatchData
from lensbench.metrics.patch_objects import KINDS, Found, Target
from lensbench.metrics.study_tables import STUDY_TABLES
from lensbench.metrics.tables import along_layers


def auc(scores: np.ndarray, within: np.ndarray) -> float:
    """Return the share of (inside, outside) pairs in which the inside scores higher.

    A tie counts half. This is Mann and Whitney's U divided by the number of pairs.

    Args:
        scores: [p].
        within: [p] booleans, of both kinds.

    Source: Mann and Whitney 1947, On a test of whether one of two random variables is
    stochastically larger than the other.
    """
    values, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    inside = np.bincount(place[within], minlength=len(values))
    outside = counts - inside
    below = np.cumsum(outside) - outside
    pairs = int(inside.sum()) * int(outside.sum())
    return float((inside * (below + outside / 2)).sum() / pairs)


def pointing(scores: np.ndarray, within: np.ndarray) -> float:
    """Return the chance that a patch of the highest score, drawn from all of them, is inside.

    Source: the pointing game, Zhang et al. 2016 (arXiv 1608.00507), ties drawn.
    """
    return float(within[scores == scores.max()].mean())


def best_iou(scores: np.ndarray, within: np.ndarray) -> float:
    """Return the largest IoU that {score ≥ t} has with the inside, over all thresholds t.

    The threshold is chosen with the truth known, so this is an upper bound; the threshold that
    takes every patch gives no less than the share of patches inside.
    """
    order = np.argsort(-scores, kind="stable")
    ordered, hit = scores[order], np.cumsum(within[order])
    taken = np.arange(1, len(scores) + 1)
    ends = np.append(ordered[1:] != ordered[:-1], True)
    union = taken + within.sum() - hit
    return float((hit[ends] / union[ends]).max())


def scores_of(data: PatchData, target: Target) -> np.ndarray:
    """Return Σ p_l over the target's tokens among the top k, [p, L+1]."""
    ids = data.top_id[target.rows]
    named = np.isin(ids, target.ids)
    return np.where(named, np.exp(data.top_logprob[target.rows]), 0.0).sum(axis=2)


def localisation(data: PatchData, found: Found, boot: Bootstrap) -> pd.DataFrame:
    """Return the three measures by layer for colors and for shapes, with what chance gives.

    A target is a color or a shape of a picture, and inside are the patches of the first view whose
    center lies in the box of a thing of it. A sample's value is the mean over its targets; targets
    that no patch's center lies in, or all do, or that no token names, are left out. `chance` is the
    share of patches inside: what pointing and IoU give where all patches tie (an AUC gives ½).
    """
    layers = np.arange(data.n_layers + 1)
    frames = []
    for kind in KINDS:
        by_sample: dict[int, list[np.ndarray]] = {}
        for target in found.targets:
            inside = target.within
            if target.kind != kind or inside.all() or not inside.any() or not len(target.ids):
                continue
            scores = scores_of(data, target)
            values = np.array(
                [
                    [measure(scores[:, layer], inside) for layer in layers]
                    for measure in (auc, pointing, best_iou)
                ]
                + [np.full(len(layers), inside.mean())]
            )
            by_sample.setdefault(target.sample, []).append(values)
        if not by_sample:
            continue
        means = np.stack([np.mean(by_sample[sample], axis=0) for sample in sorted(by_sample)])
        pictures = data.pictures[sorted(by_sample)]
        for place, metric in enumerate(("auc", "pointing", "best_iou", "chance")):
            estimate = boot.mean(means[:, place], pictures)
            frames.append(
                along_layers(estimate, layers, of=kind, metric=metric).assign(
                    depth=layers / data.n_layers
                )
            )
    columns = STUDY_TABLES["patch_localisation"][2:]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)
