"""Checks of the gate that compare runs: in a batch and alone, with a cache and without."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from lensbench.lens.generate import Traced, generate, trace_batch
from lensbench.models.checks import CACHE, PADDING, PADDING_HALF, RULED_OUT, STEPS, Check, check
from lensbench.models.load import LoadedModel
from lensbench.models.prompt import Encoded


def padding(loaded: LoadedModel, traced: Traced, singles: Sequence[Encoded]) -> list[Check]:
    """Compare a batch with its samples alone."""
    first, later = apart_from_single(loaded, traced, singles)
    limit, cached = _limits(loaded)
    how, name = ("in a padded batch", "padding") if loaded.pads else ("in a batch", "batching")
    detail = f"the largest difference of a sample's log-probabilities {how} from its own alone"
    return [
        check(f"{name}_changes_nothing", first, limit, detail),
        check(f"{name}_changes_no_later_step", later, cached, f"{detail}, after the first step,"),
    ]


def _limits(loaded: LoadedModel) -> tuple[float, float]:
    """Return what a batch may change at the first step, and at those that go on from a cache."""
    return (
        PADDING.get(loaded.precision, PADDING_HALF),
        CACHE.get(loaded.precision, PADDING_HALF),
    )


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
    limit = CACHE.get(loaded.precision, PADDING_HALF)
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
    anatomy, apart = loaded.anatomy, [0.0, 0.0]
    for index, single in enumerate(singles):
        alone = trace_batch(loaded, single, STEPS)
        for step in range(min(traced.residuals.shape[1], alone.residuals.shape[1])):
            if traced.ids[index][:step] != alone.ids[0][:step]:
                break  # They went on with other tokens.
            ours = anatomy.logits(traced.residuals[index, step]).log_softmax(-1)
            theirs = anatomy.logits(alone.residuals[0, step]).log_softmax(-1)
            here = float((ours - theirs).abs().max())
            apart[min(step, 1)] = max(apart[min(step, 1)], here)
    return apart[0], apart[1]


def pads(loaded: LoadedModel, batch: Encoded, singles: Sequence[Encoded]) -> LoadedModel:
    """Return a model knowing whether a padded batch gives what single samples give.

    Some models count positions from the first place of the batch, padding or not; what they say of
    padded samples is wrong, so their batches are made of prompts of one length.
    """
    apart = apart_from_single(loaded, trace_batch(loaded, batch, STEPS), singles)
    limits = _limits(loaded)
    return replace(loaded, pads=apart[0] <= limits[0] and apart[1] <= limits[1])
