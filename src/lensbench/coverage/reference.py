"""A naive reference for lens and attention that shares no code with the engine: hooks and reruns.

A run is `generate` with one new token and no cache, so positions and masks are those of
generation. States are what transformers calls hidden states, and the last block's raw output. A
state is read out by injection: the model runs again while a hook puts the state in the place of
the last block's output at the last position. The logits are the model's own, so norms, scales,
caps and biases are whatever the model does after its last block.

The last block is found by trial, not by name: among the modules that end a numbered list, it is
the one whose output at the last position decides the logits alone.
"""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lensbench.coverage.instance import Instance

Inputs = dict[str, Tensor]
Rewrite = Callable[[Tensor], Tensor]

# Keys of inputs that hold one entry a token, and what a generated token has there: the last
# token's entry where nothing is said.
_TOKEN_WISE = re.compile(r"mask|type|indices|position")
_ENTRIES = {"attention_mask": 1, "image_patches_indices": -1, "image_embeds_position_mask": 0}


class Unreferenced(Exception):  # noqa: N818 (no error of lensbench's: a finding)
    """The reference can't be had for a model; the message is the reason."""


def naive_logits(instance: Instance, single: Inputs) -> Tensor:
    """Return the logits that each layer's state gives at the last position of a prompt.

    Args:
        instance: a model in memory.
        single: one unpadded prompt's inputs, as `Instance.singles` holds them.

    Returns:
        [L + 1, V] float32: row 0 after the embeddings, row L after the last block (the model's
        own logits).

    Raises:
        Unreferenced: no block alone decides the logits, a block runs more than once a pass, or
            states and the last block's output differ in form.
    """
    model = instance.model
    blocks = _blocks(model, single)
    axis = _position_axis(model, single, blocks[-1])
    plain = _logits(_run(model, single))
    rows = []
    for state in _states(model, single, blocks):
        last = state.select(axis, -1)
        with _replaced(blocks[-1], partial(_put, state=last, axis=axis)):
            rows.append(_logits(_run(model, single)))
    if not torch.allclose(rows[-1], plain, atol=1e-5):
        raise Unreferenced("its last block's output, put back in its place, changes the logits")
    return torch.stack(rows)


def naive_rows(instance: Instance, single: Inputs) -> dict[int, Tensor]:
    """Return the attention of the last position in each block that has self-attention.

    They are the weights that the eager implementation gives on a copy of the model. Left out are
    blocks without attention, cross-attention (to a picture's features or to an encoder's states)
    and attention over other things than the prompt's positions (compressed keys); of an
    encoder-decoder the rows are the decoder's.

    Args:
        instance: a model in memory.
        single: one unpadded prompt's inputs.

    Returns:
        Block, counted from 0, to [heads, keys] float32.

    Raises:
        Unreferenced: the type has no eager attention, or a block holds more than one
            self-attention.
    """
    model = copy.deepcopy(instance.model)
    try:
        model.set_attn_implementation("eager")
    except ValueError as error:
        raise Unreferenced(f"it has no eager attention: {error}") from error
    blocks = _blocks(model, single)
    axis = _position_axis(model, single, blocks[-1])
    ends: list[Tensor] = []
    with ExitStack() as stack:
        seen = [_Weights(block, stack) for block in blocks]
        stack.enter_context(_noted(blocks[-1], ends.append))
        try:
            result = _run(model, single, output_attentions=True)
        except AttributeError:  # Types without attention have no place for it in their output.
            return {}
    length = ends[0].shape[axis]
    given = [_row(weights, length) for weights in _first(result, "attentions")]
    if len(given) != len(blocks) or any(row is None for row in given):
        given = [weights.row(length) for weights in seen]
    return {place: row for place, row in enumerate(given) if row is not None}


def naive_generated(instance: Instance, single: Inputs, steps: int) -> Tensor:
    """Return [steps, V] float32: logits of greedy steps, each from a full pass without a cache."""
    rows = []
    for _ in range(steps):
        rows.append(_logits(_run(instance.model, single)))
        single = with_token(instance, single, int(rows[-1].argmax()))
    return torch.stack(rows)


