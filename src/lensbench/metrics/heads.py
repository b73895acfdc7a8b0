"""Where the last position's attention goes: to the image, to the text, or to the sink.

Attention mass is not causal importance. A head's kind goes by the odds ratio of its image mass and
the picture's share of the positions; the stages of a model are the segments of the per-layer mean
image mass between change-points.
"""

from __future__ import annotations

import numpy as np

#: Odds ratio above which a head is an image head, and below which it is a text head.
IMAGE_ODDS, TEXT_ODDS = 2.0, 0.5
#: The studies' rule: mean image mass from which a head is an image head, up to which a text head.
IMAGE_MASS, TEXT_MASS = 0.8, 0.2
_NOTHING = 1e-6
#: Layer means that differ by this standard deviation or less are one stage.
STAGE_NOISE = 0.02
_SHORTEST_STAGE = 2


def enrichment(
    image_mass: np.ndarray, n_image_tokens: np.ndarray, n_tokens: np.ndarray
) -> np.ndarray:
    """Return image mass ÷ (image positions ÷ all positions): 1 is attention without preference.

    Args:
        image_mass: [n, L, H].
        n_image_tokens: image positions, [n], at least 1.
        n_tokens: all positions, [n].
    """
    return image_mass * (n_tokens / n_image_tokens)[:, None, None]


def leaves(image_mass: np.ndarray, text_mass: np.ndarray) -> np.ndarray:
    """Return whether the sink leaves anything to picture and text, [n, L, H].

    Args:
        image_mass: the sink left out, [n, L, H].
        text_mass: [n, L, H].
    """
    left: np.ndarray = image_mass.astype(np.float64) + text_mass > _NOTHING
    return left


def without_sink(image_mass: np.ndarray, text_mass: np.ndarray) -> np.ndarray:
    """Return the image mass with the sink left out and the rest renormalised, [n, L, H].

    Where the sink takes all, no rest says anything and 0 is returned.

    Args:
        image_mass: the sink left out, [n, L, H].
        text_mass: [n, L, H].
    """
    rest = image_mass.astype(np.float64) + text_mass
    return np.where(leaves(image_mass, text_mass), image_mass / np.maximum(rest, _NOTHING), 0.0)


def balanced(image_mass: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Return r ÷ (1 + r), r the odds ratio [m ÷ (1 − m)] ÷ [s ÷ (1 − s)], NaN where there is none.

    It is the image mass that a head would have if as many positions were the picture's as the
    text's: from 0 to 1, and finite where the odds ratio is not.

    Args:
        image_mass: m, the sink left out and the rest renormalised.
        share: s, the picture's share of the positions, the sink left out, in the same shape.
    """
    ours, even = image_mass * (1 - share), share * (1 - image_mass)
    with np.errstate(invalid="ignore"):
        found: np.ndarray = ours / (ours + even)
    return found


def odds(balanced_mass: np.ndarray) -> np.ndarray:
    """Return the odds ratio r of r ÷ (1 + r), infinite where that is 1."""
    with np.errstate(divide="ignore"):
        found: np.ndarray = balanced_mass / (1 - balanced_mass)
    return found


def kind(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return "image", "text" or "mixed" for each head by the interval of its odds ratio."""
    return np.select([low > IMAGE_ODDS, high < TEXT_ODDS], ["image", "text"], "mixed")


def spread(image_entropy: np.ndarray, n_image_tokens: np.ndarray) -> np.ndarray:
    """Return entropy over image positions ÷ log(their number), [n, L, H]: 0 one spot, 1 even.

    Args:
        image_entropy: nats, [n, L, H].
        n_image_tokens: image positions, [n]; where there is at most one, 0 is returned.
    """
    most = np.log(np.maximum(n_image_tokens, 1).astype(np.float64))[:, None, None]
    return np.where(most > 0, image_entropy / np.where(most > 0, most, 1), 0.0)


def tiles(image_mass: np.ndarray, overview_mass: np.ndarray) -> np.ndarray:
    """Return the image mass that isn't on the first view, [n, L, H], at least 0.

    Where a picture is seen whole and in tiles, that is the mass on the tiles with the positions
    that end their lines; where it is seen once, there is none.
    """
    return np.maximum(image_mass.astype(np.float64) - overview_mass, 0.0)


def separation(image_mass: np.ndarray) -> np.ndarray:
    """Return |2m − 1|, [n, L, H]; its mean over samples is the separation index, 1 for one kind."""
    return np.abs(2 * image_mass.astype(np.float64) - 1)


def kind_by_mass(mean_image_mass: np.ndarray) -> np.ndarray:
    """Return "image" (≥ 0.8), "text" (≤ 0.2) or "mixed" for each head: the studies' rule."""
    return np.select(
        [mean_image_mass >= IMAGE_MASS, mean_image_mass <= TEXT_MASS], ["image", "text"], "mixed"
    )


def stages(series: np.ndarray, noise: float = STAGE_NOISE) -> list[tuple[int, int]]:
    """Split a series into segments of constant mean, by optimal partitioning.

    Minimises Σ (x − mean of its segment)² + penalty × number of segments exactly, over segments of
    at least two layers. The penalty is 3 σ² log n, the modified BIC's for one change of mean; σ is
    the median absolute difference of neighbors, scaled for normal noise, and at least `noise`.

    Args:
        series: one value a layer, [L].
        noise: floor of σ, in the unit of the series.

    Returns:
        (first, last) of each segment, layers counted from 1.

    Source:
        Jackson et al. 2005, An algorithm for optimal partitioning of data on an interval; Zhang and
        Siegmund 2007 for the penalty. Plain BIC's (Yao 1988), 2 σ² log n, finds a change in one of
        five series of 8 layers of pure noise, this one in one of seven.
    """
    x = np.asarray(series, dtype=np.float64)
    n = len(x)
    if n < 2 * _SHORTEST_STAGE:
        return [(1, n)] if n else []
    sigma = max(noise, float(np.median(np.abs(np.diff(x)))) / (0.6745 * np.sqrt(2)))
    penalty = 3 * sigma**2 * np.log(n)
    sums, squares = (np.concatenate([[0], np.cumsum(v)]) for v in (x, x * x))
    best, start = np.full(n + 1, np.inf), np.zeros(n + 1, dtype=int)
    best[0] = 0
    for end in range(_SHORTEST_STAGE, n + 1):
        for begin in range(end - _SHORTEST_STAGE + 1):
            spread = squares[end] - squares[begin]
            spread -= (sums[end] - sums[begin]) ** 2 / (end - begin)
            # A tie within rounding goes to the earlier start, which is the longer segment.
            if best[begin] + spread + penalty < best[end] - 1e-12:
                best[end], start[end] = best[begin] + spread + penalty, begin
    found, end = [], n
    while end > 0:
        found.append((int(start[end]) + 1, end))
        end = int(start[end])
    return found[::-1]
