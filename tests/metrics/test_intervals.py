"""Intervals of shares: worked by hand, against a loop over pictures, and their coverage."""

from __future__ import annotations

import numpy as np
import pytest

from lensbench.metrics.bootstrap import Bootstrap
from lensbench.metrics.intervals import difference, effective_n, percentile, wilson
from lensbench.metrics.tally import Tally

Z = 1.959963984540054
BOOT = Bootstrap(resamples=100)


def each(n: int) -> np.ndarray:
    return np.array([f"p{place:04d}" for place in range(n)], dtype=object)


def test_wilson_by_hand() -> None:
    # z² = 3.8415: 0 of 24 is [0, z² ÷ (24 + z²)]; 12 of 24 is ½ ± ½ z ÷ √(24 + z²).
    low, high = wilson(np.array([0.0, 0.5, 1.0]), 24, 0.95)
    assert low == pytest.approx([0, 0.5 - Z / 2 / 27.8415**0.5, 24 / 27.8415], abs=1e-5)
    assert high == pytest.approx([3.8415 / 27.8415, 0.5 + Z / 2 / 27.8415**0.5, 1], abs=1e-5)
    # Newcombe 1998 (two-sided intervals for the single proportion), table I, score method: 81 of
    # 263, 15 of 148, 1 of 29.
    for share, n, ends in (
        (81 / 263, 263, (0.2553, 0.3662)),
        (15 / 148, 148, (0.0624, 0.1605)),
        (1 / 29, 29, (0.0061, 0.1718)),
    ):
        assert wilson(np.array(share), n, 0.95) == pytest.approx(ends, abs=5e-5)


def test_a_share_always_has_a_width() -> None:
    for n in (1, 2, 24, 10_000):
        for value in (0.0, 1.0):
            for pictures in (each(n), np.repeat(each(1), n)):
                e = BOOT.share(np.full(n, value), pictures)
                assert (float(e.value), e.n) == (value, n)
                assert e.low < e.high
                e = BOOT.difference(np.full(n, value), pictures)
                assert e.low < value or value == -1
                assert e.low < e.high


def naive(values: np.ndarray, pictures: np.ndarray) -> tuple[float, float]:
    """The interval of one share, by a loop over pictures."""
    n, p = len(values), float(np.mean(values))
    clusters: dict[str, list[float]] = {}
    for value, picture in zip(values, pictures, strict=True):
        clusters.setdefault(picture, []).append(float(value))
    c = len(clusters)
    of = float(n)
    if c < n:
        v = sum((sum(own) - p * len(own)) ** 2 for own in clusters.values()) / n**2
        v *= c / (c - 1)
        of = min(p * (1 - p) / v, n) if v > 1e-15 else c
    center, half = p + Z**2 / 2 / of, Z * np.sqrt(p * (1 - p) / of + Z**2 / 4 / of**2)
    return (center - half) / (1 + Z**2 / of), (center + half) / (1 + Z**2 / of)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("block", [5, 1000])
def test_shares_of_shared_pictures_against_a_loop(known: bool, block: int) -> None:
    """Samples of a picture lie in several blocks, and not all of them count."""
    rng = np.random.default_rng(0)
    pictures = rng.permutation(np.repeat(each(30), rng.integers(1, 6, 30)))
    own = {name: rng.random() for name in each(30)}
    values = np.array([rng.random(3) < own[name] for name in pictures])
    values[:, 2] = True
    among = rng.random(len(pictures)) < 0.7
    names, often = np.unique(pictures, return_counts=True)
    of = dict(zip(names, often, strict=True)) if known else None
    tally = Tally(samples_of=of)
    for start in range(0, len(pictures), block):
        rows = slice(start, start + block)
        tally.begin(pictures[rows])
        tally.share(("x",), values[rows], among[rows])
        tally.end()
    assert known is False or not tally._open  # nothing is held for longer than it is needed
    e = tally.estimate(("x",))
    assert e.n == among.sum()
    for column in range(3):
        low, high = naive(values[among, column], pictures[among])
        assert (e.low[column], e.high[column]) == pytest.approx((low, high), rel=1e-9)
    # The third is 1 of every sample: of as many draws as there are pictures.
    c = len(set(pictures[among]))
    assert e.low[2] == pytest.approx(c / (c + Z**2))


