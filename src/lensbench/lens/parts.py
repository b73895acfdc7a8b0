"""The sub-block lens: what attention and MLP write to the residual stream, block by block.

Each write is read out by itself, and so is the stream right after it: h_{l−1} + attention_l, then
h_{l−1} + attention_l + MLP_l, which is h_l.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from lensbench.errors import ModelError
from lensbench.lens.generate import trace_batch
from lensbench.lens.patches import read_tops
from lensbench.models.load import LoadedModel
from lensbench.models.prompt import Encoded

#: The two writes of a block, in the order in which they are added.
PARTS = ("attention", "MLP")


@dataclass(frozen=True)
class Parts:
    """The sub-block lens of one prompt's answer step; the axis of 2 is `PARTS`.

    Args:
        top_id: [L, 2, k] the likeliest tokens of what each part writes, read out by itself.
        top_logprob: [L, 2, k] their log-probabilities, nats.
        norm: [L, 2] L2 norm of what it writes.
        cumulated_top_id: [L, 2, k] the same of the residual stream after the write.
        cumulated_top_logprob: [L, 2, k] their log-probabilities, nats.
    """

    top_id: Tensor
    top_logprob: Tensor
    norm: Tensor
    cumulated_top_id: Tensor
    cumulated_top_logprob: Tensor


def read_parts(
    loaded: LoadedModel, encoded: Encoded, k: int = 10, lens: str = "normed"
) -> list[Parts]:
    """Read out what every block's attention and MLP write at the answer step.

    Args:
        loaded: the model.
        encoded: the batch.
        k: how many top tokens.
        lens: "normed" or "raw".

    Raises:
        ModelError: if the model's blocks don't add two modules' outputs to the stream.
    """
    anatomy = loaded.anatomy
    if not anatomy.writes:
        raise ModelError(f"{anatomy.writes_reason}: the sub-block lens can't read it.")
    traced = trace_batch(loaded, encoded, 1, writes=True)
    written = traced.capture.written(0)
    before = traced.residuals[:, 0, :-1, None].float()
    cumulated = before + written.cumsum(2)
    found = []
    for sample in range(len(written)):
        shape = written.shape[1:3]
        alone = read_tops(loaded, written[sample].flatten(0, 1), k, lens)
        summed = read_tops(loaded, cumulated[sample].flatten(0, 1), k, lens)
        found.append(
            Parts(
                alone.top_id.unflatten(0, shape),
                alone.top_logprob.unflatten(0, shape),
                written[sample].norm(dim=-1),
                summed.top_id.unflatten(0, shape),
                summed.top_logprob.unflatten(0, shape),
            )
        )
    return found


#: Lenses beside the main one, each read out at the answer step.
LENSES = {
    "raw": "the residual stream without the final norm",
    "attention": "what a block's attention writes, by itself",
    "mlp": "what a block's MLP writes, by itself",
    "mid": "the residual stream between a block's attention and its MLP",
}


def lens_states(residuals: Tensor, written: Tensor | None, lens: str) -> tuple[Tensor, int, str]:
    """Return the states that a lens reads, the number of its first layer, and how they are read.

    Args:
        residuals: [n, L + 1, d] residual stream.
        written: [n, L, 2, d] what each block's two modules add; None if it isn't known.
        lens: a key of `LENSES`.

    Returns:
        states [n, layers, d] (none, if they aren't known), first layer (0 or 1), "normed" or "raw".
    """
    if lens == "raw":
        return residuals, 0, "raw"
    if written is None:
        return residuals[:, :0], 1, "normed"
    attention, mlp = written.to(residuals.dtype).unbind(2)
    if lens == "attention":
        return attention, 1, "normed"
    if lens == "mlp":
        return mlp, 1, "normed"
    if lens == "mid":
        return residuals[:, :-1] + attention, 1, "normed"
    raise ModelError(f'"{lens}" is no lens: use one of {", ".join(LENSES)}.')
