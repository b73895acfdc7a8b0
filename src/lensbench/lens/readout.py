"""Exact statistics of what each layer's state says in words, without ever keeping full logits.

All of it is computed in float32 from the logits of a few states at a time; how many follows a
budget of bytes. Natural logarithms; ranks count from 0, the number of strictly larger logits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

#: Bytes that the logits of one chunk and what is computed from them may take.
BUDGET = 256 * 2**20
#: Arrays of the size of the logits that are alive at once, about.
_COPIES = 6

LOG2 = math.log(2.0)


@dataclass(frozen=True)
class Readout:
    """Statistics of n samples at L + 1 layers; the shapes after [n, L + 1] are given.

    Args:
        top_id: [k] the likeliest tokens, likeliest first; of equal ones the smaller id first.
        top_logprob: [k] their log-probabilities, nats.
        entropy_nats: entropy of p_l.
        kl_to_final_nats: KL(p_L ‖ p_l).
        js_to_final_nats: JS(p_L, p_l), between 0 and log 2.
        final_id: y = argmax p_L.
        final_rank: rank of y at this layer.
        final_logprob: log p_l(y).
        gold_rank: rank of the best-ranked gold token, -1 if there is none.
        gold_logprob: its log-probability, 0 if there is none.
        script_mass: [S] mass of p_l on each script.
        concept_mass: [C] mass of p_l on the gold tokens of each language.
    """

    top_id: Tensor
    top_logprob: Tensor
    entropy_nats: Tensor
    kl_to_final_nats: Tensor
    js_to_final_nats: Tensor
    final_id: Tensor
    final_rank: Tensor
    final_logprob: Tensor
    gold_rank: Tensor
    gold_logprob: Tensor
    script_mass: Tensor
    concept_mass: Tensor


def read_out(
    hidden: Tensor,
    logits_of: Callable[[Tensor], Tensor],
    final_logits_of: Callable[[Tensor], Tensor],
    k: int,
    scripts: Tensor,
    gold_ids: Tensor,
    gold_languages: Tensor,
    n_languages: int,
    budget: int = BUDGET,
) -> Readout:
    """Read out the states of n samples at every layer.

    Args:
        hidden: [n, L + 1, d] residual stream, layer 0 to L.
        logits_of: states [rows, d] → logits [rows, V], float32, for layers below L.
        final_logits_of: the same for layer L, as the model itself does it.
        k: how many top tokens; a smaller vocabulary is filled up with its last token.
        scripts: [V, S] float32, 1 where a token is in a script.
        gold_ids: [n, G] ids of the gold answer's tokens, -1 where there is none.
        gold_languages: [n, G] index of each one's language, -1 where there is none.
        n_languages: number of languages C.
        budget: bytes that a chunk may take.

    Returns:
        The statistics, on the device of `hidden`.

    Source: KL and JS to the final layer as in Belrose et al. 2023, 2303.08112; concept mass as in
        Wendler et al. 2024, 2402.10588.
    """
    n, layers, _ = hidden.shape
    size = scripts.shape[0]
    rows = max(1, budget // (4 * size * _COPIES))
    a_time = max(1, rows // layers)
    parts = []
    for start in range(0, n, a_time):
        part = slice(start, min(start + a_time, n))
        final = final_logits_of(hidden[part, -1])
        gold = (gold_ids[part], gold_languages[part])
        step = max(1, rows // final.shape[0])
        bands = []
        for low in range(0, layers - 1, step):
            band = hidden[part, low : min(low + step, layers - 1)]
            logits = logits_of(band.reshape(-1, band.shape[-1]))
            bands.append(
                _statistics(
                    logits.reshape(*band.shape[:2], -1), final, k, scripts, *gold, n_languages
                )
            )
        # The last layer's logits are there already; computed again in another shape, they would
        # differ in the last bit and its KL to itself would not be 0.
        bands.append(_statistics(final[:, None], final, k, scripts, *gold, n_languages))
        parts.append(_joined(bands, dim=1))
    return _joined(parts, dim=0)


def _joined(parts: list[Readout], dim: int) -> Readout:
    names = [field.name for field in fields(Readout)]
    return Readout(**{n: torch.cat([getattr(part, n) for part in parts], dim=dim) for n in names})


def _statistics(
    logits: Tensor,
    final: Tensor,
    k: int,
    scripts: Tensor,
    gold_ids: Tensor,
    gold_languages: Tensor,
    n_languages: int,
) -> Readout:
    """Return the statistics of logits [g, l, V], given the last layer's [g, V], both float32."""
    logp = torch.log_softmax(logits, dim=-1)
    logq = torch.log_softmax(final, dim=-1)[:, None]
    p = logp.exp()
    top_id = top_tokens(logits, k)
    # The same top-k as the top tokens', so that y is the first of them also among equal logits.
    final_id = top_tokens(final, k)[:, :1]
    final = _as_index(final_id, logp)
    best_id = _best(gold_ids, logits)
    known = best_id >= 0
    best = best_id.clamp_min(0)[..., None]
    none = torch.zeros((), dtype=logp.dtype, device=logp.device)
    return Readout(
        top_id=top_id,
        top_logprob=logp.gather(-1, top_id),
        entropy_nats=torch.special.entr(p).sum(-1),
        kl_to_final_nats=kl_divergence(logq, logp).clamp_min(0.0),
        js_to_final_nats=js_divergence(logq, logp).clamp(0.0, LOG2),
        final_id=final_id.expand(logp.shape[:2]),
        # Ranks from the logits: the subtraction of a log-sum can make different ones equal.
        final_rank=(logits > logits.gather(-1, final)).sum(-1),
        final_logprob=logp.gather(-1, final)[..., 0],
        gold_rank=torch.where(known, (logits > logits.gather(-1, best)).sum(-1), -1),
        gold_logprob=torch.where(known, logp.gather(-1, best)[..., 0], none),
        script_mass=p @ scripts,
        concept_mass=_mass_by_language(p, gold_ids, gold_languages, n_languages),
    )


