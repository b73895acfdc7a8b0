"""How often each picture is in each resample: the Poisson bootstrap, drawn from its name.

A resample of n pictures holds each one Binomial(n, 1/n) times; the Poisson bootstrap draws that
number as Poisson(1) instead, of each picture by itself, and all samples that show it come with it.
So samples can be added up in blocks of any size and order, in one pass and constant memory, and
every metric, group and model resamples alike: a difference of two of them, resample by resample, is
paired.

Source: Hanley and MacGibbon 2006, Creating non-parametric bootstrap samples using Poisson
frequencies; Chamandy et al. 2012, Estimating uncertainty for massive data streams.
"""

from __future__ import annotations

import hashlib
import math
from functools import cache

import numpy as np

_BITS = 16
_WORDS = 64 // _BITS
#: SplitMix64's increment and the multipliers of its finaliser (Steele, Lea and Flood 2014).
_STEP, _FIRST, _SECOND = (
    np.uint64(constant) for constant in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)


def multiplicities(pictures: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Return how often each picture is in each resample, [n, resamples], whole numbers from 0.

    The row of a picture depends on its name, the seed and nothing else; a smaller number of
    resamples is a beginning of a larger one.

    Args:
        pictures: [n] texts.
        resamples: how many.
        seed: of the draws.
    """
    salt = str(seed).encode()
    keys = np.frombuffer(
        b"".join(
            hashlib.blake2b(str(name).encode(), digest_size=8, key=salt).digest()
            for name in pictures
        ),
        dtype="<u8",
    )
    words = -(-resamples // _WORDS)
    steps = np.arange(1, words + 1, dtype=np.uint64) * _STEP
    mixed = keys[:, None] + steps  # modulo 2^64, as is meant
    mixed ^= mixed >> np.uint64(30)
    mixed *= _FIRST
    mixed ^= mixed >> np.uint64(27)
    mixed *= _SECOND
    mixed ^= mixed >> np.uint64(31)
    uniform = mixed.astype("<u8").view("<u2").reshape(len(keys), words * _WORDS)
    drawn: np.ndarray = poisson_table()[uniform[:, :resamples]]
    return drawn


@cache
def poisson_table() -> np.ndarray:
    """Return Poisson(1) as 2^16 equally likely values, ascending, whose mean is exactly 1.

    The shares differ from the true ones by less than 2^-14.
    """
    size = 1 << _BITS
    shares = [round(size * math.exp(-1) / math.factorial(value)) for value in range(9)]
    # What rounding and the cut at 8 took or gave is made up for: the number by 1s, then the mean by
    # 1s that become 2s or 0s.
    shares[1] += size - sum(shares)
    short = size - sum(value * share for value, share in enumerate(shares))
    shares[2] += max(short, 0)
    shares[0] += max(-short, 0)
    shares[1] -= abs(short)
    return np.repeat(np.arange(len(shares), dtype=np.uint8), shares)
