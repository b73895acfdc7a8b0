"""How metrics are computed: seed, resamples and thresholds of every table of a run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MetricOptions:
    """How metrics are computed.

    Args:
        seed: of the bootstrap.
        resamples: of the bootstrap.
        confidence: of its intervals.
        early_exit: threshold τ of early exit.
        examples: how many samples `tokens` and `answer_way` hold.
        max_rejected: share of a run's samples that may be rejected.
    """

    seed: int = 0
    resamples: int = 1000
    confidence: float = 0.95
    early_exit: float = 0.9
    examples: int = 12
    max_rejected: float = 1.0
