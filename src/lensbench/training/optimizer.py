"""Muon for the matrices inside the blocks, AdamW for the rest, one schedule for both."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class Optimizer:
    """Two optimizers that step as one, with gradient clipping and a one-cycle schedule.

    Args:
        parameters: all that is trained.
        blocks: the module whose matrices Muon takes (Jordan et al. 2024): its steps are
            orthogonalized, which on models this small halves the steps needed.
        rate: peak learning rate of both; Muon's is matched to AdamW's step size.
        steps: length of the schedule.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], blocks: nn.Module, rate: float, steps: int
    ) -> None:
        self.trained = list(parameters)
        inside = {id(p) for p in blocks.parameters() if p.dim() == 2}
        matrices = [p for p in self.trained if id(p) in inside]
        rest = [p for p in self.trained if id(p) not in inside]
        self.optimizers: list[torch.optim.Optimizer] = [
            torch.optim.Muon(matrices, lr=rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(rest, lr=rate, betas=(0.9, 0.98), weight_decay=0.0),
        ]
        self.schedules = [
            torch.optim.lr_scheduler.OneCycleLR(
                each, rate, total_steps=steps, pct_start=0.05, cycle_momentum=False
            )
            for each in self.optimizers
        ]

    def step(self, loss: Tensor) -> None:
        """Take one step down the gradient of the loss."""
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.trained, 1.0)
        for optimizer, schedule in zip(self.optimizers, self.schedules, strict=True):
            optimizer.step()
            schedule.step()
