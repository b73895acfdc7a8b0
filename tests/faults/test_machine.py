"""What a machine does to a job: one clear sentence, and the next run ends with the same bytes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.faults.places import (
    ALL,
    METRICS,
    PATIENCE_S,
    RUN,
    TARGETS,
    TRACED,
    Place,
    leftovers,
    whole_shards,
)
from tests.result_digests import digests

SAMPLE = "fills-00017"
PLANTS = Path(__file__).with_name("plants.py")
LEDGER = f"{RUN}/parts/1.json"  # Of the part that the sample is in: shards 6 to 11.


def refused(output: str) -> str:
    """Return the one sentence in what a run said."""
    assert "Traceback" not in output, output[-4000:]
    said = [line for line in output.splitlines() if line.startswith("lensbench: ")]
    assert len(set(said)) == 1, output[-4000:]
    return said[0]


@pytest.fixture
def planted(place: Place, tmp_path: Path) -> dict[str, str]:
    """Return the environment in which jobs of the place get the fault that PLANT names."""
    (tmp_path / "plants").mkdir()
    shutil.copy(PLANTS, tmp_path / "plants" / "sitecustomize.py")
    path = place.environment()["PYTHONPATH"]
    return {"PYTHONPATH": f"{tmp_path / 'plants'}{os.pathsep}{path}", "PLANT_SAMPLE": SAMPLE}


@pytest.mark.parametrize(
    ("plant", "told"),
    [
        ("oom-alone", f"Sample {SAMPLE} alone doesn't fit into the memory of cpu"),
        ("nan", f"Sample {SAMPLE}: the model's hidden states at step 0, layer 2,"),
        ("inf", f"Sample {SAMPLE}: the model's hidden states at step 0, layer 2,"),
        ("memory", "memory"),
    ],
)
def test_a_fault_at_one_sample_names_it_and_costs_no_other_shard(
    plant: str, told: str, undisturbed: Place, place: Place, planted: dict[str, str]
) -> None:
    place.remove(RUN)
    done = place.run(LEDGER, PLANT=plant, **planted)
    assert done.returncode != 0
    assert told in refused(done.stdout)
    # The shards before it are whole; its own isn't there, nor anything after it.
    kept = whole_shards(place)
    assert sorted(Path(name).name for name in kept) == ["6", "7"]
    assert not (place.tree / RUN / "8").exists()
    place.whole(*TRACED)
    assert {name: whole_shards(place)[name] for name in kept} == kept
    assert digests(place.results) == digests(undisturbed.results)
    assert not leftovers(place)


def test_a_batch_that_does_not_fit_is_halved(
    undisturbed: Place, place: Place, planted: dict[str, str]
) -> None:
    place.remove(RUN)
    said = place.whole(*TRACED, PLANT="oom", **planted)
    assert "Memory ran out at a batch of 2: going on with batches of 1" in said
    # Sums of another order differ in their last digits, so that only these are the same bytes.
    for shard in range(18):
        name = f"traces/lensbench-llava/fills/{shard}/samples.parquet"
        assert (place.results / name).read_bytes() == (undisturbed.results / name).read_bytes()
    assert place.lensbench("verify").returncode == 0


def test_a_worker_that_is_killed_ends_the_job_and_does_not_hang(
    undisturbed: Place, place: Place, planted: dict[str, str]
) -> None:
    place.remove(RUN)
    config = place.tree / "tiny.yaml"
    alone = config.read_text()
    config.write_text(alone.replace("shard_samples: 2", "shard_samples: 2\n  workers: 2"))
    done = place.run(LEDGER, PLANT="worker", **planted)
    assert done.returncode != 0
    assert "A process that reads pictures was ended" in refused(done.stdout)
    # How many workers there are changes nothing in what is made.
    place.whole(*TRACED)
    assert digests(place.results) == digests(undisturbed.results)
    assert not leftovers(place)


def on_a_disk(place: Place, folder: str, outputs: str, options: str, *targets: str) -> str:
    """Run with a folder on a disk of its own, which nobody else sees, and return what was said.

    That needs no root where users may have namespaces of their own. A file lies on the disk beside
    the outputs, since snakemake removes folders that stay empty, and a disk can't be removed.
    """
    path = place.tree / folder
    path.mkdir(parents=True, exist_ok=True)
    run = [sys.executable, "-m", "snakemake", *targets, "--cores", "2"]
    mount = (
        'mount -t tmpfs tmpfs "$0" && mkdir -p "$1" && touch "$1/kept" && '
        f'mount -o remount,{options} "$0" && shift && exec "$@"'
    )
    inside = ["sh", "-c", mount, str(path), str(place.tree / outputs), *run]
    inside += ["--configfile", "tiny.yaml"]
    for ways in (["--user", "--map-root-user"], []):
        if not subprocess.run(["unshare", *ways, "--mount", "true"], check=False).returncode:
            break
    else:
        pytest.fail(
            "No namespace can be made for a disk that is full: run as root, or allow it "
            "(sysctl kernel.unprivileged_userns_clone=1)."
        )
    done = subprocess.run(
        ["unshare", *ways, "--mount", *inside],
        cwd=place.tree,
        env=place.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode != 0
    return done.stdout


#: Stage → the folder on that disk, the folder of outputs in it, what is asked for, KiB.
DISKS = {
    "extraction": (RUN, f"{RUN}/parts", LEDGER, 100),
    "metrics": ("results/metrics", "results/metrics/lensbench-llava/fills", METRICS, 12),
    "figures": ("results/figures", "results/figures", TARGETS[0], 8),
}


@pytest.mark.parametrize("stage", DISKS)
def test_a_disk_that_fills_is_told_and_the_next_run_goes_on(
    stage: str, undisturbed: Place, place: Place
) -> None:
    folder, outputs, target, size_k = DISKS[stage]
    place.remove(folder)
    said = on_a_disk(place, folder, outputs, f"size={size_k}k", target)
    assert "No disk space" in refused(said)
    place.whole(*ALL)
    assert digests(place.results) == digests(undisturbed.results)
    assert not leftovers(place)


@pytest.mark.parametrize("stage", DISKS)
def test_a_disk_that_is_read_only_is_told_and_the_next_run_goes_on(
    stage: str, undisturbed: Place, place: Place
) -> None:
    folder, outputs, target, _ = DISKS[stage]
    place.remove(folder)
    said = on_a_disk(place, folder, outputs, "ro", target)
    assert refused(said).endswith("(Read-only file system): make it writable, then run again.")
    place.whole(*ALL)
    assert digests(place.results) == digests(undisturbed.results)
    assert not leftovers(place)
