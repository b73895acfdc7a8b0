"""Rank of the model's final token by layer: one panel a dataset, one line a model."""

from __future__ import annotations

from matplotlib.figure import Figure

from lensbench.figures import style
from lensbench.figures.by_dataset import draw_by_dataset

CAPTION = (
    "Median rank, by layer, of the token that the model generates (0 is the top; the axis is "
    "linear below 1 and logarithmic above), with 95 % bootstrap intervals. Dashed: the published "
    "ranks for one plain red picture, read without the final norm."
)
INPUTS = ("by_layer",)


@style.themed
def draw(frames: style.Frames) -> Figure:
    """Draw the metric `final_rank_median` of `by_layer`, and published ranks of models run.

    Args:
        frames: `by_layer` and, optionally, `published` (model, dataset, layer, value) and `models`.
    """
    return draw_by_dataset(
        frames, metric="final_rank_median", y_label="rank of the final token", y_limits=None,
        symlog=True, nothing="No run has a rank of the final token to draw.",
    )  # fmt: skip
