"""How the metrics scale: every table of runs of 10⁴, 10⁵ and 10⁶ samples, and of all of TallyQA.

    python benchmarks/scale.py --tallyqa --out scale.json

Each run is written once as traces in the true schema, deleted after, and measured in processes of
its own: seconds of making all tables, and the most memory the process had. What the metrics find
must be what was planted, or nothing is reported.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from synthetic import Planted, Shape, shards_of, write_run

#: TallyQA's test questions through a model of Qwen2-VL-2B's size, which answers in two tokens.
TALLYQA = Shape(38_589, layers=29, heads=12, steps=2)


def measured(folder: Path) -> dict[str, float]:
    """Make every table of a run in this process, and return seconds and peak memory in MB."""
    from lensbench.metrics.options import MetricOptions
    from lensbench.metrics.run import make_run

    # What Python, numpy and the rest take before anything is read.
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    start, processor = time.perf_counter(), time.process_time()
    make_run(folder / "tables", shards_of(folder), folder / "model", MetricOptions(seed=1))
    return {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - processor,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "before_mb": before,
    }


def check(folder: Path, shape: Shape, planted: Planted) -> None:
    """Stop unless the tables say what was planted.

    Raises:
        SystemExit: if they don't.
    """
    summary = pd.read_parquet(folder / "tables" / "summary.parquet").set_index("metric")
    found = {
        "convergence_layer": planted.convergence / shape.samples,
        "accuracy": planted.right / shape.samples,
    }
    for metric, wanted in found.items():
        value = summary.loc[metric, "value"]
        if abs(value - wanted) > 1e-8 * wanted or summary.loc[metric, "n"] != shape.samples:
            sys.exit(f"{metric} is {value}, but {wanted} was planted")


def run(shape: Shape, place: Path, repeats: int) -> dict[str, object]:
    """Write a run, measure it a few times and delete it."""
    folder = Path(tempfile.mkdtemp(dir=place))
    try:
        start = time.perf_counter()
        planted = write_run(folder, shape)
        written = time.perf_counter() - start
        size = sum(path.stat().st_size for path in folder.glob("[0-9]*/*.parquet"))
        rounds = []
        for _ in range(repeats):
            command = [sys.executable, __file__, "--measure", str(folder)]
            said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            rounds.append(json.loads(said))
            check(folder, shape, planted)
    finally:
        shutil.rmtree(folder)
    middle = {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}
    return {
        **asdict(shape),
        "gigabytes": size / 1e9,
        "bytes_per_sample_and_layer": size / shape.samples / shape.layers,
        "write_seconds": written,
        **middle,
        "seconds_per_10000": middle["seconds"] / shape.samples * 1e4,
        "repeats": repeats,
    }


def main() -> None:
    """Measure what is asked for, print a line each and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    parser.add_argument(
        "--tallyqa", action="store_true", help="all of TallyQA's test questions too"
    )
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--place", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measured(given.measure)))
        return
    shapes = [Shape(size) for size in given.sizes] + [TALLYQA] * given.tallyqa
    rows = []
    for shape in shapes:
        rows.append(run(shape, given.place, given.repeats))
        print(json.dumps(rows[-1]), flush=True)
        if given.out:
            given.out.write_text(json.dumps({"cores": os.cpu_count(), "runs": rows}, indent=1))
    columns = ["samples", "layers", "heads", "steps", "gigabytes", "seconds", "peak_mb",
               "seconds_per_10000"]  # fmt: skip
    print(pd.DataFrame(rows)[columns].to_string(index=False, float_format=lambda v: f"{v:.2f}"))


if __name__ == "__main__":
    main()
