"""Heads switched off while a model runs: their part of the attention output set to zero or a mean.

A head's part is what it gives before the output projection, [batch, queries, width]; zero there is
the same as zero in the projection's weights that read it, whatever the model calls them. The
functions of transformers' `AttentionInterface` are wrapped as in `lens.attention`, so no class of
model is known here, and before a function's output is touched, its layout is checked against the
attention of the last query.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lensbench.errors import ModelError
from lensbench.lens.attention import row_of, wrapped
from lensbench.lens.generate import generate
from lensbench.models.anatomy import Anatomy
from lensbench.models.load import LoadedModel
from lensbench.models.probe import hidden_of, input_of
from lensbench.models.prompt import Encoded

#: "all": at every position; "last": where each pass predicts the next token, at its last position.
WHERE = ("all", "last")
#: What the last row, computed beside a kernel's, may be off by: half precision and its rounding.
_OFF = 5e-2

#: Takes (layer, output [batch, queries, heads, width]) and returns what goes on in its place.
Change = Callable[[int, Tensor], Tensor]
#: By block: keys and values, [batch, key heads, keys, width] each.
Cache = dict[int, tuple[Tensor, Tensor]]


@contextmanager
def switched_off(
    anatomy: Anatomy,
    heads: Mapping[int, Sequence[int]],
    where: str = "all",
    fill: Mapping[int, Tensor] | None = None,
) -> Iterator[None]:
    """Switch heads off in every pass of the model inside the block.

    In a pass over whole prompts, padded on the left, "last" is the last position of each prompt.
    With no head named, nothing is touched and no bit changes.

    Args:
        anatomy: the model's parts.
        heads: numbers of the heads, from 0, by the number of their block, from 1.
        where: "all" or "last", as in `WHERE`.
        fill: by block, [heads, width] that takes the place of a head's part (`MeanOutput.of`); zero
            by default.

    Raises:
        ModelError: if there is no such head, it can't be switched off, or the model has run in the
            block without it.
    """
    chosen = {layer: sorted(set(some)) for layer, some in sorted(heads.items()) if len(some)}
    if where not in WHERE:
        raise ModelError(f'Heads can be switched off at "all" or "last" positions, not "{where}".')
    if not chosen:
        yield
        return
    _check(anatomy, chosen)
    met: set[int] = set()

    def change(layer: int, output: Tensor) -> Tensor:
        met.add(layer)
        changed = output.clone()
        for head in chosen[layer]:
            part: Any = 0.0
            if fill is not None:
                part = fill[layer][head].to(output.device, output.dtype)
            if where == "last":
                changed[:, -1, head] = part
            else:
                changed[:, :, head] = part
        return changed

    with _changing(anatomy, chosen, change):
        yield
    missed = [layer for layer in chosen if layer not in met]
    if missed:
        raise ModelError(
            f"Nothing was switched off in blocks {_listed(missed)}: the model did not run, or "
            "computes their attention in another way than on the probe."
        )


@dataclass
class MeanOutput:
    """The mean of every head's output over positions, gathered while a model runs.

    Each position that is no padding counts the same, whatever sample it is of; with `where` "last"
    it is the mean over samples of their last position.
    """

    anatomy: Anatomy
    where: str = "all"
    _sums: dict[int, Tensor] = field(default_factory=dict)
    _counts: dict[int, int] = field(default_factory=dict)

    @contextmanager
    def gathering(self, first: Tensor) -> Iterator[None]:
        """Add the positions of one pass over whole prompts; of one that breaks off, nothing.

        Args:
            first: [batch] index of each prompt's first position that isn't padding.
        """
        seen: dict[int, tuple[Tensor, int]] = {}

        def look(layer: int, output: Tensor) -> Tensor:
            values, places = output.double(), torch.arange(output.shape[1], device=output.device)
            kept = places[None] >= first.to(output.device)[:, None]
            if self.where == "last":
                kept = kept & (places == output.shape[1] - 1)
            # Not a product with the mask: what padding gives may be no number.
            seen[layer] = values[kept].sum(0), int(kept.sum())
            return output

        every = {layer: range(self.anatomy.n_heads) for layer in self.anatomy.heads.layers}
        _check(self.anatomy, every)
        with _changing(self.anatomy, every, look):
            yield
        for layer, (total, count) in seen.items():
            self._sums[layer] = self._sums[layer] + total if layer in self._sums else total
            self._counts[layer] = self._counts.get(layer, 0) + count

    def of(self) -> dict[int, Tensor]:
        """Return each block's means, [heads, width], float64."""
        return {layer: total / self._counts[layer] for layer, total in self._sums.items()}


