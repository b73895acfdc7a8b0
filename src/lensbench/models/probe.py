"""One forward pass watched from outside: what is called, in which order, on which tensors.

Two passes, in fact: the first only notes the order of calls, which is enough to tell the blocks of
the decoder and the output embeddings; the second keeps the tensors around those.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from lensbench.errors import ModelError


def hidden_of(output: Any) -> Tensor:
    """Return the residual stream in what a block returns (a tensor, or a tuple that starts so)."""
    found = tensor_of(output)
    if found is None:
        raise ModelError(f"A block returns {type(output).__name__}, which holds no tensor.")
    return found


def input_of(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
    """Return the residual stream in what a block is called with."""
    for value in (*args, kwargs.get("hidden_states"), *kwargs.values()):
        if isinstance(value, Tensor) and value.is_floating_point():
            return value
    raise ModelError("A block is called without a tensor, so no state enters it.")


def tensor_of(output: Any) -> Tensor | None:
    """Return the first floating-point tensor of a module's output, None if there is none."""
    if isinstance(output, Tensor):
        return output if output.is_floating_point() else None
    parts = output.values() if isinstance(output, Mapping) else output
    if isinstance(parts, (str, bytes)) or not hasattr(parts, "__iter__"):
        return None
    for part in parts:
        if isinstance(part, Tensor) and part.is_floating_point():
            return part
    return None


def rows_of(states: Tensor) -> Tensor:
    """Return states [..., d] as rows [n, d]."""
    return states.reshape(-1, states.shape[-1])


@contextmanager
def hooked(
    modules: Sequence[nn.Module],
    before: Callable[..., None] | None,
    after: Callable[..., None] | None,
) -> Iterator[None]:
    """Have the same two hooks on each of several modules inside the block."""
    handles: list[Any] = []
    try:
        for module in modules:
            if before is not None:
                handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
            if after is not None:
                handles.append(
                    module.register_forward_hook(after, with_kwargs=True, always_call=False)
                )
        yield
    finally:
        for handle in handles:
            handle.remove()


@dataclass
class Order:
    """When modules were called in one pass: moments count up at each entry and each exit."""

    entered: dict[int, list[int]] = field(default_factory=dict)
    left: dict[int, list[int]] = field(default_factory=dict)
    moment: int = 0

    def calls(self, module: nn.Module) -> int:
        """Return how often a module was called."""
        return len(self.entered.get(id(module), ()))

    def first(self, module: nn.Module) -> int:
        """Return when a module was first entered."""
        return self.entered[id(module)][0]

    def last(self, module: nn.Module) -> int:
        """Return when a module was last left."""
        return self.left[id(module)][-1]


def call_order(model: nn.Module, run: Callable[[], Any]) -> Order:
    """Return the order in which one pass calls the modules of a model."""
    order = Order()

    def enter(module: nn.Module, *_: Any) -> None:
        order.entered.setdefault(id(module), []).append(order.moment)
        order.moment += 1

    def leave(module: nn.Module, *_: Any) -> None:
        order.left.setdefault(id(module), []).append(order.moment)
        order.moment += 1

    with torch.no_grad(), hooked(list(model.modules()), enter, leave):
        run()
    return order


def find_blocks(
    model: nn.Module, order: Order, n_layers: int | None, before: int
) -> tuple[nn.Module, ...]:
    """Return the decoder's blocks: the last list of modules called one after the other, once each.

    Args:
        model: the model.
        order: the calls of one pass.
        n_layers: the configuration's number of blocks, which settles it where several lists would
            do; None if it has none.
        before: the moment at which the output embeddings are called.

    Raises:
        ModelError: if there is no such list.
    """
    name = type(model).__name__
    found: list[tuple[nn.Module, ...]] = []
    inner: set[int] = set()
    gaps: set[int] = set()
    repeated = 0
    for module in model.modules():
        if not isinstance(module, nn.ModuleList) or id(module) in inner:
            continue
        called = [member for member in module if order.calls(member)]
        if called:
            if any(order.calls(member) > 1 for member in called):
                repeated = max(repeated, len(called))
                continue
            starts = [order.first(member) for member in called]
            ends = [order.last(member) for member in called]
            follows = all(end < start for end, start in zip(ends, starts[1:], strict=False))
            if follows and ends[-1] < before:
                found.append(tuple(called))
                if called != list(module)[: len(called)]:
                    gaps.add(id(called[0]))
                # Lists inside blocks (experts, norms) are the blocks' own affair.
                inner.update(
                    id(part) for member in called for part in member.modules() if part is not member
                )
    exact = [blocks for blocks in found if len(blocks) == n_layers]
    choice = exact or [blocks for blocks in found if len(blocks) > 1]
    if not choice:
        if repeated:
            raise ModelError(
                f"{name} calls its {repeated} blocks more than once a pass, so no single state "
                "stands for a layer."
            )
        raise ModelError(
            f"{name} has no list of blocks that it calls one after the other before its output "
            f"embeddings (its configuration speaks of {n_layers}), so it can't be read layer by "
            "layer."
        )
    blocks = max(choice, key=lambda blocks: order.last(blocks[-1]))
    if id(blocks[0]) in gaps:
        raise ModelError(
            f"{name} leaves some of its blocks out of this prompt's pass, so its layers would be "
            "numbered wrongly."
        )
    return blocks


@dataclass
class Call:
    """One call of a module: the first tensor that went in, and the first that came out.

    Moments count up at each entry and each exit, so that what lies inside of what can be told.
    """

    module: nn.Module
    before: Tensor | None
    entered: int
    after: Tensor | None = None
    left: int = -1


def watched(
    model: nn.Module, modules: Sequence[nn.Module], run: Callable[[], Any]
) -> tuple[list[Call], Any]:
    """Run a pass and return the calls of some modules, in the order in which they were entered.

    Args:
        model: the model.
        modules: which modules' tensors are kept (copies).
        run: the pass.

    Returns:
        the calls, and what the pass returned.
    """
    calls: list[Call] = []
    open_calls: dict[int, list[Call]] = {}
    moments = itertools.count()
    # One device, where a large model lies on several: the tensors are compared.
    home = next(model.parameters()).device

    def enter(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        try:
            state: Tensor | None = input_of(args, kwargs).clone().to(home)
        except ModelError:
            state = None
        call = Call(module, state, next(moments))
        calls.append(call)
        open_calls.setdefault(id(module), []).append(call)

    def leave(
        module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        made = tensor_of(output)
        call = open_calls[id(module)].pop()
        call.after, call.left = None if made is None else made.clone().to(home), next(moments)

    with torch.no_grad(), hooked(modules, enter, leave):
        output = run()
    return calls, output