def with_token(instance: Instance, single: Inputs, token: int) -> Inputs:
    """Return a prompt's inputs with one more token of text at the end.

    Every other input with an entry for each token (masks, kinds of tokens) grows with it; of an
    encoder-decoder the decoder's tokens grow. `naive_logits` of the new inputs is the lens at a
    generated step.
    """
    model = instance.model
    end = torch.tensor([[token]])
    if model.config.is_encoder_decoder:
        start = torch.tensor([[_decoder_start(model)]])
        ids = torch.cat([single.get("decoder_input_ids", start), end], dim=1)
        return {**single, "decoder_input_ids": ids, "decoder_attention_mask": torch.ones_like(ids)}
    length = single["input_ids"].shape[1]
    grown = {}
    for key, value in single.items():
        if key == "input_ids":
            # BLIP's generation takes the last id for the tokenizer's mark of the end and drops it.
            kept = length - (model.config.model_type == "blip")
            value = torch.cat([value[:, :kept], end, value[:, kept:]], dim=1)
        elif _is_token_wise(key, value, length):
            entry = value[:, -1:].clone()
            if key in _ENTRIES or "type" in key:
                # PaliGemma's prompt, of kind 0, sees itself whole; what follows is of kind 1.
                entry.fill_(_ENTRIES.get(key, int(model.config.model_type == "paligemma")))
            value = torch.cat([value, entry], dim=1)
        grown[key] = value
    return grown


def _is_token_wise(key: str, value: Any, length: int) -> bool:
    if not isinstance(value, Tensor) or value.shape[:2] != (1, length) or "pixel" in key:
        return False
    return _TOKEN_WISE.search(key) is not None


def _decoder_start(model: Any) -> int:
    for source in (model.generation_config, model.config, model.config.get_text_config()):
        for name in ("decoder_start_token_id", "bos_token_id"):
            token = getattr(source, name, None)
            if isinstance(token, int):
                return token
    raise Unreferenced("it names no token to start its decoder with")


# Runs of the model


def _run(model: Any, single: Inputs, **options: Any) -> Any:
    if "logits_to_keep" in inspect.signature(model.forward).parameters:
        options["logits_to_keep"] = 0  # Otherwise some types run their last blocks on one position.
    with torch.no_grad():
        return model.generate(
            **single,
            **options,
            max_new_tokens=1,
            do_sample=False,
            use_cache=False,
            output_logits=True,
            return_dict_in_generate=True,
        )


def _logits(result: Any) -> Tensor:
    logits: Tensor = result.logits[0][0].float()
    return logits


def _first(result: Any, name: str) -> tuple[Any, ...]:
    """Return what each layer gave in the pass of the prompt; empty if the type gives nothing."""
    for key in (f"decoder_{name}", name):
        steps = getattr(result, key, None)
        if steps:
            return tuple(steps[0]) if isinstance(steps[0], tuple | list) else ()
    return ()


def _tensor(output: Any) -> Tensor:
    """Return the state in a block's output."""
    while isinstance(output, tuple | list):
        output = output[0]
    if not isinstance(output, Tensor):
        raise Unreferenced(f"its blocks return a {type(output).__name__}")
    return output


def _put(output: Tensor, state: Tensor, axis: int) -> Tensor:
    """Return an output whose last position is a given state."""
    changed = output.clone()
    changed.select(axis, -1).copy_(state)
    return changed


@contextmanager
def _replaced(module: Any, rewrite: Rewrite) -> Any:
    """Change what a module returns for the length of a with statement."""

    def hook(_module: Any, _args: Any, output: Any) -> Any:
        changed = rewrite(_tensor(output))
        if hasattr(output, "_fields"):
            return output._replace(**{output._fields[0]: changed})
        return (changed, *output[1:]) if isinstance(output, tuple | list) else changed

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _noted(module: Any, note: Callable[[Tensor], None]) -> Any:
    """Call a function with what a module returns."""
    handle = module.register_forward_hook(lambda _module, _args, output: note(_tensor(output)))
    try:
        yield
    finally:
        handle.remove()


# Blocks and states


def _blocks(model: Any, single: Inputs) -> list[Any]:
    """Return the decoder's blocks: the longest numbered list that ends in the last block."""
    lists: dict[str, dict[int, Any]] = {}
    for name, module in model.named_modules():
        stem, _, number = name.rpartition(".")
        if number.isdigit():
            lists.setdefault(stem, {})[int(number)] = module
    for stem in sorted(lists, key=lambda stem: (-len(lists[stem]), stem.count("."))):
        blocks = [lists[stem][place] for place in sorted(lists[stem])]
        if len(blocks) > 1 and _decides(model, single, blocks[-1]):
            return blocks
    raise Unreferenced("no block's output at the last position decides the logits alone")


