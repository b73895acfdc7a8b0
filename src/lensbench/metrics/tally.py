"""Sums over samples, block by block, from which every estimate of a run and its interval are made.

Memory depends on how many numbers are reported, not on how many samples there are.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.special import betaincinv

from lensbench.metrics.bootstrap import Estimate
from lensbench.metrics.resampling import multiplicities

# A set of samples is worth a copy of its weights if that spares so many products a copied row.
_WORTH_A_COPY = 50

#: Names one estimate: the table it is for, then its labels.
Key = tuple[Hashable, ...]


@dataclass
class _Sums:
    """Weighted sums of one key: column 0 over the samples themselves, then one a resample."""

    shape: tuple[int, ...]
    values: np.ndarray  # [size, 1 + resamples]
    weights: np.ndarray  # [1 + resamples]


@dataclass
class _Ranks:
    """How often each whole number from 0 occurs, [layers, largest + 1]."""

    counts: np.ndarray
    n: int = 0


@dataclass
class Tally:
    """Adds up what is measured of blocks of samples, and makes estimates of it.

    Args:
        seed: of the resamples.
        resamples: how many.
        confidence: share of the resampled statistics inside an interval.

    `begin` a block, give it values, `end` it; then the next one. Means have the percentile interval
    of the Poisson bootstrap (`resampling`); a resample that holds none of a group's samples says
    nothing of it and is left out.
    """

    seed: int = 0
    resamples: int = 1000
    confidence: float = 0.95
    _sums: dict[Key, _Sums] = field(default_factory=dict, repr=False)
    _plain: dict[Key, _Sums] = field(default_factory=dict, repr=False)
    _ranks: dict[Key, _Ranks] = field(default_factory=dict, repr=False)
    _kinds: dict[Key, dict[float, int]] = field(default_factory=dict, repr=False)
    _noted: dict[Key, np.ndarray] = field(default_factory=dict, repr=False)
    _weights: np.ndarray | None = field(default=None, repr=False)
    _waiting: dict[bytes, list[tuple[Key, np.ndarray]]] = field(default_factory=dict, repr=False)

    def begin(self, sample_ids: np.ndarray) -> None:
        """Begin a block of samples; all that is given until `end` has one row for each of them.

        Args:
            sample_ids: [n] texts, none of which was in an earlier block.
        """
        drawn = multiplicities(sample_ids, self.resamples, self.seed)
        self._weights = np.empty((len(drawn), 1 + self.resamples))
        self._weights[:, 0] = 1
        self._weights[:, 1:] = drawn

    def mean(self, key: Key, values: np.ndarray, among: np.ndarray | None = None) -> None:
        """Note values whose mean over samples is wanted.

        Args:
            key: of the estimate.
            values: [n, ...].
            among: which samples count, [n] booleans; all by default.
        """
        n = len(self._block())
        chosen = np.ones(n, dtype=bool) if among is None else np.asarray(among, dtype=bool)
        if len(values) != n or len(chosen) != n:
            raise ValueError(f"{key}: {len(values)} values and {len(chosen)} marks of {n} samples")
        if chosen.any():
            self._waiting.setdefault(chosen.tobytes(), []).append((key, np.asarray(values)))

    def plain_mean(self, key: Key, values: np.ndarray) -> None:
        """Note values of all samples whose mean is wanted without an interval, [n, ...]."""
        flat = np.asarray(values, dtype=np.float64).sum(axis=0)
        sums = self._plain.setdefault(key, _Sums(flat.shape, np.zeros((flat.size, 1)), np.zeros(1)))
        sums.values[:, 0] += flat.ravel()
        sums.weights[0] += len(values)

    def median(self, key: Key, values: np.ndarray, among: np.ndarray | None = None) -> None:
        """Note whole numbers from 0, such as ranks, whose median over samples is wanted.

        Args:
            key: of the estimate.
            values: [n, m].
            among: which samples count, [n] booleans; all by default.
        """
        chosen = np.asarray(values if among is None else values[among])
        if not len(chosen):
            return
        if chosen.min() < 0:
            raise ValueError(f"{key}: a rank below 0")
        m, most = chosen.shape[1], int(chosen.max()) + 1
        ranks = self._ranks.setdefault(key, _Ranks(np.zeros((m, 0), dtype=np.int32)))
        if most > ranks.counts.shape[1]:
            # Half as much again, so that it isn't copied for each larger rank.
            wider = np.zeros((m, most + most // 2), dtype=np.int32)
            wider[:, : ranks.counts.shape[1]] = ranks.counts
            ranks.counts = wider
        for column in range(m):
            found, often = np.unique(chosen[:, column], return_counts=True)
            ranks.counts[column, found] += often.astype(np.int32)
        ranks.n += len(chosen)

    def kinds(self, key: Key, values: np.ndarray) -> None:
        """Note values that are few different ones, [m], to be counted."""
        counts = self._kinds.setdefault(key, {})
        for value, often in zip(*np.unique(values, return_counts=True), strict=True):
            counts[float(value)] = counts.get(float(value), 0) + int(often)

    def same(self, key: Key, value: np.ndarray) -> bool:
        """Note what must not differ between blocks; return whether it doesn't."""
        return np.array_equal(self._noted.setdefault(key, value), value)

    def end(self) -> None:
        """Add the block's values to the sums."""
        weights = self._block()
        spread: list[tuple[np.ndarray, list[tuple[Key, np.ndarray]]]] = []
        for marks, given in self._waiting.items():
            chosen = np.frombuffer(marks, dtype=bool)
            width = sum(values[0].size for _, values in given)
            rows, n = int(chosen.sum()), len(chosen)
            if rows < n and width * (n - rows) <= _WORTH_A_COPY * rows:
                spread.append((chosen, given))
                continue
            block = np.concatenate([_flat(values[chosen]) for _, values in given], axis=1)
            part = weights if rows == n else weights[chosen]
            self._add(given, block.T @ part, part.sum(axis=0))
        if spread:
            # Sets of samples with few values each: zeros elsewhere, and all in one product.
            blocks = []
            for chosen, given in spread:
                blocks += [chosen[:, None].astype(np.float64)]
                blocks += [np.where(chosen[:, None], _flat(values), 0.0) for _, values in given]
            total, start = np.concatenate(blocks, axis=1).T @ weights, 0
            for _, given in spread:
                width = sum(values[0].size for _, values in given)
                self._add(given, total[start + 1 : start + 1 + width], total[start])
                start += 1 + width
        self._waiting, self._weights = {}, None

    def _add(
        self, given: Sequence[tuple[Key, np.ndarray]], total: np.ndarray, weight: np.ndarray
    ) -> None:
        """Add sums of values, [columns, 1 + resamples], of one set of samples to their keys'."""
        start = 0
        for key, values in given:
            size = values[0].size
            if key not in self._sums:
                self._sums[key] = _Sums(
                    values.shape[1:], np.zeros((size, len(weight))), np.zeros(len(weight))
                )
            self._sums[key].values += total[start : start + size]
            self._sums[key].weights += weight
            start += size

    def n(self, key: Key) -> int:
        """Return over how many samples a mean is, 0 of a key that was given nothing."""
        return int(self._sums[key].weights[0]) if key in self._sums else 0

    def keys(self, *start: Hashable) -> Iterator[Key]:
        """Yield the keys of means that begin so, in the order in which they first came."""
        return (key for key in self._sums if key[: len(start)] == start)

    def estimate(self, key: Key) -> Estimate:
        """Return a mean with its interval, in the shape of one sample's values."""
        return self.of_means(key, None)

    def of_means(self, key: Key, statistic: Callable[[np.ndarray], np.ndarray] | None) -> Estimate:
        """Return a statistic of means over samples, such as their maximum, with its interval.

        The maximum of noisy means is biased upwards, in the sample as in each resample.

        Args:
            key: of values [n, m].
            statistic: of means [r, m], for r resamples at once; gives [r]. None for the means.
        """
        sums = self._sums[key]
        told = sums.weights > 0
        means = (sums.values[:, told] / sums.weights[told]).T
        shape = sums.shape
        if statistic is not None:
            means, shape = np.asarray(statistic(means), dtype=np.float64)[:, None], ()
        return self._interval(means[0], means[1:], shape, self.n(key))

    def plain(self, key: Key) -> np.ndarray:
        """Return a mean without an interval."""
        sums = self._plain[key]
        return (sums.values[:, 0] / sums.weights[0]).reshape(sums.shape)

    def median_of(self, key: Key) -> Estimate:
        """Return a median (the mean of the middle two if n is even) with its interval, [m].

        The interval needs no resample: the j-th of n values drawn with replacement lies at or below
        a value v with the probability that a binomial of n and the share at or below v is at
        least j. Of an even n it goes from the lower middle's low end to the upper's high end.

        Args:
            key: of whole numbers [n, m].

        Source:
            Efron 1979, Bootstrap methods, section 3; Maritz and Jarrett 1978.
        """
        ranks = self._ranks[key]
        n, below = ranks.n, np.cumsum(ranks.counts, axis=1, dtype=np.int64)
        lower, upper = (n - 1) // 2, n // 2
        tail = (1 - self.confidence) / 2

        def at(place: int) -> np.ndarray:
            return np.asarray((below <= place).sum(axis=1), dtype=np.float64)

        def reached(place: int, chance: float) -> np.ndarray:
            share = betaincinv(place + 1, n - place, chance)
            return np.asarray((below < share * n).sum(axis=1), dtype=np.float64)

        value = (at(lower) + at(upper)) / 2
        if n == 1:
            return Estimate(value, value, value, n)
        return Estimate(value, reached(lower, tail), reached(upper, 1 - tail), n)

    def noted(self, key: Key) -> np.ndarray:
        """Return what every block has the same of."""
        return self._noted[key]

    def counted(self, key: Key) -> dict[float, int]:
        """Return value → how often it was noted, nothing of a key that was given nothing."""
        return self._kinds.get(key, {})

    def stratified(self, strata: Sequence[dict[float, int]], weights: Sequence[float]) -> Estimate:
        """Return the weighted mean of the strata's means, each stratum resampled by itself.

        A stratum may be a few samples, none of which a Poisson resample may hold; so here as many
        are drawn as there are, from the counts of the values.

        Args:
            strata: value → how often, of each stratum, none empty.
            weights: of each stratum, such as its share; a difference has negative ones.
        """
        value, drawn, total = 0.0, np.zeros(self.resamples), 0
        for place, (stratum, weight) in enumerate(zip(strata, weights, strict=True)):
            values = np.array(sorted(stratum))
            counts = np.array([stratum[one] for one in sorted(stratum)])
            n = int(counts.sum())
            # By its place: strata of one size would else be drawn alike, and not be independent.
            rng = np.random.default_rng([self.seed, place, n])
            value += weight * float(counts @ values) / n
            drawn += weight * (rng.multinomial(n, counts / n, self.resamples) @ values) / n
            total += n
        return self._interval(np.array([value]), drawn[:, None], (), total)

    def _block(self) -> np.ndarray:
        if self._weights is None:
            raise ValueError("no block was begun")
        return self._weights

    def _interval(
        self, value: np.ndarray, drawn: np.ndarray, shape: tuple[int, ...], n: int
    ) -> Estimate:
        tail = (1 - self.confidence) / 2
        if n == 1 or not len(drawn):  # A sample alone says nothing of its spread.
            low = high = value
        else:
            low, high = np.quantile(drawn, [tail, 1 - tail], axis=0)
        return Estimate(value.reshape(shape), low.reshape(shape), high.reshape(shape), n)


def _flat(values: np.ndarray) -> np.ndarray:
    """Return values as reals, [n, m]."""
    return np.asarray(values, dtype=np.float64).reshape(len(values), -1)
