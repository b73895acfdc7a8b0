"""Checks of the gate on attention: the rows are the softmax of the model's own queries and keys."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from lensbench.lens.attention import implementation, row_of
from lensbench.lens.generate import trace_batch
from lensbench.models.checks import EPS, ROW_SUM, STEPS, Check, Worst, check
from lensbench.models.load import LoadedModel
from lensbench.models.prompt import Encoded

#: Unit roundoff of float32, in which rows are computed whatever the model's dtype.
_UNIT = torch.finfo(torch.float32).eps / 2


def attention(loaded: LoadedModel, batch: Encoded) -> list[Check]:
    """Compare the rows that are computed here with the model's own eager code, run in float64.

    The reference takes the queries and keys of the run that is judged, so that rounding in earlier
    blocks doesn't come into it, and the mask that transformers makes for eager attention, which is
    made in another way than that of the model's own kernel.
    """
    heads = loaded.anatomy.heads
    if not heads.layers:
        return []
    layer_of = heads.layer_of
    told = {layer_of[id(module)] for module in heads.tellers}
    masks: dict[tuple[int, int], Tensor | None] = {}
    exact: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
    eager, error = Worst(), 0.0

    def by_eager(at: tuple[int, int], call: _Call, weights: Tensor) -> None:
        nonlocal error
        masks[at] = call.mask
        if at[0] in told:
            return
        row, limit = call.softmax64(call.mask)
        own = (weights[:, :, -1] - row).abs().amax(-1)
        # Where half precision overflows, eager attention has no opinion.
        sound = own.isfinite()
        if bool(sound.any()):
            ours = row_of(call.query, call.key, call.mask, call.options)
            away = (ours - weights[:, :, -1]).abs().amax(-1)
            eager.add(away[sound].tolist(), (2 * (own + limit))[sound].tolist())
            error = max(error, float(own[sound].max()))

    def by_itself(at: tuple[int, int], call: _Call, weights: Tensor | None) -> None:
        row, limit = call.softmax64(masks.get(at, call.mask))
        if at[0] in told and weights is not None:  # Computed by the model, in its own dtype.
            limit = limit + (weights[:, :, -1] - row).abs().amax(-1)
        exact[at] = row, limit

    with implementation(loaded.anatomy.configs, "eager"), _asked(layer_of, by_eager):
        trace_batch(loaded, batch, STEPS, tellers=heads.modules)
    with _asked(layer_of, by_itself):
        rows = trace_batch(loaded, batch, STEPS, keep_rows=True).capture.rows
    sums = max(float((row.sum(-1) - 1).abs().max()) for step in rows for row in step.values())
    # Modules that tell their weights have rounded each of them to the model's dtype.
    whole = max(ROW_SUM, EPS[loaded.precision]) if told else ROW_SUM
    checks = [check("attention_sums_to_1", sums, whole, "the largest error of a row's sum")]
    softmax = Worst()
    for step, found in enumerate(rows):
        for layer, ours in found.items():
            if layer in told and (layer, step) not in exact:
                continue  # It never says what its scores are made of.
            row, limit = exact.get((layer, step), (torch.empty(0), torch.zeros(1)))
            away = (ours - row).abs().amax(-1) if row.shape == ours.shape else limit + math.inf
            softmax.add(away.flatten().tolist(), limit.flatten().tolist())
    detail = "the largest difference of an attention row from"
    if exact:
        name = f"{detail} the float64 softmax of the same queries and keys"
        checks.append(softmax.check("attention_is_softmax", name))
    if told < set(heads.layers):
        name = f"{detail} the eager one, itself up to {error:.2g} off its float64 softmax,"
        checks.append(eager.check("attention_is_eager", name))
    return checks


@dataclass(frozen=True)
class _Call:
    """What an attention function was called with, and the eager one of the model's own file."""

    eager: Callable[..., Any]
    module: nn.Module
    query: Tensor
    key: Tensor
    value: Tensor
    mask: Tensor | None
    options: Mapping[str, Any]

    def softmax64(self, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the last query's weights by the eager code in float64, and what they may be off.

        A float32 product of vectors of width w is off by √w·u·Σ|q·k| (Higham and Mary 2019, theorem
        2.4, u = 2⁻²⁴), and by u for each of scale, soft cap and mask. Scores that are off by δ
        make a softmax that is off by tanh(δ/2) at most.

        Args:
            mask: added to the scores, or true where attended to; None if all keys are.

        Returns:
            [batch, heads, keys], float64, and [batch, heads]: what a row computed in float32 may be
            off.
        """
        query, key = self.query[:, :, -1:].double(), self.key.double()
        if mask is not None:
            mask = mask[..., -1:, : key.shape[2]]
            if mask.dtype == torch.bool:
                mask = torch.zeros_like(mask, dtype=query.dtype).masked_fill(~mask, -math.inf)
            mask = mask.double()
        options = dict(self.options)
        if options.get("position_bias") is not None:
            options["position_bias"] = options["position_bias"][..., -1:, :]
        with _Double():
            weights = self.eager(self.module, query, key, self.value.double(), mask, **options)[1]
        row = weights[:, :, -1].double()
        scaling, width = options.get("scaling"), query.shape[-1]
        keys = key.abs().repeat_interleave(query.shape[1] // key.shape[1], dim=1)
        size = (query.abs() @ keys.transpose(-1, -2))[:, :, 0]
        size = size.masked_fill(row == 0, 0).amax(-1) * (
            width**-0.5 if scaling is None else scaling
        )
        return row, torch.tanh((math.sqrt(width) + 3) * _UNIT * size / 2) + 8 * _UNIT


class _Double(TorchFunctionMode):
    """Keeps softmaxes in float64 that are written to be in float32."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        if given.get("dtype") == torch.float32 and func.__name__ == "softmax":
            given["dtype"] = torch.float64
        return func(*args, **given)


@contextmanager
def _asked(
    layer_of: Mapping[int, int], tell: Callable[[tuple[int, int], _Call, Any], None]
) -> Iterator[None]:
    """Tell (layer, step), the call and the weights of every attention inside the block.

    Models ask transformers' `AttentionInterface` for a function, and give it their own eager one.
    """
    original, calls = ALL_ATTENTION_FUNCTIONS.get_interface, Counter[int]()

    def get_interface(name: str, eager: Callable[..., Any]) -> Callable[..., Any]:
        function = original(name, eager)

        def forward(
            module: nn.Module,
            query: Tensor,
            key: Tensor,
            value: Tensor,
            attention_mask: Tensor | None,
            *more: Any,
            **options: Any,
        ) -> Any:
            output = function(module, query, key, value, attention_mask, *more, **options)
            layer = layer_of.get(id(module))
            if layer is not None:
                call = _Call(eager, module, query, key, value, attention_mask, options)
                tell((layer, calls[layer]), call, output[1])
                calls[layer] += 1
            return output

        return forward

    ALL_ATTENTION_FUNCTIONS.get_interface = get_interface  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        del ALL_ATTENTION_FUNCTIONS.get_interface
