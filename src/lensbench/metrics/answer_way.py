"""The answer's way in the first samples: top token and ranks by layer, lens beside lens."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lensbench.metrics.rundata import RunData
from lensbench.trace import read_table

_COLUMNS = ("top_id", "probability", "final_rank", "gold_rank")


def answer_way(run: RunData, examples: int) -> pd.DataFrame:
    """Return one row a sample × lens × layer of the first samples, at step 0.

    The lenses are the run's main one and the raw one, where it was read.

    Args:
        run: one model on one dataset.
        examples: how many samples, by sample_id.

    Returns:
        sample_id, lens, layer, depth, top_id, text, probability, script, final_rank, final_text
        (the token the model itself puts on top), gold_rank (empty where the gold answer has no
        usable form) and gold.
    """
    samples = run.samples.head(examples)
    ids = samples["sample_id"].to_numpy(dtype=object)
    first = run.first.at(np.isin(run.first.sample_id, ids))
    # step 0 is there of every sample that was read, in the samples' order
    main = {
        "top_id": first.top1,
        "probability": first.top_probability,
        "final_rank": first.columns["final_rank"],
        "gold_rank": first.columns["gold_rank"],
    }
    found = {run.meta.lens: main}
    if run.meta.lens != "raw":
        raw = _raw(run, ids)
        if raw:
            found["raw"] = raw
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
                    "gold": np.repeat(samples["gold"].to_numpy(dtype=object), len(layers)),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def _raw(run: RunData, ids: np.ndarray) -> dict[str, np.ndarray]:
    """Return what the raw lens reads of some samples, arrays [samples, L+1]; nothing if unread."""
    rows = read_table(run.folders, "lenses")
    rows = rows[(rows["lens"] == "raw") & rows["sample_id"].isin(ids)]
    if rows.empty:
        return {}
    # `lenses.readings`, which every run goes through first, refuses holes and another order.
    block = {name: rows[name].to_numpy().reshape(len(ids), -1) for name in _COLUMNS[2:]}
    block["top_id"] = rows["top_id"].to_numpy().reshape(len(ids), -1)
    chance = np.exp(rows["top_logprob"].to_numpy(dtype=np.float64))
    return {**block, "probability": chance.reshape(len(ids), -1)}
