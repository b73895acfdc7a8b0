"""Estimates of samples that are all at hand: `Tally`, of one block."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lensbench.metrics.intervals import Estimate
from lensbench.metrics.tally import Bounds, Tally

_KEY = ("all",)


@dataclass(frozen=True)
class Bootstrap:
    """Makes estimates of samples as `Tally` does, whose arguments these are.

    Args:
        seed: of the resamples.
        resamples: how many.
        confidence: share of the resampled statistics inside an interval.

    `pictures`, [n], names what each sample shows: samples of one picture are drawn together.
    """

    seed: int = 0
    resamples: int = 1000
    confidence: float = 0.95

    def mean(
        self, values: np.ndarray, pictures: np.ndarray, bounds: Bounds | None = None
    ) -> Estimate:
        """Return the mean over samples, [n, ...], with its interval."""
        tally = self._begun(pictures)
        tally.mean(_KEY, values, bounds=bounds)
        tally.end()
        return tally.estimate(_KEY)

    def share(self, values: np.ndarray, pictures: np.ndarray) -> Estimate:
        """Return the share of samples, [n, ...] of 0 and 1, with its interval."""
        tally = self._begun(pictures)
        tally.share(_KEY, values)
        tally.end()
        return tally.estimate(_KEY)

    def difference(self, values: np.ndarray, pictures: np.ndarray) -> Estimate:
        """Return a paired difference of shares, [n, ...] of 1, 0 and −1, with its interval."""
        tally = self._begun(pictures)
        tally.difference(_KEY, values)
        tally.end()
        return tally.estimate(_KEY)

    def of_means(
        self,
        values: np.ndarray,
        statistic: Callable[[np.ndarray], np.ndarray],
        pictures: np.ndarray,
        bounds: Bounds | None = None,
    ) -> Estimate:
        """Return a statistic of means over samples, [n, m], as `Tally.of_means` does."""
        tally = self._begun(pictures)
        tally.mean(_KEY, values, bounds=bounds)
        tally.end()
        return tally.of_means(_KEY, statistic, bounds)

    def ratio(
        self,
        parts: np.ndarray,
        wholes: np.ndarray,
        pictures: np.ndarray,
        less: tuple[np.ndarray, np.ndarray] | None = None,
        bounds: Bounds | None = None,
    ) -> Estimate:
        """Return Σ parts ÷ Σ wholes over samples: a share of all patches, say.

        A resample without any whole says nothing and is left out.

        Args:
            parts: [n], such as how many patches of a sample are blank.
            wholes: [n], such as how many patches it has; not all 0.
            pictures: [n].
            less: another such pair, whose ratio is taken off this one in each resample (a paired
                difference).
            bounds: as of `Tally.mean`.
        """
        columns = np.stack([parts, wholes, *(less or ())], axis=1)

        def ratios(means: np.ndarray) -> np.ndarray:
            with np.errstate(invalid="ignore", divide="ignore"):
                found = means[:, ::2] / means[:, 1::2]
            return found[:, 0] if less is None else found[:, 0] - found[:, 1]

        return self.of_means(columns, ratios, pictures, bounds)

    def _begun(self, pictures: np.ndarray) -> Tally:
        of = Counter(pictures.tolist())
        tally = Tally(self.seed, self.resamples, self.confidence, of)
        tally.begin(pictures)
        return tally
