"""Sums of blocks: against loops over resamples, against the multinomial bootstrap, and coverage."""

from __future__ import annotations

import numpy as np
import pytest

from lensbench.metrics.bootstrap import Bootstrap
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


def test_intervals_are_as_wide_as_those_of_the_multinomial_bootstrap() -> None:
    values = np.random.default_rng(4).exponential(size=(500, 6))
    ours = filled(values, block=100, resamples=4000).estimate(("x",))
    theirs = Bootstrap(3, 4000).mean(values)
    assert ours.value == pytest.approx(theirs.value)
    assert ours.high - ours.low == pytest.approx(theirs.high - theirs.low, rel=0.06)


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
            tally.median(("r",), values[start : start + 30])
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
    tally.median(("r",), np.array([[7], [0], [2]]))
    e = tally.median_of(("r",))
    assert (e.value[0], e.n) == (2, 3)
    # Two of three draws are 0 with 7/27, about 26 %: within 95 % the median may be anything.
    assert (e.low[0], e.high[0]) == (0, 7)
    alone = Tally()
    alone.median(("r",), np.array([[7], [9]]), np.array([True, False]))
    assert alone.median_of(("r",)).high.tolist() == [7]
    with pytest.raises(ValueError, match="below 0"):
        alone.median(("r",), np.array([[-1]]))


def test_a_statistic_of_means_has_its_interval() -> None:
    values = np.random.default_rng(7).random((40, 3))
    e = filled(values).of_means(("x",), lambda means: means.max(axis=1))
    assert (float(e.value), e.n) == (pytest.approx(values.mean(axis=0).max()), 40)
    highest = looped(values, np.ones(40, dtype=bool)).max(axis=1)
    assert (e.low, e.high) == pytest.approx(tuple(np.quantile(highest, [0.025, 0.975])))


def test_strata_are_resampled_by_themselves() -> None:
    """Two strata that hold the same values must not be drawn alike: their difference varies."""
    stratum = {float(value): 1 for value in range(40)}
    e = Tally(3, 400).stratified([stratum, stratum], [1.0, -1.0])
    assert (e.value, e.n) == (0, 80)
    spread = np.sqrt(2 * np.arange(40).var() / 40)
    assert e.high - e.low == pytest.approx(2 * 1.96 * spread, rel=0.2)
    again = Tally(3, 400).stratified([stratum, stratum], [1.0, -1.0])
    assert (again.low, again.high) == (e.low, e.high)


def test_kinds_are_counted_over_blocks() -> None:
    tally = Tally()
    tally.kinds(("k",), np.array([1, 2, 2]))
    tally.kinds(("k",), np.array([2.0]))
    assert tally.counted(("k",)) == {1.0: 1, 2.0: 3}
    assert tally.counted(("other",)) == {}
