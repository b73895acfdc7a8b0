"""How long counting questions about photographs take from files on disk to finished traces.

python benchmarks/throughput.py --model qwen2-vl-2b --device cuda --dtype bfloat16 --n 5000
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import harness
import numpy as np
import pandas as pd
import torch
from contenders import forget_peak, resident
from PIL import Image, ImageDraw

import models
from lensbench.datasets.manifest import read_manifest, write_manifest
from lensbench.extract import ExtractOptions, extract_shard
from lensbench.inspection import inspect_model
from lensbench.models.load import LoadedModel, prepare
from lensbench.models.prompt import encode, open_picture

#: Sizes of photographs in COCO and Visual Genome, the most frequent ones, in pixels.
SIZES = ((640, 480), (480, 640), (640, 427), (500, 375), (640, 640))
#: Questions as long as TallyQA's, seven to twelve words.
QUESTIONS = (
    "How many people are standing in the street?",
    "How many red cars are parked near the building on the left?",
    "How many giraffes are there in the picture?",
    "How many of the plates on the table have food on them?",
)


def draw(folder: Path, n: int, pictures: int, seed: int) -> None:
    """Write a dataset of n questions about drawn pictures, as JPEG files of photographs' sizes.

    Args:
        folder: where it goes.
        n: questions.
        pictures: distinct pictures; they are asked about in turn.
        seed: of what is drawn.
    """
    rng = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True)
    for index in range(min(n, pictures)):
        width, height = SIZES[index % len(SIZES)]
        # Coarse and fine noise: a file about as large, and as slow to decode, as a photograph's.
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        fine = rng.integers(-12, 13, (height, width, 1))
        pixels = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)) + fine
        picture = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
        pen = ImageDraw.Draw(picture)
        for _ in range(int(rng.integers(1, 10))):
            x, y, side = (int(value) for value in rng.integers((0, 0, 20), (width, height, 90)))
            pen.ellipse((x, y, x + side, y + side), fill=tuple(rng.integers(0, 256, 3).tolist()))
        stream = io.BytesIO()
        picture.save(stream, "JPEG", quality=90)
        (folder / f"images/{index:04d}.jpg").write_bytes(stream.getvalue())
    rows = [
        {
            "sample_id": f"drawn-{index:05d}",
            "kind": "image",
            "image": f"images/{index % pictures:04d}.jpg",
            "prompt": QUESTIONS[index % len(QUESTIONS)],
            "style": "chat",
            "gold": f"number:{index % 10}",
            "language": "en",
            "family": "count",
            "objects": "[]",
            "source": "drawn for the benchmark",
        }
        for index in range(n)
    ]
    write_manifest(folder, pd.DataFrame(rows))


def stages(loaded: LoadedModel, data: Path, batch: int, batches: int) -> dict[str, float]:
    """Return seconds a sample of the parts alone: files to inputs, and plain forward passes."""
    rows: list[dict[str, Any]] = read_manifest(data).to_dict("records")[: batch * batches]
    groups = [rows[start : start + batch] for start in range(0, len(rows), batch)]
    start = time.perf_counter()
    inputs = [_encoded(loaded, data, group).inputs for group in groups]
    _wait(loaded)
    prepared = time.perf_counter() - start
    with torch.inference_mode():
        loaded.model(**inputs[0], use_cache=True, logits_to_keep=1)
        _wait(loaded)
        start = time.perf_counter()
        for each in inputs:
            loaded.model(**each, use_cache=True, logits_to_keep=1)
        _wait(loaded)
    passed = time.perf_counter() - start
    tokens = sum(each["input_ids"].numel() for each in inputs)
    return {
        "preprocess_s": prepared / len(rows),
        "pass_s": passed / len(rows),
        "tokens": tokens / len(rows),
    }


def _encoded(loaded: LoadedModel, data: Path, rows: Sequence[dict[str, Any]]) -> Any:
    return encode(loaded, rows, [open_picture(data / row["image"]) for row in rows])


def _wait(loaded: LoadedModel) -> None:
    if loaded.device.startswith("cuda"):
        torch.cuda.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--model", default="qwen2-vl-2b", choices=(*models.QWEN2_VL, *models.LLAVA))
    add("--n", type=int, default=5000, help="questions")
    add("--pictures", type=int, default=500, help="distinct pictures")
    add("--batch", type=int, default=16)
    add("--workers", type=int, help="processes that prepare pictures; what suits the device")
    add("--patches", action="store_true", help="read every image position out too")
    add("--max-new-tokens", type=int, default=2, help="an answer's token, and its end")
    add("--dtype", choices=models.DTYPES, default="bfloat16")
    add("--device", default="cuda")
    add("--seed", type=int, default=0)
    add("--json", help="where the result goes")
    options = parser.parse_args()

    before = resident()
    model = models.build(options.model, options.dtype, options.device, options.seed)
    pictures = models.processor(options.model)
    loaded = prepare(options.model, model, pictures, "image-text", dtype=options.dtype)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw(folder / "drawn", options.n, options.pictures, options.seed)
        inspect_model(loaded, folder / "model")
        parts = stages(loaded, folder / "drawn", options.batch, 4)
        forget_peak(options.device)
        start = time.perf_counter()
        extract_shard(
            loaded,
            folder / "drawn",
            0,
            1,
            ExtractOptions(
                batch_size=options.batch,
                workers=options.workers,
                patches=options.patches,
                max_new_tokens=options.max_new_tokens,
            ),
            folder / "shard",
            folder / "model",
        )
        seconds = time.perf_counter() - start
    cuda = options.device.startswith("cuda")
    peak = torch.cuda.max_memory_allocated() / 2**20 if cuda else resident(peak=True) - before
    tree = {
        "benchmark": "throughput",
        **{key: value for key, value in vars(options).items() if key != "json"},
        "weights": "random, from the seed",
        "machine": harness.machine(options.device),
        "seconds": seconds,
        "samples_per_s": options.n / seconds,
        "seconds_for_5000": 5000 * seconds / options.n,
        "peak_mb": peak,
        "alone": parts,
        "ratio_time": seconds / options.n / parts["pass_s"],
    }
    harness.write(options.json, tree)
    print(f"{options.model}, {options.n} questions, {options.dtype} on {options.device}")
    print(f"files to traces: {seconds:.1f} s, {options.n / seconds:.1f} questions a second")
    print(f"5000 questions: {tree['seconds_for_5000']:.0f} s; peak {peak:.0f} MB")
    print(f"tokens a question, padding included: {parts['tokens']:.0f}")
    print(f"preprocessing alone: {1000 * parts['preprocess_s']:.1f} ms a question")
    print(f"plain pass alone: {1000 * parts['pass_s']:.1f} ms a question")


if __name__ == "__main__":
    main()
