"""Attention by head, and stages: worked by hand and planted."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lensbench.metrics import heads


def one(value: float) -> np.ndarray:
    """One sample, one layer, one head."""
    return np.array([[[value]]])


def test_enrichment_by_hand() -> None:
    # 30 of 120 positions are image: mass 0.5 is twice what no preference would give.
    assert heads.enrichment(one(0.5), np.array([30]), np.array([120])) == pytest.approx(2.0)


def test_without_sink_by_hand() -> None:
    # 0.3 of the 0.4 that is not sink.
    assert heads.without_sink(one(0.3), one(0.1)) == pytest.approx(0.75)
    assert heads.without_sink(one(0.0), one(0.0)).item() == 0.0
    assert heads.leaves(one(1e-5), one(0.0)).item()
    assert not heads.leaves(one(0.0), one(1e-7)).item()


def test_odds_ratios_by_hand() -> None:
    # m = 0.9 and s = 0.9: no preference. m = 0.9 and s = 0.5: 9 to 1. m = 0.5 and s = 0.9: 1 to 9.
    mass, share = np.array([0.9, 0.9, 0.5, 1.0, 0.0]), np.array([0.9, 0.5, 0.9, 0.5, 0.5])
    found = heads.balanced(mass, share)
    np.testing.assert_allclose(found, [1 / 2, 9 / 10, 1 / 10, 1, 0])
    np.testing.assert_allclose(heads.odds(found), [1, 9, 1 / 9, np.inf, 0])
    # Without a position of the picture, or of the text, there is nothing to prefer.
    assert np.isnan(heads.balanced(np.array([0.0, 1.0]), np.array([0.0, 1.0]))).all()


def test_kind_is_by_the_interval_of_the_odds_ratio() -> None:
    low = np.array([2.1, 2.0, 1.0, 0.1, 0.1, np.nan])
    high = np.array([9.0, 9.0, 1.5, 0.49, 0.5, np.nan])
    wanted = ["image", "mixed", "mixed", "text", "mixed", "mixed"]
    assert heads.kind(low, high).tolist() == wanted


def test_spread_by_hand() -> None:
    # Even over 16 positions: log 16. Even over 4 of them: a half. One position or none: 0.
    assert heads.spread(one(np.log(16)), np.array([16])) == pytest.approx(1.0)
    assert heads.spread(one(np.log(4)), np.array([16])) == pytest.approx(0.5)
    assert heads.spread(one(0.0), np.array([1])).item() == 0.0
    assert heads.spread(one(0.0), np.array([0])).item() == 0.0


def test_tiles_are_what_the_overview_leaves() -> None:
    assert heads.tiles(one(0.75), one(0.25)) == pytest.approx(0.5)
    # Rounding of two float32 sums of the same weights is no mass.
    assert heads.tiles(one(0.5), one(0.5 + 1e-7)).item() == 0.0


def test_separation_and_kind_by_mass_by_hand() -> None:
    # Two samples, one layer, three heads: always image or text by turns; always half; 0.9 and 0.7.
    mass = np.array([[[1.0, 0.5, 0.9]], [[0.0, 0.5, 0.7]]])
    assert heads.separation(mass).mean(axis=0) == pytest.approx(np.array([[1.0, 0.0, 0.6]]))
    assert heads.kind_by_mass(mass.mean(axis=0)).tolist() == [["mixed", "mixed", "image"]]
    assert heads.kind_by_mass(np.array([0.8, 0.2, 0.79, 0.21])).tolist() == [
        "image", "text", "mixed", "mixed",
    ]  # fmt: skip


def test_stages_planted() -> None:
    series = np.array([0.1] * 4 + [0.7] * 6 + [0.3] * 2)
    assert heads.stages(series) == [(1, 4), (5, 10), (11, 12)]


def test_stages_planted_under_noise() -> None:
    rng = np.random.default_rng(0)
    series = np.repeat([0.1, 0.6, 0.3], 10) + rng.normal(0, 0.03, 30)
    assert heads.stages(series) == [(1, 10), (11, 20), (21, 30)]


def test_an_even_model_has_one_stage() -> None:
    assert heads.stages(np.full(8, 0.4)) == [(1, 8)]
    assert heads.stages(np.array([0.4, 0.41, 0.39, 0.41, 0.4, 0.39])) == [(1, 6)]


@pytest.mark.parametrize(("n", "found"), [(0, []), (1, [(1, 1)]), (3, [(1, 3)])])
def test_stages_of_short_models(n: int, found: list[tuple[int, int]]) -> None:
    assert heads.stages(np.linspace(0, 1, n)) == found


def naive_cost(x: np.ndarray, segments: list[tuple[int, int]]) -> float:
    """Sum of squares and penalty of a segmentation, written out."""
    noise = max(heads.STAGE_NOISE, np.median(np.abs(np.diff(x))) / (0.6745 * np.sqrt(2)))
    spread = sum(((x[a - 1 : b] - x[a - 1 : b].mean()) ** 2).sum() for a, b in segments)
    return spread + 3 * noise**2 * np.log(len(x)) * len(segments)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(0, 1), min_size=4, max_size=9))
def test_stages_are_the_cheapest_of_all_segmentations(values: list[float]) -> None:
    x = np.array(values)
    every = []
    for cuts in range(len(x) // 2):
        for chosen in combinations(range(1, len(x)), cuts):
            edges = [0, *chosen, len(x)]
            segments = [(a + 1, b) for a, b in pairwise(edges)]
            if all(b - a >= 1 for a, b in segments):
                every.append(naive_cost(x, segments))
    found = heads.stages(x)
    assert naive_cost(x, found) == pytest.approx(min(every), abs=1e-9)
    assert [a for a, _ in found[1:]] == [b + 1 for _, b in found[:-1]]
    assert (found[0][0], found[-1][1]) == (1, len(x))
