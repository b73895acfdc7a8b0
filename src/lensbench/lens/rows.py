"""From tensors to rows: the tables of a trace, as `trace_schema` describes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from lensbench.lens.readout import Readout
from lensbench.models.load import LoadedModel
from lensbench.models.prompt import Encoded

HEAD_COLUMNS = ("image_mass", "sink_mass", "text_mass", "image_entropy_nats", "image_max")
SAMPLE_COLUMNS = [
    "sample_id", "prompt", "n_tokens", "n_image_tokens", "grid_h", "grid_w", "generated",
    "generated_ids", "gold", "language", "family", "asked", "image", "rejected",
]  # fmt: skip


def _sample(row: Mapping[str, Any], **found: Any) -> dict[str, Any]:
    same = {key: row[key] for key in ("sample_id", "gold", "language", "family", "image")}
    return {**same, "asked": row["prompt"], **found}


def rejected_row(row: Mapping[str, Any], reason: str) -> dict[str, Any]:
    """Return the row of `samples` of a manifest row that could not be read, with the reason."""
    empty = {"prompt": "", "n_tokens": 0, "n_image_tokens": 0, "grid_h": 0, "grid_w": 0}
    return _sample(row, **empty, generated="", generated_ids=[], rejected=reason)


def sample_rows(
    loaded: LoadedModel, rows: Sequence[dict[str, Any]], encoded: Encoded, ids: list[list[int]]
) -> list[dict[str, Any]]:
    """Return the rows of `samples` of a batch.

    Args:
        loaded: the model.
        rows: B rows of the manifest.
        encoded: their batch.
        ids: the tokens each was answered with.
    """
    return [
        _sample(
            row,
            prompt=encoded.prompts[index],
            n_tokens=encoded.n_tokens[index],
            n_image_tokens=encoded.n_image_tokens[index],
            grid_h=encoded.grids[index][0],
            grid_w=encoded.grids[index][1],
            generated=loaded.tokenizer.decode(ids[index], skip_special_tokens=True),
            generated_ids=ids[index],
            rejected=None,
        )
        for index, row in enumerate(rows)
    ]


_SCALARS = (
    "entropy_nats",
    "kl_to_final_nats",
    "js_to_final_nats",
    "final_id",
    "final_rank",
    "final_logprob",
    "gold_rank",
    "gold_logprob",
)
_LISTS = ("top_id", "top_logprob", "script_mass", "concept_mass")


def trajectory_rows(ids: Sequence[str], step: Tensor, readout: Readout | None) -> pd.DataFrame:
    """Return the rows of `trajectory` of n steps: their sample ids, numbers and readout."""
    if readout is None:
        return pd.DataFrame(columns=["sample_id", "step", "layer", *_SCALARS, *_LISTS])
    layers = readout.entropy_nats.shape[1]
    frame = pd.DataFrame(
        {
            "sample_id": np.repeat(np.asarray(ids, dtype=object), layers),
            "step": np.repeat(step.cpu().numpy(), layers),
            "layer": np.tile(np.arange(layers), len(ids)),
        }
    )
    for name in _SCALARS:
        frame[name] = getattr(readout, name).reshape(-1).cpu().numpy()
    for name in _LISTS:
        values = getattr(readout, name)
        frame[name] = list(values.reshape(-1, values.shape[-1]).cpu().numpy())
    return frame


def head_rows(ids: Sequence[str], step: Tensor, values: Tensor) -> pd.DataFrame:
    """Return the rows of `heads` of n steps, given [n, L, heads, 5]."""
    n, layers, heads, _ = values.shape
    each = layers * heads
    flat = values.reshape(n * each, -1).cpu().numpy()
    frame = pd.DataFrame(
        {
            "sample_id": np.repeat(np.asarray(ids, dtype=object), each),
            "step": np.repeat(step.cpu().numpy(), each),
            "layer": np.tile(np.repeat(np.arange(1, layers + 1), heads), n),
            "head": np.tile(np.arange(heads), n * layers),
        }
    )
    for column, name in enumerate(HEAD_COLUMNS):
        frame[name] = flat[:, column]
    return frame
