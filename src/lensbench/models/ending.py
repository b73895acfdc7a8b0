"""From the last block's output to the logits: final norm, output embeddings, what follows them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lensbench.errors import ModelError
from lensbench.models.probe import Call, rows_of

#: Bytes of the output embeddings that are multiplied with at a time on a CPU: what a core's cache
#: holds with the product.
_PACKED = 4 * 2**20
#: Products of a multiple of so many states take two thirds of the time that one more would.
_EVEN = 8
#: Logits below this are never meant to be reached: the model rules these tokens out.
_RULED_OUT = -1e30


@dataclass(frozen=True)
class Step:
    """One module between the last block and the output embeddings, and the factor before it."""

    scale: float
    module: nn.Module


@dataclass(frozen=True)
class Ending:
    """What turns a state of the residual stream into logits.

    Args:
        tail: modules between the last block and the output embeddings, in order: the final norm.
        tail_scale: factor on the tail's output before the output embeddings (1 if none).
        unembedding: the output embeddings, [hidden] → [vocabulary].
        logit_scale: factor on their output (1 if none).
        softcap: c of c·tanh(logits/c), after the factor; None if none.
        bias: [V] added last; None if none.
        ruled_out: [n] ids that the model gives no chance whatever the state; None if none.
        vocab_size: number of logits V; further rows of the output embeddings are left out.
    """

    tail: tuple[Step, ...]
    tail_scale: float
    unembedding: nn.Module
    logit_scale: float
    softcap: float | None
    bias: Tensor | None
    ruled_out: Tensor | None
    vocab_size: int

    @torch.no_grad()
    def normed(self, hidden: Tensor) -> Tensor:
        """Return what the output embeddings are given for states [rows, d], in their own dtype."""
        states = hidden.to(next(self.unembedding.parameters()).dtype)[None]
        for step in self.tail:
            states = _beside(step.module, states)
            states = step.module(states if step.scale == 1.0 else states * step.scale)
        return (states if self.tail_scale == 1.0 else states * self.tail_scale)[0]

    @torch.no_grad()
    def logits(self, hidden: Tensor, lens: str = "normed") -> Tensor:
        """Read states of the residual stream out as the model reads out its last one.

        The tail and the output embeddings run in the model's own dtype, as in the model itself.

        Args:
            hidden: [rows, d], any floating dtype.
            lens: "normed" (the final norm, once) or "raw" (no norm).

        Returns:
            [rows, V], float32.
        """
        if lens == "normed":
            states = self.normed(hidden)
        elif lens == "raw":
            states = hidden.to(next(self.unembedding.parameters()).dtype)
        else:
            raise ModelError(f'"{lens}" is no lens: use "normed" or "raw".')
        return self.after(self._unembedded(states).to(hidden.device))

    def _unembedded(self, states: Tensor) -> Tensor:
        """Return the output embeddings' output [rows, V'], float32, in memory of its own."""
        head = self.unembedding
        states = _beside(head, states)
        hooked = bool(head._forward_hooks or head._forward_pre_hooks)
        if type(head) is not nn.Linear or hooked or states.is_cuda or states.dtype != torch.float32:
            return head(states).float()
        # Some rows of the embeddings at a time, as the left factor: a product with all of them, or
        # one that begins with the states, packs a copy of them and takes a third longer.
        weight = head.weight[: self.vocab_size]
        rows = len(states)
        out = torch.empty(rows, len(weight))
        if rows > _EVEN:
            states = nn.functional.pad(states, (0, 0, 0, -rows % _EVEN))
        step = max(1024, _PACKED // (4 * weight.shape[1]))
        for low in range(0, len(weight), step):
            part = weight[low : low + step] @ states.T
            out[:, low : low + step] = part[:, :rows].T
        return out if head.bias is None else out.add_(head.bias[: self.vocab_size])

    def after(self, values: Tensor) -> Tensor:
        """Return the logits [rows, V] for float32 output of the output embeddings, changing it."""
        values = values[..., : self.vocab_size]
        if self.logit_scale != 1.0:
            values = values.mul_(self.logit_scale)
        if self.softcap is not None:
            values = values.div_(self.softcap).tanh_().mul_(self.softcap)
        if self.bias is not None:
            values = values.add_(self.bias)
        if self.ruled_out is not None:
            values[..., self.ruled_out] = torch.finfo(values.dtype).min
        return values


def _beside(module: nn.Module, states: Tensor) -> Tensor:
    """Return states on a module's own device: a large model may lie on several."""
    weight = next(module.parameters(), None)
    return states if weight is None else states.to(weight.device)


