"""Hooks that keep the residual stream of the last position, and what its heads attend to.

Only the last position's states are kept, [batch, d] a layer and step: prompts are padded on the
left, so the last position is the one that predicts the next token in every sample of a batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lensbench.errors import ModelError
from lensbench.lens.attention import head_statistics, listening
from lensbench.models.anatomy import Anatomy, hidden_of, input_of


class Capture:
    """What one generation leaves behind: residual states and head statistics, step by step.

    Args:
        anatomy: the model's parts.
        image: [batch, prompt positions], true at image positions (padding included, on the left).
        first: [batch] index of each prompt's first position that isn't padding.
        keep_rows: keep whole attention rows too (for the gate and tests; they are large).
    """

    def __init__(
        self, anatomy: Anatomy, image: Tensor, first: Tensor, keep_rows: bool = False
    ) -> None:
        self._anatomy = anatomy
        self._image = image
        self._first = first
        self._keep_rows = keep_rows
        self._owner = {
            id(module): layer
            for layer, block in enumerate(anatomy.blocks)
            for module in block.modules()
        }
        self._states: list[list[Tensor]] = []
        self._heads: list[dict[int, Tensor]] = []
        self.rows: list[dict[int, Tensor]] = []

    @property
    def n_steps(self) -> int:
        """Forward passes seen so far; the first is the prompt's."""
        return len(self._states)

    def residuals(self, step: int) -> Tensor:
        """Return [batch, L + 1, d]: the residual stream of the last position at a step."""
        states = self._states[step]
        if len(states) != self._anatomy.n_layers + 1:
            raise ModelError(
                f"Step {step} went through {len(states) - 1} of {self._anatomy.n_layers} blocks, "
                "so its layers can't be told apart."
            )
        return torch.stack(states, dim=1)

    def heads(self, step: int) -> Tensor:
        """Return [batch, L, heads, 5]: `head_statistics` of the last position at a step."""
        found = self._heads[step]
        if sorted(found) != list(range(self._anatomy.n_layers)):
            raise ModelError(
                f"Attention was seen in {len(found)} of {self._anatomy.n_layers} blocks: the model "
                "doesn't compute all of it through transformers' AttentionInterface."
            )
        return torch.stack([found[layer] for layer in sorted(found)], dim=1)

    def wants(self, module: nn.Module) -> bool:
        """Say whether an attention module belongs to one of the blocks."""
        return id(module) in self._owner

    def attention(self, module: nn.Module, rows: Tensor) -> None:
        """Take the attention of the last position in one block."""
        layer, step = self._owner[id(module)], len(self._states) - 1
        if layer in self._heads[step]:
            raise ModelError(f"Block {layer + 1} computes attention twice, so its heads are mixed.")
        grown = self._image.shape[1] + step  # Generated positions are text.
        image = nn.functional.pad(self._image, (0, grown - self._image.shape[1]))
        self._heads[step][layer] = head_statistics(rows, image, self._first)
        if self._keep_rows:
            self.rows[step][layer] = rows

    @contextmanager
    def watching(self) -> Iterator[Capture]:
        """Have the hooks on the model inside the block."""
        blocks = self._anatomy.blocks
        handles: list[Any] = [
            blocks[0].register_forward_pre_hook(self._enter, with_kwargs=True),
            *(block.register_forward_hook(self._leave) for block in blocks),
        ]
        try:
            with listening(self._anatomy.decoder, self):
                yield self
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._states.append([_last(input_of(args, kwargs))])
        self._heads.append({})
        self.rows.append({})

    def _leave(self, _: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        self._states[-1].append(_last(hidden_of(output)))


def _last(states: Tensor) -> Tensor:
    # A copy: a view would keep the states of every position alive.
    return states[:, -1].detach().clone()
