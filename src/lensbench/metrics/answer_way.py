"""The answer's way in the first samples: top token and ranks by layer, lens beside lens."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lensbench.metrics.rundata import Block

_COLUMNS = ("top_id", "probability", "final_rank", "gold_rank")


def answer_way(run: Block) -> pd.DataFrame:
    """Return one row a sample × lens × layer of some samples, at the content step.

    The lenses are the run's main one and the raw one, where it was read.

    Args:
        run: the samples.

    Returns:
        sample_id, lens, layer, depth, top_id, text, probability, script, final_rank, final_text
        (the token the model itself puts on top), gold_rank (empty where the gold answer has no
        usable form) and gold.
    """
    ids, first = run.samples["sample_id"].to_numpy(dtype=object), run.content
    main = {
        "top_id": first.top1,
        "probability": first.top_probability,
        "final_rank": first.columns["final_rank"],
        "gold_rank": first.columns["gold_rank"],
    }
    found = {run.meta.lens: main}
    if "raw" in run.lenses and run.meta.lens != "raw":
        raw = run.lenses["raw"][1]
        chance = np.exp(raw["top_logprob"].astype(np.float64))
        found["raw"] = {**raw, "probability": chance}
    layers = run.layers
    parts = []
    for lens, columns in found.items():
        flat = {name: columns[name].reshape(-1) for name in _COLUMNS}
        parts.append(
            pd.DataFrame(
                {
                    "sample_id": np.repeat(ids, len(layers)),
                    "lens": lens,
                    "layer": np.tile(layers, len(ids)),
                    "depth": np.tile(layers / run.meta.n_layers, len(ids)),
                    "top_id": flat["top_id"],
                    "text": run.vocabulary.text(flat["top_id"]),
                    "probability": flat["probability"],
                    "script": run.vocabulary.script(flat["top_id"]),
                    "final_rank": flat["final_rank"],
                    "final_text": np.repeat(run.vocabulary.text(first.final), len(layers)),
                    "gold_rank": pd.Series(flat["gold_rank"], dtype="Int64").mask(
                        flat["gold_rank"] < 0
                    ),
                    "gold": np.repeat(run.gold, len(layers)),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)
