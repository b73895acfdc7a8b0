"""A tiny random model of one type, with two prompts to run it on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


class Unbuildable(Exception):  # noqa: N818 (no error of lensbench's: a finding)
    """No tiny instance of a type can be built or run; the message is the reason."""


@dataclass(frozen=True)
class Instance:
    """A model that is in memory, and the same two prompts padded together and alone.

    Args:
        model_type: transformers' name of the type.
        task: "image-text" or "text".
        model: the transformers model, seeded, float32, in eval mode.
        batch: keyword arguments of `model.generate`: two prompts of different lengths, padded on
            the left.
        singles: the same of each prompt alone, without padding.
        image_token_id: the id that holds an image position in `input_ids`; None if the prompts
            have none (text, or pictures that enter through cross-attention).
    """

    model_type: str
    task: str
    model: Any
    batch: dict[str, Tensor]
    singles: tuple[dict[str, Tensor], ...]
    image_token_id: int | None = None

    @property
    def image(self) -> Tensor:
        """[2, T] true at the image positions of the padded batch."""
        return image_positions(self.batch, self.image_token_id)


def image_positions(inputs: dict[str, Tensor], image_token_id: int | None) -> Tensor:
    """Return [B, T], true at the image positions of a batch; none in a decoder's own prompt."""
    ids = inputs["input_ids"] if "input_ids" in inputs else inputs["decoder_input_ids"]
    if image_token_id is None:
        return torch.zeros_like(ids, dtype=torch.bool)
    return ids == image_token_id
