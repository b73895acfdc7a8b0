"""Fail unless everything the default target promises is there, whole and not empty.

The list is written here by hand, beside the workflow that makes the files, so that a rule that
silently drops an output is noticed. Usage: python scripts/check_outputs.py FOLDER
"""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
import sys
from pathlib import Path

DATASETS = {"image": ["scenes", "fills", "flowers"], "text": ["facts"]}
MODELS = {
    "smollm2-135m": "text",
    "lensbench-llava": "image",
    "lensbench-onevision": "image",
    "lensbench-qwen2vl": "image",
}
FIGURES = [
    "accuracy_by_layer",
    "accuracy_by_answer",
    "han_in_topk",
    "script_mass",
    "concept_mass",
    "final_rank",
    "entropy_kl",
    "lenses",
    "convergence",
    "language_lead",
    "matched_kinds",
    "by_variant",
    "han_floor",
    "heads",
    "head_spread",
    "head_views",
    "ablation",
    "patch_best_layer",
    "patch_regions",
    "patch_maps",
]
RUN_FIGURES = ["tokens", "examples", "answer_way"]
METRICS = [
    "summary",
    "by_layer",
    "accuracy_by_answer",
    "accuracy_by_family",
    "accuracy_by_language",
    "han_in_topk",
    "script_mass",
    "concept_mass",
    "lenses",
    "language_lead",
    "answer_path",
    "by_count",
    "matched_kinds",
    "heads",
    "head_summary",
    "stages",
    "convergence",
    "tokens",
    "answer_way",
    "patch_best",
    "patch_summary",
    "patch_by_region",
    "patch_localisation",
    "by_variant",
    "han_floor",
    "ablation",
    "ablation_contrast",
    "numerics",
    "gates",
    "models",
]
TABLES = [
    "summary",
    "language",
    "heads",
    "accuracy_by_answer",
    "accuracy_by_family",
    "gates",
    "models",
    "numerics",
]
SHARD = [
    "samples.parquet",
    "trajectory.parquet",
    "heads.parquet",
    "lenses.parquet",
    "floors.parquet",
    "provenance.json",
]
# How many shards the runs on each dataset are cut into, and the parts that jobs took them in.
SHARDS = {"scenes": 8, "fills": 2, "flowers": 2, "facts": 4}
PARTS = {"scenes": 4, "fills": 1, "flowers": 1, "facts": 2}
CLOSEUP = [*SHARD, "patches.parquet", "words.parquet", "attention.parquet"]
NOTEBOOKS = [
    "first_look",
    "1_answers_way",
    "2_heads",
    "3_patches",
    "4_heat_map",
    "5_counting",
]
# Pages of the explorer that each run has at least.
PAGES = 8
# Scripts whose glyphs must be in the PDF's fonts are drawn as figures; its own text needs these.
MIN_PAGES = 6


def promised() -> list[str]:
    """Return the paths, relative to the clone, of every promised file."""
    runs = [(model, dataset) for model, kind in MODELS.items() for dataset in DATASETS[kind]]
    files = [
        f"results/datasets/{name}/manifest.parquet" for names in DATASETS.values() for name in names
    ]
    files.append("results/datasets/scenes/records.json")
    for model in MODELS:
        files += [
            f"results/models/{model}/{name}"
            for name in ("gate.json", "model.json", "vocabulary.parquet", "forms.parquet")
        ]
        files.append(f"results/numerics/{model}.parquet")
    for model, dataset in runs:
        files += [
            f"results/traces/{model}/{dataset}/{shard}/{name}"
            for shard in range(SHARDS[dataset])
            for name in SHARD
        ]
        files += [
            f"results/traces/{model}/{dataset}/parts/{part}.json" for part in range(PARTS[dataset])
        ]
        files += [
            f"results/figures/{model}/{dataset}/{name}.{ending}"
            for name in RUN_FIGURES
            for ending in ("pdf", "png")
        ]
        files += [f"results/closeups/{model}/{dataset}/{name}" for name in CLOSEUP]
        files.append(f"results/explorer/{model}/{dataset}/cards.json")
    files.append("results/explorer/index.html")
    files += [f"results/notebooks/{name}.html" for name in NOTEBOOKS]
    files += [f"results/metrics/{name}.csv" for name in METRICS]
    files += [f"results/figures/{name}.{ending}" for name in FIGURES for ending in ("pdf", "png")]
    files += [f"results/tables/{name}.{ending}" for name in TABLES for ending in ("csv", "tex")]
    files += ["results/paper/numbers.tex", "results/paper/lensbench.pdf"]
    return files


def missing(root: Path) -> list[str]:
    """Return the promised files that are absent or empty."""
    return [
        name
        for name in promised()
        if not (root / name).is_file() or not (root / name).stat().st_size
    ]


def unrun(root: Path) -> list[str]:
    """Return the runs that have no row in the summary."""
    with open(root / "results/metrics/summary.csv", encoding="utf-8", newline="") as stream:
        seen = {(row["model"], row["dataset"]) for row in csv.DictReader(stream)}
    return [
        f"{model} on {dataset}"
        for model, kind in MODELS.items()
        for dataset in DATASETS[kind]
        if (model, dataset) not in seen
    ]


def pageless(root: Path) -> list[str]:
    """Return the runs whose samples have too few pages in the explorer."""
    return [
        f"{model} on {dataset}"
        for model, kind in MODELS.items()
        for dataset in DATASETS[kind]
        if len(list((root / "results/explorer" / model / dataset).glob("*.html"))) < PAGES
    ]


def pdf_faults(root: Path) -> list[str]:
    """Return what is wrong with the PDF: its pages, its fonts, marks of what was not found."""
    path = root / "results/paper/lensbench.pdf"
    for tool in ("pdfinfo", "pdffonts", "pdftotext"):
        if shutil.which(tool) is None:
            return [f"{tool} is missing: install poppler-utils"]
    faults = []
    info = subprocess.run(["pdfinfo", path], capture_output=True, text=True, check=True).stdout
    pages = int(re.search(r"Pages:\s+(\d+)", info)[1])  # type: ignore[index]
    if pages < MIN_PAGES:
        faults.append(f"the PDF has {pages} pages, fewer than {MIN_PAGES}")
    fonts = subprocess.run(["pdffonts", path], capture_output=True, text=True, check=True).stdout
    for line in fonts.splitlines()[2:]:
        if not re.search(r"\byes\s+(yes|no)\s+(yes|no)\s+\d+\s+\d+$", line):
            faults.append(f"a font of the PDF is not embedded: {line.split()[0]}")
    if "NotoSans" not in fonts.replace(" ", ""):
        faults.append("the PDF has no Noto font, so that its tokens can't be printed")
    text = subprocess.run(
        ["pdftotext", path, "-"], capture_output=True, text=True, check=True
    ).stdout
    faults += [
        f"the PDF has the mark of a broken reference or number: {mark}"
        for mark in ("??", "nan%", " nan ")
        if mark in text
    ]
    return faults


def main() -> None:
    """Check a folder and say what is wrong, one line a fault."""
    root = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    faults = [f"missing or empty: {name}" for name in missing(root)]
    if not faults:
        faults = [f"no results: {name}" for name in unrun(root)]
        faults += [f"too few pages: {name}" for name in pageless(root)]
        faults += pdf_faults(root)
    for fault in faults:
        print(fault, file=sys.stderr)
    if faults:
        raise SystemExit(f"{len(faults)} faults among {len(promised())} promised files.")
    print(f"All {len(promised())} promised files are there.")


if __name__ == "__main__":
    main()
