"""Who is timed in the patch lens: every image position at every layer in words.

Run by harness.py through patch_lens.py, as contenders.py is.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from contenders import Outputs, serve
from PIL import Image
from torch import Tensor

import models
from lensbench.models.load import LoadedModel, prepare
from lensbench.models.prompt import Encoded, encode

QUESTION = "How many red stars are there in the picture?"
#: Rows at once that the floor is tried with; the fastest counts.
ROWS = (16, 32, 64, 128, 256, 512)


@dataclass(frozen=True)
class Task(models.Asked):
    """What a contender is given; `layers` 0 is the size's own number of blocks."""

    positions: int
    layers: int = 0
    k: int = 10

    def load(self) -> tuple[LoadedModel, Encoded]:
        """Return the model and a batch of pictures with that many positions each."""
        layers = self.layers or None
        model = models.build(self.model, self.dtype, self.device, self.seed, layers=layers)
        loaded = prepare(self.model, model, models.processor(self.model), "image-text")
        rows = next(n for n in range(math.isqrt(self.positions), 0, -1) if not self.positions % n)
        size = (28 * self.positions // rows, 28 * rows)
        picture = Image.radial_gradient("L").convert("RGB").resize(size)
        sample = {"prompt": QUESTION, "style": "chat", "image": "drawn"}
        encoded = encode(loaded, [sample] * self.batch, [picture] * self.batch)
        if set(encoded.n_image_tokens) != {self.positions}:
            seen = encoded.n_image_tokens[0]
            raise SystemExit(f"{self.model} gives that picture {seen} positions: ask for as many.")
        return loaded, encoded


def plain(task: Task) -> Callable[[], Outputs]:
    """One forward pass with the key-value cache, picture part included."""
    loaded, encoded = task.load()

    def run() -> Outputs:
        loaded.model(**encoded.inputs, use_cache=True, logits_to_keep=1)
        return {}

    return run


def products(task: Task) -> Callable[[], Outputs]:
    """The floor of the readout: its matrix products alone, a layer's states in equal chunks.

    No chunk has states of two layers, as in a lens that keeps none; its size is the fastest.
    """
    loaded, _ = task.load()
    anatomy, n = loaded.anatomy, task.batch * task.positions
    head, sizes = anatomy.unembedding, sorted({min(rows, n) for rows in ROWS})
    states = torch.randn(
        sizes[-1], anatomy.hidden_size, device=task.device, dtype=models.DTYPES[task.dtype]
    )
    rows = min(sizes, key=lambda size: _pace(head, states[:size]))

    def run() -> Outputs:
        for _ in range(anatomy.n_layers + 1):
            for start in range(0, n, rows):
                head(states[: min(rows, n - start)])
        return {}

    return run


def _pace(head: Callable[[Tensor], Tensor], states: Tensor) -> float:
    """Return the seconds a row that a product takes, at best of three."""
    found = []
    for _ in range(4):  # The first is warm-up.
        start = time.perf_counter()
        float(head(states)[0, 0])  # Waits for a GPU.
        found.append((time.perf_counter() - start) / len(states))
    return min(found[1:])


def lensbench(task: Task) -> Callable[[], Outputs]:
    """`read_patches`, forward pass included."""
    from lensbench.lens.patches import read_patches

    loaded, encoded = task.load()

    def run() -> Outputs:
        found = read_patches(loaded, encoded, k=task.k, lens="normed")
        names = ("top_id", "top_logprob", "entropy_nats")
        return {name: torch.cat([getattr(each, name) for each in found], 1) for name in names}

    return run


def transformers(task: Task) -> Callable[[], Outputs]:
    """All hidden states kept by transformers, then read out a layer at a time."""
    loaded, encoded = task.load()
    model, anatomy = loaded.model, loaded.anatomy

    def run() -> Outputs:
        output = model(**encoded.inputs, output_hidden_states=True, logits_to_keep=1)
        found: list[tuple[Tensor, ...]] = []
        for layer, states in enumerate(output.hidden_states):
            state: Any = states[encoded.image]
            if layer < anatomy.n_layers:  # The last one is behind the final norm already.
                state = anatomy.final_norm(state)
            logp = anatomy.unembedding(state).float().log_softmax(-1)
            top = logp.topk(task.k, dim=-1)
            found.append((top.indices, top.values, -(logp.exp() * logp).sum(-1)))
        names = ("top_id", "top_logprob", "entropy_nats")
        columns = zip(*found, strict=True)
        return {name: torch.stack(part) for name, part in zip(names, columns, strict=True)}

    return run


CONTENDERS = {
    "plain": plain,
    "products": products,
    "lensbench": lensbench,
    "transformers": transformers,
}

if __name__ == "__main__":
    asked = Task(**json.loads(sys.argv[1]))
    serve(lambda: CONTENDERS[asked.contender](asked), asked.device, ("lensbench.lens.generate",))
