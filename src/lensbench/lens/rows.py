"""From tensors to rows: the tables of a trace, as `trace_schema` describes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from lensbench.lens.patches import Patches
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


def head_rows(
    ids: Sequence[str], step: Tensor, values: Tensor, layers: Sequence[int]
) -> pd.DataFrame:
    """Return the rows of `heads` of n steps, given [n, head layers, heads, 5] and the layers."""
    n, _, heads, _ = values.shape
    each = len(layers) * heads
    flat = values.reshape(n * each, len(HEAD_COLUMNS)).cpu().numpy()
    frame = pd.DataFrame(
        {
            "sample_id": np.repeat(np.asarray(ids, dtype=object), each),
            "step": np.repeat(step.cpu().numpy(), each),
            "layer": np.tile(np.repeat(np.asarray(layers, dtype=int), heads), n),
            "head": np.tile(np.arange(heads), n * len(layers)),
        }
    )
    for column, name in enumerate(HEAD_COLUMNS):
        frame[name] = flat[:, column]
    return frame


PATCH_COLUMNS = (
    "sample_id", "layer", "patch", "row", "col", "top_id", "top_logprob", "entropy_nats",
)  # fmt: skip


def patch_rows(ids: Sequence[str], patches: Sequence[Patches]) -> pd.DataFrame:
    """Return the rows of `patches` of samples: their ids and what each image position says.

    Positions beyond a sample's grid (tiles, ends of lines) have row and column -1.
    """
    frames = []
    for name, found in zip(ids, patches, strict=True):
        layers, n = found.entropy_nats.shape
        height, width = found.grid
        place = np.arange(n)
        on_grid = place < height * width
        frames.append(
            pd.DataFrame(
                {
                    "sample_id": name,
                    "layer": np.repeat(np.arange(layers), n),
                    "patch": np.tile(place, layers),
                    "row": np.tile(np.where(on_grid, place // max(width, 1), -1), layers),
                    "col": np.tile(np.where(on_grid, place % max(width, 1), -1), layers),
                    "top_id": list(found.top_id.flatten(0, 1).cpu().numpy()),
                    "top_logprob": list(found.top_logprob.flatten(0, 1).cpu().numpy()),
                    "entropy_nats": found.entropy_nats.flatten().cpu().numpy(),
                }
            )
        )
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=PATCH_COLUMNS)


_LENS_SCALARS = (
    "entropy_nats", "kl_to_final_nats", "final_rank", "final_logprob", "gold_rank", "gold_logprob",
)  # fmt: skip
LENS_COLUMNS = ("sample_id", "lens", "layer", "top_id", "top_logprob", *_LENS_SCALARS)


def lens_rows(ids: Sequence[str], lens: str, first: int, readout: Readout) -> pd.DataFrame:
    """Return the rows of `lenses` of n samples: the readout of one lens from its first layer on."""
    layers = readout.entropy_nats.shape[1]
    frame = pd.DataFrame(
        {
            "sample_id": np.repeat(np.asarray(ids, dtype=object), layers),
            "lens": lens,
            "layer": np.tile(np.arange(first, first + layers), len(ids)),
            "top_id": readout.top_id[..., 0].reshape(-1).cpu().numpy(),
            "top_logprob": readout.top_logprob[..., 0].reshape(-1).cpu().numpy(),
        }
    )
    for name in _LENS_SCALARS:
        frame[name] = getattr(readout, name).reshape(-1).cpu().numpy()
    return frame
