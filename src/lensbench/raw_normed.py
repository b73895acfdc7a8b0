"""Why the raw lens and the normed one disagree: what the final norm does to a state, taken apart.

A norm changes two things, the length of a state and its direction (by its gain, and by what it
subtracts or adds). The logits of u and of c·u, c > 0, are in the same order: the length decides how
sure a lens sounds, the direction alone which token is on top. So each state is read four times.

| reading | direction | length |
|---|---|---|
| normed | of the normed state | of the normed state |
| raw | of the state itself | of the state itself |
| length | of the state itself | of the normed state |
| direction | of the normed state | of the state itself |
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lensbench.lens.generate import trace_batch
from lensbench.look import Lens
from lensbench.metrics.bootstrap import Bootstrap
from lensbench.models.prompt import encode
from lensbench.prose import together
from lensbench.request import check_request

READINGS = ("normed", "raw", "length", "direction")
#: What is told of a state itself; the others are told of each reading.
STATES = ("norm", "normed_norm", "cosine", "largest_share", "normed_largest_share")


def read_both(
    lens: Lens, text: str, max_new_tokens: int = 8, style: str = "chat"
) -> tuple[pd.DataFrame, str]:
    """Return the four readings of every layer at every step of one answer, and the answer.

    Every layer is read as its reading says, the last one too.

    Args:
        lens: a model, which answers greedily.
        text: what it is asked.
        max_new_tokens: steps at most.
        style: "chat" or "plain".

    Returns:
        One row a step × layer × reading: step, layer, reading, generated (the token generated
        there), token_id and token (on top), probability, entropy_nats, same_top1 (whether the
        normed reading has it on top too), and of the state, the same for all readings: norm (L2)
        and normed_norm (after the norm), cosine of the two, largest_share and
        normed_largest_share (of the squared length, the part of the largest coordinate).
    """
    check_request(text, max_new_tokens, 1, "normed", style, "answer")
    loaded = lens.loaded
    encoded = encode(loaded, [{"prompt": text, "style": style, "image": None}])
    loaded.prompter.check_length(encoded, max_new_tokens)
    traced = trace_batch(loaded, encoded, max_new_tokens)
    ids = traced.ids[0]
    states = traced.residuals[0, : len(ids)]
    steps, layers, _ = states.shape
    flat = states.reshape(steps * layers, -1)
    ending = loaded.anatomy.ending
    with torch.inference_mode():
        normed = ending.normed(flat)
        told = _of_states(flat.float(), normed.float())
        parts = []
        for reading in READINGS:
            found = _read(lens, flat, normed, reading)
            frame = pd.DataFrame(
                {
                    "step": np.repeat(np.arange(steps), layers),
                    "layer": np.tile(np.arange(layers), steps),
                    "reading": reading,
                    **{name: values.cpu().numpy() for name, values in {**found, **told}.items()},
                }
            )
            parts.append(frame)
    top = parts[0]["token_id"].to_numpy()
    table = pd.concat([part.assign(same_top1=part["token_id"] == top) for part in parts])
    one = {token: loaded.tokenizer.decode([token]) for token in {*table["token_id"], *ids}}
    table.insert(3, "generated", [one[ids[step]] for step in table["step"]])
    table.insert(5, "token", [one[token] for token in table["token_id"]])
    answer = loaded.tokenizer.decode(ids, skip_special_tokens=True)
    return table.reset_index(drop=True), answer


def by_layer(table: pd.DataFrame, boot: Bootstrap | None = None) -> pd.DataFrame:
    """Return means over the steps by layer, with intervals.

    The steps of one answer aren't independent: an interval says how much they differ, not what
    another text would give.

    Args:
        table: what `read_both` returns.
        boot: for the intervals; 1000 resamples of seed 0 by default.

    Returns:
        reading ("" for what is told of the state), metric (same_top1, probability, entropy_nats,
        and those of `STATES`), layer, value, low, high, n.
    """
    boot = boot or Bootstrap()
    layers = np.unique(table["layer"])
    wanted = [(reading, m) for reading in READINGS for m in ("same_top1", *_SURE)]
    wanted += [("", metric) for metric in STATES]
    parts = []
    for reading, metric in wanted:
        rows = table[table["reading"] == (reading or READINGS[0])]
        values = rows.sort_values(["step", "layer"])[metric].to_numpy(dtype=np.float64)
        of_steps = values.reshape(-1, len(layers))
        # Each step is drawn by itself, as if it were a picture.
        steps = np.array([f"step-{step}" for step in range(len(of_steps))], dtype=object)
        e = (boot.share if metric == "same_top1" else boot.mean)(of_steps, steps)
        columns = {"value": e.value, "low": e.low, "high": e.high, "n": e.n}
        parts.append(
            pd.DataFrame({"reading": reading, "metric": metric, "layer": layers, **columns})
        )
    return pd.concat(parts, ignore_index=True)


def sureness(layers: pd.DataFrame, layer: int) -> str:
    """Return in a sentence whether length or direction decides how sure a layer sounds.

    Each is changed while the other is kept, which can be done in two ways: the probability of the
    top token goes from raw to length and from direction to normed, or from raw to direction and
    from length to normed. One of the two decides if its smaller change is above the other's larger.

    Args:
        layers: what `by_layer` returns.
        layer: which.
    """
    rows = layers[(layers["metric"] == "probability") & (layers["layer"] == layer)]
    p = rows.set_index("reading")["value"]
    by_length = sorted((abs(p["length"] - p["raw"]), abs(p["normed"] - p["direction"])))
    by_direction = sorted((abs(p["direction"] - p["raw"]), abs(p["normed"] - p["length"])))
    told = " and ".join(together(by_length)), " and ".join(together(by_direction))
    measured = (
        f"Another length moves that probability by {told[0]} (in either direction), another "
        f"direction by {told[1]} (at either length): in this text "
    )
    if by_length[0] > by_direction[1]:
        return f"{measured}how sure layer {layer} sounds is above all a matter of the length."
    if by_direction[0] > by_length[1]:
        return f"{measured}how sure layer {layer} sounds is above all a matter of the direction."
    return f"{measured}neither alone decides how sure layer {layer} sounds."


_SURE = ("probability", "entropy_nats")


def _of_states(states: Tensor, normed: Tensor) -> dict[str, Tensor]:
    """Return what is told of states [n, d] and of the same after the norm, [n] each."""
    square, after = states.square(), normed.square()
    return {
        "norm": states.norm(dim=-1),
        "normed_norm": normed.norm(dim=-1),
        "cosine": torch.cosine_similarity(states, normed, dim=-1),
        "largest_share": square.amax(-1) / square.sum(-1),
        "normed_largest_share": after.amax(-1) / after.sum(-1),
    }


def _read(lens: Lens, states: Tensor, normed: Tensor, reading: str) -> dict[str, Tensor]:
    """Return the top token, its probability and the entropy of each state, [n] each."""
    scale = normed.norm(dim=-1, keepdim=True) / states.norm(dim=-1, keepdim=True)
    read = {
        "normed": normed,
        "raw": states,
        "length": states * scale,
        "direction": normed / scale,
    }[reading]
    # What is read has been normed already, or is meant not to be.
    logp = lens.loaded.anatomy.logits(read, "raw").log_softmax(-1)
    best = logp.max(-1)
    return {
        "token_id": best.indices,
        "probability": best.values.exp(),
        "entropy_nats": -(logp.exp() * logp.clamp_min(-1e4)).sum(-1),
    }
