"""What a model is made of between its blocks and its logits, found by running it once.

Nothing here knows a class of model. The blocks are the list of `num_hidden_layers` modules under
`get_decoder()`; a probe with hooks then shows what is called between the last block and the output
embeddings (a final norm, as a rule), and what is done to the logits after them (a factor, a soft
cap). Whatever the probe does not confirm is refused with the reason: a lens that reads out through
the wrong norm gives numbers that look right.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lensbench.errors import ModelError


@dataclass(frozen=True)
class Anatomy:
    """The parts of a decoder that a lens needs.

    Args:
        decoder: the text decoder, whose attention implementation can be set.
        blocks: its L blocks, in order.
        tail: modules between the last block and the output embeddings, in order: the final norm.
        tail_scale: factor on the tail's output before the output embeddings (1 if none).
        unembedding: the output embeddings, [hidden] → [vocabulary].
        logit_scale: factor on the logits (1 if none).
        softcap: c of c·tanh(logits/c), after the factor; None if none.
        n_layers: number of blocks L.
        n_heads: query heads a block.
        hidden_size: width d of the residual stream.
        vocab_size: number of logits V.
        image_token_id: the token that holds an image's place, None in a text model.
    """

    decoder: nn.Module
    blocks: tuple[nn.Module, ...]
    tail: tuple[nn.Module, ...]
    tail_scale: float
    unembedding: nn.Module
    logit_scale: float
    softcap: float | None
    n_layers: int
    n_heads: int
    hidden_size: int
    vocab_size: int
    image_token_id: int | None

    @property
    def final_norm(self) -> nn.Module | None:
        """The module applied to the last block's output, None if there is none."""
        return self.tail[0] if self.tail else None

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
        states = hidden.to(next(self.unembedding.parameters()).dtype)
        if lens == "normed":
            for module in self.tail:
                states = module(states)
            if self.tail_scale != 1.0:
                states = states * self.tail_scale
        elif lens != "raw":
            raise ModelError(f'"{lens}" is no lens: use "normed" or "raw".')
        values = self.unembedding(states).float()
        if self.logit_scale != 1.0:
            values = values * self.logit_scale
        if self.softcap is not None:
            values = self.softcap * torch.tanh(values / self.softcap)
        return values


def text_config(model: Any) -> Any:
    """Return the configuration of a model's text decoder."""
    return model.config.get_text_config(decoder=True)


def hidden_of(output: Any) -> Tensor:
    """Return the residual stream in what a block returns (a tensor, or a tuple that starts so)."""
    return output if isinstance(output, Tensor) else output[0]


def input_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """Return the residual stream in what a block is called with."""
    return args[0] if args else kwargs["hidden_states"]


def find_anatomy(model: Any, probe: dict[str, Tensor] | None = None) -> Anatomy:
    """Find a causal language model's parts, and confirm them on one forward pass.

    Args:
        model: a transformers model for causal language modelling or image-text-to-text.
        probe: inputs of the pass; a few tokens of text by default.

    Raises:
        ModelError: with the reason, if the model can't be read out layer by layer.
    """
    name = type(model).__name__
    config = text_config(model)
    if getattr(model.config, "is_encoder_decoder", False):
        raise ModelError(f"{name} is an encoder–decoder: lensbench reads decoder-only models.")
    n_layers = getattr(config, "num_hidden_layers", None)
    decoder = model.get_decoder()
    found = [
        module
        for module in decoder.modules()
        if isinstance(module, nn.ModuleList) and len(module) == n_layers
    ]
    if not n_layers or not found:
        raise ModelError(f"{name} has no list of num_hidden_layers = {n_layers} blocks to read.")
    unembedding = model.get_output_embeddings()
    if unembedding is None:
        raise ModelError(f"{name} has no output embeddings, so no state can be read out in words.")
    # The outermost list comes first; lists inside blocks (experts) can have the same length.
    blocks = tuple(found[0])
    seen = _Probe(blocks, unembedding)
    if probe is None:
        device = next(model.parameters()).device
        # From the middle of the vocabulary: special tokens stand at its ends.
        middle = model.get_input_embeddings().weight.shape[0] // 2
        ids = torch.tensor([[0, 1, 2, 1, 0]], device=device) + middle
        probe = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    with torch.no_grad(), seen.watching(model):
        logits = model(**probe, use_cache=False).logits[0, -1].float()
    tail, tail_scale = seen.tail(name)
    logit_scale, softcap = _after(name, seen.unembedded, logits, config)
    return Anatomy(
        decoder=decoder,
        blocks=blocks,
        tail=tail,
        tail_scale=tail_scale,
        unembedding=unembedding,
        logit_scale=logit_scale,
        softcap=softcap,
        n_layers=int(n_layers),
        n_heads=int(config.num_attention_heads),
        hidden_size=int(seen.states[0].shape[-1]),
        vocab_size=int(logits.shape[-1]),
        image_token_id=_image_token(model.config),
    )


def _image_token(config: Any) -> int | None:
    for key in ("image_token_id", "image_token_index"):
        if getattr(config, key, None) is not None:
            return int(getattr(config, key))
    return None


