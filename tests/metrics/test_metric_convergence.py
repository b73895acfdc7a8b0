"""Convergence metrics: worked by hand, against naive loops, and the relations between them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lensbench.metrics import convergence as c

Y, A, B = 7, 1, 2
#   layer        0  1  2  3  4  5   L = 5, y = 7
TOP1 = np.array(
    [
        [Y, Y, Y, Y, Y, Y],  # there from the embeddings on
        [A, A, B, A, B, Y],  # only at the last layer
        [A, Y, A, Y, Y, Y],  # found at 1, lost at 2, back from 3 on
        [Y, Y, A, Y, B, Y],  # twice lost
        [A, B, B, Y, Y, Y],  # found at 3 and kept
    ]
)
FINAL = np.full(5, Y)
HIT = c.hits(TOP1, FINAL)


def test_convergence_layer_by_hand() -> None:
    assert c.convergence_layer(HIT).tolist() == [0, 5, 3, 5, 3]


def test_first_hit_by_hand() -> None:
    assert c.first_hit_layer(HIT).tolist() == [0, 5, 1, 0, 3]


@pytest.mark.parametrize(
    ("k", "layers"),
    [
        (1, [0, 5, 1, 0, 3]),  # the first hit
        (2, [0, 5, 3, 0, 3]),  # row 2: 1 alone is no pair; row 3: layers 0 and 1 are
        (4, [0, 5, 3, 5, 3]),  # to the end where fewer than four layers are left
    ],
)
def test_stable_by_hand(k: int, layers: list[int]) -> None:
    assert c.stable_layer(HIT, k).tolist() == layers


def test_changes_of_mind_by_hand() -> None:
    # Row 1 changes often, but before its first hit. Row 3: 1→2, 2→3, 3→4, 4→5.
    assert c.changes_of_mind(TOP1, FINAL).tolist() == [0, 0, 2, 4, 0]


def test_found_and_lost_by_hand() -> None:
    assert c.found_and_lost(HIT).tolist() == [False, False, True, True, False]


def test_a_change_between_two_other_tokens_after_the_first_hit_counts() -> None:
    # y at 0, then A, then B, then y: three changes, although only two touch y.
    assert c.changes_of_mind(np.array([[Y, A, B, Y]]), np.array([Y])).tolist() == [3]


def test_early_exit_by_hand() -> None:
    top1 = np.array([[A, A, Y, Y], [A, B, B, Y], [A, Y, Y, Y]])
    sure = np.array([[0.2, 0.95, 0.3, 0.99], [0.1, 0.2, 0.3, 0.4], [0.1, 0.9, 0.1, 0.1]])
    before = sure.copy()
    layer = c.early_exit_layer(sure, 0.9)
    # Sure at 1 of a wrong token; never sure, so out at L; sure enough at exactly τ.
    assert layer.tolist() == [1, 3, 1]
    assert c.early_exit_agreement(top1, np.full(3, Y), layer).tolist() == [False, True, True]
    assert np.array_equal(sure, before)


def naive(row: list[int]) -> dict[str, int]:
    """The definitions of the design, read aloud."""
    y, layers = row[-1], len(row)
    hit = [token == y for token in row]
    first = min(i for i in range(layers) if hit[i])

    def stable(k: int) -> int:
        return min(i for i in range(layers) if all(hit[i : i + k]))

    return {
        "convergence": min(i for i in range(layers) if all(hit[j] for j in range(i, layers))),
        "first": first,
        **{f"stable{k}": stable(k) for k in (1, 2, 3, 4)},
        "changes": sum(row[i] != row[i + 1] for i in range(first, layers - 1)),
        "lost": any(hit[i] and not hit[j] for i in range(layers) for j in range(i + 1, layers)),
    }


tops = hnp.arrays(np.int32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12),
                  elements=st.integers(0, 2)).filter(lambda a: a.shape[1] >= 2)  # fmt: skip


@given(tops)
def test_all_agree_with_the_naive_reading(top1: np.ndarray) -> None:
    final = top1[:, -1]
    hit = c.hits(top1, final)
    want = [naive(row) for row in top1.tolist()]
    assert c.convergence_layer(hit).tolist() == [w["convergence"] for w in want]
    assert c.first_hit_layer(hit).tolist() == [w["first"] for w in want]
    for k in (1, 2, 3, 4):
        assert c.stable_layer(hit, k).tolist() == [w[f"stable{k}"] for w in want]
    assert c.changes_of_mind(top1, final).tolist() == [w["changes"] for w in want]
    assert c.found_and_lost(hit).tolist() == [w["lost"] for w in want]


@given(tops)
def test_relations(top1: np.ndarray) -> None:
    final = top1[:, -1]
    hit = c.hits(top1, final)
    chain = [c.first_hit_layer(hit)] + [c.stable_layer(hit, k) for k in (1, 2, 4, 99)]
    assert np.array_equal(chain[0], chain[1])
    for smaller, larger in pairwise(chain):
        assert (smaller <= larger).all()
    assert np.array_equal(chain[-1], c.convergence_layer(hit))
    changes = c.changes_of_mind(top1, final)
    # Without a change after the first hit it stayed; a loss and a return are two changes.
    assert np.array_equal(changes == 0, ~c.found_and_lost(hit))
    assert (changes != 1).all()