def _decides(model: Any, single: Inputs, module: Any) -> bool:
    """Tell whether a module's output at the last position, and nothing else, decides the logits."""
    outputs: list[Tensor] = []
    try:
        with _noted(module, outputs.append):
            plain = _logits(_run(model, single))
        axis = _position_axis(model, single, module)
    except Unreferenced:
        return False
    shape = outputs[0].shape
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0)).select(axis, -1)
    moved = _logits(_run(model, _other(single)))
    with _replaced(module, partial(_put, state=noise, axis=axis)):
        one = _logits(_run(model, single))
        other = _logits(_run(model, _other(single)))
    apart = min(float((logits - plain).abs().max()) for logits in (one, moved))
    return apart > 1e-3 and torch.allclose(one, other, atol=1e-5)


def _other(single: Inputs) -> Inputs:
    """Return the same inputs with other tokens at the last two positions."""
    key = "decoder_input_ids" if "decoder_input_ids" in single else "input_ids"
    ids = single[key].clone()
    ids[:, -2:] = torch.where(ids[:, -2:] == 11, 12, 11)
    return {**single, key: ids}


def _position_axis(model: Any, single: Inputs, module: Any) -> int:
    """Return the axis of a module's output that grows with the prompt."""
    shapes: list[torch.Size] = []
    instance = Instance("", "", model, single, (single,))
    with _noted(module, lambda output: shapes.append(output.shape)):
        _run(model, single)
        _run(model, with_token(instance, single, 11))
    if len(shapes) == 2 and len(shapes[0]) == len(shapes[1]):
        short, long = shapes
        grown = [place for place, size in enumerate(short) if long[place] != size]
        if len(grown) == 1 and long[grown[0]] == short[grown[0]] + 1:
            return grown[0]
    raise Unreferenced("its blocks' outputs don't grow by one position with the prompt")


def _states(model: Any, single: Inputs, blocks: list[Any]) -> list[Tensor]:
    """Return what enters each block, and the last block's output."""
    entered: list[Tensor | None] = [None] * len(blocks)
    times = [0] * len(blocks)

    def enter(place: int) -> Callable[..., None]:
        def hook(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            times[place] += 1
            given = args[0] if args else kwargs.get("hidden_states")
            entered[place] = given if isinstance(given, Tensor) else None

        return hook

    ends: list[Tensor] = []
    with ExitStack() as stack:
        for place, block in enumerate(blocks):
            handle = block.register_forward_pre_hook(enter(place), with_kwargs=True)
            stack.callback(handle.remove)
        stack.enter_context(_noted(blocks[-1], ends.append))
        result = _run(model, single, output_hidden_states=True)
    if any(count > 1 for count in times):
        raise Unreferenced("its blocks run several times in one pass")
    for place in reversed(range(len(blocks))):
        if times[place] == 0:  # Left out of this pass: the state goes on as it is.
            entered[place] = (entered + ends)[place + 1]
    given = _first(result, "hidden_states")
    sources = [list(given[:-1]), entered]
    if len(given) > 1 and given[-2].shape == ends[0].shape and torch.equal(given[-2], ends[0]):
        sources.reverse()  # Some types list what leaves each block, not what enters.
    for states in sources:
        fine = [s for s in states if isinstance(s, Tensor) and s.shape == ends[0].shape]
        if len(fine) == len(states) == len(blocks):
            return fine + ends
    raise Unreferenced("what enters its blocks isn't of the form that leaves the last one")


class _Weights:
    """What looks like attention weights in the outputs of one block's modules."""

    def __init__(self, block: Any, stack: ExitStack) -> None:
        self._found: list[Tensor] = []
        for name, module in block.named_modules():
            kind = f"{name} {type(module).__name__}"
            if not re.search("cross|encoder_attn", kind, re.IGNORECASE):
                stack.callback(module.register_forward_hook(self._hook).remove)

    def _hook(self, _module: Any, _args: Any, output: Any) -> None:
        for part in output if isinstance(output, tuple | list) else (output,):
            if isinstance(part, Tensor) and part.dim() == 4 and part.is_floating_point():
                self._found.append(part)

    def row(self, length: int) -> Tensor | None:
        """Return [heads, keys] of the last position; none if the block has no self-attention."""
        rows: list[Tensor] = []
        for part in self._found:
            row = _row(part, length)
            if row is not None and not any(torch.equal(row, known) for known in rows):
                rows.append(row)
        if len(rows) > 1:
            raise Unreferenced("a block of it holds more than one self-attention")
        return rows[0] if rows else None


def _row(weights: Any, length: int) -> Tensor | None:
    """Return the last position's weights; none if these are no weights over the positions."""
    if not isinstance(weights, Tensor) or weights.shape[2:] != (length, length):
        return None
    row = weights[0, :, -1].float()
    total = row.sum(dim=-1)
    # A sink takes its share, so a row may sum to less than 1.
    fine = bool((row >= 0).all() and (total <= 1 + 1e-4).all() and (total > 0).all())
    return row if fine else None
