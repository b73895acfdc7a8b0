"""The gate: what must hold before a model's numbers are believed.

Every check runs the way samples are run: through the same prompts, hooks and generation.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lensbench.errors import LensbenchError, ModelError, reason_of
from lensbench.lens.attention import implementation
from lensbench.lens.generate import Traced, generate, trace_batch
from lensbench.models.batches import join
from lensbench.models.checks import (
    ATTENTION,
    ATTENTION_HALF,
    READOUT,
    READOUT_HALF,
    RULED_OUT,
    STEPS,
    USUAL_LOGIT,
    Check,
    GateReport,
    check,
)
from lensbench.models.gate_pictures import pictures_in_place
from lensbench.models.gate_prompts import prompts
from lensbench.models.gate_runs import cache, padding
from lensbench.models.load import LoadedModel
from lensbench.models.probe import hidden_of
from lensbench.models.prompt import Encoded, encode_probes


def run_gate(loaded: LoadedModel) -> GateReport:
    """Run every check of the gate on a model, with prompts and pictures of its own.

    Returns:
        The report; call its `require` to refuse a model that fails.
    """
    probes = encode_probes(loaded.prompter).to(loaded.model.device, loaded.model.dtype)
    try:
        checks = prompts(loaded)
        checks += check_all(loaded, probes.batch, probes.singles, probes.others or None)
    except (LensbenchError, MemoryError, torch.OutOfMemoryError):
        raise
    # transformers raises anything for a model that can't do what it is asked.
    except Exception as error:
        reason = reason_of(error)
        raise ModelError(f"{loaded.name} can't be run through the gate: {reason}") from error
    return GateReport(loaded.name, tuple(checks))


def check_all(
    loaded: LoadedModel,
    batch: Encoded,
    singles: Sequence[Encoded],
    others: Sequence[Encoded] | None = None,
) -> list[Check]:
    """Run every check of the gate on given inputs.

    Args:
        loaded: the model.
        batch: two prompts of different lengths, padded on the left.
        singles: each of them alone.
        others: each of them alone with another picture, if they have pictures.
    """
    if not loaded.pads:  # It is never given a padded batch, so it is not judged by one.
        singles = [singles[0], singles[0]]
        batch = join(singles, loaded.tokenizer.pad_token_id or 0)
        others = None if others is None else [others[0], others[0]]
    plain = generate(loaded, batch, STEPS, logits=True)
    traced = trace_batch(loaded, batch, STEPS, keep_rows=True, logits=True)
    checks = [
        *_weights(loaded),
        *_readout(loaded, traced),
        *_injected(loaded, singles[0]),
        _hooks(traced, torch.stack(plain.logits, dim=1).float()),
        *_attention(loaded, batch, traced),
        *padding(loaded, traced, singles),
        cache(loaded, singles),
    ]
    if others is not None:
        checks += pictures_in_place(loaded, singles, others)
    return checks


def _weights(loaded: LoadedModel) -> list[Check]:
    checks = [check("weights_missing", len(loaded.missing), 0, "the number of weights no file had")]
    model = loaded.model
    named = model.get_output_embeddings()
    if getattr(model.config, "tie_word_embeddings", False) and named is not None:
        left = model.get_input_embeddings().weight.detach()
        right = named.weight.detach()
        apart = math.inf if left.shape != right.shape else float((left - right).abs().max().float())
        detail = "the largest difference of input and output embeddings, said to be tied,"
        checks.append(check("tied_embeddings", apart, 0, detail))
    return checks


def _readout(loaded: LoadedModel, traced: Traced) -> list[Check]:
    assert traced.logits is not None
    states = traced.residuals[:, :, -1]
    ours = loaded.anatomy.logits(states.reshape(-1, states.shape[-1]))
    theirs = traced.logits.reshape(-1, traced.logits.shape[-1]).to(ours.device)
    if ours.shape != theirs.shape:
        return [check("readout_top1", math.inf, 0, "the difference in the number of logits")]
    # The top token may differ only among logits that are equal but for rounding.
    top = ours.argmax(-1, keepdim=True)
    lost = theirs.amax(-1) - theirs.gather(-1, top)[..., 0]
    limit = READOUT.get(loaded.precision, READOUT_HALF)
    wrong = int((lost > limit).sum())
    apart = (ours.log_softmax(-1) - theirs.log_softmax(-1)).abs().max()
    return [
        check("readout_top1", wrong, 0, "the number of steps whose top token differs"),
        check(
            "readout_logprob",
            float(apart),
            limit,
            "the largest difference of the last layer's log-probabilities from the model's own",
        ),
    ]


def _hooks(traced: Traced, plain: Tensor) -> Check:
    assert traced.logits is not None
    same = plain.shape == traced.logits.shape
    value = float((traced.logits - plain).abs().max()) if same else math.inf
    return check("hooks_change_nothing", value, 0, "the largest change of a logit by the hooks")


def _injected(loaded: LoadedModel, single: Encoded) -> list[Check]:
    """Have the model itself read out states of other layers, put where its last block's output is.

    The last layer's readout is right by construction where the ending was found on it; what the
    lens is for are the others.
    """
    anatomy = loaded.anatomy
    states = trace_batch(loaded, single, 1).residuals[0, 0]
    apart, lost = 0.0, 0
    limit = READOUT.get(loaded.precision, READOUT_HALF)
    for layer in sorted({0, anatomy.n_layers // 2}):
        with replaced_output(anatomy.blocks[-1], states[layer]):
            theirs = generate(loaded, single, 1, logits=True).logits[0].float()
        ours = anatomy.logits(states[layer][None])
        finite = theirs > RULED_OUT
        away = (ours.log_softmax(-1) - theirs.log_softmax(-1))[finite].abs()
        # Logits far from 0 have a coarser last bit.
        size = float(theirs[finite].abs().max()) / USUAL_LOGIT
        apart = max(apart, float(away.max()) / max(1.0, size))
        lost += int((theirs.amax(-1) - theirs.gather(-1, ours.argmax(-1, True))[0]) > limit)
    detail = "the largest difference of log-probabilities where the model reads out other layers"
    return [check("readout_elsewhere", apart if not lost else math.inf, limit, detail)]


@contextmanager
def replaced_output(block: nn.Module, state: Tensor) -> Iterator[None]:
    """Let a block give `state` [d] at the last position of its output inside the block."""

    def leave(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        hidden = hidden_of(output).clone()
        hidden[..., -1, :] = state.to(hidden)
        if isinstance(output, Tensor):
            return hidden
        index = next(i for i, part in enumerate(output) if part is hidden_of(output))
        return (*output[:index], hidden, *output[index + 1 :])

    handle = block.register_forward_hook(leave)
    try:
        yield
    finally:
        handle.remove()


def _attention(loaded: LoadedModel, batch: Encoded, traced: Traced) -> list[Check]:
    if not loaded.anatomy.heads.layers:
        return []
    rows = traced.capture.rows
    sums = max(float((row.sum(-1) - 1).abs().max()) for step in rows for row in step.values())
    with implementation(loaded.anatomy.configs, "eager"):
        eager = trace_batch(
            loaded, batch, STEPS, keep_rows=True, tellers=loaded.anatomy.heads.modules
        )
    apart = 0.0
    for step, (ours, theirs) in enumerate(zip(rows, eager.capture.rows, strict=True)):
        # Later steps are compared only where both went on with the same token.
        fed = [a[:step] == b[:step] for a, b in zip(traced.ids, eager.ids, strict=True)]
        keep = torch.tensor(fed, device=batch.image.device)
        if not bool(keep.any()):
            continue
        for layer, row in ours.items():
            other = theirs[layer]
            same = row.shape == other.shape
            diff = (row - other)[keep].abs().max() if same else math.inf
            apart = max(apart, float(diff))
    limit = ATTENTION.get(loaded.precision, ATTENTION_HALF)
    return [
        check("attention_sums_to_1", sums, limit, "the largest error of a row's sum"),
        check(
            "attention_is_eager",
            apart,
            limit,
            "the largest difference of an attention row from the eager implementation's",
        ),
    ]