def top_tokens(logits: Tensor, k: int) -> Tensor:
    """Return the ids [..., k] of the k largest logits, of equal ones the smaller id first.

    A vocabulary of fewer than k tokens is filled up with its last token in the list.
    """
    _, ids = torch.topk(logits, min(k, logits.shape[-1]), dim=-1)
    # Which of several equal logits at the edge topk keeps is its own choice; their order is not.
    ids, _ = ids.sort(dim=-1)
    _, order = logits.gather(-1, ids).sort(dim=-1, descending=True, stable=True)
    ids = ids.gather(-1, order)
    short = k - ids.shape[-1]
    return torch.cat([ids, ids[..., -1:].expand(*ids.shape[:-1], short)], -1) if short > 0 else ids


def kl_divergence(logp: Tensor, logq: Tensor) -> Tensor:
    """Return KL(p ‖ q) in nats over the last dimension; 0·log 0 counts as 0."""
    return torch.where(logp > -math.inf, logp.exp() * (logp - logq), 0.0).sum(-1)


def js_divergence(logp: Tensor, logq: Tensor) -> Tensor:
    """Return the Jensen–Shannon divergence in nats, ½KL(p ‖ m) + ½KL(q ‖ m) with m = ½(p + q)."""
    logm = torch.logaddexp(logp, logq) - LOG2
    return 0.5 * (kl_divergence(logp, logm) + kl_divergence(logq, logm))


def _as_index(ids: Tensor, like: Tensor) -> Tensor:
    """Return ids [g, m] as an index [g, l, m] into `like` [g, l, V]."""
    return ids[:, None].expand(-1, like.shape[1], -1)


def _best(ids: Tensor, logits: Tensor) -> Tensor:
    """Return [g, l] the likeliest of each row's ids [g, G] at each layer; -1 for a row of none."""
    index = _as_index(ids, logits)
    values = logits.gather(-1, index.clamp_min(0)).masked_fill(index < 0, -math.inf)
    best = index.gather(-1, values.argmax(-1, keepdim=True))[..., 0]  # -1 if its row has none
    return torch.where((ids >= 0).any(-1)[:, None], best, -1)


def _mass_by_language(p: Tensor, ids: Tensor, languages: Tensor, n_languages: int) -> Tensor:
    """Return [g, l, C] the mass of p [g, l, V] on ids [g, G], by their languages [g, G]."""
    mass = p.gather(-1, _as_index(ids.clamp_min(0), p))
    there = torch.nn.functional.one_hot(languages.clamp_min(0), n_languages).to(p.dtype)
    return mass @ (there * (ids >= 0)[..., None])
