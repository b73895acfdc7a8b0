"""Single prompts joined into one left-padded batch, as the model's own processor would make it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lensbench.errors import DataError
from lensbench.models.prompt import Encoded


def join(parts: Sequence[Encoded], pad_id: int) -> Encoded:
    """Join prompts, each encoded alone, into one batch.

    What has one column a position is padded on the left (ids with `pad_id`, all else with 0); what
    belongs to pictures is put one after the other, at its end filled up with 0 where pictures have
    different numbers of tiles.

    Args:
        parts: encodings of one or more prompts, with the same inputs.
        pad_id: the token that fills up.

    Raises:
        DataError: if their inputs are of different kinds.
    """
    names = list(parts[0].inputs)
    if any(list(part.inputs) != names for part in parts):
        raise DataError("Prompts with and without pictures can't be one batch.")
    prompt = "input_ids" if "input_ids" in names else "decoder_input_ids"
    widths = [part.inputs[prompt].shape[1] for part in parts]
    width = max(widths)
    inputs = {}
    for name in names:
        values = [part.inputs[name] for part in parts]
        if all(v.dim() == 2 and v.shape[1] == w for v, w in zip(values, widths, strict=True)):
            fill = pad_id if name == prompt else 0
            inputs[name] = torch.cat([_left(value, width, fill) for value in values])
        else:
            inputs[name] = torch.cat(_alike(values))
    return Encoded(
        inputs=inputs,
        prompts=[text for part in parts for text in part.prompts],
        image=torch.cat([_left(part.image, width, False) for part in parts]),
        first=torch.cat(
            [part.first + (width - own) for part, own in zip(parts, widths, strict=True)]
        ),
        n_tokens=[n for part in parts for n in part.n_tokens],
        n_image_tokens=[n for part in parts for n in part.n_image_tokens],
        layouts=[layout for part in parts for layout in part.layouts],
    )


def same(left: Encoded, right: Encoded) -> bool:
    """Say whether two batches are equal to the last bit."""
    return (
        left.inputs.keys() == right.inputs.keys()
        and all(
            left.inputs[name].shape == right.inputs[name].shape
            and torch.equal(left.inputs[name], right.inputs[name])
            for name in left.inputs
        )
        and torch.equal(left.image, right.image)
        and torch.equal(left.first, right.first)
        and left.layouts == right.layouts
        and left.n_tokens == right.n_tokens
    )


def _left(values: Tensor, width: int, fill: int | bool) -> Tensor:
    return torch.nn.functional.pad(values, (width - values.shape[1], 0), value=fill)


def _alike(values: list[Tensor]) -> list[Tensor]:
    """Return tensors filled up with 0 to one size in all dimensions but the first."""
    sizes = [max(value.shape[axis] for value in values) for axis in range(1, values[0].dim())]
    return [
        torch.nn.functional.pad(
            value,
            [
                edge
                for axis in range(value.dim() - 1, 0, -1)
                for edge in (0, sizes[axis - 1] - value.shape[axis])
            ],
        )
        for value in values
    ]
