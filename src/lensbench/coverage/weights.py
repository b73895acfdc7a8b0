"""Weights of a random model shaken, so that attention and logits are far from uniform."""

from __future__ import annotations

import re
from typing import Any

import torch


def shaken(model: Any, scale: float = 0.3) -> Any:
    """Add noise to every weight of a model in place.

    Args:
        model: a transformers model in float32.
        scale: standard deviation of the noise on matrices that have 16 inputs; others get it
            times the square root of 16 over their inputs, so that no sum overflows. Vectors
            (biases, norms, gates) get a third of it.

    Returns:
        The model, in eval mode and without gradients.
    """
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not parameter.requires_grad and "position" in name:
                continue  # Tables of sines mean something as they are.
            size = scale / 3
            if parameter.dim() > 1:
                inputs = parameter[0].numel() if parameter.dim() != 3 else parameter.shape[-1]
                size = scale * min(1.0, (16 / max(inputs, 1)) ** 0.5)
            parameter.add_(torch.randn_like(parameter) * size)
    model.tie_weights()
    model.requires_grad_(False)
    return model.eval()


def softened(model: Any, factor: float) -> Any:
    """Make the queries of a model weaker in place, where attention would be all on one key.

    Args:
        model: a transformers model.
        factor: what the queries' weights are multiplied with.

    Returns:
        The model.
    """
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if re.search(r"\.(q_norm|q_proj|q_b_proj|query)\.", name):
                parameter.mul_(factor)
    return model
