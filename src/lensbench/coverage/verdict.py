"""One verdict for each type: SUPPORTED, REFUSED with the reason, or WRONG."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import GenerationConfig

from lensbench.coverage.instance import Instance, Unbuildable, image_positions
from lensbench.coverage.reference import Unreferenced, naive_logits, naive_rows, with_token
from lensbench.errors import LensbenchError, reason_of
from lensbench.lens.generate import Traced, trace_batch
from lensbench.models.anatomy import find_anatomy
from lensbench.models.gate import GateReport, check_all
from lensbench.models.gate_runs import pads
from lensbench.models.load import LoadedModel
from lensbench.models.pictures import stream_changes
from lensbench.models.prompt import Encoded
from lensbench.models.views import unplaced

#: Largest difference of a log-probability, and of an attention weight, from the naive reference.
LOGPROB, WEIGHT = 1e-4, 1e-5
#: Either at a step that goes on from a cache.
CACHED = 5e-4
_RULED_OUT = -1e30
_CLOSE = 10.0


class Difference(NamedTuple):
    """Where engine and reference differ, by how much, and how much is allowed."""

    where: str
    apart: float = math.inf
    limit: float = 0.0


#: Steps that are compared with the reference, the answer step included.
STEPS = 2


@dataclass(frozen=True)
class Verdict:
    """What was found of one type.

    Args:
        model_type: transformers' name of the type.
        task: "image-text" or "text".
        verdict: "SUPPORTED", "REFUSED" or "WRONG".
        reason: why it is refused or wrong; of a supported one, what can't be read of it.
        close: whether it failed by less than ten times what is allowed, which rounding can do to
            the sharp attention and large logits of random weights.
    """

    model_type: str
    task: str
    verdict: str
    reason: str
    close: bool = field(default=False, compare=False)


def encoded(inputs: dict[str, Tensor], image: Tensor) -> Encoded:
    """Return inputs of an instance as the engine takes them."""
    mask = inputs.get("attention_mask", torch.ones_like(image)).bool()
    if mask.shape != image.shape:  # An encoder's own.
        mask = torch.ones_like(image)
    counts = image.sum(1).tolist()
    return Encoded(
        inputs=inputs,
        prompts=[""] * len(mask),
        image=image,
        first=mask.int().argmax(1),
        n_tokens=mask.sum(1).tolist(),
        n_image_tokens=counts,
        layouts=[unplaced(count) for count in counts],
    )


def other_pictures(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the same prompts with other pictures: all that is no whole number is changed."""
    return {
        key: torch.where(value == value.round(), value, -0.7 * value)
        if value.is_floating_point()
        else value
        for key, value in inputs.items()
    }


def loaded_instance(instance: Instance) -> LoadedModel:
    """Make an instance ready to be looked into, as `prepare` does with a model from files."""
    model = instance.model
    own = model.generation_config
    model.generation_config = GenerationConfig(
        bos_token_id=own.bos_token_id,
        decoder_start_token_id=own.decoder_start_token_id,
        eos_token_id=None,
        pad_token_id=own.pad_token_id,
    )
    token = instance.image_token_id
    anatomy = find_anatomy(model, instance.singles[0], token)
    return LoadedModel(
        name=instance.model_type,
        model=model,
        processor=None,
        tokenizer=SimpleNamespace(pad_token_id=own.pad_token_id),
        anatomy=anatomy,
        prompter=None,  # type: ignore[arg-type]
        task=instance.task,
        source="memory",
        revision="",
        weights_sha256="",
        dtype="float32",
        device="cpu",
    )


