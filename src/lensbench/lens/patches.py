"""The patch lens: what every image position of a prompt is read out as, at every layer.

Positions are read out layer by layer while the model runs, and only the k likeliest
tokens and the entropy are kept: neither the logits nor the states of all layers are ever there at
once, so the peak of memory is the same for any number of layers and positions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lensbench.errors import ModelError
from lensbench.lens.generate import Traced, trace_batch
from lensbench.lens.readout import cached_rows, chunk_bytes, row_dot, shifted_exp
from lensbench.lens.top import block_maxima, top_tokens
from lensbench.models.load import LoadedModel
from lensbench.models.prompt import Encoded


@dataclass(frozen=True)
class Patches:
    """The lens of P positions of one prompt at layers 0 … L.

    Args:
        positions: [P] place of each in the prompt without padding, from 0.
        grid: (rows, columns) of image positions, (0, 0) where there is no grid.
        top_id: [L + 1, P, k] the likeliest tokens, likeliest first.
        top_logprob: [L + 1, P, k] their log-probabilities, nats.
        entropy_nats: [L + 1, P] entropy of p_l.
    """

    positions: Tensor
    grid: tuple[int, int]
    top_id: Tensor
    top_logprob: Tensor
    entropy_nats: Tensor


@dataclass(frozen=True)
class Tops:
    """What is kept of n states: top tokens and their log-probabilities [n, k], entropy [n]."""

    top_id: Tensor
    top_logprob: Tensor
    entropy_nats: Tensor


def read_tops(
    loaded: LoadedModel, states: Tensor, k: int, lens: str = "normed", budget: int | None = None
) -> Tops:
    """Read out states [n, d], some at a time.

    Args:
        loaded: the model.
        states: [n, d] of the residual stream.
        k: how many top tokens.
        lens: "normed" or "raw".
        budget: bytes that the logits of a chunk may take; by default what suits the device.

    Raises:
        ModelError: if a logit is no number or +∞.
    """
    size = loaded.anatomy.vocab_size
    rows = max(1, chunk_bytes(states.device, budget) // (4 * size))
    cached = rows if states.is_cuda else cached_rows(size)
    parts: list[Tops] = []
    for chunk in states.split(rows):
        logits = loaded.anatomy.logits(chunk, lens)
        parts += [_tops(piece, k) for piece in logits.split(cached)]
    return Tops(
        torch.cat([part.top_id for part in parts]),
        torch.cat([part.top_logprob for part in parts]),
        torch.cat([part.entropy_nats for part in parts]),
    )


def _tops(logits: Tensor, k: int) -> Tops:
    """Return the tops of logits [n, V], which are used up."""
    maxima = block_maxima(logits)
    ids = top_tokens(logits, k, maxima)
    values = logits.gather(1, ids)
    largest = maxima.amax(-1, keepdim=True)
    shifted, e, z = shifted_exp(logits, largest)
    log_z = z.log()
    entropy = (log_z - row_dot(e, shifted) / z).clamp_min(0.0)
    return Tops(ids, values - largest - log_z[:, None], entropy)


class PositionReader:
    """Reads out chosen positions of a prompt's pass as the layers go by, and keeps the tops.

    Args:
        loaded: the model.
        wanted: [B, T] true at the positions to read, padding on the left included.
        k: how many top tokens.
        lens: of layers below L, "normed" or "raw"; the last is read out as the model does it.
        budget: bytes that the logits of a chunk may take.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        wanted: Tensor,
        k: int,
        lens: str = "normed",
        budget: int | None = None,
    ) -> None:
        self._loaded, self._wanted, self._k = loaded, wanted, k
        self._lens, self._budget = lens, budget
        self.layers: list[Tops] = []

    def __call__(self, layer: int, states: Tensor) -> None:
        """Take the states [B, T, d] of a layer."""
        if states.shape[:2] != self._wanted.shape:
            raise ModelError(
                f"{self._loaded.name} runs {tuple(states.shape[:2])} positions at layer {layer} "
                f"for prompts of {tuple(self._wanted.shape)}: its positions can't be followed."
            )
        kind = self._lens if layer < self._loaded.anatomy.n_layers else "normed"
        self.layers.append(
            read_tops(self._loaded, states[self._wanted], self._k, kind, self._budget)
        )

    def patches(self, encoded: Encoded) -> list[Patches]:
        """Return what was read, sample by sample."""
        counts = self._wanted.sum(1).tolist()
        split = [
            [getattr(tops, name).split(counts) for tops in self.layers]
            for name in ("top_id", "top_logprob", "entropy_nats")
        ]
        return [
            Patches(
                self._wanted[index].nonzero()[:, 0] - encoded.first[index],
                encoded.grids[index],
                *(torch.stack([layer[index] for layer in part]) for part in split),
            )
            for index in range(len(counts))
        ]


def read_patches(
    loaded: LoadedModel,
    encoded: Encoded,
    k: int = 10,
    lens: str = "normed",
    budget: int | None = None,
) -> list[Patches]:
    """Read out every image position of a batch at every layer.

    Args:
        loaded: the model.
        encoded: the batch.
        k: how many top tokens.
        lens: "normed" or "raw".
        budget: bytes that the logits of a chunk may take; by default what suits the device.

    Returns:
        one a sample; without a position for a sample without a picture.
    """
    return read_positions(loaded, encoded, encoded.image, k, lens, budget)


def read_positions(
    loaded: LoadedModel,
    encoded: Encoded,
    wanted: Tensor,
    k: int = 10,
    lens: str = "normed",
    budget: int | None = None,
) -> list[Patches]:
    """Read out the positions that `wanted` [B, T] marks, at every layer; as `read_patches`."""
    return trace_positions(loaded, encoded, wanted, 1, k, lens, budget)[1]


def trace_positions(
    loaded: LoadedModel,
    encoded: Encoded,
    wanted: Tensor,
    max_new_tokens: int,
    k: int = 10,
    lens: str = "normed",
    budget: int | None = None,
) -> tuple[Traced, list[Patches]]:
    """Trace a batch and read out the positions that `wanted` [B, T] marks in the same pass."""
    reader = PositionReader(loaded, wanted, k, lens, budget)
    traced = trace_batch(loaded, encoded, max_new_tokens, reader=reader)
    return traced, reader.patches(encoded)
