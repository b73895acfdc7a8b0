"""The likeliest token of every layer and step, for heatmaps and example sheets."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lensbench.metrics.rundata import Block


def tokens(run: Block) -> pd.DataFrame:
    """Return one row a sample × step × layer of some samples.

    Args:
        run: the samples.

    Returns:
        sample_id, step, layer, top_id, text, probability, final_rank, script, generated_text (the
        token generated at that step; "" if there is none).
    """
    chosen, steps = run.samples, run.steps
    n, layers = steps.top1.shape
    generated = dict(zip(chosen["sample_id"], chosen["generated_ids"], strict=True))
    texts = [
        str(run.vocabulary.text(generated[sample][step : step + 1])[0])
        if step < len(generated[sample])
        else ""
        for sample, step in zip(steps.sample_id, steps.step, strict=True)
    ]
    ids = steps.top1.reshape(-1)
    return pd.DataFrame(
        {
            "sample_id": np.repeat(steps.sample_id, layers),
            "step": np.repeat(steps.step, layers),
            "layer": np.tile(run.layers, n),
            "top_id": ids,
            "text": run.vocabulary.text(ids),
            "probability": steps.top_probability.reshape(-1),
            "final_rank": steps.columns["final_rank"].reshape(-1),
            "script": run.vocabulary.script(ids),
            "generated_text": np.repeat(np.array(texts, dtype=object), layers),
        }
    )
