"""Attention of the last position, per head, from the queries and keys a model really uses.

transformers lets a model's attention be computed by any function registered under a name. Two
names are registered here, each beside the implementation that it wraps: that implementation still
computes the output, bit for bit, and the row of the last query is computed next to it in float32,
so a T×T matrix is never made. Both names are registered for masks too: a name that
`AttentionMaskInterface` doesn't know is given no mask at all, and padding would be attended to.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, AttentionMaskInterface
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from lensbench.errors import ModelError

#: The names registered here, by the implementation each one wraps.
WRAPPED = {"sdpa": "lensbench", "eager": "lensbench_plain"}


class Listener(Protocol):
    """Who is told the last row of every attention it asks for."""

    def wants(self, module: nn.Module) -> bool:
        """Say whether this attention module's rows are wanted."""

    def attention(self, module: nn.Module, rows: Tensor) -> None:
        """Take rows [batch, heads, keys], float32, each summing to 1."""


_LISTENER: ContextVar[Listener | None] = ContextVar("lensbench_listener", default=None)


def last_rows(
    query: Tensor,
    key: Tensor,
    mask: Tensor | None,
    scaling: float | None = None,
    softcap: float | None = None,
    position_bias: Tensor | None = None,
) -> Tensor:
    """Return the attention of the last query, softmax(q·Kᵀ·scale + mask), in float32.

    Args:
        query: [batch, heads, queries, width].
        key: [batch, key heads, keys, width]; a key head serves heads ÷ key heads query heads.
        mask: [batch or 1, heads or 1, queries, ≥ keys], true where attended to, or added to the
            scores; None if the last query attends to every key.
        scaling: factor of the scores; 1/√width by default.
        softcap: c of c·tanh(scores/c), if any.
        position_bias: like an added mask, if any.

    Returns:
        [batch, heads, keys], each row summing to 1.
    """
    batch, heads, _, width = query.shape
    groups, keys = key.shape[1], key.shape[2]
    last = query[:, :, -1].float().reshape(batch, groups, heads // groups, width)
    scores = torch.matmul(last, key.float().transpose(-1, -2)).reshape(batch, heads, keys)
    scores = scores * (width**-0.5 if scaling is None else scaling)
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    for bias in (position_bias, mask):
        if bias is None:
            continue
        row = bias[:, :, -1, :keys]
        if row.dtype == torch.bool:
            scores = scores.masked_fill(~row, float("-inf"))
        else:
            scores = scores + row.float()
    return torch.softmax(scores, dim=-1)


def _plain(module: nn.Module) -> Callable[..., Any]:
    """Return the eager attention of the file that the module's class was written in."""
    for base in type(module).__mro__:
        found = getattr(sys.modules.get(base.__module__), "eager_attention_forward", None)
        if found is not None:
            return found
    raise ModelError(
        f"{type(module).__name__} has no eager attention that lensbench could stand beside: use a "
        "model that follows transformers' AttentionInterface."
    )


def _beside(
    implementation: str | None,
) -> Callable[..., tuple[Tensor, Tensor | None]]:
    """Return an attention function that computes as `implementation` does and tells its rows."""

    def forward(
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        **options: Any,
    ) -> tuple[Tensor, Tensor | None]:
        original = (
            _plain(module) if implementation is None else ALL_ATTENTION_FUNCTIONS[implementation]
        )
        output, weights = original(module, query, key, value, attention_mask, **options)
        listener = _LISTENER.get()
        if listener is not None and listener.wants(module):
            if weights is not None:
                rows = weights[:, :, -1].float()
            else:
                rows = last_rows(
                    query,
                    key,
                    attention_mask,
                    options.get("scaling"),
                    options.get("softcap"),
                    options.get("position_bias"),
                )
            listener.attention(module, rows)
        return output, weights

    return forward


AttentionInterface.register(WRAPPED["sdpa"], _beside("sdpa"))
AttentionInterface.register(WRAPPED["eager"], _beside(None))
for _name, _wrapper in WRAPPED.items():
    AttentionMaskInterface.register(_wrapper, ALL_MASK_ATTENTION_FUNCTIONS[_name])


@contextmanager
def implementation(decoder: Any, name: str) -> Iterator[None]:
    """Let a decoder (the text part of a model) use another attention inside the block.

    Args:
        decoder: a `PreTrainedModel`, as `model.get_decoder()` gives it.
        name: "eager", "sdpa", or one of `WRAPPED`.
    """
    before = decoder.config._attn_implementation
    decoder.set_attn_implementation(name)
    try:
        yield
    finally:
        decoder.set_attn_implementation(before)


@contextmanager
def listening(decoder: Any, listener: Listener) -> Iterator[None]:
    """Tell `listener` the last rows of a decoder's attention inside the block.

    Args:
        decoder: a `PreTrainedModel`, as `model.get_decoder()` gives it.
        listener: who is told.

    Raises:
        ModelError: if the decoder uses an attention that lensbench doesn't stand beside.
    """
    used = decoder.config._attn_implementation
    if used not in WRAPPED:
        known = " or ".join(WRAPPED)
        raise ModelError(f'Attention "{used}" can\'t be read: load the model with {known}.')
    token = _LISTENER.set(listener)
    try:
        with implementation(decoder, WRAPPED[used]):
            yield
    finally:
        _LISTENER.reset(token)


def head_statistics(rows: Tensor, image: Tensor, first: Sequence[int] | Tensor) -> Tensor:
    """Return what each head's row says about picture, sink and text.

    The sink is the first position of the unpadded sequence; if that is an image position it counts
    as the sink alone, so image + sink + text mass is 1.

    Args:
        rows: [batch, heads, keys], float32. With fewer keys than positions (a sliding window's
            cache) the keys are the last ones.
        image: [batch, positions], true at image positions; positions up to the last query.
        first: [batch] index of the first position that isn't padding.

    Returns:
        [batch, heads, 5]: image mass, sink mass, text mass, entropy over image positions in nats
        (of the attention renormalised to them; 0 if it has none), largest weight on one of them.
    """
    keys = rows.shape[-1]
    positions = torch.arange(image.shape[1] - keys, image.shape[1], device=rows.device)
    sink = positions[None] == torch.as_tensor(first, device=rows.device)[:, None]
    picture = image[:, image.shape[1] - keys :] & ~sink
    text = ~(picture | sink)
    on_image = rows * picture[:, None]
    image_mass = on_image.sum(-1)
    share = on_image / image_mass.clamp_min(torch.finfo(rows.dtype).tiny)[..., None]
    return torch.stack(
        [
            image_mass,
            (rows * sink[:, None]).sum(-1),
            (rows * text[:, None]).sum(-1),
            torch.special.entr(share).sum(-1),
            on_image.amax(-1),
        ],
        dim=-1,
    )
