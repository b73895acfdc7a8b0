"""Checks of the gate that compare runs: in a batch and alone, with a cache and without."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from lensbench.lens.generate import Traced, generate, trace_batch
from lensbench.models.checks import (
    CACHE,
    EPS,
    PADDING,
    PADDING_HALF,
    READOUT,
    READOUT_HALF,
    RULED_OUT,
    STEPS,
    Check,
    check,
)
from lensbench.models.load import LoadedModel
from lensbench.models.prompt import Encoded


def readout_limit(loaded: LoadedModel, states: Tensor, logits: Tensor) -> Tensor:
    """Return how far two readouts of the same states may be apart, [n], for rounding alone.

    A log-probability is a difference, so that it moves by up to twice what a logit does. Two logits
    of size s that are rounded to the model's dtype are up to eps·s apart, and twice that if a
    factor or a soft cap follows. Their sums of d products in float32 are up to 2·√d·u·‖h‖·‖w‖
    apart (Higham and Mary 2019; Cauchy and Schwarz), u = 2⁻²⁴.

    Args:
        loaded: the model.
        states: [n, d].
        logits: [n, V] their logits, without tokens that are ruled out.
    """
    ending = loaded.anatomy.ending
    rounded = EPS[loaded.precision] * logits.abs().amax(-1)
    if ending.softcap is not None or ending.logit_scale != 1.0:
        rounded = 2 * rounded
    summed = torch.zeros_like(rounded)
    weight = getattr(ending.unembedding, "weight", None)
    if weight is not None and weight.is_floating_point():
        largest = torch.linalg.vector_norm(weight, dim=-1, dtype=torch.float32).max()
        norms = ending.normed(states).float().norm(dim=-1) * largest.to(states.device)
        unit = EPS["float32"] / 2
        summed = 2 * math.sqrt(states.shape[-1]) * unit * norms * abs(ending.logit_scale)
    least = READOUT.get(loaded.precision, READOUT_HALF)
    return (2 * (rounded + summed)).double().clamp_min(least)


def padding(loaded: LoadedModel, traced: Traced, singles: Sequence[Encoded]) -> list[Check]:
    """Compare a batch with its samples alone."""
    values = apart_from_single(loaded, traced, singles)
    first, later = _allowed(loaded, singles, values)
    how, name = ("in a padded batch", "padding") if loaded.pads else ("in a batch", "batching")
    detail = f"the largest difference of a sample's log-probabilities {how} from its own alone"
    return [
        check(f"{name}_changes_nothing", values[0], first, detail),
        check(
            f"{name}_changes_no_later_step", values[1], later, f"{detail}, after the first step,"
        ),
    ]


def _allowed(
    loaded: LoadedModel, singles: Sequence[Encoded], values: tuple[float, float]
) -> tuple[float, float]:
    """Return what a run may differ by at the first step, and at those that go on from a cache.

    What no model needs more than, as a rule; where that is not enough, the most that the model's
    own rounding explains: a readout's, and twice what changes if every module inside the blocks
    rounds each number of its output the other way (Monte Carlo arithmetic: Parker 1997).
    """
    precision = loaded.precision
    limits = PADDING.get(precision, PADDING_HALF), CACHE.get(precision, PADDING_HALF)
    if all(value <= limit for value, limit in zip(values, limits, strict=True)):
        return limits
    anatomy, noise, readout = loaded.anatomy, [0.0, 0.0], 0.0
    for single in singles:
        plain = trace_batch(loaded, single, STEPS)
        with rounding_otherwise(anatomy.blocks):
            moved = trace_batch(loaded, single, STEPS)
        _widen(noise, loaded, plain, 0, moved)
        states = plain.residuals[0].flatten(0, 1)
        logits = anatomy.logits(states)
        kept = (logits > RULED_OUT).all(0)
        readout = max(readout, float(readout_limit(loaded, states, logits[:, kept]).max()))
    first, later = (
        max(limit, readout + 2 * moved) for limit, moved in zip(limits, noise, strict=True)
    )
    return first, later


@contextmanager
def rounding_otherwise(blocks: Sequence[nn.Module]) -> Iterator[None]:
    """Move each number that a module inside the blocks gives by an ulp, up or down by chance."""
    inner = [part for block in blocks for part in block.modules() if not list(part.children())]

    def move(_: nn.Module, __: Any, output: Any) -> Any:
        if not isinstance(output, Tensor) or not output.is_floating_point():
            return output
        chance = torch.Generator(output.device).manual_seed(output.numel())
        signs = torch.randint(0, 2, output.shape, generator=chance, device=output.device) * 2 - 1
        moved = output.double() * (1 + torch.finfo(output.dtype).eps * signs)
        return moved.to(output.dtype)

    handles = [part.register_forward_hook(move) for part in dict.fromkeys(inner)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def cache(loaded: LoadedModel, singles: Sequence[Encoded]) -> Check:
    """Compare the steps that go on from a cache with steps that pass through everything again."""
    apart = 0.0
    for single in singles:
        cached = generate(loaded, single, STEPS, logits=True)
        written = cached.sequences[:, -STEPS:]
        # Some models forget the picture, or don't let a mask grow, where they have no cache; others
        # take a token at the prompt's end for one that the whole prompt may look at.
        ways = []
        for again in (_without_cache, _as_prompt):
            try:
                ways.append(_apart(cached.logits, again(loaded, single, written)))
            except (RuntimeError, IndexError, ValueError, TypeError):
                continue
        apart = max(apart, min(ways, default=math.inf))
    limit = _allowed(loaded, singles, (0.0, apart))[1]
    detail = "the largest difference of log-probabilities with a key-value cache from those without"
    return check("cache_changes_nothing", apart, limit, detail)


def _apart(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> float:
    largest = 0.0
    for left, right in zip(ours, theirs, strict=False):
        away = left.float().log_softmax(-1) - right.float().log_softmax(-1)
        largest = max(largest, float(away[right > RULED_OUT].abs().max()))
    return largest


def _without_cache(loaded: LoadedModel, single: Encoded, written: Tensor) -> list[Tensor]:
    """Return the logits of a generation without a cache, as far as it writes the same."""
    output = generate(loaded, single, STEPS, logits=True, use_cache=False)
    same = (output.sequences[:, -STEPS:] == written)[0].tolist()
    return [step for index, step in enumerate(output.logits) if all(same[:index])]


def _as_prompt(loaded: LoadedModel, single: Encoded, written: Tensor) -> list[Tensor]:
    """Return the logits of each step, what was written before it being part of the prompt."""
    logits: list[Tensor] = []
    for step in range(STEPS):
        logits += generate(loaded, single, 1, logits=True).logits
        single = _grown(single, written[:, step : step + 1])
    return logits


def _grown(single: Encoded, token: Tensor) -> Encoded:
    """Return a prompt with one more token of text at its end."""
    inputs = dict(single.inputs)
    prompt = "decoder_input_ids" if "decoder_input_ids" in inputs else "input_ids"
    width = inputs[prompt].shape[1]
    for name, value in single.inputs.items():
        if value.dim() == 2 and value.shape[1] == width and (name != "input_ids" or name == prompt):
            end = token if name == prompt else torch.zeros_like(value[:, :1])
            end = torch.ones_like(end) if "attention_mask" in name else end
            inputs[name] = torch.cat([value, end.to(value.dtype)], dim=1)
    return replace(single, inputs=inputs, image=nn.functional.pad(single.image, (0, 1)))


def apart_from_single(
    loaded: LoadedModel, traced: Traced, singles: Sequence[Encoded]
) -> tuple[float, float]:
    """Return the largest difference of a batch's log-probabilities from those of single samples,
    at the first step and at later ones."""
    apart = [0.0, 0.0]
    for index, single in enumerate(singles):
        _widen(apart, loaded, traced, index, trace_batch(loaded, single, STEPS))
    return apart[0], apart[1]


def _widen(
    apart: list[float], loaded: LoadedModel, traced: Traced, index: int, alone: Traced
) -> None:
    """Widen the differences at the first step and at later ones to those of one sample."""
    for step in range(min(traced.residuals.shape[1], alone.residuals.shape[1])):
        if traced.ids[index][:step] != alone.ids[0][:step]:
            break  # They went on with other tokens.
        ours = loaded.anatomy.logits(traced.residuals[index, step]).log_softmax(-1)
        theirs = loaded.anatomy.logits(alone.residuals[0, step]).log_softmax(-1)
        here = float((ours - theirs).abs().max())
        apart[min(step, 1)] = max(apart[min(step, 1)], here)


def pads(loaded: LoadedModel, batch: Encoded, singles: Sequence[Encoded]) -> LoadedModel:
    """Return a model knowing whether a padded batch gives what single samples give.

    Some models count positions from the first place of the batch, padding or not; what they say of
    padded samples is wrong, so their batches are made of prompts of one length.
    """
    apart = apart_from_single(loaded, trace_batch(loaded, batch, STEPS), singles)
    first, later = _allowed(loaded, singles, apart)
    return replace(loaded, pads=apart[0] <= first and apart[1] <= later)
