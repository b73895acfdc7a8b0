"""From tensors to rows: the tables of a trace, as `trace_schema` describes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lensbench.lens.patches import Patches
from lensbench.lens.readout import Readout
from lensbench.models.load import LoadedModel
from lensbench.models.prompt import Encoded
from lensbench.models.vocabulary import text_ends

HEAD_COLUMNS = (
    "image_mass", "sink_mass", "text_mass", "image_entropy_nats", "image_max", "overview_mass",
    "image_sink_mass",
)  # fmt: skip
SAMPLE_COLUMNS = [
    "sample_id", "prompt", "n_tokens", "n_image_tokens", "grid_h", "grid_w", "views",
    "generated", "generated_ids", "generated_ends", "gold", "language", "family", "asked", "image",
    "picture",
    "rejected",
]  # fmt: skip


def _sample(row: Mapping[str, Any], **found: Any) -> dict[str, Any]:
    keys = ("sample_id", "gold", "language", "family", "image", "picture")
    return {**{key: row[key] for key in keys}, "asked": row["prompt"], **found}


def rejected_row(row: Mapping[str, Any], reason: str) -> dict[str, Any]:
    """Return the row of `samples` of a manifest row that could not be read, with the reason."""
    empty = dict.fromkeys(("n_tokens", "n_image_tokens", "grid_h", "grid_w"), 0)
    said = {"generated": "", "generated_ids": [], "generated_ends": []}
    return _sample(row, prompt="", views="[]", **empty, **said, rejected=reason)


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
            views=encoded.layouts[index].to_json(),
            generated=loaded.tokenizer.decode(ids[index], skip_special_tokens=True),
            generated_ids=ids[index],
            generated_ends=text_ends(loaded.tokenizer, ids[index]),
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
    """Return the rows of `heads` of n steps, given [n, head layers, heads, 6] and the layers."""
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


_TOPS = ("top_id", "top_logprob", "entropy_nats")
PATCH_COLUMNS = ("sample_id", "layer", "patch", "position", "view", "row", "col", *_TOPS)
WORD_COLUMNS = ("sample_id", "layer", "position", "token_id", *_TOPS)
ATTENTION_COLUMNS = ("sample_id", "layer", "head", "weights")


def patch_rows(
    ids: Sequence[str], found: Sequence[Patches], encoded: Encoded | None
) -> pd.DataFrame:
    """Return the rows of `patches`: what each image position of a batch's samples says.

    Args:
        ids: the samples.
        found: what was read of each at its image positions, or at all of its positions.
        encoded: their batch; None for no sample.
    """
    frames = []
    for index, name in enumerate(ids):
        assert encoded is not None
        places = found[index].positions.cpu()
        chosen = _image_of(encoded, index)[places]
        layout = encoded.layouts[index]
        own = {
            "patch": np.arange(int(chosen.sum())),
            "position": places[chosen].numpy(),
            "view": layout.view,
            "row": layout.row,
            "col": layout.col,
        }
        frames.append(_position_rows(name, found[index], chosen, own))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=PATCH_COLUMNS)


def word_rows(
    ids: Sequence[str], found: Sequence[Patches], encoded: Encoded | None
) -> pd.DataFrame:
    """Return the rows of `words`: what each position of the prompts that is no image position says.

    Args:
        ids: the samples.
        found: what was read of each at all of its positions.
        encoded: their batch; None for no sample.
    """
    frames = []
    for index, name in enumerate(ids):
        assert encoded is not None
        places = found[index].positions.cpu()
        chosen = ~_image_of(encoded, index)[places]
        tokens = encoded.inputs["input_ids"][index, int(encoded.first[index]) :].cpu()
        own = {
            "position": places[chosen].numpy(),
            "token_id": tokens[places[chosen]].numpy(),
        }
        frames.append(_position_rows(name, found[index], chosen, own))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=WORD_COLUMNS)


def _image_of(encoded: Encoded, index: int) -> Tensor:
    """Return which positions of a sample's prompt, padding left out, are image positions."""
    return encoded.image[index, int(encoded.first[index]) :].cpu()


def _position_rows(
    name: str, found: Patches, chosen: Tensor, own: Mapping[str, np.ndarray]
) -> pd.DataFrame:
    """Return one row a layer and chosen position, with columns of its own."""
    layers, n = found.entropy_nats.shape[0], int(chosen.sum())
    top_id, top_logprob = (
        getattr(found, part).cpu()[:, chosen].flatten(0, 1).numpy() for part in _TOPS[:2]
    )
    frame = pd.DataFrame(
        {
            "sample_id": np.repeat(np.asarray([name], dtype=object), layers * n),
            "layer": np.repeat(np.arange(layers), n),
            **{column: np.tile(values, layers) for column, values in own.items()},
        }
    )
    frame["top_id"], frame["top_logprob"] = list(top_id), list(top_logprob)
    frame["entropy_nats"] = found.entropy_nats.cpu()[:, chosen].flatten().numpy()
    return frame


def attention_rows(
    ids: Sequence[str], rows: Mapping[int, Tensor], encoded: Encoded | None
) -> pd.DataFrame:
    """Return the rows of `attention`: the last position's weights on each image position.

    Args:
        ids: the samples.
        rows: layer → [batch, heads, keys] of step 0, over the prompts' positions.
        encoded: their batch; None for no sample.
    """
    values = []
    for layer, weights in sorted(rows.items()):
        assert encoded is not None
        width = encoded.image.shape[1]
        # A sliding window's keys are the last ones; what is beyond it has no weight.
        whole = torch.nn.functional.pad(weights, (width - weights.shape[-1], 0)).cpu()
        for index, name in enumerate(ids):
            on_image = whole[index][:, encoded.image[index].cpu()].numpy()
            values += [(name, layer, head, row) for head, row in enumerate(on_image)]
    return pd.DataFrame(values, columns=ATTENTION_COLUMNS)


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
