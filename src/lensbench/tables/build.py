"""The tables' contents: rows picked from the metric tables, with nothing computed but shares."""

from __future__ import annotations

import math

import pandas as pd

from lensbench.errors import LensbenchError
from lensbench.figures.accuracy_by_answer import answer_order
from lensbench.figures.concept_mass import language_order
from lensbench.figures.frames import pooled
from lensbench.figures.style import Frames, of_run, runs_of
from lensbench.metrics.tables import peak_layer

# Columns of the summary table: the metric, and whether its interval is printed with it.
SUMMARY_METRICS = (
    "accuracy", "accuracy_lenient", "accuracy_generated", "accuracy_generated_lenient",
    "convergence_depth", "first_hit_layer", "changes_of_mind", "last_block_change",
)  # fmt: skip
FAMILY_METRICS = (
    "accuracy", "accuracy_lenient", "accuracy_generated", "accuracy_generated_lenient",
)  # fmt: skip
FEWEST_SAMPLES = 5  # an answer asked less often has no accuracy worth a column


def summary(frames: Frames) -> pd.DataFrame:
    """Return a row a run: accuracy, convergence and so on, and the share of samples rejected."""
    table = frames["summary"]
    rows = []
    for model, dataset in runs_of(table):
        run = of_run(table, model, dataset).set_index("metric")
        # Where no answer is known there is no accuracy, but all else is of the same samples.
        n = run["n"].get("accuracy", run["n"].get("convergence_depth", float("nan")))
        shares = run["value"] / run["n"]
        rows.append({
            "dataset": dataset, "model": model, **_with_bounds(run, SUMMARY_METRICS), "n": n,
            "not_understood": shares.get("n_answers_not_understood", float("nan")),
            "rejected": shares.get("n_rejected", float("nan")),
        })  # fmt: skip
    columns = ["dataset", "model", *_bounded(SUMMARY_METRICS), "n", "not_understood", "rejected"]
    return pd.DataFrame(rows, columns=columns)


def _bounded(metrics: tuple[str, ...]) -> list[str]:
    """Return the columns of metrics with their intervals: name, name_low, name_high of each."""
    return [f"{metric}{part}" for metric in metrics for part in ("", "_low", "_high")]


def _with_bounds(rows: pd.DataFrame, metrics: tuple[str, ...]) -> dict[str, object]:
    """Return those columns' values from rows indexed by metric, NaN for a metric without a row."""
    values = [
        rows[part].get(metric, float("nan"))
        for metric in metrics
        for part in ("value", "low", "high")
    ]
    return dict(zip(_bounded(metrics), values, strict=True))


LANGUAGE_COLUMNS = (
    "dataset", "model", "han_top1_peak", "han_top1_layer", "han_top5_peak", "han_top5_layer",
    "latin_mass_peak", "latin_mass_layer", "han_mass_peak", "han_mass_layer",
    "han_floor_vocabulary", "han_floor_random", "concept_language", "concept_mass_peak",
    "concept_layer", "other_language", "other_mass_peak", "other_layer",
)  # fmt: skip


def language(frames: Frames) -> pd.DataFrame:
    """Return a row a run: in which script and language its middle layers are decoded.

    Peaks are taken over the layers after the embeddings and before the last block's output; a
    layer is named only where there is one (see `metrics.tables.peak_layer`).
    """
    rows = []
    for model, dataset in runs_of(frames["script_mass"]):
        han = _inner(of_run(pooled(frames["han_in_topk"]), model, dataset))
        scripts = _inner(of_run(pooled(frames["script_mass"]), model, dataset))
        row: dict[str, object] = {"dataset": dataset, "model": model}
        for k in (1, 5):
            row |= _peak(han[han["k"] == k], f"han_top{k}_peak", f"han_top{k}_layer")
        for script in ("Latin", "Han"):
            name = script.lower()
            here = scripts[scripts["script"] == script]
            floor = here[["floor_vocabulary", "floor_random"]].max(axis=1)
            row |= _peak(here, f"{name}_mass_peak", f"{name}_mass_layer", floor)
            if script == "Han" and not here.empty:
                top = here.sort_values(["value", "layer"], ascending=[False, True]).iloc[0]
                row["han_floor_vocabulary"] = top["floor_vocabulary"]
                row["han_floor_random"] = top["floor_random"]
        row |= _concepts(_inner(of_run(frames["concept_mass"], model, dataset)))
        rows.append(row)
    return pd.DataFrame(rows, columns=list(LANGUAGE_COLUMNS))


