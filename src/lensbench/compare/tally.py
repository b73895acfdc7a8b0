"""What is counted while rows stream by: largest difference, percentile, shares; memory is fixed."""

from __future__ import annotations

import math

import numpy as np

#: Bits of a float32 that make its bin: sign, exponent and 11 bits of the mantissa, so that a
#: percentile is at most 1/2048 too large.
_DROPPED = 12
_BINS = 1 << (31 - _DROPPED)


class Differences:
    """Absolute differences of many numbers: how many, the largest, and any percentile of them.

    What is added may come in any order and in any number of parts; 4 MB are used, whatever comes.
    """

    def __init__(self) -> None:
        self.n = 0
        self.largest = 0.0
        self._zeros = 0
        self._bins: np.ndarray | None = None

    def add(self, left: np.ndarray, right: np.ndarray) -> None:
        """Add |left - right|, element by element; two equal infinities do not differ."""
        a, b = np.asarray(left, np.float64).ravel(), np.asarray(right, np.float64).ravel()
        with np.errstate(invalid="ignore"):
            apart = np.where(a == b, 0.0, np.abs(a - b))
        self.put(apart)

    def put(self, values: np.ndarray) -> None:
        """Add differences that are known already, none below 0."""
        # What is no number is as far from any number as can be, and is never left out.
        values = np.where(np.isnan(values), np.inf, values).ravel()
        self.n += len(values)
        if not len(values):
            return
        self.largest = max(self.largest, float(values.max()))
        rest = values[values > 0]
        self._zeros += len(values) - len(rest)
        if len(rest):
            if self._bins is None:
                self._bins = np.zeros(_BINS, np.int64)
            with np.errstate(over="ignore"):
                bits = rest.astype(np.float32).view(np.uint32) >> _DROPPED
            self._bins += np.bincount(bits, minlength=_BINS)

    def percentile(self, share: float) -> float:
        """Return the smallest value that at least this share of the differences do not exceed.

        It is at most 1/2048 too large, and never above the largest; NaN if there is no difference.
        """
        if not self.n:
            return math.nan
        wanted = math.ceil(share * self.n - 1e-9)
        if wanted <= self._zeros or self._bins is None:
            return 0.0
        place = int(np.searchsorted(self._zeros + np.cumsum(self._bins), wanted))
        edge = np.uint32(((place + 1) << _DROPPED) - 1).view(np.float32)
        return min(float(edge), self.largest) if np.isfinite(edge) else self.largest

    def at_most(self, limit: float) -> int:
        """Return how many differences are not above a limit, as exactly as `percentile` is."""
        if limit >= self.largest:
            return self.n
        if self._bins is None or limit <= 0:
            return self._zeros
        below = int(np.float32(limit).view(np.uint32) >> _DROPPED)
        return self._zeros + int(self._bins[: below + 1].sum())


class Changes:
    """Things that are the same or not: how many there are, and how many changed."""

    def __init__(self) -> None:
        self.n = 0
        self.changed = 0

    def add(self, changed: np.ndarray) -> None:
        """Add a mask of what changed."""
        self.n += int(np.size(changed))
        self.changed += int(np.sum(changed))
