"""What a model is made of between its blocks and its logits, found by running it on a probe.

Nothing here knows a class of model. Hooks tell which list of modules is called one after the other
before the output embeddings (the blocks), what is called between the last block and the output
embeddings (a final norm, as a rule), what is done to the logits after them, and which modules
compute self-attention. Whatever the probe does not confirm is refused with the reason: a lens that
reads out through the wrong norm gives numbers that look right.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lensbench.errors import ModelError, reason_of
from lensbench.models.ending import Ending, find_ending
from lensbench.models.heads import Heads, find_heads
from lensbench.models.probe import call_order, find_blocks, watched
from lensbench.models.writes import Write, find_writes


@dataclass(frozen=True)
class Anatomy:
    """The parts of a decoder that a lens needs.

    Args:
        blocks: its L blocks, in order.
        ending: what stands between the last block's output and the logits.
        heads: which blocks' self-attention can be read.
        writes: what each block adds to the residual stream, module by module; empty where it can't
            be told apart.
        writes_reason: why it can't, "" if it can.
        configs: configurations of the decoder's modules, each once.
        n_layers: number of blocks L.
        n_heads: query heads a block, 0 if no attention can be read.
        hidden_size: width d of the residual stream.
        vocab_size: number of logits V.
        image_token_id: the token that holds an image's place, None in a text model.
        encoder_decoder: whether prompts go through an encoder of their own.
    """

    blocks: tuple[nn.Module, ...]
    ending: Ending
    heads: Heads
    writes: tuple[tuple[Write, ...], ...]
    writes_reason: str
    configs: tuple[Any, ...]
    n_layers: int
    n_heads: int
    hidden_size: int
    vocab_size: int
    image_token_id: int | None
    encoder_decoder: bool = False

    @property
    def final_norm(self) -> nn.Module | None:
        """The module applied to the last block's output, None if there is none."""
        return self.ending.tail[0].module if self.ending.tail else None

    @property
    def unembedding(self) -> nn.Module:
        """The output embeddings, [hidden] → [vocabulary]."""
        return self.ending.unembedding

    @property
    def logit_scale(self) -> float:
        """Factor on the output embeddings' output, 1 if none."""
        return self.ending.logit_scale

    @property
    def softcap(self) -> float | None:
        """c of c·tanh(logits/c), None if none."""
        return self.ending.softcap

    def logits(self, hidden: Tensor, lens: str = "normed") -> Tensor:
        """Read states [rows, d] out as the model does its last one: [rows, V], float32.

        Args:
            hidden: [rows, d], any floating dtype.
            lens: "normed" (the final norm, once) or "raw" (no norm).
        """
        return self.ending.logits(hidden, lens)


def text_config(model: Any) -> Any:
    """Return the configuration of a model's text decoder."""
    return model.config.get_text_config(decoder=True)


def input_embeddings(model: Any) -> Any:
    """Return a model's input embeddings; None if it has none for words."""
    try:
        return model.get_input_embeddings()
    except NotImplementedError:  # transformers' own way to say that there are none.
        return None


def text_probe(model: Any) -> dict[str, Tensor]:
    """Return a prompt of five tokens, from the middle of the vocabulary: the ends are special."""
    weight = getattr(input_embeddings(model), "weight", None)
    if weight is None:
        raise ModelError(f"{type(model).__name__} has no input embeddings for words.")
    middle = weight.shape[0] // 2
    ids = torch.tensor([[0, 1, 2, 1, 0]], device=model.device) + middle
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def find_anatomy(
    model: Any, probe: Mapping[str, Tensor] | None = None, image_token_id: int | None = None
) -> Anatomy:
    """Find a model's parts, and confirm them on one prompt.

    Args:
        model: a transformers model for causal language modelling or image-text-to-text.
        probe: one prompt, as keyword arguments of the model; a few tokens of text by default.
        image_token_id: the token at image positions, None if there are none.

    Raises:
        ModelError: with the reason, if the model can't be read out layer by layer.
    """
    name = type(model).__name__
    run = _runner(model, text_probe(model) if probe is None else dict(probe))
    try:
        order = call_order(model, run)
    except Exception as error:
        reason = reason_of(error)
        raise ModelError(f"{name} can't be run on a probe: {reason}") from error
    unembedding = model.get_output_embeddings()
    called = unembedding is not None and order.calls(unembedding) > 0
    before = order.first(unembedding) if called else order.moment
    n_layers = getattr(text_config(model), "num_hidden_layers", None)
    blocks = find_blocks(model, order, n_layers if isinstance(n_layers, int) else None, before)
    done = order.last(blocks[-1])
    after = [m for m in model.modules() if order.calls(m) and order.left[id(m)][-1] > done]
    calls, output = watched(model, [*blocks, *after], run)
    states = _states(name, blocks, calls)
    last = next(call for call in reversed(calls) if call.module is blocks[-1])
    ending = find_ending(
        model,
        unembedding if called else None,
        [call for call in calls if call.entered > last.left],
        states[-1],
        output.logits,
        text_config(model),
    )
    n_positions = states[0].shape[1]
    writes, writes_reason = _writes(model, blocks)
    heads = find_heads(blocks, run, n_positions)
    prompt = run.keywords.get("decoder_input_ids", run.keywords.get("input_ids"))
    if heads.layers and prompt is not None and n_positions != prompt.shape[1]:
        extra = n_positions - prompt.shape[1]
        heads = Heads(
            reason=f"{name} runs {extra} positions more than its prompt has, and which of them "
            "show the picture can't be told"
        )
    return Anatomy(
        blocks=blocks,
        ending=ending,
        heads=heads,
        writes=writes,
        writes_reason=writes_reason,
        configs=_configs(model, blocks),
        n_layers=len(blocks),
        n_heads=heads.n_heads,
        hidden_size=int(states[0].shape[-1]),
        vocab_size=int(output.logits.shape[-1]),
        image_token_id=image_token_id,
        encoder_decoder=bool(getattr(model.config, "is_encoder_decoder", False)),
    )


