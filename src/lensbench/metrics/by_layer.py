"""How far each layer's prediction is from the last one's: per-sample values, [n, L+1].

Source: Belrose et al. 2023 (arXiv 2303.08112) for entropy, KL and JS of a lens.
"""

from __future__ import annotations

import numpy as np

from lensbench.metrics.convergence import early_exit_layer, hits
from lensbench.metrics.rundata import Trajectory

#: Means over samples and shares of them, in the order of the table.
METRICS = (
    "entropy_nats", "kl_to_final_nats", "js_to_final_nats", "final_rank_mean", "final_rank_log10",
    "topk_agreement", "early_exit_share", "top1_is_final",
)  # fmt: skip
#: Those of them that are 0 or 1 of a sample.
SHARES = ("early_exit_share", "top1_is_final")


def topk_agreement(top_id: np.ndarray) -> np.ndarray:
    """Return |Top_k(p_l) ∩ Top_k(p_L)| ÷ k, [n, L+1].

    Args:
        top_id: the k likeliest tokens, [n, L+1, k], distinct within a row.
    """
    last = top_id[:, -1, :]
    shared = np.zeros(top_id.shape[:2], dtype=np.int64)
    for j in range(top_id.shape[2]):  # one of the last layer's k at a time: no [n, L+1, k, k]
        shared += (top_id == last[:, None, j : j + 1]).any(axis=2)
    return shared / top_id.shape[2]


def averaged(first: Trajectory, tau: float) -> dict[str, np.ndarray]:
    """Return the metrics whose mean over samples is reported, each [n, L+1].

    Args:
        first: the content step of each sample.
        tau: threshold of early exit.
    """
    rank = first.columns["final_rank"].astype(np.float64)
    exited = early_exit_layer(first.top_probability, tau)[:, None]
    return {
        "entropy_nats": first.columns["entropy_nats"],
        "kl_to_final_nats": first.columns["kl_to_final_nats"],
        "js_to_final_nats": first.columns["js_to_final_nats"],
        "final_rank_mean": rank,
        "final_rank_log10": np.log10(1 + rank),
        "topk_agreement": topk_agreement(first.top_id),
        "early_exit_share": exited <= np.arange(rank.shape[1]),
        "top1_is_final": hits(first.top1, first.final),
    }
