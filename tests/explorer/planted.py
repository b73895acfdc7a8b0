"""Traces with planted content for the explorer: known best layers, tokens, hits, hostile texts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from lensbench.datasets.manifest import write_manifest
from lensbench.trace_meta import TraceMeta
from lensbench.trace_schema import TABLES

L, K, HEADS = 8, 6, 3
SCRIPTS = ("Latin", "Han", "Symbol", "Space", "Fragment", "Special")
HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(2)</script>",
    "<!--",
    "a\u202eb",
    "\n",
    "\x07",
    "\u2028",
    "&amp;",
    "\u0301",
)
#: text, script, is_fragment of each token id.
TOKENS: list[tuple[str, str, bool]] = [
    (" needle", "Latin", False),
    ("红", "Han", False),
    ("", "Space", False),
    (" \n", "Space", False),
    ("\ufffd", "Fragment", True),
    (" three", "Latin", False),
    ("Needle", "Latin", False),
    ("haystack-needles", "Latin", False),
    *((text, "Symbol", False) for text in HOSTILE),
    *((f" w{i}", "Latin", False) for i in range(60)),
]
ID = {text: number for number, (text, _, _) in enumerate(TOKENS)}
FILLERS = np.arange(len(TOKENS) - 60, len(TOKENS))
VIEWS = [
    {"name": "overview", "rows": 4, "cols": 5, "box": [0.0, 0.0, 1.0, 1.0]},
    {"name": "tiles", "rows": 6, "cols": 8, "box": [0.0, 0.0, 1.0, 0.75]},
]
#: Patches whose likeliest token at their best layer is empty or blank.
BLANK = (3, 4)
#: (patch, layer) where the token " needle" or "Needle" is among the top five.
HITS = ((7, 4), (7, 5), (20, 3))
#: Patch with two equal best layers, of which the first counts.
TIE, TIE_LAYERS = 5, (2, 6)
#: Patch whose likeliest token at layer 0 is likelier than at any other.
ARTEFACT = 13
CONVERGENCE = 5
QUESTION = "How many </script><b>needles</b> are \u202ethere?"


def best_layer(patch: int) -> int:
    return TIE_LAYERS[0] if patch == TIE else max(1, (3 * patch) % (L + 1))


def meta(model: str, dataset: str, k: int = K, layers: int = L) -> TraceMeta:
    return TraceMeta(
        model, dataset, 0, 1, k, SCRIPTS, ("en",), layers, HEADS, "normed",
        tuple(range(1, layers + 1)),
    )  # fmt: skip


def write(folder: Path, name: str, frame: pd.DataFrame, about: TraceMeta) -> None:
    """Write a table as the trace writes it, so that what is planted need not be a whole shard."""
    folder.mkdir(parents=True, exist_ok=True)
    schema = TABLES[name].arrow(about.widths)
    columns = [
        pa.array([None if value is None else value for value in frame[field.name]], field.type)
        for field in schema
    ]
    table = pa.table(columns, schema=schema.with_metadata({b"lensbench": about.to_json()}))
    pq.write_table(table, folder / f"{name}.parquet")


def write_vocabulary(folder: Path, model: str) -> None:
    frame = pd.DataFrame(TOKENS, columns=["text", "script", "is_fragment"])
    frame.insert(0, "token_id", range(len(frame)))
    write(folder, "vocabulary", frame, meta(model, ""))


def tops(rng: np.random.Generator, likeliest: float) -> tuple[list[int], list[float]]:
    """Return k fillers, the first of that probability."""
    ids = rng.choice(FILLERS, K, replace=False)
    rest = (1 - likeliest) / 2 * 0.5 ** np.arange(1, K) * rng.uniform(0.6, 0.99)
    rest = np.minimum(rest, likeliest * 0.9)
    return ids.tolist(), np.log(np.concatenate([[likeliest], rest])).tolist()


def patches(sample: str, views: list[dict[str, Any]], first: int, told: bool, extra: int) -> Any:
    """Return `patches`, planted; the last `extra` positions lie in no view."""
    rng = np.random.default_rng(5)
    places = [
        (number, row, col)
        for number, view in enumerate(views)
        for row in range(view["rows"])
        for col in range(view["cols"])
    ] + [(-1, -1, -1)] * extra
    rows = []
    for patch, (view, row, col) in enumerate(places):
        for layer in range(L + 1):
            at_best = layer == best_layer(patch) or (patch == TIE and layer == TIE_LAYERS[1])
            # An artefact of the embedding is likelier than any layer's token, and not the best.
            artefact = layer == 0 and patch == ARTEFACT
            likeliest = 0.9 if at_best else 0.95 if artefact else float(rng.uniform(0.05, 0.7))
            ids, logprob = tops(rng, likeliest)
            if at_best and patch in BLANK:
                ids[0] = ID[""] if patch == BLANK[0] else ID[" \n"]
            if at_best and patch == 6:
                ids[0] = ID["\ufffd"]
            if (patch, layer) in HITS:
                ids[{4: 0, 5: 4, 3: 2}[layer]] = ID["Needle"] if layer == 5 else ID[" needle"]
            if (patch, layer) == (8, 1):
                ids[K - 1] = ID[" needle"]  # Beyond the page's k: no hit.
            if (patch, layer) == (9, 0):
                ids[1] = ID["haystack-needles"]
            if patch == 10:
                ids[0] = ID[HOSTILE[layer]]
            if patch == 11:
                ids[0] = ID["红"]
            rows.append(
                (sample, layer, patch, first + patch, view, row, col, ids, logprob,
                 0.5 + layer + patch / 1000 if told else None)
            )  # fmt: skip
    return pd.DataFrame(rows, columns=[column.name for column in TABLES["patches"].columns])


def words(sample: str, positions: list[int], tokens: list[int], told: bool) -> pd.DataFrame:
    rng = np.random.default_rng(6)
    rows = []
    for position, token in zip(positions, tokens, strict=True):
        for layer in range(L + 1):
            ids, logprob = tops(rng, float(rng.uniform(0.05, 0.9)))
            rows.append((sample, layer, position, token, ids, logprob, 2.5 if told else None))
    return pd.DataFrame(rows, columns=[column.name for column in TABLES["words"].columns])


def trajectory(sample: str, steps: int, gold: bool) -> pd.DataFrame:
    """The final token leads from layer `CONVERGENCE` on, with probability 0.1 · layer."""
    rng = np.random.default_rng(7)
    rows = []
    for step in range(steps):
        for layer in range(L + 1):
            ids, logprob = tops(rng, max(0.1 * layer, 0.05))
            final = ID[" three"] if step == 0 else int(FILLERS[step])
            if layer >= CONVERGENCE:
                ids[0] = final
            rows.append(
                {
                    "sample_id": sample, "step": step, "layer": layer, "top_id": ids,
                    "top_logprob": logprob, "entropy_nats": 1.0, "kl_to_final_nats": 0.0,
                    "js_to_final_nats": 0.0, "final_id": final,
                    "final_rank": 0 if layer >= CONVERGENCE else 40 - layer,
                    "final_logprob": logprob[0] if layer >= CONVERGENCE else -9.0 + layer,
                    "gold_rank": 3 if gold else -1, "gold_logprob": -3.0 if gold else 0.0,
                    "script_mass": [1.0, 0, 0, 0, 0, 0], "concept_mass": [0.0],
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def attention(sample: str, n: int) -> pd.DataFrame:
    """Head 1 of layer 3 looks at patch 9 alone; all others everywhere, more to the end."""
    rows = []
    for layer in range(1, L + 1):
        for head in range(HEADS):
            weights = np.linspace(0.001, 0.01, n) * layer / L
            if (layer, head) == (3, 1):
                weights = np.where(np.arange(n) == 9, 0.8, 0.0)
            rows.append((sample, layer, head, weights.tolist()))
    return pd.DataFrame(rows, columns=["sample_id", "layer", "head", "weights"])


def samples(rows: list[dict[str, Any]]) -> pd.DataFrame:
    plain = {
        "prompt": "<|user|>" + QUESTION, "n_image_tokens": 0, "grid_h": 0, "grid_w": 0,
        "views": "[]", "generated": " three w1 w2", "generated_ids": [ID[" three"], 73, 74],
        "generated_ends": [6, 9, 12],
        "gold": "number:3", "language": "en", "family": "count", "asked": QUESTION,
        "image": None, "rejected": None,
    }  # fmt: skip
    named = [plain | {"picture": row["sample_id"]} | row for row in rows]
    return pd.DataFrame(named, dtype=object)


def write_manifest_of(folder: Path, names: list[str], kind: str) -> None:
    rows = []
    for number, name in enumerate(names):
        image = f"images/{name}.png" if kind == "image" else None
        if image is not None:
            (folder / "images").mkdir(parents=True, exist_ok=True)
            grid = np.indices((96, 120))
            red = np.where((grid[0] // 24 + grid[1] // 24 + number) % 2, 230, 70)
            pixels = np.stack([red, 2 * grid[0], 2 * grid[1]], axis=2).astype(np.uint8)
            Image.fromarray(pixels).save(folder / image)
        rows.append(
            {
                "sample_id": name, "kind": kind, "image": image, "prompt": QUESTION,
                "style": "chat", "gold": "number:3", "language": "en", "family": "count",
                "objects": "[]", "source": "planted", "rejected": "",
            }
        )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    write_manifest(folder, pd.DataFrame(rows))


def write_run(root: Path, kind: str = "image") -> dict[str, Path]:
    """Write a close-up of two samples and all that its pages need; return the folders by name."""
    model, dataset = ("planted-llava", "scenes") if kind == "image" else ("planted-gpt", "facts")
    names = [f"{dataset}-{i}" for i in range(2)]
    closeup = root / "closeups" / model / dataset
    about = meta(model, dataset)
    n_image = sum(view["rows"] * view["cols"] for view in VIEWS) + 1 if kind == "image" else 0
    at = [0, 1, 2, *(3 + n_image + i for i in range(4))]
    given = [ID["</script><script>alert(2)</script>"], 30, ID["\n"], 31, 32, ID["a\u202eb"], 34]
    rows = [
        {"sample_id": name, "n_tokens": 7 + n_image, "n_image_tokens": n_image}
        | ({"views": json.dumps(VIEWS), "grid_h": 4, "grid_w": 5} if n_image else {})
        for name in names
    ]
    write(closeup, "samples", samples(rows), about)
    tables = {
        "words": [words(name, at, given, True) for name in names],
        "trajectory": [trajectory(name, 3, number == 0) for number, name in enumerate(names)],
        "patches": [patches(name, VIEWS, 3, True, 1) for name in names] if n_image else [],
        "attention": [attention(name, n_image) for name in names] if n_image else [],
    }
    for name, frames in tables.items():
        if frames:
            write(closeup, name, pd.concat(frames, ignore_index=True), about)
    write_vocabulary(root / "models" / model, model)
    write_manifest_of(root / "datasets" / dataset, names, kind)
    convergence = root / "metrics" / model / dataset / "convergence.parquet"
    convergence.parent.mkdir(parents=True)
    right = pd.array([True, False] if kind == "image" else [None, None], dtype="Int64")
    pd.DataFrame(
        {
            "sample_id": names, "step": 0, "convergence_layer": [CONVERGENCE, 2],
            "correct_final": right,
        }
    ).to_parquet(convergence)  # fmt: skip
    return {
        "closeup": closeup, "model_folder": root / "models" / model,
        "manifest": root / "datasets" / dataset, "convergence": convergence,
    }  # fmt: skip


def write_import(root: Path) -> Path:
    """Write an imported lens: one picture, no answer, no entropy, its own vocabulary."""
    folder = root / "imported" / "sweater"
    about = meta("planted-import", "sweater")
    views = [{"name": "picture", "rows": 4, "cols": 4, "box": [0.0, 0.0, 1.0, 1.0]}]
    row = {
        "sample_id": "sweater", "n_tokens": 18, "n_image_tokens": 16, "grid_h": 4, "grid_w": 4,
        "views": json.dumps(views), "generated": "", "generated_ids": [], "generated_ends": [],
        "gold": "",
    }  # fmt: skip
    write(folder, "samples", samples([row]), about)
    write(folder, "patches", patches("sweater", views, 1, False, 0), about)
    write(folder, "words", words("sweater", [0, 17], [30, 31], False), about)
    write_vocabulary(folder, "planted-import")
    Image.new("RGB", (64, 64), (90, 120, 160)).save(folder / "picture.png")
    return folder
