"""Mass by script: sums over the tokens of each script, as exact as a sum over all tokens."""

from __future__ import annotations

import torch
from torch import Tensor


class ScriptMass:
    """Adds up what tokens have, by script.

    Where each token has one script, the one with most tokens is what the others leave of the whole.
    A matrix product would be one line; its sums are naive ones, off by a thousandth for 150,000
    terms of about one size.

    Args:
        scripts: [V, S] 1 where a token is in a script.
    """

    def __init__(self, scripts: Tensor) -> None:
        sizes = scripts.sum(0)
        self._n, self._most = scripts.shape[1], int(sizes.argmax())
        self._rest = bool(((scripts.amax(-1) == 1) & (scripts.sum(-1) == 1)).all())
        members = [column.nonzero()[:, 0] for column in scripts.T]
        if self._rest:
            members[self._most] = members[self._most][:0]
        self._tokens = torch.cat(members)
        self._sizes = [len(tokens) for tokens in members]

    def __call__(self, values: Tensor, total: Tensor) -> Tensor:
        """Return the sums [rows, S] of values [rows, V] over each script, given those over all."""
        masses = values.new_zeros(len(values), self._n)
        parts = values.index_select(1, self._tokens).split(self._sizes, dim=1)
        for script, part in enumerate(parts):
            if part.shape[1]:
                torch.sum(part, dim=-1, out=masses[:, script])
        if self._rest:
            masses[:, self._most] = (total - masses.sum(-1)).clamp_min(0.0)
        return masses
