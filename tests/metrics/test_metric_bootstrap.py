"""The bootstrap: against a naive one, against theory, and its promises."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lensbench.metrics.bootstrap import Bootstrap

samples = st.lists(st.integers(-5, 5), min_size=1, max_size=9)


def resampled(boot: Bootstrap, values: list[int]) -> list[np.ndarray]:
    """The same resamples as lists of values, written out."""
    return [np.repeat(values, row.astype(int)) for row in boot.counts(len(values))]


@settings(deadline=None, max_examples=30)
@given(samples)
def test_mean_against_written_out_resamples(values: list[int]) -> None:
    boot = Bootstrap(seed=3, resamples=50, confidence=0.9)
    estimate = boot.mean(np.array(values))
    drawn = [np.mean(row) for row in resampled(boot, values)]
    assert estimate.value == pytest.approx(np.mean(values))
    assert estimate.low == pytest.approx(np.quantile(drawn, 0.05))
    assert estimate.high == pytest.approx(np.quantile(drawn, 0.95))
    assert estimate.n == len(values)


def test_every_resample_has_n_samples() -> None:
    counts = Bootstrap(resamples=40).counts(7)
    assert counts.shape == (40, 7)
    assert (counts.sum(axis=1) == 7).all()


def test_interval_of_a_mean_is_near_the_normal_one() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(2, 1, 400)
    e = Bootstrap(resamples=2000).mean(values)
    half = 1.96 * values.std() / 20
    assert e.low == pytest.approx(e.value - half, abs=0.02)
    assert e.high == pytest.approx(e.value + half, abs=0.02)


def test_a_column_alone_gives_what_it_gives_among_others() -> None:
    values = np.random.default_rng(0).random((20, 3, 2))
    boot = Bootstrap(resamples=30)
    whole, alone = boot.mean(values), boot.mean(values[:, 1, 0])
    assert whole.value.shape == (3, 2)
    assert whole.low[1, 0] == pytest.approx(float(alone.low))
    assert whole.value[1, 0] == pytest.approx(float(alone.value))


def test_one_sample_has_no_interval() -> None:
    e = Bootstrap().mean(np.array([0.1]))
    assert e.value == e.low == e.high == 0.1
    assert e.n == 1


def test_seed_alone_decides() -> None:
    values = np.random.default_rng(0).random(50)
    one, same, other = (Bootstrap(seed=s).mean(values) for s in (1, 1, 2))
    assert (one.low, one.high) == (same.low, same.high)
    assert (one.low, one.high) != (other.low, other.high)
