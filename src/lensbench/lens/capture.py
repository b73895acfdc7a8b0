"""Hooks that keep the residual stream of the last position, and what its heads attend to.

Only the last position's states are kept, [batch, d] a layer and step: prompts are padded on the
left, so the last position is the one that predicts the next token in every sample of a batch. Other
positions are shown to a reader layer by layer, and kept only if it keeps them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lensbench.errors import ModelError
from lensbench.lens.attention import head_statistics, listening
from lensbench.models.anatomy import Anatomy
from lensbench.models.probe import hidden_of, input_of

#: Takes (layer, states [batch, positions, d]) of the prompt's pass, layer by layer from 0 to L.
Reader = Callable[[int, Tensor], None]


class Capture:
    """What one generation leaves behind: residual states and head statistics, step by step.

    The residual stream at layer l < L is what enters block l + 1, so that what some models add
    between two blocks is in it; at layer L it is what the last block gives.

    Args:
        anatomy: the model's parts.
        image: [batch, prompt positions], true at image positions (padding included, on the left).
        first: [batch] index of each prompt's first position that isn't padding.
        overview: [batch, prompt positions], true at the image positions of the first view; all of
            them by default.
        keep_rows: keep whole attention rows too (for the gate and tests; they are large).
        writes: keep what each module of a block adds to the last position's stream, too.
        reader: is shown every position of the prompt's pass.
        tellers: modules whose returned attention weights are read; the anatomy's by default.
    """

    def __init__(
        self,
        anatomy: Anatomy,
        image: Tensor,
        first: Tensor,
        keep_rows: bool = False,
        writes: bool = False,
        reader: Reader | None = None,
        tellers: Sequence[nn.Module] | None = None,
        overview: Tensor | None = None,
    ) -> None:
        self._anatomy = anatomy
        self._image = image
        self._overview = image if overview is None else overview
        self._first = first
        self._keep_rows = keep_rows
        self._reader = reader
        self._tellers = anatomy.heads.tellers if tellers is None else tuple(tellers)
        self._layer_of = anatomy.heads.layer_of
        self._states: list[list[Tensor]] = []
        self._heads: list[dict[int, Tensor]] = []
        self._writes: list[list[Tensor]] = []
        #: The modules that write, with the factor on what each gives.
        self._writers = (
            {write.module: write.scale for pair in anatomy.writes for write in pair}
            if writes
            else {}
        )
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
        """Return [batch, head layers, heads, 7]: `head_statistics` of the last position at a step.

        The head layers are those of `Anatomy.heads`, in order.
        """
        found, wanted = self._heads[step], self._anatomy.heads.layers
        if sorted(found) != list(wanted):
            raise ModelError(
                f"Attention was seen in {len(found)} blocks at step {step}, the probe saw it in "
                f"{len(wanted)}: the model computes it in another way when it generates."
            )
        if not wanted:
            return torch.zeros(self._image.shape[0], 0, 0, 7, device=self._image.device)
        return torch.stack([found[layer] for layer in wanted], dim=1)

    def written(self, step: int) -> Tensor:
        """Return [batch, L, 2, d] float32: what each block's two modules add at a step."""
        values = torch.stack(self._writes[step], dim=1)
        return values.reshape(values.shape[0], self._anatomy.n_layers, 2, -1)

    def wants(self, module: nn.Module) -> bool:
        """Say whether an attention module belongs to one of the blocks."""
        return id(module) in self._layer_of

    def attention(self, module: nn.Module, rows: Tensor) -> None:
        """Take the attention of the last position in one block."""
        layer, step = self._layer_of[id(module)], len(self._states) - 1
        if layer in self._heads[step]:
            raise ModelError(f"Block {layer} computes attention twice, so its heads are mixed.")
        # One device, where a large model lies on several.
        rows = rows.to(self._image.device)
        # Generated positions are text.
        image, overview = (
            nn.functional.pad(mask, (0, step)) for mask in (self._image, self._overview)
        )
        self._heads[step][layer] = head_statistics(rows, image, self._first, overview)
        if self._keep_rows:
            self.rows[step][layer] = rows

    @contextmanager
    def watching(self) -> Iterator[Capture]:
        """Have the hooks on the model inside the block."""
        anatomy = self._anatomy
        handles: list[Any] = []
        for layer, block in enumerate(anatomy.blocks):
            handles.append(block.register_forward_pre_hook(self._entering(layer), with_kwargs=True))
        handles.append(anatomy.blocks[-1].register_forward_hook(self._leave))
        handles += [module.register_forward_hook(self._write) for module in self._writers]
        try:
            if anatomy.heads.layers:
                with listening(self, self._tellers):
                    yield self
            else:
                yield self
        finally:
            for handle in handles:
                handle.remove()

    def _entering(self, layer: int) -> Callable[..., None]:
        def enter(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if layer == 0:
                for record in (self._states, self._writes):
                    record.append([])
                self._heads.append({})
                self.rows.append({})
            states = input_of(args, kwargs)
            self._check_positions(states)
            if self._anatomy.encoder_decoder and len(self._states) == 1 and layer == 0:
                # The stream is the answer's own: pictures and prompt are the encoder's.
                self._image = torch.zeros_like(states[..., 0], dtype=torch.bool)
                self._overview = self._image
                self._first = torch.zeros_like(self._first)
            self._keep(layer, states)

        return enter

    def _check_positions(self, states: Tensor) -> None:
        """Refuse a prompt that the model itself makes longer or shorter when it generates."""
        prompt = self._image.shape[1]
        first = len(self._states) == 1 and not self._states[0]
        if first and not self._anatomy.encoder_decoder and states.shape[1] != prompt:
            raise ModelError(
                f"The model runs {states.shape[1]} positions where its prompt has {prompt}, so "
                "which of them is which can't be told."
            )

    def _leave(self, _: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        self._keep(self._anatomy.n_layers, hidden_of(output))

    def _keep(self, layer: int, states: Tensor) -> None:
        # A copy: a view would keep the states of every position alive.
        self._states[-1].append(states[:, -1].detach().clone().to(self._image.device))
        if self._reader is not None and len(self._states) == 1:
            self._reader(layer, states.detach().to(self._image.device))

    def _write(self, module: nn.Module, _: tuple[Any, ...], output: Any) -> None:
        last = hidden_of(output).reshape(self._image.shape[0], -1, self._anatomy.hidden_size)[:, -1]
        written = last.detach().float() * self._writers[module]
        self._writes[-1].append(written.to(self._image.device))
