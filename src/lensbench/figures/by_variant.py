"""Accuracy and convergence layer against the picture's size: shrunk, native and blank."""

from __future__ import annotations

from matplotlib.figure import Figure

from lensbench.figures import layout, style
from lensbench.figures.fonts import printable
from lensbench.figures.frames import counting, pooled

CAPTION = (
    "Accuracy at the last layer and convergence layer (as depth, layer ÷ number of layers) with "
    "the picture's longer side shrunk to so many pixels before the model's own processor, native, "
    "and replaced by a blank one (mean over samples, 95 % interval). Counting questions, "
    "all questions of a dataset without them."
)
INPUTS = ("by_variant",)
METRICS = {"accuracy": "accuracy", "convergence_depth": "convergence depth"}


def variant_order(variant: str) -> tuple[int, float, str]:
    """Return the key that sorts variants: blank, sides by size, native, any other by name."""
    if variant.isdecimal():
        return 1, float(variant), ""
    return {"blank": 0, "native": 2}.get(variant, 3), 0.0, variant


@style.themed
def draw(frames: style.Frames) -> Figure:
    """Draw two metrics of `by_variant`: a row of panels a dataset, a line a model.

    Args:
        frames: `by_variant` and, optionally, `models`.
    """
    table = counting(pooled(frames["by_variant"]))
    table = table[table["metric"].isin(list(METRICS)) & table["value"].notna()]
    if table.empty:
        return style.sentence("No run was repeated with changed pictures.")
    colors = style.palette(frames)
    datasets = sorted(table["dataset"].unique())
    height = max(1.1, min(1.9, (layout.PAGE_HEIGHT - 0.4) / len(datasets)))
    size = (style.TEXT_WIDTH, height * len(datasets) + 0.4)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(datasets), len(METRICS), squeeze=False, sharey="col")
    handles: dict[str, object] = {}
    for row, dataset in enumerate(datasets):
        here = table[table["dataset"] == dataset]
        variants = sorted({str(name) for name in here["variant"]}, key=variant_order)
        models = sorted(here["model"].unique())
        for ax, (metric, name) in zip(axes[row], METRICS.items(), strict=True):
            for nth, model in enumerate(models):
                rows = here[(here["metric"] == metric) & (here["model"] == model)]
                # Side by side, so that intervals don't hide each other.
                shift = (nth - (len(models) - 1) / 2) * min(0.12, 0.6 / len(models))
                placed = rows.assign(at=[variants.index(v) + shift for v in rows["variant"]])
                placed = placed.sort_values("at")
                joined = placed[placed["variant"] != "blank"]
                (line,) = ax.plot(joined["at"], joined["value"], color=colors[model], lw=0.8)
                handles[printable(model)] = line
                for point in placed.itertuples():
                    style.dot(ax, point, float(point.at), colors[model])
            ax.set_title(f"{name} · {printable(dataset, 20)}")
            ax.set_xticks(range(len(variants)), [printable(v, 10) for v in variants])
            ax.set_ylim(bottom=0)
            ax.set_xlabel("picture's longer side (pixels)" if row == len(datasets) - 1 else "")
    order = sorted(handles)
    layout.legend_above(figure, [handles[name] for name in order], order)
    return figure
