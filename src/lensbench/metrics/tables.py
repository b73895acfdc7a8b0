"""Names and columns of the metric tables, in order: what figures and the paper may rely on."""

from __future__ import annotations

import numpy as np
import pandas as pd
from pandas.api.types import is_float_dtype

from lensbench.metrics.intervals import Estimate

_RUN = ["model", "dataset"]
_INTERVAL = ["value", "low", "high", "n"]

#: table → columns, for the tables of one run. Aggregates are over the content step. Rows whose
#: `asked` is "all" are over all samples, the others over the questions asked in one language.
RUN_TABLES: dict[str, list[str]] = {
    "summary": [*_RUN, "metric", *_INTERVAL],
    "by_layer": [*_RUN, "metric", "layer", "depth", *_INTERVAL],
    "accuracy_by_answer": [*_RUN, "asked", "answer", "layer", *_INTERVAL],
    "accuracy_by_family": [*_RUN, "family", "asked", "metric", *_INTERVAL],
    "accuracy_by_language": [*_RUN, "asked", "language", "layer", *_INTERVAL],
    "han_in_topk": [*_RUN, "asked", "k", "layer", *_INTERVAL],
    "script_mass": [
        *_RUN, "asked", "script", "layer", *_INTERVAL, "floor_vocabulary", "floor_random",
    ],
    "concept_mass": [*_RUN, "asked", "language", "layer", *_INTERVAL],
    "lenses": [*_RUN, "lens", "metric", "layer", "depth", *_INTERVAL],
    "language_lead": [
        *_RUN, "family", "asked", "first", "second", "arrival", "metric", *_INTERVAL,
    ],
    "answer_path": [*_RUN, "family", "asked", "metric", *_INTERVAL],
    "by_count": [*_RUN, "asked", "group", "metric", *_INTERVAL],
    "matched_kinds": [*_RUN, "asked", "kind", "weighting", "metric", *_INTERVAL],
    "heads": [
        *_RUN, "layer", "head", "image_mass", "low", "high", "n", "enrichment",
        "image_mass_no_sink", "sink_mass", "image_sink_mass", "text_mass", "spread", "image_max",
        "overview_mass", "tiles_mass", "separation", "picture_share", "odds_ratio", "odds_low",
        "odds_high", "odds_n", "kind", "kind_by_mass",
    ],
    "head_summary": [*_RUN, "among", "metric", *_INTERVAL],
    "stages": [*_RUN, "stage", "first_layer", "last_layer", "image_mass", "low", "high", "n"],
    "convergence": [
        *_RUN, "sample_id", "step", "convergence_layer", "depth", "first_hit_layer",
        "stable1_layer", "stable2_layer", "stable4_layer", "changes_of_mind", "found_and_lost",
        "last_block_js", "last_block_change", "correct_final", "n_layers",
    ],
    "tokens": [
        *_RUN, "sample_id", "step", "layer", "top_id", "text", "probability", "final_rank",
        "script", "generated_text",
    ],
    "answer_way": [
        *_RUN, "sample_id", "lens", "layer", "depth", "top_id", "text", "probability", "script",
        "final_rank", "final_text", "gold_rank", "gold",
    ],
}  # fmt: skip

#: The table with a row a sample and step, which is as long as the run.
PER_SAMPLE = "convergence"

#: table → columns, for the tables made from the models' folders.
MODEL_TABLES: dict[str, list[str]] = {
    "gates": ["model", "check", "value", "limit", "passed"],
    "models": [
        "model", "architecture", "n_layers", "n_heads", "n_parameters", "vocabulary_size",
        "dtype", "source", "revision", "weights_sha256",
    ],
}  # fmt: skip


def peak_layer(rows: pd.DataFrame, floor: pd.Series | float = -np.inf) -> int | None:
    """Return the layer at which a value peaks, the first of equals; None where nothing peaks.

    It peaks if the interval of the largest lies above the whole interval of the smallest, and above
    the floor there. One sample has no interval, so that its values peak nowhere.

    Args:
        rows: layer, value, low, high and n, a row a layer.
        floor: what there is without the effect, one a row or one for all.
    """
    rows = rows.assign(floor=floor).dropna(subset=["value"]).sort_values("layer", kind="stable")
    if rows.empty or rows["n"].min() < 2:
        return None
    value = rows["value"].to_numpy(dtype=float)
    most, least = rows.iloc[value.argmax()], rows.iloc[value.argmin()]
    return int(most["layer"]) if most["low"] > max(least["high"], most["floor"]) else None


def along_layers(estimate: Estimate, layers: np.ndarray, **labels: object) -> pd.DataFrame:
    """Return one row a layer: the labels, layer, value, low, high, n.

    Args:
        estimate: its arrays are [layers].
        layers: their numbers.
        labels: columns of one value.
    """
    columns = {
        **labels,
        "layer": layers,
        "value": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "n": estimate.n,
    }
    return pd.DataFrame(columns)


def finished(table: str, parts: list[pd.DataFrame], model: str, dataset: str) -> pd.DataFrame:
    """Return the parts as one table, with the run's name and the columns in order.

    Reals are rounded to 9 significant digits: the last bits of a sum depend on how a processor's
    linear algebra orders it, and results should not.
    """
    return joined(RUN_TABLES[table], parts, model, dataset)


def joined(columns: list[str], parts: list[pd.DataFrame], model: str, dataset: str) -> pd.DataFrame:
    """Return the parts as one table of these columns, as `finished` does."""
    filled = [part for part in parts if len(part)]
    frame = pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=columns)
    frame = frame.assign(model=model, dataset=dataset)[columns].reset_index(drop=True)
    for name in frame.columns[[is_float_dtype(kind) for kind in frame.dtypes]]:
        frame[name] = _rounded(frame[name].to_numpy(dtype=np.float64))
    return frame


def _rounded(values: np.ndarray, digits: int = 9) -> np.ndarray:
    size = np.abs(values)
    with np.errstate(divide="ignore", invalid="ignore"):
        power = np.where(size > 0, np.floor(np.log10(size)), 0)
    scale = 10.0 ** np.clip(digits - 1 - power, -300, 300)
    # 0.0 + … turns -0.0 into 0.0.
    return 0.0 + np.where(np.isfinite(values), np.round(values * scale) / scale, values)
