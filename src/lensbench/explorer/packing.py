"""A sample packed for its page: a small dictionary of tokens, and numbers as deflated bytes.

A probability is stored as it is shown, rounded to three significant digits: 900 codes a decade,
down to 10⁻⁷¹ in 16 bits. What needs the exact numbers, the best layer, is found before.
"""

from __future__ import annotations

import base64
import zlib
from dataclasses import asdict
from typing import Any

import numpy as np

from lensbench.explorer.sample import Attention, Sample, Vocabulary

FORMAT = 1
#: Codes a decade: the mantissas 1.00 … 9.99.
PER_DECADE = 900
#: Code of a probability too small for any other.
TINY = 65_535
_DECADES = 72
#: What stands for "none" in an array of positions.
NONE = 65_535
FRAGMENT, BLANK = 1, 2


def probability_codes(logprob: np.ndarray) -> np.ndarray:
    """Return log-probabilities (nats, any shape) as codes of their probabilities.

    Code c stands for (100 + c mod 900) · 10^(-2 - c div 900); `TINY` for anything smaller.
    """
    flat, inverse = np.unique(np.asarray(logprob, dtype=np.float64), return_inverse=True)
    codes = np.array([_code(f"{p:.2e}") for p in np.exp(np.minimum(flat, 0.0))], dtype=np.uint16)
    return codes[inverse].reshape(np.shape(logprob))


def _code(text: str) -> int:
    """Return the code of a probability that is printed as "3.67e-02"."""
    digits, exponent = text.split("e")
    mantissa, decade = int(digits.replace(".", "")), -int(exponent)
    if mantissa == 0 or decade >= _DECADES:
        return TINY
    return decade * PER_DECADE + mantissa - 100


def pack(sample: Sample, vocabulary: Vocabulary, k: int = 5) -> dict[str, Any]:
    """Return what a page needs of a sample, as JSON can hold it.

    Args:
        sample: the sample.
        vocabulary: what its token ids say.
        k: how many of the top tokens are kept.

    Returns:
        `about`, `views`, `tokens` (text, script, flags, commonest first), `scripts`, `layers`,
        `positions`, `k`, `trajectory`, `attention`, `has_entropy`, and `blobs`: name → bytes of an
        array (see `blob`): `ids` and `probability` [M, P, k], `entropy` [M, P] in hundredths of a
        nat, `best` [P], `token` [P], `patch` [P], `step` [P], `place` [3, P], and `attention`.
    """
    kept = min(k, sample.top_id.shape[2])
    top = sample.top_id[:, :, :kept]
    index, tokens, scripts = _dictionary(sample, top, vocabulary)
    told = bool(np.isfinite(sample.entropy).all())
    blobs = {
        "ids": blob(index(top)),
        "probability": blob(probability_codes(sample.top_logprob[:, :, :kept])),
        "best": blob(sample.best_layer.astype(np.uint16)),
        "token": blob(index(sample.token_id)),
        "patch": blob(_or_none(sample.patch)),
        "step": blob(_or_none(sample.step)),
        "place": blob(_or_none(sample.place.T)),
    }
    if told:
        blobs["entropy"] = blob(np.rint(sample.entropy.clip(0, 655) * 100).astype(np.uint16))
    attention = None
    if sample.attention is not None:
        blobs["attention"], attention = _attention(sample.attention)
    return {
        "format": FORMAT,
        "about": dict(sample.about) | {"correct": sample.correct},
        "layers": sample.top_id.shape[0],
        "positions": sample.top_id.shape[1],
        "k": kept,
        "views": [asdict(view) for view in sample.views],
        "tokens": tokens,
        "scripts": scripts,
        "has_entropy": told,
        "trajectory": _trajectory(sample, index),
        "attention": attention,
        "blobs": blobs,
    }


def blob(values: np.ndarray) -> dict[str, Any]:
    """Return an array of unsigned integers as text: byte planes, deflated, in base 64.

    All lowest bytes come first, then all next higher ones: equal neighbours deflate well.
    """
    kind = values.dtype.newbyteorder("<")
    width = kind.itemsize
    planes = np.ascontiguousarray(values, dtype=kind).view(np.uint8).reshape(-1, width).T
    packed = zlib.compress(planes.tobytes(), 9)
    return {"width": width, "data": base64.b64encode(packed).decode("ascii")}


def _or_none(values: np.ndarray) -> np.ndarray:
    return np.where(values < 0, NONE, values).astype(np.uint16)


def _dictionary(sample: Sample, top: np.ndarray, vocabulary: Vocabulary) -> tuple[Any, Any, Any]:
    """Return a function from ids to indices, the tokens used and the scripts they are in."""
    others = [sample.token_id[sample.token_id >= 0]]
    for step in sample.steps:
        others += [step.top_id, np.array([step.final_id])]
    ids, counts = np.unique(np.concatenate([top.ravel(), *others]), return_counts=True)
    ids = ids[np.argsort(-counts, kind="stable")]
    rows = [vocabulary.of(int(token)) for token in ids]
    scripts = sorted({script for _, script, _ in rows})
    order = np.argsort(ids)
    # Index 65535 means "none", so that many tokens need wider numbers.
    kind = np.uint16 if len(ids) < NONE else np.uint32

    def index(wanted: np.ndarray) -> np.ndarray:
        place = np.searchsorted(ids, wanted, sorter=order).clip(max=len(ids) - 1)
        found = order[place]
        return np.where(np.asarray(wanted) < 0, np.iinfo(kind).max, found).astype(kind)

    tokens = {
        "text": [text for text, _, _ in rows],
        "script": [scripts.index(script) for _, script, _ in rows],
        "flags": [
            FRAGMENT if fragment else BLANK if not text.strip() else 0 for text, _, fragment in rows
        ],
    }
    return index, tokens, scripts


def _trajectory(sample: Sample, index: Any) -> list[dict[str, Any]]:
    return [
        {
            "step": step.step,
            "final": int(index(np.array([step.final_id]))[0]),
            "final_logprob": _rounded(step.final_logprob),
            "final_probability": probability_codes(step.final_logprob).tolist(),
            "final_rank": step.final_rank.tolist(),
            "gold_logprob": None if step.gold_logprob is None else _rounded(step.gold_logprob),
            "gold_probability": None
            if step.gold_logprob is None
            else probability_codes(step.gold_logprob).tolist(),
            "gold_rank": None if step.gold_rank is None else step.gold_rank.tolist(),
            "top": index(step.top_id).tolist(),
            "top_probability": probability_codes(step.top_logprob).tolist(),
            "convergence": step.convergence,
        }
        for step in sample.steps
    ]


def _rounded(values: np.ndarray) -> list[float]:
    return [round(float(value), 4) for value in values]


def _attention(attention: Attention) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the weights as bytes, and what is needed to read them.

    A byte b of a head whose largest weight is m stands for m · (b / 255)²: the square root keeps
    small weights apart.
    """
    weights = attention.weights.clip(0)
    most = weights.max(axis=2, keepdims=True)
    relative = np.divide(weights, most, out=np.zeros_like(weights), where=most > 0)
    about = {
        "layers": attention.layers.tolist(),
        "heads": weights.shape[1],
        "most": [float(f"{value:.4g}") for value in most.ravel()],
        "mass": [float(f"{value:.4g}") for value in weights.sum(axis=2).ravel()],
    }
    return blob(np.rint(255 * np.sqrt(relative)).astype(np.uint8)), about
