"""What a family makes of a picture: its image tokens and the prompt before them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from lensbench.training.answering import Prefix
from lensbench.training.lessons import chat

ASKED = "How many stars are there?"


def tower(model: Any) -> nn.Module:
    """Return the vision tower of a family's model."""
    name = "visual" if hasattr(model.model, "visual") else "vision_tower"
    found: nn.Module = getattr(model.model, name)
    return found


def image_features(model: Any, pictures: dict[str, Tensor]) -> Tensor:
    """Return the projected image tokens of a batch, [B, image tokens, hidden].

    Args:
        model: of a family.
        pictures: what its image processor gives, by name, pictures along the first axis.
    """
    batch = dict(pictures)
    if "image_grid_thw" in batch:
        # Qwen2-VL strings the patches of all pictures together.
        batch["pixel_values"] = batch["pixel_values"].flatten(0, 1)
    return torch.stack(list(model.model.get_image_features(**batch).pooler_output))


def all_features(model: Any, pictures: dict[str, Tensor]) -> Tensor:
    """Return `image_features` of many pictures, without gradients."""

    def parts() -> Iterator[Tensor]:
        count = len(next(iter(pictures.values())))
        for start in range(0, count, 256):
            part = {name: value[start : start + 256] for name, value in pictures.items()}
            yield image_features(model, part)

    with torch.no_grad():
        return torch.cat(list(parts()))


def find_prefix(model: Any, processor: Any) -> tuple[Prefix, str]:
    """Return what precedes every question, with the positions the model itself gives it.

    Args:
        model: of a family.
        processor: of the same family.

    Returns:
        The prefix, and its templated text.
    """
    text = chat(processor, ASKED)
    before = text[: text.index(ASKED)]
    blank = Image.new("RGB", (224, 224))
    encoded = processor(text=[text], images=[blank], return_tensors="pt")
    ids = encoded["input_ids"][0]
    length = len(ids) - len(processor.tokenizer.encode(text[len(before) :]))
    seen: dict[str, Any] = {}

    def spy(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen["positions"] = kwargs.get("position_ids")

    handle = model.model.language_model.register_forward_pre_hook(spy, with_kwargs=True)
    try:
        with torch.no_grad():
            model(**encoded)
    finally:
        handle.remove()
    positions = seen["positions"]
    if positions is None:
        positions = torch.arange(len(ids))[None]
    # [1, T] where positions are plain; [3, 1, T] (or 4, the first of them plain) for M-RoPE.
    positions = positions[-3:, 0] if positions.dim() == 3 else positions[0]
    image = ids == model.config.image_token_id
    prefix = Prefix(
        ids=ids[:length],
        image=image[:length],
        positions=positions[..., :length],
        next_position=int(positions[..., length].max()),
    )
    return prefix, before
