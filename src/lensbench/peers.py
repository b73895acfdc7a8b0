"""Agreement with other implementations: what TransformerLens and nnsight read, beside a lens here.

Their numbers were recorded once, in their own environment, on SmolLM2's weights in float32
(`benchmarks/peers_golden.py`); here the same prompts are read anew, so that a table can say how far
apart the two are, and how far a lens that leaves the final norm out is from both.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from lensbench.errors import LensbenchError
from lensbench.lens.generate import trace_batch
from lensbench.look import Lens
from lensbench.models.load import LoadedModel
from lensbench.models.prompt import encode
from lensbench.request import LENSES

FOLDER = Path(__file__).parent / "data" / "peers"
#: What was recorded, by the name of its file, and the package whose version it names.
PEERS = {"nnsight": "nnsight", "transformerlens": "transformer-lens"}


def record(peer: str) -> dict[str, Any]:
    """Return what one of `PEERS` read: versions, digests of the weights, prompts by layer.

    Raises:
        LensbenchError: if no such peer was recorded.
    """
    if peer not in PEERS:
        raise LensbenchError(f"No peer is called {peer!r}: there are {', '.join(PEERS)}.")
    return json.loads((FOLDER / f"{peer}.json").read_text(encoding="utf-8"))


def agreement(lens: Lens) -> pd.DataFrame:
    """Return how a lens and the recorded peers agree on each of the recorded prompts.

    Args:
        lens: on the very weights that the peers were given.

    Returns:
        One row a peer × prompt × lens: peer, version, prompt, lens ("normed": as the peers do it;
        "raw": without the final norm at any layer), n_layers (compared, L + 1), same_top1 (share of
        them whose likeliest token is the peer's) and largest_nats (largest difference of a
        log-probability, over all layers and the tokens recorded of each: the peer's five likeliest
        and the model's own).

    Raises:
        LensbenchError: if the weights, or the tokens of a prompt, are not those of the record.
    """
    rows = []
    read: dict[str, Tensor] = {}  # the peers have the same prompts: each is run once
    for peer, package in PEERS.items():
        theirs = record(peer)
        _require_weights(lens, theirs["gguf_sha256"], peer)
        for prompt in theirs["prompts"]:
            words = prompt["prompt"]
            if words not in read:
                read[words] = _states(lens.loaded, words, prompt["input_ids"])
            states = read[words]
            for kind in LENSES:
                same, largest = _compared(
                    lens.loaded.anatomy.logits(states, kind).log_softmax(-1), prompt
                )
                rows.append(
                    {
                        "peer": peer,
                        "version": theirs["versions"][package],
                        "prompt": words,
                        "lens": kind,
                        "n_layers": len(states),
                        "same_top1": same,
                        "largest_nats": largest,
                    }
                )
    return pd.DataFrame(rows)


def summary(found: pd.DataFrame) -> pd.DataFrame:
    """Return `agreement` over all prompts: one row a peer × lens, the worst of each.

    Args:
        found: what `agreement` returns.

    Returns:
        peer, version, lens, prompts, layers (of all prompts together), same_top1 (share of those
        layers) and largest_nats.
    """
    layers = found.assign(same=found["same_top1"] * found["n_layers"])
    by = layers.groupby(["peer", "version", "lens"], sort=False)
    joined = by.agg(
        prompts=("prompt", "nunique"),
        layers=("n_layers", "sum"),
        same=("same", "sum"),
        largest_nats=("largest_nats", "max"),
    ).reset_index()
    joined.insert(5, "same_top1", joined.pop("same") / joined["layers"])
    return joined


def _require_weights(lens: Lens, digest: str, peer: str) -> None:
    own = lens.loaded.weights_sha256
    if own != digest:
        raise LensbenchError(
            f"{lens.name} has other weights ({own[:12] or 'no digest'}) than {peer} was recorded "
            f"on ({digest[:12]}): compare them on smollm2-135m."
        )


def _states(loaded: LoadedModel, prompt: str, ids: list[int]) -> Tensor:
    """Return the residual stream of a prompt's last position, [L + 1, d]."""
    encoded = encode(loaded, [{"prompt": prompt, "style": "completion", "image": None}])
    found = encoded.inputs["input_ids"][0, int(encoded.first[0]) :].tolist()
    if found != ids:
        raise LensbenchError(
            f"{loaded.name} makes other tokens of {prompt!r} than the peers had: its tokenizer is "
            "not theirs."
        )
    return trace_batch(loaded, encoded, 1).residuals[0, 0]


def _compared(ours: Tensor, prompt: dict[str, Any]) -> tuple[float, float]:
    """Return the share of layers with the peer's top token, and the largest difference, nats.

    Args:
        ours: [L + 1, V] log-probabilities.
        prompt: what the peer recorded of it.
    """
    ids = torch.tensor([layer["top_id"] for layer in prompt["layers"]], device=ours.device)
    values = [[*layer["top_logprob"], layer["final_logprob"]] for layer in prompt["layers"]]
    final = torch.full((len(ids), 1), prompt["final_id"], device=ours.device)
    theirs = torch.tensor(values, device=ours.device)
    apart = (ours.gather(1, torch.cat([ids, final], dim=1)) - theirs).abs()
    same = ours.argmax(-1) == ids[:, 0]
    return float(same.float().mean()), float(apart.max())
