"""How long snakemake plans a study of many models: a dry run of 20 models × 5 datasets × 50 shards.

python benchmarks/dag.py [--shards-per-job 1] prints each time, medians and the number of jobs. The
models are rules for which nothing is fetched, the workflow is the project's in a scratch copy. The
time of the processor is told beside that of the clock, for a machine that does other things too.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DATASETS = ("scenes", "fills", "flowers", "tallyqa", "tf_flowers")
SHARD_SAMPLES = 500
RULE = """\
use rule extract as extract_model_{number} with:
    wildcard_constraints:
        model="model-{number}",
    resources:
        gpu=1,
        mem_mb=24000,
        runtime=1440,
    params:
        source="{source}",
        revision="{revision}",
        task="image-text",
"""


def scratch(folder: Path, options: argparse.Namespace) -> None:
    """Write a copy of the workflow with models that don't exist, and their configuration."""
    for name in ("workflow", "config", "paper", "notebooks"):
        shutil.copytree(ROOT / name, folder / name)
    for name in ("Snakefile", "environment.yml"):
        shutil.copy(ROOT / name, folder / name)
    models = folder / "workflow/rules/models"
    shutil.rmtree(models)
    models.mkdir()
    for number in range(options.models):
        source = options.source or f"hub:nobody/model-{number}"
        rule = RULE.format(number=number, source=source, revision=f"{number:040x}")
        (models / f"model-{number}.smk").write_text(rule, encoding="utf-8")
    unused = ("facts", "oxford_flowers", "own")
    config = {
        "hub": True,
        "datasets": {name: {"n": options.shards * SHARD_SAMPLES} for name in DATASETS}
        | {name: {"n": 0} for name in unused},
        "extraction": {
            "shard_samples": SHARD_SAMPLES,
            "shards_per_job": options.shards_per_job,
        },
    }
    (folder / "many.yaml").write_text(json.dumps(config), encoding="utf-8")


def dry_run(folder: Path) -> tuple[float, float, dict[str, int]]:
    """Return the seconds of a dry run, those of the processor, and the number of jobs by rule."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "-n", "--quiet", "rules", "--configfile", "many.yaml"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    counts = re.findall(r"^(\w+) +(\d+)$", done.stdout + done.stderr, re.MULTILINE)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, cpu, {name: int(n) for name, n in counts}


def main() -> None:
    """Time dry runs and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=20)
    parser.add_argument("--shards", type=int, default=50)
    parser.add_argument("--shards-per-job", type=int, default=10)
    parser.add_argument("--source", default="", help="of every model, such as packaged:NAME")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scratch(folder, options)
        found = [dry_run(folder) for _ in range(options.repeats)]
    *times, counts = zip(*found, strict=True)
    jobs = counts[0]
    extracting = sum(n for name, n in jobs.items() if name.startswith("extract_"))
    print(
        f"{options.models} models × {len(DATASETS)} datasets × {options.shards} shards, "
        f"{options.shards_per_job} a job: {jobs['total']} jobs, {extracting} of them extract"
    )
    for what, seconds in zip(("clock", "processor"), times, strict=True):
        each = ", ".join(f"{second:.1f}" for second in seconds)
        print(f"{what}: {each} s, median {statistics.median(seconds):.1f} s")


if __name__ == "__main__":
    main()
