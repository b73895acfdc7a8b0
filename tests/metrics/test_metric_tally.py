"""Sums of blocks: against loops over resamples, and coverage."""

from __future__ import annotations

import numpy as np
import pytest

from lensbench.metrics.intervals import wilson
from lensbench.metrics.resampling import multiplicities
from lensbench.metrics.tally import Tally

NAMES = np.array([f"s{place:04d}" for place in range(3000)], dtype=object)


def filled(
    values: np.ndarray, among: np.ndarray | None = None, block: int = 7, resamples: int = 60
) -> Tally:
    """Return a tally with the mean "x" of the values, given a few samples at a time."""
    tally = Tally(3, resamples)
    for start in range(0, len(values), block):
        rows = slice(start, start + block)
        tally.begin(NAMES[: len(values)][rows])
        tally.mean(("x",), values[rows], None if among is None else among[rows])
        tally.end()
    return tally


def looped(values: np.ndarray, among: np.ndarray, resamples: int = 60) -> np.ndarray:
    """Return the mean of each resample, by repeating each sample as often as it is drawn."""
    drawn = multiplicities(NAMES[: len(values)], resamples, 3)
    means = []
    for resample in drawn.T:
        held = np.repeat(np.arange(len(values))[among], resample[among])
        if len(held):
            means.append(values[held].mean(axis=0))
    return np.array(means)


@pytest.mark.parametrize("share", [1.0, 0.5, 0.02])
def test_means_and_intervals_are_those_of_a_loop(share: float) -> None:
    rng = np.random.default_rng(0)
    values, among = rng.normal(size=(100, 2, 3)), rng.random(100) < share
    # A wide block of few samples is summed another way than a narrow one.
    for part in (values, np.repeat(values, 40, axis=2)):
        e = filled(part, among).estimate(("x",))
        assert e.n == among.sum() > 1
        assert e.value == pytest.approx(part[among].mean(axis=0))
        low, high = np.quantile(looped(part, among), [0.025, 0.975], axis=0)
        assert e.low == pytest.approx(low)
        assert e.high == pytest.approx(high)


def test_blocks_of_any_size_give_the_same() -> None:
    values = np.random.default_rng(1).normal(size=(90, 4))
    one, other = (filled(values, block=block).estimate(("x",)) for block in (1, 90))
    for name in ("value", "low", "high"):
        assert getattr(one, name) == pytest.approx(getattr(other, name), rel=1e-12)


def test_what_is_outside_the_mask_counts_for_nothing() -> None:
    values = np.array([1.0, np.nan, 3.0, np.inf])
    e = filled(values, np.array([True, False, True, False])).estimate(("x",))
    assert (e.value, e.n) == (2, 2)
    assert np.isfinite([e.low, e.high]).all()


def test_one_sample_has_no_spread_and_none_no_mean() -> None:
    e = filled(np.array([4.0, 5.0]), np.array([False, True])).estimate(("x",))
    assert (e.value, e.low, e.high, e.n) == (5, 5, 5, 1)
    assert filled(np.array([4.0]), np.array([False])).n(("x",)) == 0


def test_groups_and_metrics_resample_alike() -> None:
    """A value that differs by a constant has an interval that does: draws are the samples' own."""
    values = np.random.default_rng(2).normal(size=200)
    tally = Tally(3, 100)
    tally.begin(NAMES[:200])
    tally.mean(("a",), values)
    tally.mean(("b",), values + 5, np.ones(200, dtype=bool))
    tally.end()
    a, b = tally.estimate(("a",)), tally.estimate(("b",))
    assert b.low - a.low == pytest.approx(5)
    assert b.high - a.high == pytest.approx(5)


def test_intervals_are_as_wide_as_those_of_draws_with_replacement() -> None:
    rng = np.random.default_rng(4)
    values = rng.exponential(size=(500, 6))
    ours = filled(values, block=100, resamples=4000).estimate(("x",))
    drawn = np.array([values[rng.integers(0, 500, 500)].mean(axis=0) for _ in range(4000)])
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    assert ours.value == pytest.approx(values.mean(axis=0))
    assert ours.high - ours.low == pytest.approx(high - low, rel=0.06)


def test_samples_of_a_picture_are_drawn_together() -> None:
    """Four samples that are the same say no more than one does."""
    values = np.random.default_rng(8).normal(size=100)
    once, often = Tally(3, 200), Tally(3, 200, samples_of=dict.fromkeys(NAMES[:100], 4))
    for tally, times in ((once, 1), (often, 4)):
        tally.begin(np.repeat(NAMES[:100], times))
        tally.mean(("x",), np.repeat(values, times))
        tally.end()
    one, four = once.estimate(("x",)), often.estimate(("x",))
    assert (four.n, four.low, four.high) == (400, pytest.approx(one.low), pytest.approx(one.high))


def test_a_mean_lies_in_its_interval_as_often_as_is_said() -> None:
    rng = np.random.default_rng(5)
    names = [np.array([f"{run}-{place}" for place in range(60)]) for run in range(400)]
    held = 0
    for own in names:
        tally = Tally(0, 300)
        tally.begin(own)
        tally.mean(("x",), rng.normal(size=60))
        tally.end()
        e = tally.estimate(("x",))
        held += bool(e.low <= 0 <= e.high)
    # 95 % less what a percentile interval of 60 lacks; the standard error is 1.1 %.
    assert held / 400 == pytest.approx(0.945, abs=0.03)


