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
from lensbench.lens.generate import Traced, generate, trace_batch
from lensbench.models.batches import join
from lensbench.models.checks import (
    RULED_OUT,
    STEPS,
    Check,
    GateReport,
    Worst,
    check,
)
from lensbench.models.gate_attention import attention
from lensbench.models.gate_pictures import pictures_in_place
from lensbench.models.gate_prompts import prompts
from lensbench.models.gate_runs import cache, padding, readout_limit
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
    traced = trace_batch(loaded, batch, STEPS, logits=True)
    checks = [
        *_weights(loaded),
        *_readout(loaded, traced),
        *_injected(loaded, singles[0]),
        _hooks(traced, torch.stack(plain.logits, dim=1).float()),
        *attention(loaded, batch),
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
    theirs = traced.logits.reshape(-1, traced.logits.shape[-1])
    apart, wrong = readout_apart(loaded, states.reshape(-1, states.shape[-1]), theirs)
    return [
        check("readout_top1", wrong, 0, "the number of steps whose top token differs"),
        apart.check(
            "readout_logprob",
            "the largest difference of the last layer's log-probabilities from the model's own",
        ),
    ]


def readout_apart(loaded: LoadedModel, states: Tensor, theirs: Tensor) -> tuple[Worst, float]:
    """Compare our readout of states [n, d] with the model's own logits [n, V].

    Returns:
        The largest difference of a log-probability, and the number of rows whose top token differs
        though its logit isn't equal but for rounding.
    """
    apart = Worst()
    ours, theirs = loaded.anatomy.logits(states), theirs.to(states.device)
    if ours.shape != theirs.shape:
        return Worst(math.inf), math.inf
    kept = (theirs > RULED_OUT).all(0)
    limits = readout_limit(loaded, states, theirs[:, kept])
    away = (ours.log_softmax(-1) - theirs.log_softmax(-1))[:, kept].abs().amax(-1)
    apart.add(away.tolist(), limits.tolist())
    lost = theirs.amax(-1) - theirs.gather(-1, ours.argmax(-1, keepdim=True))[..., 0]
    return apart, int((lost > limits).sum())


def _hooks(traced: Traced, plain: Tensor) -> Check:
    assert traced.logits is not None
    same = plain.shape == traced.logits.shape
    value = float((traced.logits - plain).abs().max()) if same else math.inf
    if torch.equal(plain, traced.logits):  # Infinite ones, of tokens that are ruled out, too.
        value = 0.0
    return check("hooks_change_nothing", value, 0, "the largest change of a logit by the hooks")


def _injected(loaded: LoadedModel, single: Encoded) -> list[Check]:
    """Have the model itself read out states of other layers, put where its last block's output is.

    The last layer's readout is right by construction where the ending was found on it; what the
    lens is for are the others.
    """
    anatomy = loaded.anatomy
    layers = sorted({0, anatomy.n_layers // 2})
    states = trace_batch(loaded, single, 1).residuals[0, 0, layers]
    theirs = []
    for state in states:
        with replaced_output(anatomy.blocks[-1], state):
            theirs.append(generate(loaded, single, 1, logits=True).logits[0].float())
    apart, lost = readout_apart(loaded, states, torch.cat(theirs))
    if lost:
        apart = Worst(math.inf, apart.limit)
    detail = "the largest difference of log-probabilities where the model reads out other layers"
    return [apart.check("readout_elsewhere", detail)]


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
