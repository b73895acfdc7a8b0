"""Two folders of results that are the same, until a test changes one number in one of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from tests.synthetic import Truth, make_run

MODEL, DATASET = "synthetic-llava", "scenes"
N_LAYERS, K = 8, 10


def two(
    folder: Path, n_samples: int = 8, left: int = 1, right: int = 1, n_steps: int = 1
) -> tuple[Path, Path, Truth]:
    """Return two folders of results of one run, cut into so many shards, and its truth.

    The last sample is rejected, and the one before it has no gold token.
    """
    places = folder / "a", folder / "b"
    for place, shards in zip(places, (left, right), strict=True):
        truth = make_run(
            place, MODEL, DATASET, n_samples=n_samples, n_layers=N_LAYERS, n_steps=n_steps,
            n_shards=shards, k=K,
        )  # fmt: skip
    return *places, truth


def shard(results: Path, number: int = 0) -> Path:
    """Return a shard's folder."""
    return results / "traces" / MODEL / DATASET / str(number)


def change(path: Path, how: Callable[[pd.DataFrame], pd.DataFrame | None]) -> None:
    """Rewrite a Parquet file with its rows changed; schema and metadata stay."""
    table = pq.read_table(path, partitioning=None)
    frame = table.to_pandas()
    changed = how(frame)
    rows = pa.Table.from_pandas(
        frame if changed is None else changed, schema=table.schema, preserve_index=False
    )
    pq.write_table(rows.replace_schema_metadata(table.schema.metadata), path, compression="zstd")


def at(frame: pd.DataFrame, sample: int, layer: int, step: int = 0) -> int:
    """Return the row of a sample, step and layer."""
    mask = (
        (frame["sample_id"] == f"{DATASET}-{sample:05d}")
        & (frame["layer"] == layer)
        & (frame["step"] == step)
    )
    return int(frame.index[mask][0])


def copy_of(results: Path, folder: Path) -> Path:
    """Return a copy of a folder of results."""
    return Path(shutil.copytree(results, folder))
