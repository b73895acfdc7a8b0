"""Names and columns of the tables of single studies, made from close-ups, variants or ablations."""

from __future__ import annotations

import pandas as pd

from lensbench.metrics.tables import joined

_RUN = ["model", "dataset"]
_INTERVAL = ["value", "low", "high", "n"]

#: table → columns; a run that the study was not made for has no row. From close-ups:
PATCH_TABLES: dict[str, list[str]] = {
    "patch_best": [
        *_RUN, "sample_id", "view", "row", "col", "patch", "best_layer",
        "best_layer_with_layer_0", "n_layers", "probability", "text", "script", "blank", "region",
        "names_object",
    ],
    # best_layer: of layers 1 … L; what counts layer 0 too ends in _with_layer_0
    # view_name: "all" and, where pictures are seen twice, "overview" and "tiles"
    "patch_summary": [*_RUN, "view_name", "metric", *_INTERVAL, "over"],
    "patch_by_region": [*_RUN, "view_name", "region", "metric", *_INTERVAL, "n_patches"],
    "patch_localisation": [*_RUN, "of", "metric", "layer", "depth", *_INTERVAL],
}  # fmt: skip
#: From traces of the same questions with other pictures:
VARIANT_TABLES: dict[str, list[str]] = {
    "by_variant": [*_RUN, "family", "asked", "variant", "metric", *_INTERVAL],
    "han_floor": [
        *_RUN, "family", "asked", "metric", "variant", "layer", *_INTERVAL, "floor_random",
        "floor_vocabulary",
    ],
}  # fmt: skip
#: From what switching heads off did:
ABLATION_TABLES: dict[str, list[str]] = {
    "ablation": [
        *_RUN, "mode", "group_kind", "group", "where", "measure", "n_heads", *_INTERVAL, "rule",
    ],
    "ablation_contrast": [
        *_RUN, "mode", "where", "measure", "against", "n_heads", *_INTERVAL, "p", "p_floor",
        "p_holm", "holm_runs", "random_median", "n_random",
    ],
}  # fmt: skip
STUDY_TABLES = {**PATCH_TABLES, **VARIANT_TABLES, **ABLATION_TABLES}


def finished_study(table: str, parts: list[pd.DataFrame], model: str, dataset: str) -> pd.DataFrame:
    """Return the parts as one study's table, as `tables.finished` does for a run's."""
    return joined(STUDY_TABLES[table], parts, model, dataset)