def test_the_effective_number_by_hand() -> None:
    # Six pictures of four samples that agree: p = ½, v = 6 ÷ 5 · 6 · 2² ÷ 24² = 1 ÷ 20, n = 5.
    values = np.repeat([1.0, 1, 1, 0, 0, 0], 4)
    e = BOOT.share(values, np.repeat(each(6), 4))
    assert (e.low, e.high) == pytest.approx(wilson(np.array(0.5), 5, 0.95))
    # Pictures that don't differ though their samples do say nothing of how pictures differ.
    e = BOOT.share(np.tile([1.0, 0.0], 6), np.repeat(each(6), 2))
    assert (e.low, e.high) == pytest.approx(wilson(np.array(0.5), 6, 0.95))
    # And never more than there are samples.
    assert effective_n(np.array(0.5), np.array(1e-3), 6, 24) == 24


def coverage(k: np.ndarray, m: int, p: float) -> float:
    """Return how often the interval holds p: [runs, pictures] right ones of m samples each."""
    runs, c = k.shape
    tally = Tally(resamples=1, samples_of=dict.fromkeys(each(c), m) if m > 1 else {})
    tally.begin(np.repeat(each(c), m))
    values = (np.arange(m) < k[:, :, None]).reshape(runs, c * m).T
    tally.share(("x",), values)
    tally.end()
    e = tally.estimate(("x",))
    return float(((e.low <= p) & (p <= e.high)).mean())


def test_shares_lie_in_their_intervals_as_often_as_is_said() -> None:
    """Of n = 24 and p = .95 the percentile bootstrap held the true share in 72 % of runs."""
    rng = np.random.default_rng(1)
    for p in (0.95, 0.8, 0.5):
        assert coverage(rng.binomial(1, p, (20_000, 24)), 1, p) >= 0.93


def test_shares_of_four_samples_a_picture_do_too() -> None:
    rng = np.random.default_rng(2)
    for p in (0.95, 0.8, 0.5):
        for alike in (0.3, 0.7):  # intraclass correlation
            a = 1 / alike - 1
            own = rng.beta(p * a, (1 - p) * a, (20_000, 24))
            assert coverage(rng.binomial(4, own), 4, p) >= 0.93
            # Taken for independent, they are far too narrow.
        pooled = rng.binomial(4, own)
        low, high = wilson(pooled.sum(axis=1) / 96, 96, 0.95)
        assert ((low <= p) & (p <= high)).mean() < 0.85


def test_newcombes_difference_by_hand() -> None:
    # Newcombe 1998 (interval estimation for the difference of independent proportions), table II,
    # method 10: 56 of 70 less 48 of 80 is 0.2 [0.0524, 0.3339].
    class Share:
        def __init__(self, k: int, n: int) -> None:
            self.value = np.array(k / n)
            self.low, self.high = wilson(self.value, n, 0.95)

    found = difference(Share(56, 70), Share(48, 80), 0.0)
    assert found == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)


def test_paired_differences_lie_in_their_intervals() -> None:
    rng = np.random.default_rng(3)
    for more, less in ((0.05, 0.0), (0.3, 0.1), (0.5, 0.5), (0.9, 0.05)):
        drawn = rng.random((24, 20_000))
        sign = np.where(drawn < more, 1, np.where(drawn < more + less, -1, 0))
        e = Bootstrap(resamples=1).difference(sign, each(24))
        assert e.value == pytest.approx(sign.mean(axis=0))
        true = more - less
        assert ((e.low <= true) & (true <= e.high)).mean() >= 0.93
    with pytest.raises(ValueError, match="-1, 0 or 1"):
        BOOT.difference(np.array([0.5]), each(1))
    with pytest.raises(ValueError, match="neither 0 nor 1"):
        BOOT.share(np.array([0.5]), each(1))


def test_a_bounded_statistic_without_spread_has_a_width() -> None:
    unseen = Z**2 / (24 + Z**2)
    low, high = percentile(np.array(0.25), np.full(50, 0.25), 0.95, 24, (-1.0, 1.0))
    assert (float(low), float(high)) == pytest.approx((0.25 - 1.25 * unseen, 0.25 + 0.75 * unseen))
    # All that is 0 of every picture is as a share of them is.
    e = BOOT.mean(np.zeros(24), each(24), (0.0, 1.0))
    assert (e.low, e.high) == pytest.approx(wilson(np.array(0.0), 24, 0.95), abs=1e-9)
    assert BOOT.mean(np.zeros(24), each(24)).high == 0
