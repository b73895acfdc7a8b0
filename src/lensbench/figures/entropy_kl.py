"""Entropy of the decoded distribution and its divergence from the final one, by layer."""

from __future__ import annotations

from matplotlib.figure import Figure

from lensbench.figures import layout, style
from lensbench.figures.fonts import printable

CAPTION = (
    "Entropy of the distribution decoded at a layer, KL divergence of the final distribution "
    "from it, and their Jensen–Shannon divergence (nats; mean over samples, 95 % bootstrap "
    "interval)."
)
INPUTS = ("by_layer",)
METRICS = {
    "entropy_nats": "entropy",
    "kl_to_final_nats": "KL(final ‖ layer)",
    "js_to_final_nats": "JS(layer, final)",
}


@style.themed
def draw(frames: style.Frames) -> Figure:
    """Draw three metrics of `by_layer`: a row of panels a dataset, a line a model.

    Args:
        frames: `by_layer` and, optionally, `models`.
    """
    table = frames["by_layer"]
    table = table[table["metric"].isin(list(METRICS)) & table["value"].notna()]
    if table.empty:
        return style.sentence("No run has an entropy or a divergence by layer to draw.")
    colors = style.palette(frames)
    datasets = sorted(table["dataset"].unique())
    metrics = [metric for metric in METRICS if metric in set(table["metric"])]
    height = max(0.9, min(1.5, (layout.PAGE_HEIGHT - 0.4) / len(datasets)))
    size = (style.TEXT_WIDTH, height * len(datasets) + 0.4)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(datasets), len(metrics), squeeze=False, sharey="col")
    handles: dict[str, object] = {}
    for row, dataset in enumerate(datasets):
        here = table[table["dataset"] == dataset]
        for column, metric in enumerate(metrics):
            ax = axes[row, column]
            of_metric = here[here["metric"] == metric]
            for model in sorted(of_metric["model"].unique()):
                rows = of_metric[of_metric["model"] == model]
                handles[printable(model)] = style.line_with_band(ax, rows, colors[model])
            ax.set_title(f"{METRICS[metric]} · {printable(dataset, 20)}")
            ax.set_xlabel("layer" if row == len(datasets) - 1 else "")
            ax.set_ylabel("nats" if column == 0 else "")
            style.layer_axis(ax, int(here["layer"].max()), room=6)
            ax.set_ylim(bottom=0)
    order = sorted(handles)
    layout.legend_above(figure, [handles[name] for name in order], order)
    return figure