class _Probe:
    """Hooks on every module of a model, for one pass: what is called after the last block."""

    def __init__(self, blocks: tuple[nn.Module, ...], unembedding: nn.Module) -> None:
        self.blocks = blocks
        self.unembedding = unembedding
        self.states: list[Tensor] = []  # [d] into the first block, then out of each
        self.inputs: list[Tensor] = []  # [d] into each block
        self.called: list[tuple[nn.Module, Tensor, Tensor]] = []  # after the last block
        self.embedded: Tensor | None = None  # [d] into the output embeddings
        self.unembedded: Tensor | None = None  # [V] out of them
        self._inside: nn.Module | None = None

    def watching(self, model: nn.Module) -> Any:
        """Return a context manager that has the hooks on the model."""
        return _Hooks(model, self._before, self._after)

    def _before(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if module in self.blocks:
            state = input_of(args, kwargs)[0, -1].clone()
            self.inputs.append(state)
            if module is self.blocks[0]:
                self.states.append(state)
        elif module is self.unembedding and self._inside is None:
            self.embedded = args[0].reshape(-1, args[0].shape[-1])[-1].clone()
        elif len(self.states) > len(self.blocks) and self._inside is None:
            self._inside = module  # What it calls in turn is its own affair.

    def _after(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        if module in self.blocks:
            self.states.append(hidden_of(output)[0, -1].clone())
        elif module is self.unembedding and self._inside is None:
            self.unembedded = output.reshape(-1, output.shape[-1])[-1].clone()
        elif module is self._inside:
            self._inside = None
            if self.embedded is None and args and isinstance(args[0], Tensor):
                before, after = (t.reshape(-1, t.shape[-1])[-1] for t in (args[0], output))
                self.called.append((module, before.clone(), after.clone()))

    def tail(self, name: str) -> tuple[tuple[nn.Module, ...], float]:
        """Return the modules between the last block and the output embeddings, and the factor."""
        if len(self.states) != len(self.blocks) + 1 or self.embedded is None:
            raise ModelError(
                f"{name} called {max(len(self.states) - 1, 0)} of its {len(self.blocks)} blocks "
                "once each before its output embeddings: it can't be read layer by layer."
            )
        for layer, (left, entered) in enumerate(zip(self.states, self.inputs, strict=False)):
            if left.shape != entered.shape or not torch.equal(left, entered):
                raise ModelError(
                    f"{name} changes the residual stream between blocks {layer} and "
                    f"{layer + 1}, so no single state stands for that layer."
                )
        current, used = self.states[-1], []
        for module, before, after in self.called:
            if before.shape == current.shape and torch.equal(before, current):
                used.append(module)
                current = after
        scale = _factor(current, self.embedded)
        if scale is None:
            raise ModelError(
                f"{name} does something between its last block and its output embeddings that is "
                "no module and no factor, so its readout can't be repeated at other layers."
            )
        return tuple(used), scale


class _Hooks:
    """A context manager: the same two hooks on every module of a model."""

    def __init__(
        self, model: nn.Module, before: Callable[..., None], after: Callable[..., None]
    ) -> None:
        self._model, self._before, self._after = model, before, after
        self._handles: list[Any] = []

    def __enter__(self) -> None:
        for module in self._model.modules():
            self._handles.append(module.register_forward_pre_hook(self._before, with_kwargs=True))
            self._handles.append(module.register_forward_hook(self._after, with_kwargs=True))

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()


def _factor(before: Tensor, after: Tensor) -> float | None:
    """Return the one number that `before` was multiplied by to give `after`; None if none was."""
    if before.shape != after.shape:
        return None
    x, y = before.double(), after.double()
    if torch.equal(x, y):
        return 1.0
    scale = float((x @ y) / (x @ x).clamp_min(1e-300))
    slack = 2.0 * torch.finfo(after.dtype).eps * float(y.abs().max())
    return scale if bool(((scale * x - y).abs() <= slack).all()) else None


def _after(
    name: str, unembedded: Tensor | None, logits: Tensor, config: Any
) -> tuple[float, float | None]:
    """Return the factor and the soft cap that turn the output embeddings' output into logits."""
    if unembedded is None or unembedded.shape != logits.shape:
        raise ModelError(f"{name} doesn't make its logits from its output embeddings alone.")
    values = unembedded.float()
    scale = _factor(values.to(unembedded.dtype), logits.to(unembedded.dtype))
    if scale is not None:
        # A factor from the configuration is exact, one from a division of floats is nearly so.
        return _rounded(scale, config), None
    softcap = getattr(config, "final_logit_softcapping", None)
    if softcap:
        capped = softcap * torch.tanh(values / softcap)
        limit = 4 * torch.finfo(unembedded.dtype).eps * float(capped.abs().max())
        if float((capped - logits).abs().max()) <= limit:
            return 1.0, float(softcap)
    raise ModelError(
        f"{name} changes its logits after its output embeddings in a way that is "
        "neither a factor nor a soft cap."
    )


def _rounded(scale: float, config: Any) -> float:
    candidates = []
    for key in ("logit_scale", "logits_scaling"):
        value = getattr(config, key, None)
        if isinstance(value, (int, float)) and value:
            candidates += [float(value), 1.0 / float(value)]
    return next((c for c in candidates if abs(c - scale) <= 1e-4 * abs(scale)), scale)
