"""Accuracy of the decoded answer by layer: one panel a dataset, one line a model."""

from __future__ import annotations

from matplotlib.figure import Figure

from lensbench.figures import style
from lensbench.figures.by_dataset import draw_by_dataset

CAPTION = (
    "Share of samples whose top-1 tokens at a layer are a form of the gold answer, with 95 % "
    "intervals. Dashed: published results of the same model, as the study printed them."
)
INPUTS = ("by_layer",)


@style.themed
def draw(frames: style.Frames) -> Figure:
    """Draw the metric `accuracy` of `by_layer`, and published accuracies of models that were run.

    Args:
        frames: `by_layer` and, optionally, `published` (model, dataset, layer, value) and `models`.
    """
    return draw_by_dataset(
        frames, metric="accuracy", y_label="accuracy", y_limits=(-0.03, 1.03), symlog=False,
        nothing="No run has an accuracy by layer to draw.",
    )  # fmt: skip