@dataclass
class _Run:
    """A model called on the probe; what it is called with can be looked up."""

    model: Any
    keywords: dict[str, Any]

    def __call__(self) -> Any:
        with torch.no_grad():
            return self.model(**self.keywords)


def _runner(model: Any, probe: dict[str, Any]) -> _Run:
    if getattr(model.config, "is_encoder_decoder", False) and "decoder_input_ids" not in probe:
        config, ids = text_config(model), probe["input_ids"]
        found = [
            getattr(place, key, None)
            for place in (model.generation_config, model.config, config)
            for key in ("decoder_start_token_id", "bos_token_id")
        ]
        start = next((token for token in found if isinstance(token, int)), 0)
        # Three positions, where the encoder has more: self- and cross-attention can be told apart.
        first = torch.full_like(ids[:1, :1], start)
        probe["decoder_input_ids"] = torch.cat([first, ids[:1, -2:]], dim=1)
    wanted = inspect.signature(model.forward).parameters
    kinds = {parameter.kind for parameter in wanted.values()}
    if "use_cache" in wanted or inspect.Parameter.VAR_KEYWORD in kinds:
        probe["use_cache"] = False
    return _Run(model, probe)


def _states(name: str, blocks: tuple[nn.Module, ...], calls: list[Any]) -> list[Tensor]:
    """Return the residual stream at layers 0 … L, [1, T, d] each: what enters each block, and what
    the last one leaves behind."""
    of = {id(call.module): call for call in calls}
    found = [of[id(block)].before for block in blocks] + [of[id(blocks[-1])].after]
    for layer, state in enumerate(found):
        if state is None or state.dim() != 3:
            shape = "no tensor" if state is None else f"a tensor of {state.dim()} dimensions"
            raise ModelError(
                f"{name} passes {shape} from block to block at layer {layer}, so it has no single "
                "residual stream."
            )
        if state.shape != found[0].shape or state.shape[0] != 1:
            raise ModelError(
                f"{name} has a residual stream of {tuple(state.shape)} at layer {layer} and of "
                f"{tuple(found[0].shape)} at layer 0 for one prompt, so positions can't be "
                "followed."
            )
    return found


def _writes(model: Any, blocks: tuple[nn.Module, ...]) -> tuple[tuple[tuple[Write, ...], ...], str]:
    """Return what the blocks write, found on a few words: every module's output is kept for it."""
    name = type(model).__name__
    inside = [part for block in blocks for part in block.modules()]
    try:
        calls, _ = watched(model, list(dict.fromkeys(inside)), _runner(model, text_probe(model)))
    except Exception as error:
        reason = reason_of(error)
        return (), f"{name} can't be run on words alone ({reason})"
    called = {id(call.module) for call in calls}
    if any(id(block) not in called for block in blocks):
        return (), f"{name} leaves some of its blocks out where there is no picture"
    return find_writes(name, blocks, calls)


def _configs(model: nn.Module, blocks: tuple[nn.Module, ...]) -> tuple[Any, ...]:
    """Return the configurations of the blocks' modules and of the models that contain them."""
    inner = [part for block in blocks for part in block.modules()]
    outer = [
        part
        for part in model.modules()
        if hasattr(part, "set_attn_implementation") and any(m is blocks[0] for m in part.modules())
    ]
    found: dict[int, Any] = {}
    for module in (*inner, *outer):
        config = getattr(module, "config", None)
        if hasattr(config, "_attn_implementation"):
            found.setdefault(id(config), config)
    return tuple(found.values())
