"""Resamples drawn from names: the law of the draws, and that nothing else decides them."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest

from lensbench.metrics.resampling import multiplicities, poisson_table

NAMES = np.array([f"sample-{place:05d}" for place in range(4000)], dtype=object)


def naive(name: str, resample: int, seed: int) -> int:
    """SplitMix64 in plain integers; each of a word's four parts looks up a value."""
    key = hashlib.blake2b(name.encode(), digest_size=8, key=str(seed).encode()).digest()
    mask = (1 << 64) - 1
    word = (int.from_bytes(key, "little") + (resample // 4 + 1) * 0x9E3779B97F4A7C15) & mask
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & mask
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & mask
    word ^= word >> 31
    uniform = (word >> (16 * (resample % 4))) & 0xFFFF
    total = 0
    for value in range(9):
        total += int((poisson_table() == value).sum())
        if uniform < total:
            return value
    raise AssertionError


def test_against_plain_integers() -> None:
    got = multiplicities(NAMES[:3], 11, 42)
    want = [[naive(name, resample, 42) for resample in range(11)] for name in NAMES[:3]]
    assert got.tolist() == want


def test_the_table_is_poisson_with_mean_exactly_one() -> None:
    table = poisson_table()
    assert len(table) == 2**16
    assert table.sum(dtype=int) == 2**16
    for value in range(9):
        share = (table == value).mean()
        assert share == pytest.approx(math.exp(-1) / math.factorial(value), abs=2**-14)
    assert table.astype(float).var() == pytest.approx(1, abs=1e-3)


def test_draws_follow_the_law_and_are_independent() -> None:
    drawn = multiplicities(NAMES, 500, 0).astype(float)
    # Two million draws: the mean's standard error is 0.0007.
    assert drawn.mean() == pytest.approx(1, abs=0.003)
    assert drawn.var() == pytest.approx(1, abs=0.01)
    between = np.corrcoef(drawn[:300])  # samples
    along = np.corrcoef(drawn[:, :300].T)  # resamples
    for matrix, n in ((between, 500), (along, 4000)):
        off = matrix[~np.eye(len(matrix), dtype=bool)]
        assert off.std() == pytest.approx(1 / math.sqrt(n), rel=0.1)
        assert abs(off.mean()) < 0.01


def test_a_row_depends_on_the_name_and_the_seed_alone() -> None:
    whole = multiplicities(NAMES[:50], 40, 7)
    order = np.random.default_rng(0).permutation(50)
    assert (multiplicities(NAMES[:50][order], 40, 7) == whole[order]).all()
    # A few resamples are the beginning of many.
    assert (multiplicities(NAMES[:50], 10, 7) == whole[:, :10]).all()
    assert (multiplicities(NAMES[:50], 40, 8) != whole).mean() > 0.5
