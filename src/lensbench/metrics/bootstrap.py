"""Intervals: the percentile bootstrap over samples, seeded, vectorised over layers and heads.

Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np


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


@dataclass(frozen=True)
class Bootstrap:
    """Draws resamples once for each number of samples, so that equal inputs give equal intervals.

    Args:
        seed: of the resamples.
        resamples: how many.
        confidence: share of the resampled statistics inside the interval.

    Rows must come in one fixed order (the callers sort by sample_id): then nothing depends on the
    order in which shards were read.
    """

    seed: int = 0
    resamples: int = 1000
    confidence: float = 0.95
    _drawn: dict[int, np.ndarray] = field(default_factory=dict, repr=False, compare=False)

    def counts(self, n: int) -> np.ndarray:
        """Return how often each of n samples is in each resample, [resamples, n]."""
        if n not in self._drawn:
            rng = np.random.default_rng([self.seed, n])
            drawn = [np.bincount(rng.integers(0, n, n), minlength=n) for _ in range(self.resamples)]
            self._drawn[n] = np.stack(drawn).astype(np.float64)
        return self._drawn[n]

    def mean(self, values: np.ndarray) -> Estimate:
        """Return the mean over samples, with its interval.

        Args:
            values: [n samples, ...], n at least 1.
        """
        values = np.asarray(values, dtype=np.float64)
        n = len(values)
        flat = values.reshape(n, -1)
        return self._estimate(values, flat.mean(axis=0), self.counts(n) @ flat / n)

    def ratio(
        self,
        parts: np.ndarray,
        wholes: np.ndarray,
        less: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> Estimate:
        """Return Σ parts ÷ Σ wholes, samples resampled: a share of all patches, say.

        A resample without any whole says nothing and is left out.

        Args:
            parts: [n samples, ...], such as how many patches of a sample are blank.
            wholes: as `parts`, such as how many patches it has; not all 0.
            less: another such pair, whose ratio is taken off this one in each resample (a paired
                difference).
        """
        pairs = [(parts, wholes)] if less is None else [(parts, wholes), less]
        n, shape = len(parts), np.shape(parts)[1:]
        whole_values, drawn_values = [], []
        for above, below in pairs:
            over, under = (
                np.asarray(part, dtype=np.float64).reshape(n, -1) for part in (above, below)
            )
            whole_values.append(over.sum(axis=0) / under.sum(axis=0))
            totals = self.counts(n) @ under
            with np.errstate(invalid="ignore", divide="ignore"):
                drawn_values.append(np.where(totals > 0, self.counts(n) @ over / totals, np.nan))
        value, drawn = whole_values[0], drawn_values[0]
        if less is not None:
            value, drawn = value - whole_values[1], drawn - drawn_values[1]
        tail = (1 - self.confidence) / 2
        low, high = np.nanquantile(drawn, [tail, 1 - tail], axis=0)
        if n == 1:  # As in `_estimate`.
            low = high = value
        return Estimate(value.reshape(shape), low.reshape(shape), high.reshape(shape), n)

    def of_means(
        self, values: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray]
    ) -> Estimate:
        """Return a statistic of the means over samples, such as their maximum, with its interval.

        Args:
            values: [n samples, m], n at least 1.
            statistic: of means [r, m], for r resamples at once; gives [r].

        The maximum of noisy means is biased upwards, in the sample as in each resample.
        """
        values = np.asarray(values, dtype=np.float64)
        n = len(values)
        drawn = statistic(self.counts(n) @ values / n)
        value = statistic(values.mean(axis=0)[None])
        return self._estimate(values[:, 0], np.asarray(value), np.asarray(drawn)[:, None])

    def _estimate(self, values: np.ndarray, value: np.ndarray, drawn: np.ndarray) -> Estimate:
        tail = (1 - self.confidence) / 2
        low, high = np.quantile(drawn, [tail, 1 - tail], axis=0)
        shape, n = values.shape[1:], len(values)
        if n == 1:  # A sample alone says nothing of its spread; not even rounding may say so.
            low = high = value
        return Estimate(value.reshape(shape), low.reshape(shape), high.reshape(shape), n)
