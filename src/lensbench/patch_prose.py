"""What the notebook on patches says in words, made from the tables alone."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import pandas as pd

from lensbench.figures.frames import read_table
from lensbench.figures.style import of_run, runs_of
from lensbench.metrics.patch_data import ALL_VIEWS
from lensbench.metrics.patch_objects import BORDER, INSIDE
from lensbench.metrics.patch_regions import DIFFERENCE, PAIRED
from lensbench.metrics.patches import STUDY
from lensbench.metrics.study_tables import STUDY_TABLES
from lensbench.prose import interval, quoted, together

TABLES = ("patch_best", "patch_summary", "patch_by_region", "patch_localisation")
#: What the published numbers are of, in words; their best layer may be layer 0.
NAMES = {
    "best_layer": "mean best layer",
    "n_patches": "patches",
    "n_last_third": "patches whose best layer is in the last third",
    "n_empty": "patches that decode there to the empty string",
    "n_blank": "patches that decode there to nothing but white space",
}
HOW_TO_IMPORT = (
    "No imported lens is among the results. To import one, name its file under `imports` in the "
    "configuration, a picture of the same name (.png) beside it, and run the workflow again; by "
    "hand, that is `lensbench import-patch-lens FILE.json.gz --picture FILE.png --out "
    "results/imported/NAME`."
)
HOW_TO_SEE_SCENES = (
    "No close-up of the dataset `scenes` is among the results, so that no object's box is known: "
    "give `scenes` an n above 0 in the configuration and run the workflow again."
)


def tables_of(folder: str | Path) -> dict[str, pd.DataFrame]:
    """Return the tables of patches in a folder of metrics; one that is not there is empty."""
    found = {}
    for name in TABLES:
        path = Path(folder) / f"{name}.csv"
        there = path.is_file()
        found[name] = read_table(path) if there else pd.DataFrame(columns=STUDY_TABLES[name])
    return found


def compared(
    summary: pd.DataFrame, published: pd.DataFrame, models: Collection[str]
) -> pd.DataFrame:
    """Return our numbers of imported lenses beside the published ones, NaN where none was.

    "ours" follows the study's rule, which counts layer 0 too, as does the difference; the last
    column follows the rule of this project.

    A lens is imported if its numbers are published or its model was not run here: a close-up of one
    picture is none.

    Args:
        summary: `patch_summary`.
        published: model, dataset, metric and value, as printed.
        models: names of those that were run here.
    """
    summary = summary[summary["view_name"] == ALL_VIEWS]
    known = runs_of(published)
    frames = []
    for model, dataset in runs_of(summary):
        if model in models and (model, dataset) not in known:
            continue
        ours = of_run(summary, model, dataset).set_index("metric")["value"]
        theirs = of_run(published, model, dataset).set_index("metric")["value"]
        of_study = [name if name == "n_patches" else f"{name}{STUDY}" for name in NAMES]
        rows = pd.DataFrame(
            {
                "lens": f"{model} · {dataset}",
                "counted": list(NAMES.values()),
                "published": [theirs.get(metric, float("nan")) for metric in NAMES],
                "ours": [ours[study] for study in of_study],
                "ours, from layer 1 on": [ours[metric] for metric in NAMES],
            }
        )
        # Printed with three decimals: what is beyond them can't be told apart.
        frames.append(rows.assign(difference=(rows["ours"].round(3) - rows["published"])))
    columns = ["lens", "counted", "published", "ours", "difference", "ours, from layer 1 on"]
    return pd.concat([pd.DataFrame(columns=columns), *frames], ignore_index=True)


def told(beside: pd.DataFrame) -> pd.DataFrame:
    """Return `compared` with its numbers as they are printed: no decimals where there are none."""
    shown = beside.copy()
    for column in ("published", "ours", "difference", "ours, from layer 1 on"):
        shown[column] = [
            "–" if pd.isna(value) else f"{value:.3f}".rstrip("0").rstrip(".")
            for value in beside[column]
        ]
    return shown


def late_sentences(summary: pd.DataFrame) -> str:
    """Return a Markdown list: each run's share of patches in the last third, and of blanks.

    A run whose pictures are seen twice has a line for each view, for pooled the larger one decides.

    Args:
        summary: `patch_summary`.
    """
    lines = []
    for run, found in _views(summary):
        rows = _by(found, "metric")
        late, blank, count = rows["share_last_third"], rows["share_blank"], rows["n_patches"]
        lines.append(
            f"- {run}: {_share(late)} of {count['value']:,.0f} patches have their best layer (of 1 "
            f"to L) in the last third, {_share(blank)} are blank there (intervals over "
            f"{late['n']:.0f} picture{'' if late['n'] == 1 else 's'})."
        )
    return "\n".join(lines)


def border_sentences(by_region: pd.DataFrame, metric: str = "names_object") -> str:
    """Return a Markdown list: of each run, whether the border names the object more often.

    Both shares and their difference are of the pictures that have patches of both kinds.

    Args:
        by_region: `patch_by_region`.
        metric: which naming.
    """
    table = by_region[by_region["metric"] == metric]
    lines = []
    for run, found in _views(table):
        rows = _by(found, "region")
        if DIFFERENCE not in rows:
            missing = [name for name in (INSIDE, BORDER) if name not in rows]
            place = {INSIDE: INSIDE, BORDER: f"on the {BORDER}"}
            what = f"no patch lies {place[missing[0]]}" if missing else "no picture has both"
            lines.append(f"- {run}: {what}, so nothing can be compared.")
            continue
        inside, border, gap = rows[INSIDE + PAIRED], rows[BORDER + PAIRED], rows[DIFFERENCE]
        value, low, high = _percent(gap, "+")
        of = (
            "the one picture that has"
            if gap["n"] == 1
            else f"the {gap['n']:.0f} pictures that have"
        )
        lines.append(
            f"- {run}, over {of} both: {_share(border)} of {border['n_patches']:,.0f} patches "
            f"on the border and {_share(inside)} of {inside['n_patches']:,.0f} inside; border less "
            f"inside is {value} points, from {low} to {high}: {verdict(rows)}."
        )
    return "\n".join(lines)


def verdict(rows: Mapping[str, pd.Series]) -> str:
    """Return what a difference says of the guess that the border names more often.

    Where there is one picture, or a region's patches are all alike, the bootstrap sees nothing of
    how that region's pictures differ, and the difference's interval is not believed.

    Args:
        rows: of one run and metric, by region.
    """
    inside, border, gap = rows[INSIDE + PAIRED], rows[BORDER + PAIRED], rows[DIFFERENCE]
    if gap["n"] == 1:
        return "one picture, so no interval"
    for name, row in ((INSIDE, inside), (BORDER, border)):
        if row["value"] in (0, 1):
            place = "inside" if name == INSIDE else "on the border"
            return f"all patches {place} are alike, so the interval says too little"
    if gap["low"] > 0:
        return "the border names the object more often"
    if gap["high"] < 0:
        return "the inside names the object more often"
    return "which of the two names it more often can't be told"


def localised(localisation: pd.DataFrame) -> pd.DataFrame:
    """Return the measures of localisation at the first, middle and last layer, a row each.

    Args:
        localisation: `patch_localisation`.
    """
    columns = ["model", "dataset", "of", "measure", "first layer", "middle", "last layer"]
    rows = []
    for (model, dataset, of, metric), each in localisation.groupby(
        ["model", "dataset", "of", "metric"], sort=False
    ):
        layers = each.sort_values("layer")
        ends = [layers.iloc[place] for place in (0, len(layers) // 2, -1)]
        rows.append((model, dataset, of, metric, *(interval(row) for row in ends)))
    return pd.DataFrame(rows, columns=columns)


def _by(rows: pd.DataFrame, column: str) -> dict[str, pd.Series]:
    return {str(row[column]): row for _, row in rows.iterrows()}


def _views(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Return the rows of each run's views, under a name: of all patches if it has one view."""
    found = []
    for model, dataset in runs_of(table):
        rows, run = of_run(table, model, dataset), f"{quoted(model)} on {quoted(dataset)}"
        views = [str(view) for view in rows["view_name"].unique() if view != ALL_VIEWS]
        for view in views or [ALL_VIEWS]:
            name = f"{run}, {quoted(view)}" if views else run
            found.append((name, rows[rows["view_name"] == view]))
    return found


def _percent(row: pd.Series, sign: str = "") -> list[str]:
    return together([100 * row[name] for name in ("value", "low", "high")], 1, sign)


def _share(row: pd.Series) -> str:
    value, low, high = _percent(row)
    return f"{value} % [{low}, {high}]"
