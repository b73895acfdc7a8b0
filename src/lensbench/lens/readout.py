"""Exact statistics of what each layer's state says in words, without ever keeping full logits.

All of it is computed in float32 from the logits of a few states at a time; how many follows a
budget of bytes, and so does the peak of memory. Natural logarithms; ranks count from 0, the number
of strictly larger logits.

With s = logits − their maximum, e = exp s and Z = Σ e, everything is a sum over the vocabulary that
reads s and e once or twice: H = log Z − Σ e·s/Z, KL(p_L ‖ p_l) = log Z − Σ p_L·s − H(p_L) and
JS = H(½(p_l + p_L)) − ½H(p_l) − ½H(p_L). A few rows at a time, so that they stay in the cache.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lensbench.errors import ModelError
from lensbench.lens.script_mass import ScriptMass
from lensbench.lens.top import block_maxima, top_tokens

#: Bytes that the logits of one chunk may take, by the kind of device.
BUDGETS = {"cpu": 48 * 2**20, "cuda": 512 * 2**20}
#: Bytes of logits that are gone through at a time on a CPU: what the caches of two cores hold.
_CACHED = 2 * 2**20

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
    budget: int | None = None,
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
        budget: bytes that the logits of a chunk may take; by default what suits the device.

    Returns:
        The statistics, on the device of `hidden`.

    Raises:
        ModelError: if a logit is no number or +∞.

    Source: KL and JS to the final layer as in Belrose et al. 2023, 2303.08112; concept mass as in
        Wendler et al. 2024, 2402.10588.
    """
    n, layers, _ = hidden.shape
    groups = ScriptMass(scripts)
    rows = max(1, chunk_bytes(hidden.device, budget) // (4 * scripts.shape[0]))
    a_time = max(1, rows // layers)
    parts = []
    for start in range(0, n, a_time):
        part = slice(start, min(start + a_time, n))
        final = _Final(final_logits_of(hidden[part, -1]), k)
        gold = (gold_ids[part], gold_languages[part], n_languages)
        step = max(1, rows // len(final.ids))
        bands = []
        for low in range(0, layers - 1, step):
            band = hidden[part, low : min(low + step, layers - 1)]
            logits = logits_of(band.reshape(-1, band.shape[-1]))
            bands.append(_statistics(logits, band.shape[1], final, k, groups, *gold))
        # The last layer's logits are there already; computed again in another shape, they would
        # differ in the last bit and its KL to itself would not be 0.
        last = _statistics(final.logits, 1, final, k, groups, *gold)
        last.kl_to_final_nats.zero_()
        last.js_to_final_nats.zero_()
        bands.append(last)
        parts.append(_joined(bands, dim=1))
    return _joined(parts, dim=0)


def chunk_bytes(device: torch.device, budget: int | None = None) -> int:
    """Return the bytes that the logits of one chunk may take on a device."""
    return BUDGETS.get(device.type, BUDGETS["cuda"]) if budget is None else budget


def cached_rows(size: int) -> int:
    """Return how many rows of V = size logits are gone through at a time on a CPU."""
    return max(1, _CACHED // (4 * size))


def _joined(parts: list[Readout], dim: int) -> Readout:
    names = [field.name for field in fields(Readout)]
    return Readout(**{n: torch.cat([getattr(part, n) for part in parts], dim=dim) for n in names})


class _Final:
    """The last layer of g samples: its logits [g, V], and what the other layers need of it."""

    def __init__(self, logits: Tensor, k: int) -> None:
        self.logits = logits
        self.ids = top_tokens(logits, k)[:, :1]
        shifted, e, z = shifted_exp(logits.clone(), logits.amax(-1, keepdim=True))
        self.half = e.mul_(0.5 / z[:, None])  # ½ p_L
        # Never 0, so that the logarithm of a mixture with it is a number.
        self.positive = self.half + torch.finfo(e.dtype).tiny
        self.entropy = z.log() - 2.0 * row_dot(self.half, shifted)


def shifted_exp(
    logits: Tensor, largest: Tensor, out: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return s = logits − largest, exp s and its sum [rows] of logits [rows, V], which become s.

    Raises:
        ModelError: if a logit is no number or +∞.
    """
    shifted = logits.sub_(largest)
    e = torch.exp(shifted, out=out)
    z = e.sum(-1)
    if not bool(torch.isfinite(z).all()):
        raise ModelError("The model gives logits that are no numbers, so nothing can be read out.")
    return shifted, e, z


def row_dot(left: Tensor, right: Tensor, work: Tensor | None = None) -> Tensor:
    """Return the sums [rows] of products of two tensors [rows, V]; 0 · −∞ counts as 0."""
    # Not a matrix product: those add up one after the other, which for 150,000 probabilities of
    # about one size is off by a thousandth. A sum halves its terms.
    found = torch.mul(left, right, out=work).sum(-1)
    if bool(found.isnan().any()):
        found = torch.where(left == 0, 0.0, left * right).sum(-1)
    return found


def _larger(values: Tensor, than: Tensor, work: Tensor) -> Tensor:
    """Return how many of values [rows, V] are larger than `than` [rows, 1]."""
    # Counted as floats, which is exact up to 2^24 and much faster than summing booleans.
    return torch.gt(values, than, out=work).sum(-1).long()


def _statistics(
    logits: Tensor,
    n_layers: int,
    final: _Final,
    k: int,
    scripts: ScriptMass,
    gold_ids: Tensor,
    gold_languages: Tensor,
    n_languages: int,
) -> Readout:
    """Return the statistics of logits [g·l, V] (used up), given the last layer's of the g."""
    rows, size = logits.shape
    # On a CPU some layers of one sample at a time, so that the last layer is one row for them all.
    apart = not logits.is_cuda
    cached = min(n_layers, cached_rows(size)) if apart else rows
    work = torch.empty(2, cached, size, device=logits.device)
    found = []
    for low in range(0, rows, n_layers if apart else rows):
        high = low + n_layers if apart else rows
        sample = low // n_layers
        owners: Any = slice(sample, sample + 1)
        if not apart:
            owners = torch.arange(rows, device=logits.device) // n_layers
        owner = _Owner(
            final.half[owners],
            final.positive[owners],
            final.entropy[owners],
            final.ids[owners],
            gold_ids[owners],
            gold_languages[owners],
        )
        for start in range(low, high, cached):
            part = slice(start, min(start + cached, high))
            mine = work[:, : part.stop - part.start]
            found.append(_row_statistics(logits[part], owner, k, scripts, n_languages, mine))
    flat = _joined(found, dim=0)
    shape = (rows // n_layers, n_layers)
    names = [field.name for field in fields(Readout)]
    return Readout(**{name: getattr(flat, name).unflatten(0, shape) for name in names})


class _Owner(NamedTuple):
    """What rows are compared with: one row each, or one for all of them."""

    half: Tensor
    positive: Tensor
    entropy: Tensor
    final_id: Tensor
    gold_ids: Tensor
    gold_languages: Tensor


def _row_statistics(
    logits: Tensor, owner: _Owner, k: int, scripts: ScriptMass, n_languages: int, work: Tensor
) -> Readout:
    """Return the statistics of logits [r, V] (used up), given two arrays of their size."""
    rows = len(logits)
    # First what compares logits: less their maximum, different ones may be equal.
    maxima = block_maxima(logits)
    top_id = top_tokens(logits, k, maxima)
    final_id = owner.final_id.expand(rows, -1)
    final_value = logits.gather(1, final_id)
    gold_ids = owner.gold_ids.expand(rows, -1)
    gold = logits.gather(1, gold_ids.clamp_min(0)).masked_fill(gold_ids < 0, -math.inf)
    best, known = gold.amax(-1, keepdim=True), (gold_ids >= 0).any(-1)
    final_rank = _larger(logits, final_value, work[1])
    gold_rank = torch.where(known, _larger(logits, best, work[1]), -1)
    # Then what is made of differences to it.
    largest = maxima.amax(-1, keepdim=True)
    shifted, e, z = shifted_exp(logits, largest, work[0])
    log_z = z.log()
    of_language = torch.nn.functional.one_hot(owner.gold_languages.clamp_min(0), n_languages)
    of_language = (of_language * (owner.gold_ids >= 0)[..., None]).to(e.dtype)
    concept = torch.matmul(e.gather(1, gold_ids.clamp_min(0))[:, None], of_language)[:, 0]
    script = scripts(e, z)
    entropy = log_z - row_dot(e, shifted, work[1]) / z
    kl = log_z - 2.0 * row_dot(owner.half, shifted, work[1]) - owner.entropy
    mixture = torch.addcmul(owner.positive.expand(rows, -1), e, 0.5 / z[:, None], out=work[1])
    logs = torch.log(mixture, out=work[0])
    js = -row_dot(mixture, logs, work[0]) - 0.5 * (entropy + owner.entropy)
    return Readout(
        top_id=top_id,
        top_logprob=shifted.gather(1, top_id) - log_z[:, None],
        entropy_nats=entropy.clamp_min(0.0),
        kl_to_final_nats=kl.clamp_min(0.0),
        js_to_final_nats=js.clamp(0.0, LOG2),
        final_id=final_id[:, 0],
        final_rank=final_rank,
        final_logprob=(final_value - largest)[:, 0] - log_z,
        gold_rank=gold_rank,
        gold_logprob=torch.where(known, (best - largest)[:, 0] - log_z, 0.0),
        script_mass=script / z[:, None],
        concept_mass=concept / z[:, None],
    )
