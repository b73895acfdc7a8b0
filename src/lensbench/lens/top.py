"""The k largest of many logits, exactly, without sorting them: first blocks, then what is in them.

The k largest values lie in the k blocks with the largest maxima, and block maxima cost one read of
the logits. Of equal logits the smaller id comes first, also at the edge of the list; a row with
equal ones among those that count is done again by a stable sort.
"""

from __future__ import annotations

import torch
from torch import Tensor

#: Logits a block. k blocks of it are looked through, so it weighs V ÷ block against k · block.
BLOCK = 64


def block_maxima(logits: Tensor) -> Tensor:
    """Return the largest logit of each block of logits [rows, V], the last one maybe shorter."""
    size = logits.shape[-1]
    whole = size // BLOCK * BLOCK
    maxima = logits[:, :whole].unflatten(1, (-1, BLOCK)).amax(-1)
    if whole == size:
        return maxima
    return torch.cat([maxima, logits[:, whole:].amax(-1, keepdim=True)], dim=1)


def top_tokens(logits: Tensor, k: int, maxima: Tensor | None = None) -> Tensor:
    """Return the ids of the k largest logits, of equal ones the smaller id first.

    Args:
        logits: [rows, V].
        k: how many; a vocabulary of fewer is filled up with the last token of the list.
        maxima: `block_maxima(logits)`, if they are there already.

    Returns:
        [rows, k] int64.
    """
    size = logits.shape[-1]
    wanted = min(k, size)
    # One more block and value than wanted: they show whether the last one found has equals.
    if size < 2 * BLOCK * (wanted + 1):
        ids = _sorted(logits)[:, :wanted]
    else:
        ids = _by_blocks(logits, wanted, block_maxima(logits) if maxima is None else maxima)
    short = k - wanted
    return torch.cat([ids, ids[:, -1:].expand(-1, short)], -1) if short > 0 else ids


def _by_blocks(logits: Tensor, k: int, maxima: Tensor) -> Tensor:
    size = logits.shape[-1]
    tops, blocks = maxima.topk(k + 1, dim=-1)
    inside = torch.arange(BLOCK, device=logits.device)
    ids = (blocks[:, :k, None] * BLOCK + inside).flatten(1)
    values = logits.gather(1, ids.clamp_max(size - 1))
    if size % BLOCK:  # The last block is shorter; what would lie beyond it is not there.
        values = values.masked_fill(ids >= size, -torch.inf)
    values, order = values.topk(k + 1, dim=-1)
    found = ids.gather(1, order[:, :k])
    equal = (values[:, 1:] == values[:, :-1]).any(-1) | (tops[:, k] >= values[:, k - 1])
    if bool(equal.any()):
        found[equal] = _sorted(logits[equal])[:, :k]
    return found


def _sorted(logits: Tensor) -> Tensor:
    return logits.argsort(dim=-1, descending=True, stable=True)