def judge(build: Callable[[], Instance], model_type: str, task: str) -> Verdict:
    """Build an instance, run the gate on it, and compare the engine with the naive reference.

    Args:
        build: makes the instance.
        model_type: transformers' name of the type.
        task: "image-text" or "text".
    """

    def verdict(kind: str, reason: str, close: bool = False) -> Verdict:
        return Verdict(model_type, task, kind, " ".join(reason.split()), close)

    try:
        instance = build()
    except Unbuildable as finding:
        return verdict("REFUSED", f"no tiny instance: {finding}")
    try:
        loaded = loaded_instance(instance)
        inputs = [instance.batch, *instance.singles]
        images = [image_positions(each, instance.image_token_id) for each in inputs]
        others = None
        if task == "image-text":
            turned = [other_pictures(single) for single in instance.singles]
            entered = stream_changes(
                loaded.model, loaded.anatomy.blocks[0], instance.singles[0], turned[0]
            )
            if not bool(entered.any()):  # Pictures come in by cross-attention.
                images = [torch.zeros_like(image) for image in images]
            others = [encoded(part, image) for part, image in zip(turned, images[1:], strict=True)]
        batch, *singles = [encoded(*pair) for pair in zip(inputs, images, strict=True)]
        loaded = pads(loaded, batch, singles)
        report = GateReport(model_type, tuple(check_all(loaded, batch, singles, others)))
    except LensbenchError as error:
        return verdict("REFUSED", str(error))
    # transformers raises anything for a model that can't do what it is asked.
    except Exception as error:
        return verdict("REFUSED", f"it can't be run: {reason_of(error)}")
    failed = [check for check in report.checks if not check.passed]
    if failed:
        close = all(check.value < _CLOSE * check.limit for check in failed)
        return verdict("REFUSED", report.refusal(), close)
    try:
        wrong = disagreement(instance, loaded, singles)
    except Unreferenced as finding:
        return verdict("REFUSED", f"the naive reference can't read it: {finding}")
    if wrong is not None:
        return verdict("WRONG", wrong.where, wrong.apart < _CLOSE * wrong.limit)
    notes = []
    if not loaded.pads:
        notes.append("padding changes what it says: batches of one length only")
    if loaded.anatomy.heads.reason:
        notes.append(f"heads: {loaded.anatomy.heads.reason}")
    return verdict("SUPPORTED", "; ".join(notes))


def disagreement(
    instance: Instance, loaded: LoadedModel, singles: list[Encoded]
) -> Difference | None:
    """Return where the engine and the naive reference differ, None if nowhere.

    Each prompt alone, at its answer step and at the one after it: the reference is given the prompt
    with the token that the engine generated, and passes through all of it again.

    Raises:
        Unreferenced: if the reference can't read the model.
    """
    for index, (single, inputs) in enumerate(zip(singles, instance.singles, strict=True)):
        traced = trace_batch(loaded, single, STEPS, keep_rows=True)
        given = inputs
        for step in range(STEPS):
            found = _compared(instance, loaded, traced, step, given)
            if found is not None:
                return found._replace(where=f"prompt {index}, step {step}: {found.where}")
            given = with_token(instance, given, traced.ids[0][step])
    return None


def _compared(
    instance: Instance, loaded: LoadedModel, traced: Traced, step: int, inputs: dict[str, Tensor]
) -> Difference | None:
    ours = loaded.anatomy.logits(traced.residuals[0, step]).log_softmax(-1)
    theirs = naive_logits(instance, inputs).log_softmax(-1)
    if ours.shape != theirs.shape:
        return Difference(f"{tuple(ours.shape)} logits, the reference has {tuple(theirs.shape)}")
    apart = _largest((ours - theirs)[theirs > _RULED_OUT])
    # After a step the engine's states come from a cache, whose sums are of another order.
    limit = LOGPROB if step == 0 else CACHED
    if not apart <= limit:
        where = f"log-probabilities differ from the reference's by {apart:.2g}"
        return Difference(where, apart, limit)
    if not loaded.anatomy.heads.layers:
        return None
    naive = naive_rows(instance, inputs)
    for layer, row in traced.capture.rows[step].items():
        if layer - 1 not in naive:
            return Difference(f"the reference sees no attention in block {layer}")
        wanted = naive[layer - 1]
        # A sliding window's cache has dropped the first keys.
        n = min(row.shape[-1], wanted.shape[-1])
        apart = _largest(row[0, :, -n:] - wanted[:, -n:])
        limit = WEIGHT if step == 0 else CACHED
        if not apart <= limit:
            where = f"attention in block {layer} differs from the reference's by {apart:.2g}"
            return Difference(where, apart, limit)
    return None


def _largest(values: Tensor) -> float:
    return float(values.abs().max()) if values.numel() else 0.0
