"""Traces of a run that was never made, in the true schema: for timing what reads traces.

What the metrics must find in them is planted: the layer from which a sample's answer stays on top,
and whether it is right.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from lensbench.lexicon import LANGUAGES, load_lexicon
from lensbench.scripts import SCRIPTS
from lensbench.trace import write_model_table, write_shard
from lensbench.trace_meta import TraceMeta
from lensbench.trace_schema import FORMS

NAME = "synthetic"
#: Share of the questions that each answer from 0 to 15 is of, roughly TallyQA's.
ANSWERS = np.array([4, 30, 28, 12, 8, 5, 3, 2, 2, 1, 1, 1, 1, 1, 0.5, 0.5])
_LENSES = ("attention", "mlp", "raw")
_VOCABULARY = 151_936
_SEED = 7


@dataclass(frozen=True)
class Shape:
    """How large a run is.

    Args:
        samples: how many.
        layers: numbers of layers read, L + 1.
        heads: query heads a block.
        steps: tokens generated a sample.
        shard_samples: samples a shard.
        k: top tokens a layer.
    """

    samples: int
    layers: int = 33
    heads: int = 4
    steps: int = 1
    shard_samples: int = 1000
    k: int = 10

    @property
    def shards(self) -> int:
        """How many shards there are."""
        return -(-self.samples // self.shard_samples)


@dataclass(frozen=True)
class Planted:
    """What the metrics must find: sums over all samples at step 0."""

    convergence: int
    right: int


def write_run(folder: Path, shape: Shape) -> Planted:
    """Write the shards of a run, and its model's vocabulary and forms, and return what it holds.

    Args:
        folder: gets `model` and a folder a shard.
        shape: how large it is.
    """
    first = _meta(shape, 0)
    forms = _forms()
    scripts = np.array(SCRIPTS, dtype=object)[np.arange(_VOCABULARY) % len(SCRIPTS)]
    vocabulary = pd.DataFrame(
        {
            "token_id": np.arange(_VOCABULARY),
            "text": [f" t{token}" for token in range(_VOCABULARY)],
            "script": scripts,
            "is_fragment": False,
        }
    )
    write_model_table(folder / "model", "vocabulary", vocabulary, first)
    write_model_table(folder / "model", "forms", forms, first)
    convergence = right = 0
    for shard in range(shape.shards):
        tables, planted = _shard(shape, shard, forms)
        write_shard(folder / str(shard), tables, _meta(shape, shard))
        convergence, right = convergence + planted.convergence, right + planted.right
    return Planted(convergence, right)


def shards_of(folder: Path) -> list[Path]:
    """Return the folders of a run's shards."""
    return sorted(path.parent for path in folder.glob("*/samples.parquet"))


def _meta(shape: Shape, shard: int) -> TraceMeta:
    return TraceMeta(
        NAME, "tallyqa", shard, shape.shards, shape.k, tuple(SCRIPTS), tuple(LANGUAGES),
        shape.layers - 1, shape.heads, "normed", tuple(range(1, shape.layers)),
    )  # fmt: skip


def _forms() -> pd.DataFrame:
    """Return the lexicon's forms of 0 to 15, each with a token of its own."""
    lexicon, rows = load_lexicon(), []
    for number in range(len(ANSWERS)):
        concept = f"number:{number}"
        for language, form in dict.fromkeys(lexicon.forms(concept)):
            token = len(rows)
            rows.append((concept, language, form, token, [token], f" t{token}", 1, True, ""))
    return pd.DataFrame(rows, columns=[column.name for column in FORMS.columns])


def _shard(shape: Shape, shard: int, forms: pd.DataFrame) -> tuple[dict[str, pa.Table], Planted]:
    rng = np.random.default_rng([_SEED, shard])
    start = shard * shape.shard_samples
    n = min(shape.shard_samples, shape.samples - start)
    names = [f"tallyqa-{start + place:07d}" for place in range(n)]
    answers = rng.choice(len(ANSWERS), n, p=ANSWERS / ANSWERS.sum())
    settled = rng.integers(shape.layers // 2, shape.layers, n)
    right = rng.random(n) < 0.6
    firsts = forms.groupby("concept")["token_id"].first()
    of_answer = firsts.reindex([f"number:{a}" for a in answers]).to_numpy()
    final = np.where(right, of_answer, _VOCABULARY - 1)
    tables = {
        "samples": _samples(shape, names, answers, final),
        "trajectory": _trajectory(rng, shape, names, final, settled, right),
        "heads": _heads(rng, shape, names),
        "lenses": _lenses(rng, shape, names),
        "floors": _floors(rng, shape),
    }
    return tables, Planted(int(settled.sum()), int(right.sum()))


def _samples(shape: Shape, names: list[str], answers: np.ndarray, final: np.ndarray) -> pa.Table:
    n = len(names)
    text = {
        "prompt": "How many apples are there? Answer with a number.",
        "views": '[{"name":"picture","rows":14,"cols":14,"box":[0.0,0.0,1.0,1.0]}]',
        "language": "en",
        "asked": "How many apples are there?",
        "image": "pictures/one.jpg",
    }
    numbers = {"n_tokens": 230, "n_image_tokens": 196, "grid_h": 14, "grid_w": 14}
    return pa.table(
        {
            "sample_id": names,
            **{name: pa.array([value] * n) for name, value in text.items()},
            **{
                name: pa.array(np.full(n, value, dtype=np.int32)) for name, value in numbers.items()
            },
            "generated": [str(answer) for answer in answers],
            "generated_ids": pa.array([[int(one)] * shape.steps for one in final]),
            "generated_ends": [[len(str(answer))] * shape.steps for answer in answers],
            "gold": [f"number:{answer}" for answer in answers],
            "family": ["simple" if place % 2 else "complex" for place in range(n)],
            "rejected": pa.nulls(n, pa.string()),
            "picture": names,
        }
    )


def _keys(names: list[str], inner: int) -> pa.Array:
    """Return each name as often as a sample has rows, without a text for each row."""
    codes = np.repeat(np.arange(len(names), dtype=np.int32), inner)
    return pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(names)).cast(pa.string())


