"""Attention of the last position, per head, from the queries and keys a model really uses.

transformers lets a model's attention be computed by any function in its `AttentionInterface`. While
a listener is there, each of those functions is wrapped: the original still computes the output, bit
for bit, and the row of the last query is computed beside it in float32, so a T×T matrix is never
made. The functions keep their names. Under a new name, a model would be given no mask at all
(`AttentionMaskInterface` knows only names registered with it), and padding would be attended to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS


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
    window: int | None = None,
    sinks: Tensor | None = None,
) -> Tensor:
    """Return the attention of the last query, softmax(q·Kᵀ·scale + mask), in float32.

    Args:
        query: [batch, heads, queries, width].
        key: [batch, key heads, keys, width]; a key head serves heads ÷ key heads query heads.
        mask: [batch or 1, heads or 1, queries, ≥ keys], true where attended to, or added to the
            scores; [batch, ≥ keys], true where there is no padding (flash kernels); None if the
            last query attends to every key.
        scaling: factor of the scores; 1/√width by default.
        softcap: c of c·tanh(scores/c), if any.
        position_bias: like an added mask, if any.
        window: the number of last keys attended to, where a kernel is told so apart from its mask.
        sinks: [heads] learned scores of a sink that is no position (GPT-OSS), if any.

    Returns:
        [batch, heads, keys], each row summing to 1, or with sinks to what they leave.
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
        row = bias[:, None, -keys:] if bias.dim() == 2 else bias[:, :, -1, :keys]
        if bias.dim() == 2 or row.dtype == torch.bool:
            scores = scores.masked_fill(row == 0, float("-inf"))
        else:
            scores = scores + row.float()
    # A mask of four dimensions has the window in it already.
    if window is not None and window < keys and (mask is None or mask.dim() == 2):
        scores[..., : keys - window] = float("-inf")
    if sinks is not None:
        column = sinks.float().reshape(1, -1, 1).expand(batch, heads, 1)
        return torch.softmax(torch.cat([scores, column], dim=-1), dim=-1)[..., :keys]
    return torch.softmax(scores, dim=-1)


def row_of(query: Tensor, key: Tensor, mask: Tensor | None, options: Mapping[str, Any]) -> Tensor:
    """Return `last_rows` of an attention function's own arguments.

    Args:
        query: as in `last_rows`.
        key: as in `last_rows`.
        mask: as in `last_rows`.
        options: what the function is given by name.
    """
    names = ("scaling", "softcap", "position_bias", "sliding_window", "s_aux")
    return last_rows(query, key, mask, *(options.get(name) for name in names))


def _beside(original: Callable[..., Any]) -> Callable[..., Any]:
    """Return an attention function that computes as `original` does and tells its rows."""

    def forward(
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        *more: Any,
        **options: Any,
    ) -> Any:
        output = original(module, query, key, value, attention_mask, *more, **options)
        listener = _LISTENER.get()
        if listener is not None and listener.wants(module):
            listener.attention(module, row_of(query, key, attention_mask, options))
        return output

    return forward


@contextmanager
def wrapped(wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Iterator[None]:
    """Replace every function of transformers' `AttentionInterface` by `wrap` of it in the block.

    Whatever kernel a model uses (SDPA, flash …) is wrapped under the name it has, so that all that
    a model decides by that name, its kind of mask first of all, stays as it is.
    """
    before = dict(ALL_ATTENTION_FUNCTIONS._local_mapping)
    try:
        for name in list(ALL_ATTENTION_FUNCTIONS):
            ALL_ATTENTION_FUNCTIONS[name] = wrap(ALL_ATTENTION_FUNCTIONS[name])
        yield
    finally:
        for name in list(ALL_ATTENTION_FUNCTIONS._local_mapping):
            if name in before:
                ALL_ATTENTION_FUNCTIONS[name] = before[name]
            else:
                del ALL_ATTENTION_FUNCTIONS[name]


@contextmanager
def listening(listener: Listener, tellers: Sequence[nn.Module] = ()) -> Iterator[None]:
    """Tell `listener` the last rows of every attention computed inside the block.

    Eager attention and modules that compute attention by themselves return their weights; those
    are read instead.

    Args:
        listener: who is told.
        tellers: modules whose output holds their attention weights [batch, heads, queries, keys].
    """
    token = _LISTENER.set(listener)
    handles = [module.register_forward_hook(_tell) for module in tellers]
    try:
        with wrapped(_beside):
            yield
    finally:
        for handle in handles:
            handle.remove()
        _LISTENER.reset(token)


def _tell(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
    listener, weights = _LISTENER.get(), weights_of(output)
    if listener is not None and weights is not None and listener.wants(module):
        listener.attention(module, weights[:, :, -1].float())


def weights_of(output: Any) -> Tensor | None:
    """Return the attention weights [batch, heads, queries, keys] in what a module returns, if any.

    A key-value cache in the same tuple has four dimensions too; its last row is no distribution.
    """
    if not isinstance(output, tuple):
        return None
    for part in output[1:]:
        if isinstance(part, Tensor) and part.dim() == 4 and part.is_floating_point():
            last = part[:, :, -1].float()
            sums = last.sum(-1)
            if bool((last >= 0).all()) and bool((sums - 1).abs().max() <= 2e-2):
                return part
    return None


@contextmanager
def implementation(configs: Sequence[Any], name: str) -> Iterator[None]:
    """Let the modules that share these configurations use another attention inside the block.

    Args:
        configs: configurations of the decoder's modules.
        name: "eager", "sdpa" …
    """
    before = [config._attn_implementation for config in configs]
    for config in configs:
        config._attn_implementation_internal = name
    try:
        yield
    finally:
        for config, used in zip(configs, before, strict=True):
            config._attn_implementation_internal = used


def head_statistics(
    rows: Tensor, image: Tensor, first: Sequence[int] | Tensor, overview: Tensor | None = None
) -> Tensor:
    """Return what each head's row says about picture, sink and text.

    The sink is the first position of the unpadded sequence; if that is an image position it counts
    as both, so that image + sink + text − image sink mass is 1.

    Args:
        rows: [batch, heads, keys], float32. With fewer keys than positions (a sliding window's
            cache) the keys are the last ones.
        image: [batch, positions], true at image positions; positions up to the last query.
        first: [batch] index of the first position that isn't padding.
        overview: [batch, positions], true at the image positions of the first view, where pictures
            are seen whole and in tiles; all image positions by default.

    Returns:
        [batch, heads, 7]: image mass, sink mass, text mass, entropy over image positions in nats
        (of the attention renormalised to them; 0 if it has none), largest weight on one of them,
        the part of the image mass that is on the overview, and the part that is on the sink.
    """
    keys = rows.shape[-1]
    positions = torch.arange(image.shape[1] - keys, image.shape[1], device=rows.device)
    sink = positions[None] == torch.as_tensor(first, device=rows.device)[:, None]
    picture = image[:, image.shape[1] - keys :]
    text = ~(picture | sink)
    on_image = rows * picture[:, None]
    image_mass = on_image.sum(-1)
    seen_whole = image if overview is None else overview
    on_overview = on_image * seen_whole[:, None, image.shape[1] - keys :]
    share = on_image / image_mass.clamp_min(torch.finfo(rows.dtype).tiny)[..., None]
    return torch.stack(
        [
            image_mass,
            (rows * sink[:, None]).sum(-1),
            (rows * text[:, None]).sum(-1),
            torch.special.entr(share).sum(-1),
            on_image.amax(-1),
            on_overview.sum(-1),
            (rows * (picture & sink)[:, None]).sum(-1),
        ],
        dim=-1,
    )