def test_medians_against_drawing_with_replacement() -> None:
    rng = np.random.default_rng(6)
    for n in (101, 100):
        values = rng.geometric(0.05, size=(n, 2)) - 1
        tally = Tally(0, 10)
        for start in range(0, n, 30):
            tally.begin(NAMES[:n][start : start + 30])
            tally.median(("r",), values[start : start + 30])
            tally.end()
        e = tally.median_of(("r",))
        assert e.value.tolist() == np.median(values, axis=0).tolist()
        drawn = np.sort(values[rng.integers(0, n, (20_000, n))], axis=1)
        lower, upper = drawn[:, (n - 1) // 2], drawn[:, n // 2]
        for column in range(2):
            # The least whole number at or below which so many of the resamples' medians lie.
            assert e.low[column] == np.quantile(lower[:, column], 0.025, method="inverted_cdf")
            assert e.high[column] == np.quantile(upper[:, column], 0.975, method="inverted_cdf")


def test_a_median_by_hand() -> None:
    tally = Tally()
    tally.begin(NAMES[:3])
    tally.median(("r",), np.array([[7], [0], [2]]))
    tally.end()
    e = tally.median_of(("r",))
    assert (e.value[0], e.n) == (2, 3)
    # Two of three draws are 0 with 7/27, about 26 %: within 95 % the median may be anything.
    assert (e.low[0], e.high[0]) == (0, 7)
    alone = Tally()
    alone.begin(NAMES[:2])
    alone.median(("r",), np.array([[7], [9]]), np.array([True, False]))
    with pytest.raises(ValueError, match="below 0"):
        alone.median(("r",), np.array([[-1], [-1]]))
    alone.end()
    assert alone.median_of(("r",)).high.tolist() == [7]
    # Five samples of each picture are as three: the median may be anything again.
    often = Tally()
    often.begin(np.repeat(NAMES[:3], 5))
    often.median(("r",), np.repeat([[7], [0], [2]], 5, axis=0))
    often.end()
    e = often.median_of(("r",))
    assert (e.value[0], e.low[0], e.high[0], e.n) == (2, 0, 7, 15)


def test_a_statistic_of_means_has_its_interval() -> None:
    values = np.random.default_rng(7).random((40, 3))
    e = filled(values).of_means(("x",), lambda means: means.max(axis=1))
    assert (float(e.value), e.n) == (pytest.approx(values.mean(axis=0).max()), 40)
    highest = looped(values, np.ones(40, dtype=bool)).max(axis=1)
    assert (e.low, e.high) == pytest.approx(tuple(np.quantile(highest, [0.025, 0.975])))


def stratified(values: np.ndarray, strata: np.ndarray, pictures: np.ndarray) -> Tally:
    """Return a tally with a mean of each stratum."""
    tally = Tally(3, 4000)
    tally.begin(pictures)
    for stratum in np.unique(strata):
        tally.mean(("s", stratum), values, strata == stratum, (0.0, 1.0))
    tally.end()
    return tally


def test_a_weighted_sum_of_strata_has_the_variance_of_theory() -> None:
    rng = np.random.default_rng(9)
    strata = np.repeat([0, 1, 2], [60, 5, 40])
    values = rng.normal(size=105) + strata
    weights = {("s", 0): 0.5, ("s", 1): 0.2, ("s", 2): -0.7}
    e = stratified(values, strata, NAMES[:105]).stratified(weights)
    parts = [(w, values[strata == s]) for (_, s), w in weights.items()]
    assert e.value == pytest.approx(sum(w * x.mean() for w, x in parts))
    v = sum(w**2 * x.var() / len(x) for w, x in parts)
    assert e.high - e.low == pytest.approx(2 * 1.96 * np.sqrt(v), rel=0.1)
    assert e.n == 105
    # One picture on both sides of a difference takes itself off: strata of one picture vary alike.
    both = stratified(np.tile(values[:60], 2), np.repeat([0, 1], 60), np.tile(NAMES[:60], 2))
    same = both.stratified({("s", 0): 1.0, ("s", 1): -1.0})
    assert (same.low, same.high) == pytest.approx((0, 0), abs=1e-12)
    assert both.correlation({("s", 0): 1.0}, {("s", 1): 1.0}) == pytest.approx(1)


def test_a_weighted_share_has_a_width() -> None:
    strata = np.repeat([0, 1], [20, 4])
    tally = stratified(np.ones(24), strata, NAMES[:24])
    e = tally.stratified_share({("s", 0): 0.5, ("s", 1): 0.5})
    # Kish: 1 ÷ (¼ ÷ 20 + ¼ ÷ 4) = 13⅓ draws, of which all are right.
    of = 40 / 3
    assert (e.value, e.n) == (1, 24)
    assert (e.low, e.high) == pytest.approx((of / (of + 1.959964**2), 1))
    strata, mixed = np.repeat([0, 1], [80, 40]), (np.arange(120) % 4 > 0).astype(float)
    e = stratified(mixed, strata, NAMES[:120]).stratified_share({("s", 0): 0.5, ("s", 1): 0.5})
    # ¾ in each: v = ¼ · 3/16 · (1/80 + 1/40), but for the noise of 4,000 resamples.
    low, high = wilson(np.array(0.75), 320 / 3, 0.95)
    assert (e.low, e.high) == pytest.approx((low, high), abs=0.004)


def test_more_samples_of_a_picture_than_were_told_are_refused() -> None:
    tally = Tally(samples_of={})
    with pytest.raises(ValueError, match="more samples show s0000"):
        tally.begin(NAMES[[0, 0]])
