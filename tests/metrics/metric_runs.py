"""A run on disk with its truth and its metrics, as the fixtures of this folder give it."""

from __future__ import annotations

from pathlib import Path

from lensbench.metrics.run import MetricOptions, compute_run
from synthetic import Truth


class Made:
    """A run on disk, what was planted in it and the metrics made from it."""

    def __init__(self, root: Path, model: str, dataset: str, truth: Truth) -> None:
        self.root, self.truth = root, truth
        self.shards = sorted((root / "traces" / model / dataset).iterdir())
        self.model_folder = root / "models" / model
        self.tables = compute_run(self.shards, self.model_folder, MetricOptions(resamples=200))
