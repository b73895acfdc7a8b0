"""What each block adds to the residual stream, module by module: the sub-block lens reads these.

A block's sum is found from its values, not from its names: the state that leaves it must be the
state that entered plus a factor times what one inner module gave, plus the same of another.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lensbench.models.probe import Call


@dataclass(frozen=True)
class Write:
    """One module whose output, times a factor, is added to the residual stream."""

    module: nn.Module
    scale: float


def find_writes(
    name: str, blocks: tuple[nn.Module, ...], calls: list[Call]
) -> tuple[tuple[tuple[Write, ...], ...], str]:
    """Find the two modules of every block that write to the residual stream.

    Args:
        name: the model's class, for the reason.
        blocks: the L blocks.
        calls: every call inside them of one pass, in order of entry.

    Returns:
        for each block its writes in the order of the sums (attention, then MLP), and "";
        or nothing, and the reason.
    """
    found: list[tuple[Write, ...]] = []
    usual: tuple[str, ...] = ()
    for number, block in enumerate(blocks, start=1):
        names = {id(part): path for path, part in block.named_modules() if path}
        own = next(call for call in calls if call.module is block)
        assert own.before is not None
        assert own.after is not None
        inner = [
            call
            for call in calls
            if id(call.module) in names
            and call.after is not None
            and call.after.numel() == own.before.numel()
        ]
        # Blocks are mostly alike: what wrote in the block before is tried first.
        inner.sort(key=lambda call: names[id(call.module)] not in usual)
        writes = _writes(own.before, own.after, inner, calls)
        if writes is None:
            return (), (
                f"{name} changes the residual stream in block {number} otherwise than by adding "
                "what two of its modules give"
            )
        usual = tuple(names[id(write.module)] for write in writes)
        found.append(writes)
    return tuple(found), ""


def _writes(
    before: Tensor, after: Tensor, inner: list[Call], calls: list[Call]
) -> tuple[Write, ...] | None:
    """Return the pair of calls (outermost ones first) whose outputs make the difference."""
    slack = 16 * torch.finfo(after.dtype).eps * float(after.abs().max())
    change = (after.double() - before.double()).flatten()
    outputs = [call.after.double().flatten() for call in inner if call.after is not None]
    for i, first in enumerate(outputs):
        for j in range(i + 1, len(outputs)):
            second = outputs[j]
            if torch.equal(first, second):
                continue
            for a, b in _scales(first, second, change):
                if float((a * first + b * second - change).abs().max()) <= slack:
                    pair = [(inner[i], a), (inner[j], b)]
                    pair.sort(key=lambda part: calls.index(part[0]))
                    return tuple(Write(call.module, scale) for call, scale in pair)
    return None


def _scales(first: Tensor, second: Tensor, change: Tensor) -> list[tuple[float, float]]:
    """Return candidates for the two factors: both 1, and those that fit best."""
    pair = torch.stack([first, second], dim=1)
    best = torch.linalg.lstsq(pair, change[:, None], driver="gelsd").solution[:, 0].tolist()
    rounded = [1.0 if abs(value - 1.0) < 1e-4 else float(value) for value in best]
    return [(1.0, 1.0), (rounded[0], rounded[1])]
