"""A sample as large as a real one: tokens as uneven as words are, probabilities of every size."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lensbench.explorer.sample import Attention, Sample, View, Vocabulary

_SYLLABLES = (
    "ka",
    "to",
    "mi",
    "ren",
    "shu",
    "ol",
    "est",
    "ing",
    "pra",
    "ве",
    "та",
    "的",
    "数",
    "é",
)


def vocabulary(n: int = 32_000) -> Vocabulary:
    rng = np.random.default_rng(1)
    texts = [
        " " * int(rng.integers(2))
        + "".join(rng.choice(_SYLLABLES, rng.integers(1, 5)))
        + str(i % 7)
        for i in range(n)
    ]
    frame = pd.DataFrame({"text": texts, "script": "Latin", "is_fragment": False})
    return Vocabulary(frame.rename_axis("token_id"))


def sample(
    rows: int, cols: int, *, layers: int = 33, words: int = 17, k: int = 10, heads: int = 0
) -> Sample:
    """Return a sample of rows × cols patches; `heads` above 0 gives it attention."""
    rng = np.random.default_rng(2)
    patches, positions = rows * cols, rows * cols + words
    shape = (layers, positions, k)
    # Zipf's law: a few tokens stand for most, and thousands occur once.
    ids = np.minimum(rng.zipf(1.25, shape), 31_999).astype(np.int32)
    likeliest = rng.beta(0.5, 2.0, shape[:2])[..., None] * 0.95 + 1e-3
    others = np.cumprod(rng.uniform(0.3, 0.99, shape), axis=2)
    logprob = np.log(likeliest * others / others[..., :1])
    places = [(0, row, col) for row in range(rows) for col in range(cols)]
    none = np.full(words, -1)
    first = words // 2
    order = np.r_[patches : patches + first, 0:patches, patches + first : positions]
    return Sample(
        about={
            "sample_id": "large", "model": "realistic", "dataset": "synthetic", "lens": "normed",
            "prompt": "What is there?", "asked": "What is there?", "generated": "", "gold": "",
            "language": "en", "family": "describe",
        },
        top_id=ids,
        top_logprob=logprob.astype(np.float32),
        entropy=rng.uniform(0, 10, shape[:2]),
        token_id=np.r_[np.full(patches, -1), rng.integers(0, 32_000, words)][order],
        patch=np.r_[np.arange(patches), none][order],
        place=np.concatenate([np.array(places), np.full((words, 3), -1)])[order],
        step=np.full(positions, -1),
        views=(View("picture", rows, cols, (0.0, 0.0, 1.0, 1.0)),),
        picture=None,
        attention=Attention(
            np.arange(1, layers), rng.dirichlet(np.full(patches, 0.3), (layers - 1, heads))
        )
        if heads
        else None,
    )  # fmt: skip
