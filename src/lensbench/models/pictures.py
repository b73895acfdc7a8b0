"""How pictures get into a model: at which positions of the residual stream, if at any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from lensbench.models.probe import hooked, input_of

#: Two prompts of different lengths, so that one of them is padded in a batch.
PROBE_PROMPTS = (
    "How many stars are there in this picture of the sky? Answer with a digit.",
    "Why?",
)
#: In their place where a model's context is too short for them.
SHORT_PROMPTS = ("Why not?", "Why?")


def probe_rows(pictured: bool, prompts: Sequence[str] = PROBE_PROMPTS) -> list[dict[str, Any]]:
    """Return two samples to probe a model with, as rows of a manifest."""
    image = "probe.png" if pictured else None
    return [{"prompt": words, "style": "chat", "image": image} for words in prompts]


def probe_pictures() -> list[Image.Image]:
    """Return two drawn pictures of one size, with something different in every patch."""
    ramp = Image.linear_gradient("L")
    other = Image.radial_gradient("L")
    first = Image.merge("RGB", (ramp, other, ramp.rotate(90)))
    return [first, first.rotate(90)]


def stream_changes(
    model: Any,
    first_block: nn.Module,
    inputs: Mapping[str, Tensor],
    others: Mapping[str, Tensor],
) -> Tensor:
    """Return [B, T], true where what enters the first block differs between two sets of inputs.

    Args:
        model: a transformers model.
        first_block: its first block.
        inputs: keyword arguments of `generate` for B prompts of T positions.
        others: the same prompts with other pictures.
    """
    seen: list[Tensor] = []

    def enter(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen.append(input_of(args, kwargs).clone())

    for keywords in (inputs, others):
        with torch.inference_mode(), hooked([first_block], enter, None):
            model.generate(**keywords, max_new_tokens=1, do_sample=False)
    ours, theirs = seen[0], seen[1]
    if ours.shape != theirs.shape:
        return torch.ones(ours.shape[:2], dtype=torch.bool, device=ours.device)
    return (ours != theirs).any(-1)
