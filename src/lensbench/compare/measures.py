"""What is measured between two runs: one list of names, in the order of every table."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from lensbench.compare.tally import Changes, Differences

#: Which share of the differences the percentile of every table is of.
PERCENTILE = 0.999


@dataclass(frozen=True)
class Measure:
    """One thing that is measured.

    Args:
        kind: "difference" (the largest, and a percentile), "share" (of n that changed) or "layers"
            (by how many at most).
        words: what it is called in a table for a terminal.
        meaning: what it is, with its unit.
    """

    kind: str
    words: str
    meaning: str


MEASURES: dict[str, Measure] = {
    "top_logprob": Measure(
        "difference", "log p of top tokens", "log-probability of the tokens in both top k, nats"
    ),
    "final_logprob": Measure(
        "difference", "log p of the answer", "log-probability of y where it is the same, nats"
    ),
    "gold_logprob": Measure(
        "difference", "log p of the gold answer", "log-probability of the best gold token, nats"
    ),
    "entropy": Measure("difference", "entropy", "entropy of p_l, nats"),
    "kl": Measure("difference", "KL to the last layer", "KL(p_L ‖ p_l), nats"),
    "js": Measure("difference", "JS to the last layer", "JS(p_L, p_l), nats"),
    "script_mass": Measure("difference", "mass by script", "mass of p_l on each script"),
    "concept_mass": Measure("difference", "mass on the gold answer", "mass of p_l by language"),
    "head_mass": Measure(
        "difference", "mass of heads", "image, overview, sink, text and largest mass of each head"
    ),
    "head_entropy": Measure(
        "difference", "entropy of heads", "entropy of each head over image positions, nats"
    ),
    "lens_logprob": Measure(
        "difference", "log p in other lenses", "log-probability of y in the other lenses, nats"
    ),
    "top1": Measure("share", "top-1 changes", "samples × layers at step 0 with another top-1"),
    "unexplained": Measure(
        "share",
        "… not a near tie",
        "of these, whose two tokens are further apart than rounding moves any",
    ),
    "answer": Measure("share", "final answer changes", "samples with another y at step 0"),
    "text": Measure("share", "generated text changes", "samples with another generated text"),
    "convergence": Measure("share", "convergence layer changes", "samples where it is another"),
    "convergence_layers": Measure(
        "layers", "… by layers at most", "how far it moves at most, over all samples"
    ),
    "metric": Measure(
        "difference", "aggregates ÷ interval", "change of any aggregate ÷ its interval's width"
    ),
}


@dataclass(frozen=True)
class Found:
    """What was found of one measure.

    Args:
        value: the largest difference, the share, or the layers; NaN where n is 0.
        n: of how many.
        percentile: of the differences, NaN where there are none or none are meant.
    """

    value: float
    n: int
    percentile: float = math.nan

    @property
    def changed(self) -> int:
        """Of a share, how many changed."""
        return round(self.value * self.n) if self.n else 0

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it, null for what there isn't."""
        return {"value": _real(self.value), "p999": _real(self.percentile), "n": self.n}


def _real(value: float) -> float | str | None:
    if math.isnan(value):
        return None
    return value if math.isfinite(value) else "infinite"


def of_differences(tally: Differences) -> Found:
    """Return the largest difference and the percentile."""
    value = tally.largest if tally.n else math.nan
    return Found(value, tally.n, tally.percentile(PERCENTILE))


def of_changes(tally: Changes) -> Found:
    """Return the share that changed."""
    return Found(tally.changed / tally.n if tally.n else math.nan, tally.n)
