"""Estimates of samples at hand: against resamples written out, against theory, and its promises."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lensbench.metrics.bootstrap import Bootstrap
from lensbench.metrics.resampling import multiplicities

samples = st.lists(
    st.tuples(st.integers(-5, 5), st.integers(1, 4), st.sampled_from("abcd")), min_size=2
)


@settings(deadline=None, max_examples=30)
@given(samples)
def test_a_ratio_against_written_out_resamples(drawn: list[tuple[int, int, str]]) -> None:
    parts, wholes = (np.array([row[place] for row in drawn]) for place in (0, 1))
    pictures = np.array([row[2] for row in drawn], dtype=object)
    e = Bootstrap(seed=3, resamples=50, confidence=0.9).ratio(parts, wholes, pictures)
    ratios = []
    for often in multiplicities(pictures, 50, 3).T:
        rows = np.repeat(np.arange(len(drawn)), often)
        if len(rows):
            ratios.append(parts[rows].sum() / wholes[rows].sum())
    assert e.value == pytest.approx(parts.sum() / wholes.sum())
    assert e.low == pytest.approx(np.quantile(ratios, 0.05))
    assert e.high == pytest.approx(np.quantile(ratios, 0.95))
    assert e.n == len(drawn)


def names(n: int) -> np.ndarray:
    return np.array([f"p{place}" for place in range(n)], dtype=object)


def test_interval_of_a_mean_is_near_the_normal_one() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(2, 1, 400)
    e = Bootstrap(resamples=2000).mean(values, names(400))
    half = 1.96 * values.std() / 20
    assert e.low == pytest.approx(e.value - half, abs=0.02)
    assert e.high == pytest.approx(e.value + half, abs=0.02)


def test_a_column_alone_gives_what_it_gives_among_others() -> None:
    values = np.random.default_rng(0).random((20, 3, 2))
    boot = Bootstrap(resamples=30)
    whole, alone = boot.mean(values, names(20)), boot.mean(values[:, 1, 0], names(20))
    assert whole.value.shape == (3, 2)
    assert whole.low[1, 0] == pytest.approx(float(alone.low))
    assert whole.value[1, 0] == pytest.approx(float(alone.value))


def test_one_sample_has_no_interval() -> None:
    e = Bootstrap().mean(np.array([0.1]), names(1))
    assert e.value == e.low == e.high == 0.1
    assert e.n == 1


def test_seed_alone_decides() -> None:
    values = np.random.default_rng(0).random(50)
    one, same, other = (Bootstrap(seed=s).mean(values, names(50)) for s in (1, 1, 2))
    assert (one.low, one.high) == (same.low, same.high)
    assert (one.low, one.high) != (other.low, other.high)
