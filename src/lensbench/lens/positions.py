"""The lens at every position of a prompt, with all its statistics.

What is compared with the last layer (ranks, divergences) can't be computed while the layers go by,
so the states of all layers are kept: positions × (L + 1) × d numbers, no logits.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lensbench.lens.generate import trace_batch
from lensbench.lens.readout import Readout, read_out
from lensbench.models.load import LoadedModel
from lensbench.models.prompt import Encoded


@dataclass(frozen=True)
class PromptReadout:
    """The lens at the T positions of one prompt, image positions included.

    Args:
        ids: [T] the prompt's tokens.
        image: [T] true at image positions.
        top_id: [L + 1, T, k] the likeliest next tokens, likeliest first.
        top_logprob: [L + 1, T, k] their log-probabilities, nats.
        entropy_nats: [L + 1, T] entropy of p_l.
        final_rank: [L + 1, T] rank of the token that is likeliest at the last layer.
        kl_to_final_nats: [L + 1, T] KL(p_L ‖ p_l).
    """

    ids: Tensor
    image: Tensor
    top_id: Tensor
    top_logprob: Tensor
    entropy_nats: Tensor
    final_rank: Tensor
    kl_to_final_nats: Tensor


def read_prompt(
    loaded: LoadedModel,
    encoded: Encoded,
    k: int = 10,
    lens: str = "normed",
    budget: int | None = None,
) -> list[PromptReadout]:
    """Read out every position of a batch's prompts at every layer.

    Args:
        loaded: the model.
        encoded: the batch.
        k: how many top tokens.
        lens: "normed" or "raw".
        budget: bytes that the logits of a chunk may take; by default what suits the device.
    """
    there = encoded.inputs["attention_mask"].bool()
    kept: list[Tensor] = []
    trace_batch(loaded, encoded, 1, reader=lambda layer, states: kept.append(states[there]))
    states = torch.stack(kept, dim=1)  # [positions, L + 1, d]
    kept.clear()
    found = read_states(loaded, states, k, lens, budget)
    counts = there.sum(1).tolist()
    return [
        PromptReadout(
            ids=encoded.inputs["input_ids"][sample][there[sample]],
            image=encoded.image[sample][there[sample]],
            **{name: _of(found, name, counts)[sample] for name in _KEPT},
        )
        for sample in range(len(counts))
    ]


def read_states(
    loaded: LoadedModel,
    states: Tensor,
    k: int = 10,
    lens: str = "normed",
    budget: int | None = None,
) -> Readout:
    """Read out states [n, L + 1, d] without scripts and gold answers, which belong to datasets.

    Args:
        loaded: the model.
        states: the residual stream at layers 0 … L.
        k: how many top tokens.
        lens: of layers below L, "normed" or "raw"; the last is read out as the model does it.
        budget: bytes that the logits of a chunk may take; by default what suits the device.
    """
    anatomy = loaded.anatomy
    none = torch.full((len(states), 1), -1, device=states.device)
    return read_out(
        states,
        lambda hidden: anatomy.logits(hidden, lens),
        anatomy.logits,
        k,
        torch.ones(anatomy.vocab_size, 1, device=states.device),
        none,
        none,
        1,
        budget,
    )


_KEPT = ("top_id", "top_logprob", "entropy_nats", "final_rank", "kl_to_final_nats")


def _of(found: Readout, name: str, counts: list[int]) -> list[Tensor]:
    """Return one statistic sample by sample, layers first."""
    return [part.transpose(0, 1) for part in getattr(found, name).split(counts)]
