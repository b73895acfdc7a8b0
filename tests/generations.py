"""What a model itself says while it generates: the truth that tiny instances are held to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


@torch.inference_mode()
def generated_logits(model: Any, inputs: Mapping[str, Tensor], steps: int) -> Tensor:
    """Return [prompts, steps, vocabulary]: the logits of what is generated greedily."""
    # Copies: some models write into the ids that they are given.
    own = {key: value.clone() for key, value in inputs.items()}
    options = {"do_sample": False, "return_dict_in_generate": True, "output_logits": True}
    found = model.generate(**own, max_new_tokens=steps, **options).logits
    assert len(found) == steps
    return torch.stack(found, dim=1)


def generated(model: Any, inputs: Mapping[str, Tensor], steps: int = 2) -> Tensor:
    """Return [prompts, steps, vocabulary]: the log-probabilities of what is generated greedily."""
    return generated_logits(model, inputs, steps).float().log_softmax(-1)
