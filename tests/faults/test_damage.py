"""Shards that are cut, changed or old, and clocks that jump: nothing is computed from them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tests.faults.places import (
    ALL,
    METRICS,
    RUN,
    TRACED,
    Place,
    leftovers,
    whole_shards,
)
from tests.faults.test_machine import refused
from tests.result_digests import digests

DAY_S = 86_400
#: A file's time is known to less than this after it was moved; no shard is made in it.
MOMENT_NS = 1_000_000
SHARD = f"{RUN}/7"


def flip(path: Path) -> None:
    """Turn one bit over in the middle of a file, and keep its size and its time."""
    stat = path.stat()
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 0b100
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def cut(path: Path) -> None:
    """Leave the first half of a file."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def age(path: Path) -> None:
    """Make a whole shard of an older schema out of one: all digests are as they should be."""
    table = pq.read_table(path)
    about = json.loads(table.schema.metadata[b"lensbench"]) | {"schema_version": 2}
    old = table.replace_schema_metadata({b"lensbench": json.dumps(about)})
    pq.write_table(old, path, compression="zstd")
    note = path.parent / "provenance.json"
    noted = json.loads(note.read_text()) | {"schema_version": 2}
    noted["files"][path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    before = hashlib.sha256(note.read_bytes()).hexdigest()
    note.write_text(json.dumps(noted))
    now = hashlib.sha256(note.read_bytes()).hexdigest()
    for ledger in (path.parent.parent / "parts").glob("*.json"):
        ledger.write_text(ledger.read_text().replace(before, now))


@pytest.mark.parametrize(
    ("harm", "table"),
    [
        (flip, "trajectory"),
        (flip, "lenses"),
        (cut, "heads"),
        (Path.unlink, "floors"),
        (age, "samples"),
    ],
)
def test_metrics_refuse_a_shard_that_is_not_as_it_was_made(
    harm: Callable[[Path], None], table: str, undisturbed: Place, place: Place
) -> None:
    harm(place.tree / SHARD / f"{table}.parquet")
    place.remove("results/metrics")
    whole = whole_shards(place)
    done = place.run(METRICS)
    assert done.returncode != 0
    assert f"{SHARD}/" in refused(done.stdout)
    assert not (place.results / "metrics/lensbench-llava/fills/summary.parquet").exists()
    # The next run makes that shard again, and no other.
    place.whole(*TRACED)
    assert digests(place.results) == digests(undisturbed.results)
    again = whole_shards(place)
    same = {name for name, made in again.items() if whole.get(name) == made}
    assert len(again) - len(same) == 1
    assert not leftovers(place)


def shift(place: Place, folder: str, seconds: float) -> None:
    """Move the times of all files of a folder."""
    for path in [*(place.tree / folder).rglob("*"), place.tree / folder]:
        moved = path.stat().st_mtime + seconds
        os.utime(path, (moved, moved), follow_symlinks=False)


@pytest.mark.parametrize(
    "older", ["results/datasets", "results/models", "results/traces", "results/metrics"]
)
def test_a_clock_that_jumped_back_loses_nothing_and_ends(
    older: str, undisturbed: Place, place: Place
) -> None:
    """What was made before the jump is of tomorrow, by its time; what is made from it is not."""
    shift(place, older, DAY_S)
    place.remove("results/tables/summary.csv", f"{RUN}/parts/0.json")
    whole = whole_shards(place)
    place.whole(*ALL)
    assert digests(place.results) == digests(undisturbed.results)
    now = whole_shards(place)
    assert now.keys() == whole.keys()
    # Files of tomorrow are given times of today, all by one distance: none was made again.
    distances = [now[name] - whole[name] for name in whole]
    assert max(distances) - min(distances) < MOMENT_NS
    # Nor does it run for ever: a second run finds everything done.
    assert "Nothing to be done" in place.whole(*ALL)


def test_a_clock_that_jumps_back_between_two_jobs_is_not_noticed(
    undisturbed: Place, place: Place
) -> None:
    place.remove(RUN, "results/metrics")
    place.whole(*TRACED[:2])
    shift(place, RUN, DAY_S)
    place.whole(*ALL)
    assert digests(place.results) == digests(undisturbed.results)
    assert "Nothing to be done" in place.whole(*ALL)