class Replay:
    """One prompt's blocks run again, each row with other heads switched off.

    One pass with nothing switched off is kept: what each block was called with, its keys and its
    values. A replay starts at the first block in which a row has a head switched off; rows that
    have the same heads switched off so far are computed once; and where heads are switched off at
    the last position alone, only that position is computed, on the keys and values kept of the
    others. This is what the model does wherever blocks depend on each other through the residual
    stream alone, which the caller must check against `switched_off`.

    Args:
        loaded: the model.
        encoded: one prompt, on the model's device.

    Raises:
        ModelError: if the model doesn't pass through its blocks once, in order.
    """

    def __init__(self, loaded: LoadedModel, encoded: Encoded) -> None:
        self._anatomy = anatomy = loaded.anatomy
        self._calls: list[tuple[nn.Module, tuple[Any, ...], dict[str, Any]]] = []
        self._states: list[Tensor] = []
        self._cache: Cache = {}

        def enter(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            self._calls.append((block, args, kwargs))
            self._states.append(input_of(args, kwargs).clone())

        handles = [
            block.register_forward_pre_hook(enter, with_kwargs=True) for block in anatomy.blocks
        ]
        try:
            with _changing(anatomy, anatomy.heads.layers, lambda _, output: output, self._cache):
                output = generate(loaded, encoded, 1, logits=True, use_cache=False)
        finally:
            for handle in handles:
                handle.remove()
        if [block for block, *_ in self._calls] != list(anatomy.blocks):
            raise ModelError("The model does not pass through its blocks once, in order.")
        #: The model's own logits with nothing switched off, [1, V], float32.
        self.untouched: Tensor = output.logits[0].float()

    def logits(
        self, off: np.ndarray, where: str = "all", fill: Mapping[int, Tensor] | None = None
    ) -> Tensor:
        """Return the logits of the prompt's last position, [rows, V], float32.

        Args:
            off: [rows, L, heads], true where a head is switched off; block 1 comes first.
            where: "all" or "last", as in `WHERE`.
            fill: as in `switched_off`.
        """
        last, layers = where == "last", self._anatomy.heads.layers
        touched = np.flatnonzero(off.any(axis=(0, 2)))
        start = int(touched[0]) if len(touched) else 0
        states = self._states[start][:, -1:] if last else self._states[start]
        here = off[:, start]

        def change(layer: int, output: Tensor) -> Tensor:
            chosen = torch.from_numpy(here).to(output.device)[:, None, :, None]
            part = torch.zeros((), dtype=output.dtype, device=output.device)
            if fill is not None:
                part = fill[layer].to(output.device, output.dtype)
            if last:
                end = torch.where(chosen, part, output[:, -1:])
                return torch.cat([output[:, :-1], end], dim=1)
            return torch.where(chosen, part, output)

        before = self._cache if last else None
        # Of each row: which row of `states` is its own.
        own = np.zeros(len(off), dtype=np.intp)
        with torch.inference_mode():
            for place in range(start, len(self._calls)):
                so_far = np.column_stack([own, off[:, place]])
                _, first, now = np.unique(so_far, axis=0, return_index=True, return_inverse=True)
                here, states = off[first, place], states[own[first].tolist()]
                if place == len(self._calls) - 1 and not last and place + 1 in layers:
                    # Of the last block's other positions nothing is read but keys and values.
                    before = {place + 1: self._keys(place, states)}
                    states, last = states[:, -1:], True
                with _changing(self._anatomy, layers, change, before=before):
                    states = hidden_of(self._run(place, states, last))
                own = now.reshape(-1)
            return self._anatomy.logits(states[own.tolist(), -1])

    def _keys(self, place: int, states: Tensor) -> tuple[Tensor, Tensor]:
        """Return the keys and values that a block makes of states, and compute no more of it."""

        def stop(_: Callable[..., Any]) -> Callable[..., Any]:
            def forward(
                _: nn.Module, query: Tensor, key: Tensor, value: Tensor, *__: Any, **___: Any
            ) -> Any:
                raise _StopError(key, value)

            return forward

        try:
            with wrapped(stop):
                self._run(place, states, False)
        except _StopError as found:
            key, value = found.args
            return key, value
        raise ModelError(f"Block {place + 1} computes no attention.")

    def _run(self, place: int, states: Tensor, last: bool) -> Any:
        """Call a block as it was called, on other states, [rows, positions, d]."""
        block, args, kwargs = self._calls[place]
        given = input_of(args, kwargs)
        positions = given.shape[1]

        def of(value: Any) -> Any:
            if value is given:
                return states
            return _last_of(value, positions) if last else value

        return block(*map(of, args), **{name: of(value) for name, value in kwargs.items()})


class _StopError(Exception):
    """Keys and values are known: what follows in a block is not wanted."""


def _last_of(value: Any, positions: int) -> Any:
    """Return what a block is given for its last position alone: of masks, the last query's row."""
    if isinstance(value, (tuple, list)):
        return type(value)(_last_of(part, positions) for part in value)
    if isinstance(value, dict):
        return {name: _last_of(part, positions) for name, part in value.items()}
    if not isinstance(value, Tensor) or positions not in value.shape:
        return value
    # Masks are [batch, heads, queries, keys], positions of several axes [axes, batch, T, width].
    place = 2 if value.dim() == 4 else list(value.shape).index(positions)
    return value.narrow(place, value.shape[place] - 1, 1)


@contextmanager
def _changing(
    anatomy: Anatomy,
    layers: Collection[int],
    change: Change,
    cache: Cache | None = None,
    before: Cache | None = None,
) -> Iterator[None]:
    """Have `change` applied to the attention output of some blocks inside the block.

    Args:
        anatomy: the model's parts.
        layers: numbers of the blocks.
        change: is given the output and returns another.
        cache: takes the keys and values, of one pass.
        before: keys and values of one prompt; those of all but its last position go before each
            row's own.
    """
    mine = {key: layer for key, layer in anatomy.heads.layer_of.items() if layer in layers}

    def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
        def forward(
            module: nn.Module,
            query: Tensor,
            key: Tensor,
            value: Tensor,
            attention_mask: Tensor | None,
            *more: Any,
            **options: Any,
        ) -> Any:
            layer = mine.get(id(module))
            if layer is not None and before is not None:
                key, value = (
                    torch.cat([kept[:, :, :-1].expand(len(new), -1, -1, -1), new], dim=2)
                    for kept, new in zip(before[layer], (key, value), strict=True)
                )
            given = original(module, query, key, value, attention_mask, *more, **options)
            if layer is None:
                return given
            if cache is not None:
                cache[layer] = key, value
            output = given[0]
            row = row_of(query, key, attention_mask, options)
            check_layout(layer, output, query, row, value)
            return (change(layer, output), *given[1:])

        return forward

    with wrapped(wrap):
        yield


def check_layout(layer: int, output: Tensor, query: Tensor, row: Tensor, value: Tensor) -> None:
    """Refuse an attention output that isn't head by head what attention and values give.

    The shape alone does not tell: a prompt may have as many positions as a block has heads.

    Args:
        layer: number of the block, for the error.
        output: [batch, queries, heads, width], if it is as it must be.
        query: [batch, heads, queries, width].
        row: [batch, heads, keys] attention of the last query.
        value: [batch, key heads, keys, width]; a key head serves heads ÷ key heads query heads.

    Raises:
        ModelError: if the shape is another or the last position is off.
    """
    batch, heads, queries, _ = query.shape
    if output.dim() != 4 or tuple(output.shape[:3]) != (batch, queries, heads):
        raise ModelError(
            f"Block {layer}'s attention gives {tuple(output.shape)}, not [{batch}, {queries}, "
            f"{heads}, width], so its heads can't be told apart and switched off."
        )
    groups = value.shape[1]
    weights = row.reshape(batch, groups, heads // groups, -1)
    wanted = torch.matmul(weights, value.float()).flatten(1, 2)
    off = (output[:, -1].float() - wanted).norm()
    if not bool(off <= _OFF * wanted.norm() + 1e-6):
        raise ModelError(
            f"Block {layer}'s attention gives something else than its heads' weights times their "
            "values at the last position, so its heads can't be switched off."
        )


def _check(anatomy: Anatomy, heads: Mapping[int, Sequence[int]]) -> None:
    """Refuse heads that a model doesn't have or that can't be reached."""
    found = anatomy.heads
    module_of = dict(zip(found.layers, found.modules, strict=True))
    for layer, some in heads.items():
        if layer not in module_of:
            why = f": {found.reason}" if found.reason else ""
            raise ModelError(f"The model has no heads to switch off in block {layer}{why}.")
        if any(module_of[layer] is teller for teller in found.tellers):
            raise ModelError(
                f"Block {layer} computes attention without transformers' AttentionInterface, so "
                'its heads can\'t be switched off: load the model with "sdpa" attention if it has '
                "that."
            )
        for head in some:
            if not 0 <= head < found.n_heads:
                raise ModelError(
                    f"Block {layer} has {found.n_heads} heads, counted from 0: there is no head "
                    f"{head} to switch off."
                )


def _listed(numbers: Sequence[int]) -> str:
    more = " …" if len(numbers) > 8 else ""
    return ", ".join(map(str, numbers[:8])) + more