def _inner(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the layers between the embeddings and the last one."""
    return rows[(rows["layer"] > 0) & (rows["layer"] < rows["layer"].max())]


def _peak(
    rows: pd.DataFrame, value: str, layer: str, floor: pd.Series | float = -math.inf
) -> dict[str, object]:
    """Return the largest value, and the layer that it is at, NaN where nothing peaks."""
    if rows.empty:
        return {value: math.nan, layer: math.nan}
    at = peak_layer(rows, floor)
    return {value: rows["value"].max(), layer: math.nan if at is None else at}


def _concepts(rows: pd.DataFrame) -> dict[str, object]:
    """Return the two languages whose forms of the gold answer peak highest, over all asked."""
    if (rows["asked"] == "all").any():
        rows = rows[rows["asked"] == "all"]
    elif rows["asked"].nunique() > 1:
        return {}
    peaks = rows.groupby("language")["value"].max()
    order = sorted(peaks.index, key=lambda name: (-peaks[name], language_order(name)))
    row: dict[str, object] = {}
    for name, prefix in zip(order, ("concept", "other"), strict=False):
        row[f"{prefix}_language"] = name
        here = rows[rows["language"] == name]
        row |= _peak(here, f"{prefix}_mass_peak", f"{prefix}_layer")
    return row


HEAD_COLUMNS = (
    "dataset", "model", "heads", "image_share", "mixed_share", "text_share", "highest_mass",
    "highest_layer", "highest_head", "stages", "stage_masses",
)  # fmt: skip


def heads(frames: Frames) -> pd.DataFrame:
    """Return a row an image run: shares of its heads by kind, its strongest head, its stages."""
    table = frames["heads"]
    table = table[table["enrichment"].notna()]
    rows = []
    for model, dataset in runs_of(table):
        run = of_run(table, model, dataset)
        top = run.sort_values(["image_mass", "layer", "head"], ascending=[False, True, True])
        stages = of_run(frames["stages"], model, dataset).sort_values("first_layer")
        bounds = [
            f"{int(first)}–{int(last)}"
            for first, last in zip(stages["first_layer"], stages["last_layer"], strict=True)
        ]
        shares = {f"{kind}_share": float((run["kind"] == kind).mean()) for kind in _KINDS}
        rows.append({
            "dataset": dataset, "model": model, "heads": len(run), **shares,
            "highest_mass": top["image_mass"].iloc[0], "highest_layer": int(top["layer"].iloc[0]),
            "highest_head": int(top["head"].iloc[0]), "stages": "; ".join(bounds),
            "stage_masses": "; ".join(f"{mass:.2f}" for mass in stages["image_mass"]),
        })  # fmt: skip
    return pd.DataFrame(rows, columns=list(HEAD_COLUMNS))


_KINDS = ("image", "mixed", "text")


def accuracy_by_family(frames: Frames) -> pd.DataFrame:
    """Return a row a run and kind of question: accuracy at the last layer, and as generated."""
    table = frames["accuracy_by_family"]
    table = table[table["asked"] == "all"]
    rows = []
    for model, dataset in runs_of(table):
        run = of_run(table, model, dataset)
        for family in sorted(run["family"].unique()):
            here = run[run["family"] == family].set_index("metric")
            rows.append({
                "dataset": dataset, "model": model, "family": family,
                **_with_bounds(here, FAMILY_METRICS), "n": here["n"].max(),
            })  # fmt: skip
    columns = ["dataset", "model", "family", *_bounded(FAMILY_METRICS), "n"]
    return pd.DataFrame(rows, columns=columns)


def accuracy_by_answer(frames: Frames) -> pd.DataFrame:
    """Return a row a run and answer: accuracy at the last layer, its largest from layer 1 on, and
    the layer where it peaks, if it does.
    """
    table = pooled(frames["accuracy_by_answer"])
    rows = []
    for model, dataset in runs_of(table):
        run = of_run(table, model, dataset)
        last = run["layer"].max()
        for answer in sorted(run["answer"].unique(), key=answer_order):
            here = run[run["answer"] == answer]
            final = here[here["layer"] == last]
            if final.empty:
                raise LensbenchError(
                    f"accuracy_by_answer has no last layer for {answer} of {model} on {dataset}: "
                    "collect the metrics again."
                )
            end = final.iloc[0]
            most = _peak(here[here["layer"] > 0], "peak", "peak_layer")
            rows.append({
                "dataset": dataset, "model": model, "answer": answer, "accuracy": end["value"],
                "low": end["low"], "high": end["high"], **most, "n": int(end["n"]),
            })  # fmt: skip
    columns = ["dataset", "model", "answer", "accuracy", "low", "high", "peak", "peak_layer", "n"]
    return pd.DataFrame(rows, columns=columns)


def gates(frames: Frames) -> pd.DataFrame:
    """Return the checks of the gate, a row a model and check."""
    return frames["gates"].sort_values(["model", "check"]).reset_index(drop=True)


def models(frames: Frames) -> pd.DataFrame:
    """Return the models, a row each."""
    return frames["models"].sort_values("model").reset_index(drop=True)
