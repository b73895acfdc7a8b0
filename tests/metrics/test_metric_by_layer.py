"""Top-k agreement and the averaged metrics of a layer."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lensbench.metrics.by_layer import averaged, topk_agreement
from lensbench.metrics.rundata import Trajectory


def test_agreement_by_hand() -> None:
    # One sample, k = 3, last layer {1, 2, 3}: shares 1, then 2 in another order, then all.
    top = np.array([[[9, 3, 8], [2, 7, 1], [1, 2, 3]]])
    assert np.allclose(topk_agreement(top), [[1 / 3, 2 / 3, 1]])


@given(st.lists(st.lists(st.permutations(range(6)), min_size=2, max_size=4), min_size=1, max_size=3)
       .filter(lambda rows: len({len(row) for row in rows}) == 1), st.integers(1, 6))  # fmt: skip
def test_agreement_against_sets(rows: list[list[list[int]]], k: int) -> None:
    top = np.array(rows)[:, :, :k]
    want = [[len(set(layer) & set(row[-1])) / k for layer in row] for row in top.tolist()]
    assert np.allclose(topk_agreement(top), want)


def test_averaged_by_hand() -> None:
    zero = np.zeros((2, 3))
    first = Trajectory(
        sample_id=np.array(["a", "b"], dtype=object),
        step=np.zeros(2, dtype=int),
        top_id=np.array([[[5], [6], [6]], [[8], [7], [8]]]),
        top_probability=np.array([[0.1, 0.95, 0.99], [0.1, 0.2, 0.3]]),
        columns={
            "entropy_nats": zero + 1,
            "kl_to_final_nats": zero + 2,
            "js_to_final_nats": zero + 3,
            "final_rank": np.array([[99, 0, 0], [0, 9, 0]]),
            "final_id": np.array([[6, 6, 6], [8, 8, 8]]),
        },
        script_mass=np.zeros((2, 3, 1)),
        concept_mass=np.zeros((2, 3, 1)),
    )
    got = averaged(first, 0.9)
    assert got["final_rank_log10"].tolist() == [[2, 0, 0], [0, 1, 0]]
    assert got["final_rank_mean"].tolist() == [[99, 0, 0], [0, 9, 0]]
    # Sample a leaves at layer 1; b is never sure enough and leaves at the last.
    assert got["early_exit_share"].tolist() == [[False, True, True], [False, False, True]]
    assert got["top1_is_final"].tolist() == [[False, True, True], [True, False, True]]
    assert (got["kl_to_final_nats"] == 2).all()
    assert (got["js_to_final_nats"] == 3).all()
    assert (got["entropy_nats"] == 1).all()
