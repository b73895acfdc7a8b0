"""Runs written by hand, in memory: a few samples whose top tokens can be counted by eye."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from lensbench.metrics.rundata import Block, Groups, Run, Trajectory, Vocabulary
from lensbench.metrics.tally import Tally
from lensbench.trace_meta import TraceMeta

LANGUAGES = ("digit", "en", "zh", "ja")
SCRIPTS = ("Latin", "Han", "Digit", "Other")
#: text → (concept, language) or None; a token's id is its place.
TOKENS: dict[str, tuple[str, str] | None] = {
    "·": None, "the": None, "2": ("number:2", "digit"), "two": ("number:2", "en"),
    " two": ("number:2", "en"), " Two": ("number:2", "en"), "两": ("number:2", "zh"),
    "二": ("number:2", "zh"), "3": ("number:3", "digit"), " three": ("number:3", "en"),
    "三": ("number:3", "zh"), " red": ("color:red", "en"), "红": ("color:red", "zh"),
    "7": ("number:7", "digit"), " seven": ("number:7", "en"),
    "四": ("number:4", "zh"), " four": ("number:4", "en"),
    "五": ("number:5", "zh"), " five": ("number:5", "en"),
}  # fmt: skip
ID = {text: place for place, text in enumerate(TOKENS)}
_SCRIPT = {"digit": "Digit", "en": "Latin", "zh": "Han"}


def forms() -> pd.DataFrame:
    """Return the forms, the Chinese numerals listed as Japanese too, as the lexicon does."""
    rows = [(*owner, text) for text, owner in TOKENS.items() if owner is not None]
    rows += [("number:2", "ja", "二"), ("number:3", "ja", "三")]
    table = pd.DataFrame(rows, columns=["concept", "language", "form"])
    ids = [ID[text] for text in table["form"]]
    return table.assign(token_id=ids, token_ids=[[token] for token in ids], kept=True, reason="")


def hand_run(
    tops: Sequence[Sequence[str | Sequence[str]]],
    gold: Sequence[str],
    *,
    k: int = 1,
    asked: Sequence[str] | None = None,
    family: Sequence[str] | None = None,
    words: Sequence[str] | None = None,
    mass: np.ndarray | None = None,
    dataset: str = "hand",
) -> Block:
    """Return a run of one step.

    Args:
        tops: sample → layer → its top token, or its first k; filled up with "·".
        gold: concept of each sample.
        k: how many tokens a layer lists.
        asked: language asked for, English by default.
        family: kind of question, "count" by default.
        words: the user's own words.
        mass: concept mass [n, L+1, languages], 0 by default.
        dataset: its name.
    """
    n, layers = len(tops), len(tops[0])
    cells = [[[cell] if isinstance(cell, str) else list(cell) for cell in row] for row in tops]
    top_id = np.array([[[ID[t] for t in (cell + ["·"] * k)[:k]] for cell in row] for row in cells])
    has = np.isin(np.array(gold, dtype=object), forms()["concept"].unique())
    ids = np.array([f"s-{place:03d}" for place in range(n)], dtype=object)
    steps = Trajectory(
        sample_id=ids,
        step=np.zeros(n, dtype=int),
        top_id=top_id,
        top_probability=np.full((n, layers), 0.5),
        columns={
            "final_id": np.repeat(top_id[:, -1:, 0], layers, axis=1),
            "gold_rank": np.where(has[:, None], 0, -1) * np.ones((n, layers), dtype=int),
            "js_to_final_nats": np.tile(np.arange(layers)[::-1] / 10, (n, 1)),
            "kl_to_final_nats": np.tile(np.arange(layers)[::-1] / 5, (n, 1)),
        },
        script_mass=np.zeros((n, layers, len(SCRIPTS))),
        concept_mass=np.zeros((n, layers, len(LANGUAGES))) if mass is None else mass,
    )
    samples = pd.DataFrame(
        {
            "sample_id": ids,
            "picture": ids,
            "gold": list(gold),
            "language": list(asked or ["en"] * n),
            "family": list(family or ["count"] * n),
            "asked": list(words or ["How many?"] * n),
            "generated": [list(TOKENS)[token] for token in top_id[:, -1, 0]],
            "generated_ids": top_id[:, -1, :1].tolist(),
            "generated_ends": [[len(list(TOKENS)[token])] for token in top_id[:, -1, 0]],
        }
    )
    scripts = [_SCRIPT.get(owner[1], "Other") if owner else "Other" for owner in TOKENS.values()]
    vocabulary = pd.DataFrame({"token_id": range(len(TOKENS)), "text": list(TOKENS),
                               "script": scripts})  # fmt: skip
    meta = TraceMeta("hand", dataset, 0, 1, k, SCRIPTS, LANGUAGES, layers - 1, 1, "normed", (1,))
    names = zip(samples["gold"], samples["language"], samples["family"], strict=True)
    whole = Run(
        meta, Groups(Counter(names)), forms(), Vocabulary(vocabulary),
        np.zeros((layers, len(SCRIPTS))),
    )  # fmt: skip
    return Block(whole, samples, steps)


def reduced(
    measure: Callable[[Block, Tally], None],
    table: Callable[[Run, Tally], list[pd.DataFrame]],
    block: Block,
    *,
    resamples: int = 50,
    seed: int = 0,
    size: int = 2,
) -> list[pd.DataFrame]:
    """Return the parts of a table, the samples measured a few at a time."""
    tally = Tally(seed, resamples)
    for start in range(0, len(block.samples), size):
        part = block.at((block.samples.index >= start) & (block.samples.index < start + size))
        tally.begin(part.pictures)
        measure(part, tally)
        tally.end()
    return table(block.run, tally)
