"""Estimates and their intervals: Wilson's for shares, the percentiles of a bootstrap for the rest.

The unit that varies is the picture: samples that show the same one are a cluster.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

# Relative to the values, a spread that only rounding makes.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Estimate:
    """A statistic and its interval; the three arrays have the shape of one sample's values."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    n: int

    def of(self, place: tuple[slice | int, ...]) -> Estimate:
        """Return a part, such as that of one script of [layers, scripts]."""
        return Estimate(self.value[place], self.low[place], self.high[place], self.n)


def wilson(
    share: np.ndarray, n: np.ndarray | float, confidence: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the low and high end of a share's score interval, whose width is never 0.

    Args:
        share: any shape.
        n: of how many independent draws it is, above 0, maybe no whole number.
        confidence: share of such intervals that hold the true value.

    Source: Wilson 1927, Probable inference, the law of succession, and statistical inference.
    """
    z = ndtri((1 + confidence) / 2)
    center = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return np.maximum(center - half, 0), np.minimum(center + half, 1)


def effective_n(
    share: np.ndarray, variance: np.ndarray, pictures: float, samples: float
) -> np.ndarray:
    """Return of how many independent samples a share has the variance: p (1 − p) ÷ v.

    At most the number of samples; where v is 0 nothing is seen of how pictures differ, and it is
    the number of pictures.

    Args:
        share: p.
        variance: v, of p over pictures as clusters, of the shape of `share`.
        pictures: how many show in it.
        samples: of how many samples the share is.

    Source: Kish 1965, Survey Sampling; Korn and Graubard 1998, Confidence intervals for proportions
        with small expected number of positive counts estimated from survey data.
    """
    spread = variance > _ROUNDING**2
    found = share * (1 - share) / np.where(spread, variance, 1)
    return np.where(spread, np.minimum(found, samples), pictures)


def difference(
    one: Estimate, other: Estimate, correlation: np.ndarray | float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return one share less another with the low and high end of its interval.

    Newcombe's method: each end is as far away as the two shares' own intervals say, put together
    as the sides of a triangle are. So it has a width wherever they have.

    Args:
        one: with its interval.
        other: likewise.
        correlation: of the two.

    Source: Newcombe 1998, Improved confidence intervals for the difference between binomial
        proportions based on paired data, method 10; Zou and Donner 2008 for any correlation.
    """
    value = one.value - other.value

    def side(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.sqrt(np.maximum(a**2 + b**2 - 2 * correlation * a * b, 0))

    low = value - side(one.value - one.low, other.high - other.value)
    high = value + side(one.high - one.value, other.value - other.low)
    return value, low, high


def percentile(
    value: np.ndarray,
    drawn: np.ndarray,
    confidence: float,
    pictures: int,
    bounds: tuple[float, float] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the low and high percentile of resampled statistics, NaN among them left out.

    Args:
        value: the statistic itself, any shape.
        drawn: of each resample, [r, ...].
        confidence: share of the resampled statistics inside.
        pictures: how many were drawn from. One alone says nothing of its spread, and both ends are
            the value.
        bounds: between what the statistic must lie. If given, an interval that would have no width
            is as wide as `pictures` without exception allow: a share of them up to Wilson's upper
            end for none in so many might lie at a bound.

    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13.
    """
    tail = (1 - confidence) / 2
    low = high = value
    if pictures > 1 and len(drawn):
        # As if there were no NaN is a hundred times as fast.
        quantile = np.nanquantile if np.isnan(drawn).any() else np.quantile
        low, high = quantile(drawn, [tail, 1 - tail], axis=0)
    if bounds is not None:
        unseen = wilson(np.array(0.0), pictures, confidence)[1]
        flat = high - low <= _ROUNDING
        low = np.where(flat, value - unseen * (value - bounds[0]), low)
        high = np.where(flat, value + unseen * (bounds[1] - value), high)
    return low, high
