"""How spread a head's attention on the picture is: its largest weight against its entropy."""

from __future__ import annotations

from matplotlib.figure import Figure

from lensbench.figures import layout, style

CAPTION = (
    "How spread each head's attention over a picture is: the largest weight on a single image "
    "position against spread (entropy over image positions ÷ the logarithm of their "
    "number: 0 is one spot, 1 is even), means over samples; one point a head, darker the more of "
    "its mass is on the picture."
)
INPUTS = ("heads",)


@style.themed
def draw(frames: style.Frames) -> Figure:
    """Draw `heads` as one point a head, largest weight over spread.

    Args:
        frames: `heads`.
    """
    table = frames["heads"]
    # A run without image positions has no enrichment: there is no picture to attend to.
    table = table[table["image_mass"].notna() & table["enrichment"].notna()]
    if table.empty:
        return style.sentence("No run has pictures, so that no head is spread over one.")
    runs = style.runs_of(table)
    facets = layout.facets(
        layout.group_sizes([dataset for _, dataset in runs]), height=1.45, min_height=0.95,
        color_bar=True, extra=0.6,
    )  # fmt: skip
    for ax, (model, dataset) in zip(facets.axes, runs, strict=True):
        # Those that look most come on top.
        rows = style.of_run(table, model, dataset).sort_values("image_mass")
        ax.scatter(
            rows["spread"], rows["image_max"], c=rows["image_mass"], cmap="rocket_r",
            vmin=0, vmax=1, s=11, linewidths=0.3, edgecolors="#666666",
        )  # fmt: skip
        ax.set_xlim(-0.03, 1.03)
        ax.set_ylim(-0.03, 1.03)
        ax.set_title(style.run_title(model, dataset))
    facets.label("spread", "largest weight")
    facets.add_color_bar("mass on image positions")
    return facets.figure
