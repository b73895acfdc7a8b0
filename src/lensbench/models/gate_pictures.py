"""Checks of the gate on pictures: they are where image positions are, and reach the answer."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lensbench.lens.generate import generate
from lensbench.models.checks import Check, check
from lensbench.models.load import LoadedModel
from lensbench.models.pictures import stream_changes
from lensbench.models.prompt import Encoded


def pictures_in_place(
    loaded: LoadedModel, singles: Sequence[Encoded], others: Sequence[Encoded]
) -> list[Check]:
    """Compare prompts with the same prompts and other pictures."""
    elsewhere, unmoved, positions, apart = 0.0, 0, 0, 0.0
    for single, other in zip(singles, others, strict=True):
        changed = stream_changes(
            loaded.model, loaded.anatomy.blocks[0], single.inputs, other.inputs
        )
        mask = single.image
        if changed.shape == mask.shape:
            elsewhere += int((changed & ~mask).sum())
        else:
            elsewhere += int(changed.sum())
            mask = torch.zeros_like(changed)
        logits = [generate(loaded, part, 1, logits=True).logits[0] for part in (single, other)]
        unmoved += int((logits[0] == logits[1]).all())
        count = int(mask.sum())
        positions += count
        unseen = int((mask & ~changed).sum())
        # Some image positions are the same for every picture (the ends of its lines), so what the
        # model says of its features counts, unless each position can be seen to hold a picture.
        features = _n_features(loaded, single.inputs) if unseen else count
        apart += unseen if features is None else abs(count - features)
    checks = [
        check(
            "pictures_stay_in_place",
            elsewhere,
            0,
            "the number of positions that hold a picture but are no image positions",
        ),
        check(
            "pictures_reach_answer",
            unmoved,
            0,
            "the number of prompts whose answer is the same for another picture",
        ),
    ]
    if not positions:
        return checks  # Pictures come in by cross-attention.
    detail = f"the difference of {positions} image positions and the number of image features"
    return [check("image_positions", apart, 0, detail), *checks]


def _n_features(loaded: LoadedModel, inputs: Mapping[str, Tensor]) -> int | None:
    """Return how many features the model makes of a batch's pictures; None if it doesn't say."""
    for place in (loaded.model, getattr(loaded.model, "base_model", None)):
        make = getattr(place, "get_image_features", None)
        if make is None:
            continue
        wanted = inspect.signature(make).parameters
        open_ended = any(p.kind is p.VAR_POSITIONAL for p in wanted.values())
        given = {
            key: value
            for key, value in inputs.items()
            if key in wanted or (open_ended and "pixel" in key)
        }
        try:
            with torch.inference_mode():
                output = make(**given)
        # A method of any signature, called with what its names suggest.
        except Exception:
            continue
        found = getattr(output, "pooler_output", None)
        found = output if found is None else found
        parts = [found] if isinstance(found, Tensor) else found
        if isinstance(parts, (list, tuple)) and all(isinstance(p, Tensor) for p in parts):
            return sum(part.numel() // part.shape[-1] for part in parts)
    return None