def _lists(values: np.ndarray) -> pa.Array:
    flat = pa.array(np.ascontiguousarray(values).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[-1])


def _grid(n: int, *sizes: int) -> Iterator[np.ndarray]:
    """Yield, for each axis, its index in every row."""
    for axis in np.indices((n, *sizes), dtype=np.int32)[1:]:
        yield axis.reshape(-1)


def _shares(rng: np.random.Generator, rows: int, width: int) -> np.ndarray:
    """Return masses that sum to 1, [rows, width]."""
    drawn = rng.random((rows, width), dtype=np.float32)
    return drawn / drawn.sum(axis=1, keepdims=True)


def _trajectory(
    rng: np.random.Generator,
    shape: Shape,
    names: list[str],
    final: np.ndarray,
    settled: np.ndarray,
    right: np.ndarray,
) -> pa.Table:
    n, steps, layers, k = len(names), shape.steps, shape.layers, shape.k
    rows, last = n * steps * layers, layers - 1
    step, layer = _grid(n, steps, layers)
    each = np.repeat(np.arange(n), steps * layers)
    hit = layer >= settled[each]
    # Places far apart, so that the k tokens of a row differ, and none is a form or the answer.
    start = rng.integers(10_000, _VOCABULARY // 2, rows)
    top = (start[:, None] + 7 * np.arange(k)).astype(np.int32)
    top[hit, 0] = final[each[hit]]
    logprob = -np.sort(rng.exponential(2.0, (rows, k)).astype(np.float32), axis=1)
    rank = np.where(hit, 0, 1 + rng.geometric(0.02, rows)).astype(np.int32)
    gold_rank = np.where(right[each], rank, 1 + rng.geometric(0.01, rows)).astype(np.int32)
    away = np.where(layer == last, 0, rng.random(rows)).astype(np.float32)
    return pa.table(
        {
            "sample_id": _keys(names, steps * layers),
            "step": step,
            "layer": layer,
            "top_id": _lists(top),
            "top_logprob": _lists(logprob),
            "entropy_nats": (5 * rng.random(rows)).astype(np.float32),
            "kl_to_final_nats": 4 * away,
            "js_to_final_nats": 0.6 * away,
            "final_id": final[each].astype(np.int32),
            "final_rank": rank,
            "final_logprob": logprob[:, 0],
            "gold_rank": gold_rank,
            "gold_logprob": logprob[:, 1],
            "script_mass": _lists(_shares(rng, rows, len(SCRIPTS))),
            "concept_mass": _lists(0.2 * _shares(rng, rows, len(LANGUAGES))),
        }
    )


def _heads(rng: np.random.Generator, shape: Shape, names: list[str]) -> pa.Table:
    n, steps, depth, width = len(names), shape.steps, shape.layers - 1, shape.heads
    rows = n * steps * depth * width
    step, layer, head = _grid(n, steps, depth, width)
    masses = _shares(rng, rows, 3)
    return pa.table(
        {
            "sample_id": _keys(names, steps * depth * width),
            "step": step,
            "layer": layer + np.int32(1),
            "head": head,
            "image_mass": masses[:, 0],
            "overview_mass": masses[:, 0],
            "sink_mass": masses[:, 1],
            "image_sink_mass": np.zeros(rows, dtype=np.float32),
            "text_mass": masses[:, 2],
            "image_entropy_nats": 5 * rng.random(rows, dtype=np.float32),
            "image_max": rng.random(rows, dtype=np.float32),
        }
    )


def _lenses(rng: np.random.Generator, shape: Shape, names: list[str]) -> pa.Table:
    parts = []
    for lens in _LENSES:
        layers = np.arange(0 if lens == "raw" else 1, shape.layers, dtype=np.int32)
        rows = len(names) * len(layers)
        logprob = -rng.exponential(2.0, rows).astype(np.float32)
        rank = rng.geometric(0.01, rows).astype(np.int32) - 1
        parts.append(
            pa.table(
                {
                    "sample_id": _keys(names, len(layers)),
                    "lens": pa.array([lens] * rows),
                    "layer": np.tile(layers, len(names)),
                    "top_id": rng.integers(0, _VOCABULARY, rows, dtype=np.int32),
                    "top_logprob": logprob,
                    "entropy_nats": 5 * rng.random(rows, dtype=np.float32),
                    "kl_to_final_nats": 5 * rng.random(rows, dtype=np.float32),
                    "final_rank": rank,
                    "final_logprob": logprob,
                    "gold_rank": rank,
                    "gold_logprob": logprob,
                }
            )
        )
    return pa.concat_tables(parts)


def _floors(rng: np.random.Generator, shape: Shape) -> pa.Table:
    layers = np.arange(shape.layers, dtype=np.int32)
    return pa.table(
        {
            "layer": layers,
            "norm": (10.0 + layers).astype(np.float32),
            "n_directions": np.full(shape.layers, 64, dtype=np.int32),
            "script_mass": _lists(_shares(rng, shape.layers, len(SCRIPTS))),
        }
    )
