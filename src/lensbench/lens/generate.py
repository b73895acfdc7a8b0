"""One greedy generation with the hooks on: every step's states and attention, no second pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lensbench.lens.capture import Capture, Reader
from lensbench.models.load import LoadedModel
from lensbench.models.prompt import Encoded


@dataclass(frozen=True)
class Traced:
    """What a generation over a batch of B prompts left behind.

    Args:
        ids: the tokens each prompt was answered with; the token that ends the answer included.
        residuals: [B, steps, L + 1, d] residual stream of the last position, the model's dtype.
        heads: [B, steps, head layers, heads, 7] statistics of `head_statistics`, float32.
        head_layers: numbers of the blocks that `heads` is about, from 1.
        capture: the hooks, with whole attention rows if they were asked for.
        logits: [B, steps, V] the model's own logits if they were asked for, else None.
    """

    ids: list[list[int]]
    residuals: Tensor
    heads: Tensor
    head_layers: tuple[int, ...]
    capture: Capture
    logits: Tensor | None

    def steps(self) -> tuple[Tensor, Tensor]:
        """Return the sample and step numbers of every step before a sample's end, [n] each."""
        pairs = [(sample, step) for sample, ids in enumerate(self.ids) for step in range(len(ids))]
        sample, step = torch.tensor(pairs).T
        return sample, step


def generate(
    loaded: LoadedModel,
    encoded: Encoded,
    max_new_tokens: int,
    logits: bool,
    use_cache: bool | None = None,
) -> Any:
    """Let a model answer a batch greedily; returns what transformers' `generate` returns.

    Args:
        loaded: the model.
        encoded: the batch.
        max_new_tokens: steps at most.
        logits: whether it gives the logits back.
        use_cache: whether steps go on from a cache; the model's own habit by default.
    """
    more = {} if use_cache is None else {"use_cache": use_cache}
    with torch.inference_mode():
        return loaded.model.generate(
            **encoded.inputs,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            return_dict_in_generate=True,
            output_logits=logits,
            **more,
        )


def trace_batch(
    loaded: LoadedModel,
    encoded: Encoded,
    max_new_tokens: int,
    keep_rows: bool = False,
    logits: bool = False,
    writes: bool = False,
    reader: Reader | None = None,
    tellers: Sequence[nn.Module] | None = None,
) -> Traced:
    """Let a model answer a batch greedily, with the hooks on at each step.

    Args:
        loaded: the model.
        encoded: the batch.
        max_new_tokens: steps at most; fewer if every sample has ended.
        keep_rows: keep whole attention rows in the capture.
        logits: keep the model's own logits.
        writes: keep what each module of a block adds to the residual stream in the capture.
        reader: is shown every position's states of the prompt's pass, layer by layer.
        tellers: modules whose returned attention weights are read; the anatomy's by default.
    """
    capture = Capture(
        loaded.anatomy,
        encoded.image,
        encoded.first,
        keep_rows=keep_rows,
        writes=writes,
        reader=reader,
        tellers=tellers,
        overview=encoded.overview,
    )
    with capture.watching():
        output = generate(loaded, encoded, max_new_tokens, logits)
    # Counted from the end: some models give back the prompt too, some the new tokens alone.
    new = output.sequences[:, -capture.n_steps :].tolist()
    steps = range(capture.n_steps)
    return Traced(
        ids=[_until_end(ids, loaded.end_ids) for ids in new],
        residuals=torch.stack([capture.residuals(step) for step in steps], dim=1),
        heads=torch.stack([capture.heads(step) for step in steps], dim=1),
        head_layers=loaded.anatomy.heads.layers,
        capture=capture,
        logits=torch.stack(output.logits, dim=1).float() if logits else None,
    )


def _until_end(ids: list[int], ends: frozenset[int]) -> list[int]:
    """Return ids up to the first that ends the answer; what follows it is padding."""
    for index, token in enumerate(ids):
        if token in ends:
            return ids[: index + 1]
    return ids
