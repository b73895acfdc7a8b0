"""Which modules compute the self-attention of a decoder's blocks, and how it can be read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from lensbench.lens.attention import listening

#: What a row of half-precision weights, summed, may be off by.
_SUM = 2e-2


@dataclass(frozen=True)
class Heads:
    """The self-attention that can be read.

    Args:
        layers: numbers of the blocks that have it, from 1.
        modules: the attention module of each of them.
        tellers: those of the modules that return their weights rather than using transformers'
            `AttentionInterface`.
        n_heads: query heads a block.
        reason: why other blocks' (or all) can't be read, "" if every block's can.
    """

    layers: tuple[int, ...] = ()
    modules: tuple[nn.Module, ...] = ()
    tellers: tuple[nn.Module, ...] = ()
    n_heads: int = 0
    reason: str = ""

    @property
    def layer_of(self) -> dict[int, int]:
        """The number of the block that a module, given by its id, computes attention for."""
        return {id(m): layer for m, layer in zip(self.modules, self.layers, strict=True)}


@dataclass
class _Ears:
    """A listener that notes who computes attention in the blocks."""

    members: dict[int, int]
    heard: list[tuple[int, nn.Module, Tensor]] = field(default_factory=list)

    def wants(self, module: nn.Module) -> bool:
        return id(module) in self.members

    def attention(self, module: nn.Module, rows: Tensor) -> None:
        self.heard.append((self.members[id(module)], module, rows))


def find_heads(blocks: tuple[nn.Module, ...], run: Callable[[], Any], n_positions: int) -> Heads:
    """Find the modules that compute self-attention over the residual stream's positions.

    Args:
        blocks: the L blocks.
        run: one pass over one prompt.
        n_positions: positions T of its residual stream.
    """
    owner: dict[int, int] = {}
    shared: set[int] = set()
    for number, block in enumerate(blocks, start=1):
        for part in block.modules():
            if owner.setdefault(id(part), number) != number:
                shared.add(id(part))
    for part_id in shared:
        del owner[part_id]
    by_interface = _heard(owner, run, (), n_positions)
    parts = [part for block in blocks for part in block.modules() if id(part) in owner]
    silent = [part for part in dict.fromkeys(parts) if owner[id(part)] not in by_interface]
    telling = _heard(owner, run, tuple(silent), n_positions) if silent else {}
    found = {**telling, **by_interface}
    single = {layer: heard[0] for layer, heard in sorted(found.items()) if len(heard) == 1}
    counts = {rows.shape[1] for _, rows in single.values()}
    if len(counts) > 1:
        return Heads(reason=f"its blocks have {sorted(counts)} heads, not one number")
    missing = [number for number in range(1, len(blocks) + 1) if number not in single]
    reason = ""
    if missing:
        reason = (
            "no block computes self-attention that can be read"
            if len(missing) == len(blocks)
            else f"{_listed(missing)} no self-attention that can be read"
        )
    modules = tuple(module for module, _ in single.values())
    return Heads(
        layers=tuple(single),
        modules=modules,
        tellers=tuple(single[layer][0] for layer in single if layer not in by_interface),
        n_heads=counts.pop() if counts else 0,
        reason=reason,
    )


def _heard(
    owner: dict[int, int],
    run: Callable[[], Any],
    tellers: tuple[nn.Module, ...],
    n_positions: int,
) -> dict[int, list[tuple[nn.Module, Tensor]]]:
    """Return, by block, the modules whose rows are over the stream's positions and sum to 1."""
    ears = _Ears(owner)
    with torch.no_grad(), listening(ears, tellers):
        run()
    found: dict[int, list[tuple[nn.Module, Tensor]]] = {}
    for layer, module, rows in ears.heard:
        fits = rows.dim() == 3 and rows.shape[0] == 1 and rows.shape[-1] == n_positions
        if fits and float((rows.sum(-1) - 1).abs().max()) <= _SUM:
            found.setdefault(layer, []).append((module, rows))
    for layer, heard in found.items():
        # What a module returns, those that only pass it on return too.
        inner = [
            (module, rows)
            for module, rows in heard
            if not any(
                other is not module
                and any(part is other for part in module.modules())
                and torch.equal(rows, same)
                for other, same in heard
            )
        ]
        found[layer] = inner
    return found


def _listed(numbers: list[int]) -> str:
    if len(numbers) == 1:
        return f"block {numbers[0]} computes"
    more = " …" if len(numbers) > 8 else ""
    return f"blocks {', '.join(map(str, numbers[:8]))}{more} compute"