class _Product(nn.Module):
    """Output embeddings that a model applies without calling a module of its own."""

    def __init__(self, weight: nn.Parameter) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, states: Tensor) -> Tensor:
        return nn.functional.linear(states, self.weight)


def find_ending(
    model: Any,
    unembedding: nn.Module | None,
    calls: list[Call],
    last: Tensor,
    logits: Tensor,
    config: Any,
) -> Ending:
    """Find what a model does between its last block and its logits.

    Args:
        model: the model.
        unembedding: its output embeddings, if it names any and calls them.
        calls: the calls after the last block, in order of entry.
        last: [1, T, d] the last block's output.
        logits: [1, T or less, V] the model's own.
        config: of its text decoder.

    Raises:
        ModelError: with the reason, if it can't be repeated at other layers.
    """
    final = rows_of(logits).detach().to(last.device)
    if unembedding is None:
        unembedding = _unnamed(model, calls, final.shape[-1])
    own = next((call for call in calls if call.module is unembedding), None)
    tries = [(unembedding, own)]
    # A head may do more than modules tell (an activation between two of them): taken as a whole,
    # it is a function from states to logits too.
    tries += [(call.module, call) for call in calls if own is not None and _holds(call, own)]
    reason = ""
    for module, call in tries:
        try:
            return _ending(type(model).__name__, module, call, calls, last, final, config)
        except ModelError as error:
            reason = reason or str(error)
    raise ModelError(reason)


def _holds(call: Call, inner: Call) -> bool:
    return call.entered < inner.entered and inner.left < call.left


def _ending(
    name: str,
    unembedding: nn.Module,
    own: Call | None,
    calls: list[Call],
    last: Tensor,
    final: Tensor,
    config: Any,
) -> Ending:
    """Return the ending with these output embeddings, if it leads from `last` to `final`."""
    tail, current = _chain(list(_outermost(calls, own)), rows_of(last), own)
    if own is None:
        scale = 1.0
        unembedded = unembedding(_beside(unembedding, current)).to(current.device)
    else:
        if own.before is None or own.after is None:
            raise ModelError(f"{name} has output embeddings that give no tensor.")
        entered, unembedded = rows_of(own.before), rows_of(own.after)
        found = _factor(current[-len(entered) :], entered)
        if found is None:
            raise ModelError(
                f"{name} does something between its last block and its output embeddings that is "
                "no module and no factor, so its readout can't be repeated at other layers."
            )
        scale = found
    n = min(len(unembedded), len(final))
    return Ending(
        tail,
        scale,
        unembedding,
        *_after(name, unembedded[-n:].detach(), final[-n:], config),
        vocab_size=int(final.shape[-1]),
    )


def _unnamed(model: Any, calls: list[Call], size: int) -> nn.Module:
    """Return output embeddings that a model doesn't name, or applies without a module's call."""
    for call in reversed(calls):
        if isinstance(call.module, nn.Linear) and call.module.out_features >= size:
            return call.module
    named = model.get_output_embeddings()
    weight = getattr(named if named is not None else model.get_input_embeddings(), "weight", None)
    if weight is None or weight.dim() != 2 or weight.shape[0] < size:
        raise ModelError(
            f"{type(model).__name__} has no output embeddings, so no state can be read out in "
            "words."
        )
    return _Product(weight)


def _outermost(calls: list[Call], own: Call | None) -> Iterator[Call]:
    """Yield the calls that lie in no other one; what holds the output embeddings is looked into."""
    until = -1
    for call in calls:
        if own is not None and (call is own or call.entered > own.entered):
            return
        if call.entered < until or (own is not None and _holds(call, own)):
            continue
        until = call.left
        yield call


