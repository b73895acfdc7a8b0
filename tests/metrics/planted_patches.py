"""Patches whose truth is known by construction: a picture of 80 × 80 under a grid of 4 × 4."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from lensbench.datasets.manifest import write_manifest
from lensbench.lexicon import LANGUAGES
from lensbench.scripts import SCRIPTS, scripts_of
from lensbench.trace import write_import, write_model_table
from lensbench.trace_meta import TraceMeta

TEXTS = [
    " picture", "red", " Red", "红", "blue", "star", " STARS", "circle", "", " \n", "green",
    "starfish", "stars", "Circles",
]  # fmt: skip
ID = {text: place for place, text in enumerate(TEXTS)}
#: concept → (token, kept)
FORMS = {
    "color:red": [("red", True), (" Red", True), ("红", True)],
    "color:blue": [("blue", True)],
    "color:green": [("green", False)],
}
SIDE = 80
WHOLE = {"name": "picture", "rows": 4, "cols": 4, "box": [0.0, 0.0, 1.0, 1.0]}
RED_STAR = {"shape": "star", "color": "red", "box": [10, 10, 50, 50]}
BLUE_CIRCLE = {"shape": "circle", "color": "blue", "box": [60, 60, 80, 80]}
#: The cells are 20 × 20: one lies wholly in the star's box, and one is the circle's box.
INSIDE = {5, 15}
BORDER = {0, 1, 2, 4, 6, 8, 9, 10}

#: (layer, patch) → what a patch says there, and how sure it is; the rest goes to " picture".
Says = Callable[[int, int], tuple[str, float]]


def write_patches(
    folder: Path,
    says: Sequence[Says],
    n_layers: int = 3,
    views: Sequence[dict[str, Any]] = (WHOLE,),
    line_ends: int = 0,
    model: str = "m",
    dataset: str = "d",
) -> Path:
    """Write a folder with one sample for each of `says`, and return it.

    Args:
        folder: where.
        says: one a sample.
        n_layers: L.
        views: the grids, one after the other in the prompt.
        line_ends: how many positions after them lie in no grid.
        model: the model's name.
        dataset: the dataset's name.
    """
    places = [
        (number, row, col)
        for number, view in enumerate(views)
        for row in range(view["rows"])
        for col in range(view["cols"])
    ] + [(-1, -1, -1)] * line_ends
    samples, patches, words = [], [], []
    for number, say in enumerate(says):
        name = f"d-{number}"
        samples.append({
            "sample_id": name, "prompt": "?", "n_tokens": len(places) + 1,
            "n_image_tokens": len(places), "grid_h": 4, "grid_w": 4,
            "views": json.dumps(list(views)),
            "generated": "", "generated_ids": [], "generated_ends": [],
            "gold": "", "language": "", "family": "", "asked": "", "image": "p.png",
            "picture": name, "rejected": None,
        })  # fmt: skip
        for layer in range(n_layers + 1):
            words.append({
                "sample_id": name, "layer": layer, "position": len(places), "token_id": 0,
                "top_id": [0, 1], "top_logprob": np.log([0.5, 0.25]), "entropy_nats": None,
            })  # fmt: skip
            for patch, (view, row, col) in enumerate(places):
                text, sure = say(layer, patch)
                rest = ID["circle"] if text == " picture" else ID[" picture"]
                patches.append({
                    "sample_id": name, "layer": layer, "patch": patch, "position": patch,
                    "view": view, "row": row, "col": col, "top_id": [ID[text], rest],
                    "top_logprob": np.log([sure, 1e-6]), "entropy_nats": None,
                })  # fmt: skip
    meta = TraceMeta(model, dataset, 0, 1, 2, SCRIPTS, LANGUAGES, n_layers, 0, "normed", ())
    tables = {"samples": samples, "patches": patches, "words": words}
    frames = {key: pd.DataFrame(rows) for key, rows in tables.items()}
    for key in ("patches", "words"):
        frames[key]["entropy_nats"] = frames[key]["entropy_nats"].astype("float64")
    write_import(folder, {**frames, "vocabulary": vocabulary()}, meta, {}, {})
    return folder


def vocabulary() -> pd.DataFrame:
    fragments = [False] * len(TEXTS)
    return pd.DataFrame({
        "token_id": range(len(TEXTS)), "text": TEXTS, "script": scripts_of(TEXTS),
        "is_fragment": fragments,
    })  # fmt: skip


def write_model(folder: Path, model: str = "m") -> Path:
    meta = TraceMeta(model, "", 0, 1, 2, SCRIPTS, LANGUAGES, 3, 0, "normed", ())
    write_model_table(folder, "vocabulary", vocabulary(), meta)
    forms = [
        {
            "concept": concept, "language": "en", "form": text, "token_id": ID[text],
            "token_ids": [ID[text]], "token_text": text, "n_tokens": 1, "kept": kept,
            "reason": "" if kept else "shared",
        }
        for concept, tokens in FORMS.items()
        for text, kept in tokens
    ]  # fmt: skip
    write_model_table(folder, "forms", pd.DataFrame(forms), meta)
    return folder


def write_dataset(folder: Path, objects: Sequence[list[dict[str, Any]]]) -> Path:
    """Write a manifest of pictures with these objects, and return its folder."""
    (folder / "images").mkdir(parents=True)
    rows = []
    for number, things in enumerate(objects):
        Image.new("RGB", (SIDE, SIDE), (number, 9, 9)).save(folder / f"images/{number}.png")
        rows.append({
            "sample_id": f"d-{number}", "kind": "image", "image": f"images/{number}.png",
            "prompt": "?", "style": "chat", "gold": "number:1", "language": "en", "family": "count",
            "objects": json.dumps(things) if things else "[]", "source": "drawn", "rejected": "",
        })  # fmt: skip
    write_manifest(folder, pd.DataFrame(rows))
    return folder
