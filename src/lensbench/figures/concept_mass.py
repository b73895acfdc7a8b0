"""Probability mass on the gold concept by language of its forms: one panel a run and question."""

from __future__ import annotations

from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lensbench.figures import layout, style
from lensbench.figures.fonts import printable

CAPTION = (
    "Probability mass on the forms of the gold answer, by the language of the form and by layer "
    "(mean over samples, 95 % bootstrap interval); the title names the language asked for."
)
INPUTS = ("concept_mass",)
LANGUAGES = ("digit", "en", "zh", "ja", "ko", "ru", "fr", "de", "es")
NAMES = {
    "digit": "digits", "en": "English", "zh": "Chinese", "ja": "Japanese", "ko": "Korean",
    "ru": "Russian", "fr": "French", "de": "German", "es": "Spanish",
}  # fmt: skip
LEAST_MASS = 0.005


def language_order(language: str) -> tuple[int, str]:
    """Return the key that sorts languages as the trace does, unknown ones last by name."""
    known = language in LANGUAGES
    return (LANGUAGES.index(language) if known else len(LANGUAGES), language)


def languages_shown(table: pd.DataFrame) -> list[str]:
    """Return the languages whose mass is more than a trace in some panel, in the usual order."""
    peaks = table.groupby("language")["value"].max()
    shown = peaks[(peaks >= LEAST_MASS) | (peaks == peaks.max())]
    return sorted(shown.index, key=language_order)


def language_colors(table: pd.DataFrame) -> dict[str, Any]:
    """Return a color for each language, the same in every figure; ink for digits."""
    every = sorted(set(LANGUAGES) | set(table["language"]), key=language_order)
    base = sns.color_palette("colorblind", 10)
    chosen = [style.INK, *(base[place] for place in (0, 3, 4, 6, 2, 1, 5, 9))]
    chosen += sns.husl_palette(max(0, len(every) - len(chosen)))
    return dict(zip(every, chosen, strict=False))


@style.themed
def draw(frames: style.Frames) -> Figure:
    """Draw `concept_mass` as lines by layer, one color a language.

    Args:
        frames: `concept_mass` (model, dataset, asked, language, layer, value, low, high).
    """
    table = frames["concept_mass"]
    # "all" repeats what each language asked for shows.
    table = table[table["value"].notna() & (table["asked"] != "all")]
    if table.empty:
        return style.sentence("No run has a mass on the forms of its gold answers to draw.")
    colors = language_colors(table)
    shown = languages_shown(table)
    keys = sorted(
        {tuple(key) for key in table[["model", "dataset", "asked"]].to_numpy()},
        key=lambda key: (key[1], key[0], language_order(key[2])),
    )
    facets = layout.facets(
        layout.group_sizes([dataset for _, dataset, _ in keys]), height=1.25, min_height=0.85
    )
    for ax, (model, dataset, asked) in zip(facets.axes, keys, strict=True):
        rows = style.of_run(table, model, dataset)
        rows = rows[rows["asked"] == asked]
        for language in shown:
            of_language = rows[rows["language"] == language]
            if not of_language.empty:
                style.line_with_band(ax, of_language, colors[language])
        ax.set_title(
            f"{style.run_title(model, dataset)} · {NAMES.get(asked, printable(asked))}",
            fontsize=style.SMALL,
        )
        ax.set_ylim(-0.03, 1.03)
        style.layer_axis(ax, int(rows["layer"].max()))
    facets.label("layer", "mass")
    handles = [Line2D([], [], color=colors[language]) for language in shown]
    layout.legend_above(
        facets.figure, handles, [NAMES.get(language, printable(language)) for language in shown]
    )
    return facets.figure
