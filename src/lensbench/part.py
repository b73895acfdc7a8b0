"""What one job extracts: some shards of a run, less those that are there already; its ledger."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from lensbench.extract import Extraction
from lensbench.leftovers import sweep
from lensbench.shards import clear_stale, is_kept, n_parts_of, shards_of_part, write_ledger
from lensbench.trace import read_table


def extract_shards(run: Extraction, shards: Iterable[int], run_folder: str | Path) -> None:
    """Extract shards one after the other; what is there as it would be written now is kept.

    Without a digest of the code nothing can be said to be as it would be now, and nothing is kept.

    Args:
        run: the model and the dataset.
        shards: numbers of the shards.
        run_folder: where each gets a folder of its number.
    """
    folder = Path(run_folder)
    sweep(folder)
    for shard in shards:
        place = folder / str(shard)
        if run.code and is_kept(place, run.provenance(shard), run.files):
            print(f"shard {shard}: kept", file=sys.stderr, flush=True)
        else:
            run.write(shard, place)


def extract_part(run: Extraction, part: int, shards_per_job: int, run_folder: str | Path) -> None:
    """Extract the shards of a part and write its ledger, last of all.

    Shards and ledgers of an earlier configuration that had more of them are removed.

    Args:
        run: the model and the dataset.
        part: number of the part.
        shards_per_job: how many shards a part has.
        run_folder: the run's folder.

    Raises:
        LensbenchError: if the run has no such part, or something of it can't be made.
    """
    folder = Path(run_folder)
    shards = shards_of_part(part, run.n_shards, shards_per_job)
    extract_shards(run, shards, folder)
    counts = {}
    for shard in shards:
        rejected = read_table(folder / str(shard), "samples", ["rejected"])["rejected"]
        counts[shard] = (len(rejected), int(rejected.notna().sum()))
    clear_stale(folder, run.n_shards, n_parts_of(run.n_shards, shards_per_job))
    write_ledger(folder, run.model, run.dataset, part, counts)
