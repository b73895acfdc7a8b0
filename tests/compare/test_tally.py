"""Differences and changes as they stream by, against NumPy on everything at once."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lensbench.compare.tally import Changes, Differences


def test_percentile_is_numpy_s_to_one_part_in_two_thousand() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([np.zeros(500), 10.0 ** rng.uniform(-9, 2, 20_000)])
    rng.shuffle(values)
    tally = Differences()
    for part in np.array_split(values, 7):
        tally.put(part)
    assert tally.n == len(values)
    assert tally.largest == values.max()
    for share in (0.01, 0.02, 0.5, 0.9, 0.999, 1.0):
        wanted = np.quantile(values, share, method="inverted_cdf")
        assert wanted <= tally.percentile(share) * (1 + 1e-7)
        assert tally.percentile(share) <= wanted * (1 + 1 / 2048) or not wanted
    for limit in (0.0, 1e-6, 0.3, 1e9):
        exact = int((values <= limit).sum())
        assert exact <= tally.at_most(limit) <= int((values <= limit * (1 + 1 / 1024)).sum())


def test_of_nothing_there_is_no_percentile() -> None:
    tally = Differences()
    assert math.isnan(tally.percentile(0.999))
    assert (tally.n, tally.at_most(1)) == (0, 0)


def test_equal_infinities_do_not_differ_and_no_number_is_never_lost() -> None:
    tally = Differences()
    tally.add(np.array([-np.inf, 1.0]), np.array([-np.inf, 1.0]))
    assert (tally.n, tally.largest) == (2, 0.0)
    tally.add(np.array([np.nan, -np.inf]), np.array([0.0, 0.0]))
    assert (tally.n, tally.largest, tally.percentile(1.0)) == (4, math.inf, math.inf)


@pytest.mark.parametrize("n", [1, 999, 1000, 1001, 2000])
def test_one_in_a_thousand_is_left_out_from_a_thousand_on(n: int) -> None:
    values = np.arange(1, n + 1, dtype=float)
    tally = Differences()
    tally.put(values)
    assert tally.percentile(0.999) == pytest.approx(n - n // 1000, rel=1 / 2048)


def test_changes_are_counted() -> None:
    tally = Changes()
    tally.add(np.array([[True, False], [False, False]]))
    tally.add(np.array([True]))
    assert (tally.changed, tally.n) == (2, 5)
