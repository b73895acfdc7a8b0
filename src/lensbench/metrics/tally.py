"""Sums over samples, block by block, from which every estimate of a run and its interval are made.

Memory depends on how many numbers are reported, not on how many samples there are; of a picture
that several samples show, each share's sums are held from its first sample to its last.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.special import betaincinv

from lensbench.metrics.intervals import Estimate, difference, effective_n, percentile, wilson
from lensbench.metrics.resampling import multiplicities

# A set of samples is worth a copy of its weights if that spares so many products a copied row.
_WORTH_A_COPY = 50

#: Names one estimate: the table it is for, then its labels.
Key = tuple[Hashable, ...]
#: The smallest and the largest that a statistic can be.
Bounds = tuple[float, float]


@dataclass
class _Sums:
    """Weighted sums of one key: column 0 over the samples themselves, then one a resample."""

    shape: tuple[int, ...]
    values: np.ndarray  # [size, 1 + resamples]
    weights: np.ndarray  # [1 + resamples]


@dataclass
class _Counts:
    """Of one key, sums over pictures c of k, the samples that have it, and n, the samples."""

    shape: tuple[int, ...]
    k: np.ndarray  # [size] Σ k_c
    kk: np.ndarray  # [size] Σ k_c²
    kn: np.ndarray  # [size] Σ k_c n_c
    n: int = 0
    nn: float = 0  # Σ n_c²
    pictures: int = 0

    def add(self, k: np.ndarray, n: np.ndarray) -> None:
        """Add pictures, [c, size] and [c], all of whose samples are in."""
        self.k += k.sum(axis=0)
        self.kk += (k**2).sum(axis=0)
        self.kn += n @ k
        self.n += int(n.sum())
        self.nn += float(n @ n)
        self.pictures += len(n)

    def share(self, confidence: float) -> Estimate:
        """Return Σ k ÷ Σ n with Wilson's interval, of the effective n where pictures are shared."""
        share, n = self.k / self.n, self.n
        of: np.ndarray | float = float(n)
        if self.pictures < n:
            # v of a ratio over clusters: C ÷ (C − 1) · Σ (k_c − p n_c)² ÷ n² (Cochran 1977, 11.9).
            spread = np.maximum(self.kk - 2 * share * self.kn + share**2 * self.nn, 0)
            v = spread * self.pictures / max(self.pictures - 1, 1) / n**2
            of = effective_n(share, v, self.pictures, n)
        low, high = wilson(share, of, confidence)
        return Estimate(
            share.reshape(self.shape), low.reshape(self.shape), high.reshape(self.shape), n
        )


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
        samples_of: how many samples show a picture, for those that more than one shows; None if
            that isn't known, and then sums are held of every picture.

    `begin` a block, give it values, `end` it; then the next one. Shares have Wilson's interval,
    with the effective n where samples show the same picture (`intervals`). Means have the
    percentile interval of the Poisson bootstrap, which draws pictures (`resampling`); a resample
    that holds none of a group's pictures says nothing of it and is left out.
    """

    seed: int = 0
    resamples: int = 1000
    confidence: float = 0.95
    samples_of: Mapping[str, int] | None = None
    _sums: dict[Key, _Sums] = field(default_factory=dict, repr=False)
    _counts: dict[Key, _Counts] = field(default_factory=dict, repr=False)
    _bounds: dict[Key, Bounds] = field(default_factory=dict, repr=False)
    _signed: set[Key] = field(default_factory=set, repr=False)
    _plain: dict[Key, _Sums] = field(default_factory=dict, repr=False)
    _ranks: dict[Key, _Ranks] = field(default_factory=dict, repr=False)
    _noted: dict[Key, np.ndarray] = field(default_factory=dict, repr=False)
    _begun: bool = field(default=False, repr=False)
    _waiting: dict[bytes, list[tuple[Key, np.ndarray]]] = field(default_factory=dict, repr=False)
    _counted: dict[bytes, list[tuple[Key, np.ndarray]]] = field(default_factory=dict, repr=False)
    # Of the block: its pictures; each sample's place among them; which have samples elsewhere.
    _pictures: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=object), repr=False)
    _place: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=int), repr=False)
    _elsewhere: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=bool), repr=False)
    # Pictures with samples still to come: how many came, and the sums of each key, [size] and n.
    _seen: dict[str, int] = field(default_factory=dict, repr=False)
    _open: dict[str, dict[Key, tuple[np.ndarray, int]]] = field(default_factory=dict, repr=False)

    def begin(self, pictures: np.ndarray) -> None:
        """Begin a block of samples; all that is given until `end` has one row for each of them.

        Args:
            pictures: [n] texts, which picture each sample shows.
        """
        named = np.asarray(pictures, dtype=object)
        self._pictures, self._place, often = np.unique(
            named, return_inverse=True, return_counts=True
        )
        self._begun = True
        self._elsewhere = np.ones(len(often), dtype=bool)
        if self.samples_of is not None:
            total = np.array([self.samples_of.get(one, 1) for one in self._pictures])
            self._elsewhere = often < total
            if (often > total).any():
                raise ValueError(f"more samples show {self._pictures[often > total][0]} than told")
        for place in np.flatnonzero(self._elsewhere):
            picture = self._pictures[place]
            self._seen[picture] = self._seen.get(picture, 0) + int(often[place])

    def mean(
        self,
        key: Key,
        values: np.ndarray,
        among: np.ndarray | None = None,
        bounds: Bounds | None = None,
    ) -> None:
        """Note values whose mean over samples is wanted.

        Args:
            key: of the estimate.
            values: [n, ...].
            among: which samples count, [n] booleans; all by default.
            bounds: between what the mean must lie, of one that tells samples that have something
                from those that don't: then its interval has a width where all values are equal.
        """
        chosen = self._chosen(key, values, among)
        if bounds is not None:
            self._bounds[key] = bounds
            self._note_pictures(key, among)
        if chosen.any():
            self._waiting.setdefault(chosen.tobytes(), []).append((key, np.asarray(values)))

    def share(self, key: Key, values: np.ndarray, among: np.ndarray | None = None) -> None:
        """Note of what the share of samples is wanted, as `mean` does.

        Args:
            key: of the estimate.
            values: [n, ...] booleans, or 0 and 1.
            among: which samples count, [n] booleans; all by default.
        """
        chosen = self._chosen(key, values, among)
        if not chosen.any():
            return
        has = np.asarray(values)
        if has.dtype != bool and not np.isin(has[chosen], (0, 1)).all():
            raise ValueError(f"{key}: a share of what is neither 0 nor 1")
        self._counted.setdefault(chosen.tobytes(), []).append((key, has))

    def difference(self, key: Key, values: np.ndarray, among: np.ndarray | None = None) -> None:
        """Note a paired difference of two shares, 1, 0 or −1 of each sample, as `mean` does.

        Its interval is that of the share of 1 less the share of −1, which exclude each other.

        Args:
            key: of the estimate.
            values: [n, ...].
            among: which samples count, [n] booleans; all by default.
        """
        chosen, sign = self._chosen(key, values, among), np.asarray(values, dtype=np.float64)
        if not np.isin(sign[chosen], (-1, 0, 1)).all():
            raise ValueError(f"{key}: a difference other than -1, 0 or 1")
        self._signed.add(key)
        self.share(key, np.stack([sign == 1, sign == -1], axis=1), chosen)

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
        self._note_pictures(key, among)
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

    def same(self, key: Key, value: np.ndarray) -> bool:
        """Note what must not differ between blocks; return whether it doesn't."""
        return np.array_equal(self._noted.setdefault(key, value), value)

    def end(self) -> None:
        """Add the block's values to the sums."""
        weights = self._drawn() if self._waiting else np.zeros((0, 0))
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
        for marks, given in self._counted.items():
            self._count(given, np.frombuffer(marks, dtype=bool))
        if self.samples_of is not None:
            of = self.samples_of
            self._close([p for p in self._pictures[self._elsewhere] if self._seen[p] == of[p]])
        self._waiting, self._counted, self._begun = {}, {}, False

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

    def _count(self, given: Sequence[tuple[Key, np.ndarray]], chosen: np.ndarray) -> None:
        """Add what one set of samples has to its keys' counts, picture by picture."""
        has = np.concatenate([_flat(values[chosen]) for _, values in given], axis=1)
        order = np.argsort(self._place[chosen], kind="stable")
        places, starts = np.unique(self._place[chosen][order], return_index=True)
        sums = np.add.reduceat(has[order], starts, axis=0)
        n = np.diff(np.append(starts, len(order))).astype(np.float64)
        later = self._elsewhere[places]
        start = 0
        for key, values in given:
            size = values[0].size
            own = sums[:, start : start + size]
            if key not in self._counts:
                self._counts[key] = _Counts(values.shape[1:], *np.zeros((3, size)))
            self._counts[key].add(own[~later], n[~later])
            for row in np.flatnonzero(later):
                held = self._open.setdefault(self._pictures[places[row]], {})
                k, seen = held.get(key, (np.zeros(size), 0))
                held[key] = k + own[row], seen + int(n[row])
            start += size

    def _close(self, pictures: Sequence[str]) -> None:
        """Add pictures of which no sample is to come to the counts of every key."""
        for picture in pictures:
            del self._seen[picture]
            for key, (k, n) in self._open.pop(picture, {}).items():
                self._counts[key].add(k[None], np.array([float(n)]))

    def _chosen(self, key: Key, values: np.ndarray, among: np.ndarray | None) -> np.ndarray:
        """Return which samples of the block count, [n]."""
        n = self._block()
        chosen = np.ones(n, dtype=bool) if among is None else np.asarray(among, dtype=bool)
        if len(values) != n or len(chosen) != n:
            raise ValueError(f"{key}: {len(values)} values and {len(chosen)} marks of {n} samples")
        return chosen

    def _note_pictures(self, key: Key, among: np.ndarray | None) -> None:
        """Count the pictures of a key that is no share."""
        self.share(("pictures", *key), np.zeros((self._block(), 0), dtype=bool), among)

    def _of_counts(self, key: Key) -> _Counts:
        """Return the counts of a key, all pictures in."""
        self._close(list(self._seen))
        return self._counts[key]

    def n(self, key: Key) -> int:
        """Return over how many samples an estimate is, 0 of a key that was given nothing."""
        if key in self._counts:
            return self._of_counts(key).n
        return int(self._sums[key].weights[0]) if key in self._sums else 0

    def keys(self, *start: Hashable) -> Iterator[Key]:
        """Yield the keys of means and shares that begin so, each in the order they first came."""
        return (
            key for of in (self._sums, self._counts) for key in of if key[: len(start)] == start
        )

    def estimate(self, key: Key) -> Estimate:
        """Return a mean or share with its interval, in the shape of one sample's values."""
        if key not in self._counts:
            return self.of_means(key, None, self._bounds.get(key))
        found = self._of_counts(key).share(self.confidence)
        if key not in self._signed:
            return found
        more, less = found.of((0,)), found.of((1,))
        # Of two shares that exclude each other, as a multinomial has it; 0 where one is 0 or 1.
        odds = more.value * less.value / np.maximum((1 - more.value) * (1 - less.value), 1e-300)
        either = (more.value > 0) & (less.value > 0)
        return Estimate(*difference(more, less, np.where(either, -np.sqrt(odds), 0)), found.n)

    def of_means(
        self,
        key: Key,
        statistic: Callable[[np.ndarray], np.ndarray] | None,
        bounds: Bounds | None = None,
    ) -> Estimate:
        """Return a statistic of means over samples, such as their maximum, with its interval.

        The maximum of noisy means is biased upwards, in the sample as in each resample.

        Args:
            key: of values [n, m].
            statistic: of means [r, m], for r resamples at once; gives [r, ...], NaN of a resample
                that says nothing. None for the means.
            bounds: as of `mean`, which must have been given some too.
        """
        sums = self._sums[key]
        held = sums.weights > 0
        means = (sums.values[:, held] / sums.weights[held]).T
        shape = sums.shape
        if statistic is not None:
            means = np.asarray(statistic(means), dtype=np.float64)
            shape = means.shape[1:]
        means = means.reshape(len(means), -1)
        pictures = self.n(key) if bounds is None else self._n_pictures(key)
        low, high = percentile(means[0], means[1:], self.confidence, pictures, bounds)
        value = means[0].reshape(shape)
        return Estimate(value, low.reshape(shape), high.reshape(shape), self.n(key))

    def plain(self, key: Key) -> np.ndarray:
        """Return a mean without an interval."""
        sums = self._plain[key]
        return (sums.values[:, 0] / sums.weights[0]).reshape(sums.shape)

    def median_of(self, key: Key) -> Estimate:
        """Return a median (the mean of the middle two if n is even) with its interval, [m].

        The interval needs no resample: the j-th of n values drawn with replacement lies at or below
        a value v with the probability that a binomial of n and the share at or below v is at
        least j. Of an even n it goes from the lower middle's low end to the upper's high end.
        Where samples show the same picture, as many are drawn as there are pictures, which is the
        widest that the interval can be: as if all samples of a picture agreed.

        Args:
            key: of whole numbers [n, m].

        Source:
            Efron 1979, Bootstrap methods, section 3; Maritz and Jarrett 1978.
        """
        ranks = self._ranks[key]
        n, below = ranks.n, np.cumsum(ranks.counts, axis=1, dtype=np.int64)
        c = self._n_pictures(key)
        tail = (1 - self.confidence) / 2

        def at(place: int) -> np.ndarray:
            return np.asarray((below <= place).sum(axis=1), dtype=np.float64)

        def reached(place: int, chance: float) -> np.ndarray:
            share = betaincinv(place + 1, c - place, chance)
            return np.asarray((below < share * n).sum(axis=1), dtype=np.float64)

        value = (at((n - 1) // 2) + at(n // 2)) / 2
        if c == 1:
            return Estimate(value, value, value, n)
        return Estimate(value, reached((c - 1) // 2, tail), reached(c // 2, 1 - tail), n)

    def noted(self, key: Key) -> np.ndarray:
        """Return what every block has the same of."""
        return self._noted[key]

    def stratified(self, strata: Mapping[Key, float]) -> Estimate:
        """Return a weighted sum of means with its interval.

        Args:
            strata: key of one mean → its weight; of a difference some are negative.
        """
        sums = self._weighted(strata)
        n = sum(self.n(key) for key in strata)
        return Estimate(sums[0], *percentile(sums[0], sums[1:], self.confidence, n), n)

    def stratified_share(self, strata: Mapping[Key, float]) -> Estimate:
        """Return a weighted share with Wilson's interval.

        The variance behind its effective n is that of the bootstrap. Where that is 0, the effective
        n is the number of pictures, which unequal weights make smaller (Kish 1965).

        Args:
            strata: key of a mean of 0 and 1, given with bounds → its weight; they sum to 1.
        """
        sums = self._weighted(strata)
        n = sum(self.n(key) for key in strata)
        pictures = 1 / sum(w**2 / self._n_pictures(key) for key, w in strata.items())
        of = effective_n(sums[0], np.var(sums[1:]), pictures, n)
        return Estimate(sums[0], *wilson(sums[0], of, self.confidence), n)

    def correlation(self, one: Mapping[Key, float], other: Mapping[Key, float]) -> float:
        """Return how two weighted sums of means vary together, 0 where one doesn't vary."""
        a, b = self._weighted(one)[1:], self._weighted(other)[1:]
        return float(np.corrcoef(a, b)[0, 1]) if np.ptp(a) > 0 and np.ptp(b) > 0 else 0.0

    def _weighted(self, strata: Mapping[Key, float]) -> np.ndarray:
        """Return a weighted sum of means, of the samples and then of each resample.

        A stratum may be a few samples, none of which a resample holds: there it has its own mean,
        with which its variance is near that of as many draws as there are samples.
        """
        total = np.zeros(1 + self.resamples)
        for key, weight in strata.items():
            values, weights = self._sums[key].values[0], self._sums[key].weights
            mean = np.full(len(total), values[0] / weights[0])
            total += weight * np.divide(values, weights, out=mean, where=weights > 0)
        return total

    def _n_pictures(self, key: Key) -> int:
        return self._of_counts(("pictures", *key)).pictures

    def _drawn(self) -> np.ndarray:
        """Return the weights of the block's samples: 1, then how often each resample has them."""
        drawn = multiplicities(self._pictures, self.resamples, self.seed)
        weights = np.ones((len(self._place), 1 + self.resamples))
        weights[:, 1:] = drawn[self._place]
        return weights

    def _block(self) -> int:
        """Return how many samples the block has."""
        if not self._begun:
            raise ValueError("no block was begun")
        return len(self._place)


def _flat(values: np.ndarray) -> np.ndarray:
    """Return values as reals, [n, m]."""
    return np.asarray(values, dtype=np.float64).reshape(len(values), -1)