def _chain(calls: list[Call], current: Tensor, own: Call | None) -> tuple[tuple[Step, ...], Tensor]:
    """Return the modules that lead from a state on, each fed with what the one before gave."""
    steps: list[Step] = []
    goal = None if own is None or own.before is None else rows_of(own.before)
    for call in calls:
        if call.before is None or call.after is None or call.before.dim() < 2:
            continue
        # Once it is what the output embeddings are given, nothing further belongs to the tail.
        if goal is not None and _factor(current[-len(goal) :], goal) == 1.0:
            break
        entered, left = rows_of(call.before), rows_of(call.after)
        if len(entered) > len(current) or len(left) != len(entered):
            continue
        scale = _factor(current[-len(entered) :], entered)
        if scale is not None:
            steps.append(Step(scale, call.module))
            current = left
    return tuple(steps), current


def _factor(before: Tensor, after: Tensor) -> float | None:
    """Return the one number that `before` was multiplied by to give `after`; None if none was."""
    if before.shape != after.shape:
        return None
    x, y = before.double().flatten(), after.double().flatten()
    if torch.equal(x, y):
        return 1.0
    scale = float((x @ y) / (x @ x).clamp_min(1e-300))
    slack = 2.0 * torch.finfo(after.dtype).eps * float(y.abs().max())
    return scale if bool(((scale * x - y).abs() <= slack).all()) else None


def _after(
    name: str, unembedded: Tensor, logits: Tensor, config: Any
) -> tuple[float, float | None, Tensor | None, Tensor | None]:
    """Return (factor, soft cap, bias, ids ruled out) that turn [n, V'] into the logits [n, V]."""
    size = logits.shape[-1]
    if unembedded.shape[-1] < size:
        raise ModelError(f"{name} doesn't make its logits from its output embeddings alone.")
    values = unembedded[:, :size]
    out = (logits <= _RULED_OUT).all(0) & (values > _RULED_OUT).all(0)
    ruled_out = out.nonzero()[:, 0] if bool(out.any()) else None
    kept = (~out).nonzero()[:, 0]
    x, y = values[:, kept].float(), logits[:, kept].float()
    eps = torch.finfo(logits.dtype if logits.dtype.is_floating_point else torch.float32).eps
    eps = max(eps, torch.finfo(unembedded.dtype).eps)
    scales = [1.0, *_numbers(config, "scal", "mult", "temper", inverse=True)]
    for cap in (None, *_numbers(config, "cap", "scal")):
        for scale in scales:
            guess = _capped(x * scale, cap)
            limit = 8 * eps * float(guess.abs().max().clamp_min(1e-30))
            if float((guess - y).abs().max()) <= limit:
                return scale, cap, None, ruled_out
    scale_found = _factor(x.to(logits.dtype), y.to(logits.dtype))
    if scale_found is not None:
        return scale_found, None, None, ruled_out
    bias = y - x
    if len(x) > 1 and bool(((bias - bias[:1]).abs() <= 8 * eps * y.abs().max()).all()):
        full = torch.zeros(size, device=logits.device)
        full[kept] = bias.mean(0)
        return 1.0, None, full, ruled_out
    raise ModelError(
        f"{name} changes its logits after its output embeddings in a way that is neither a factor, "
        "a soft cap nor a bias."
    )


def _capped(values: Tensor, cap: float | None) -> Tensor:
    return values if cap is None else cap * torch.tanh(values / cap)


def _numbers(config: Any, *parts: str, inverse: bool = False) -> list[float]:
    """Return the numbers of a configuration under keys that hold one of these parts."""
    found = []
    for key, value in vars(config).items():
        plain = isinstance(value, (int, float)) and not isinstance(value, bool)
        if plain and value and any(part in key.lower() for part in parts):
            found.append(float(value))
            if inverse:
                found.append(1.0 / float(value))
    return list(dict.fromkeys(found))
