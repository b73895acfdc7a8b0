"""Floors: what a readout says of a state that means nothing."""

from __future__ import annotations

import torch
from torch import Tensor

from lensbench.lens.readout import chunk_bytes
from lensbench.lens.script_mass import ScriptMass
from lensbench.models.anatomy import Anatomy


def random_floors(
    anatomy: Anatomy,
    norm: Tensor,
    scripts: Tensor,
    n_directions: int,
    seed: int,
    lens: str = "normed",
    budget: int | None = None,
) -> Tensor:
    """Return the mean script mass of random directions with each layer's norm.

    Args:
        anatomy: the model's parts.
        norm: [L + 1] L2 norm of the states at each layer.
        scripts: [V, S] 1 where a token is in a script.
        n_directions: directions a layer, the same ones at every layer.
        seed: of the directions, which are the same on every device.
        lens: the lens of layers below L; the last layer is always read out as the model does it.
        budget: bytes that the logits of one chunk may take.

    Returns:
        [L + 1, S], each row summing to 1.
    """
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(n_directions, anatomy.hidden_size, generator=generator)
    directions = (directions / directions.norm(dim=-1, keepdim=True)).to(norm.device)
    rows = max(1, chunk_bytes(norm.device, budget) // (4 * scripts.shape[0]))
    mass, floors = ScriptMass(scripts), []
    for layer, length in enumerate(norm):
        kind = lens if layer < len(norm) - 1 else "normed"
        total = torch.zeros(scripts.shape[1], device=norm.device)
        for part in directions.split(rows):
            p = anatomy.logits(part * length, kind).softmax(-1)
            total += mass(p, p.sum(-1)).sum(0)
        floors.append(total / n_directions)
    return torch.stack(floors)
