"""When the final token becomes, and stays, the likeliest one: depth of a prediction.

Source: Baldock et al. 2021 (arXiv 2106.09647) for the convergence layer (prediction depth); early
exit after CALM, Schuster et al. 2022 (arXiv 2207.07061). Every function takes `top1` [n, L+1], the
likeliest token at each layer, and compares it with y = top1 at layer L.
"""

from __future__ import annotations

import numpy as np


def hits(top1: np.ndarray, final: np.ndarray) -> np.ndarray:
    """Return where the likeliest token is y, [n, L+1].

    Args:
        top1: likeliest token ids, [n, L+1].
        final: y, [n].
    """
    return top1 == final[:, None]


def convergence_layer(hit: np.ndarray) -> np.ndarray:
    """Return min l such that y is top-1 at every l' ≥ l, [n]."""
    # One more than the last miss; a miss nowhere gives 0.
    missed_after = np.cumsum(~hit[:, ::-1], axis=1) == 0
    return hit.shape[1] - missed_after.sum(axis=1)


def first_hit_layer(hit: np.ndarray) -> np.ndarray:
    """Return min l where y is top-1, [n]."""
    return hit.argmax(axis=1)


def stable_layer(hit: np.ndarray, k: int) -> np.ndarray:
    """Return min l where y is top-1 for k layers from l on, or from l to the end, [n]."""
    layers = hit.shape[1]
    # Beyond the last layer nothing can contradict, so the run is padded with hits.
    padded = np.concatenate([hit, np.ones((len(hit), k - 1), dtype=bool)], axis=1)
    held = np.all([padded[:, i : i + layers] for i in range(k)], axis=0)
    return held.argmax(axis=1)


def changes_of_mind(top1: np.ndarray, final: np.ndarray) -> np.ndarray:
    """Return the number of l from the first hit on where top-1 differs from that at l + 1, [n]."""
    changed = top1[:, :-1] != top1[:, 1:]
    after = np.arange(changed.shape[1]) >= first_hit_layer(hits(top1, final))[:, None]
    return (changed & after).sum(axis=1)


def found_and_lost(hit: np.ndarray) -> np.ndarray:
    """Return whether y was top-1, then not, then again (it always is at L), [n]."""
    return convergence_layer(hit) > first_hit_layer(hit)


def early_exit_layer(top_probability: np.ndarray, tau: float) -> np.ndarray:
    """Return min l with max p_l ≥ τ; a sample that never is so sure exits at L, [n].

    Args:
        top_probability: max p_l, [n, L+1].
        tau: the threshold τ.
    """
    sure = top_probability >= tau  # a new array, so the caller's is left alone
    sure[:, -1] = True
    return sure.argmax(axis=1)


def early_exit_agreement(top1: np.ndarray, final: np.ndarray, exit_layer: np.ndarray) -> np.ndarray:
    """Return whether the token at the exit is y, [n]."""
    return np.take_along_axis(top1, exit_layer[:, None], axis=1)[:, 0] == final
