"""The same samples of two runs, block by block, however each of the two was cut into shards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from lensbench.compare.folders import Run, count_rows
from lensbench.errors import TraceError
from lensbench.trace import read_rows

#: Rows of one table that are in memory at a time, of each of the two runs.
ROWS_AT_ONCE = 200_000


@dataclass(frozen=True)
class Shard:
    """A shard's folder and which samples it has: the first and last id, and how many."""

    folder: Path
    first: str
    last: str
    n: int


@dataclass(frozen=True)
class Block:
    """Some samples that both runs have, sorted by id.

    Args:
        ids: their ids, [n], sorted.
        left: the folders of the first run's shards that hold them.
        right: those of the second.
    """

    ids: np.ndarray
    left: tuple[Path, ...]
    right: tuple[Path, ...]


def index_of(run: Run) -> list[Shard]:
    """Return a run's shards that have samples, each with the range of its ids."""
    shards = []
    for folder in run.shards:
        ids = _ids(folder)
        if len(ids):
            shards.append(Shard(folder, str(ids[0]), str(ids[-1]), len(ids)))
    return shards


def blocks(left: Run, right: Run) -> Iterator[Block]:
    """Yield the samples that both runs have, in blocks that fit into memory.

    Args:
        left: whose shards are gone through in order.
        right: whose shards are looked into where their ranges of ids meet.

    Raises:
        TraceError: if a table is missing or damaged, or a sample is twice in one run.
    """
    others = index_of(right)
    mine = index_of(left)
    for place, shard in enumerate(mine):
        ids = _ids(shard.folder)
        for before in mine[:place]:
            if before.first <= shard.last and shard.first <= before.last:
                _refuse_twice(left, np.intersect1d(ids, _ids(before.folder)))
        for part in np.array_split(ids, _parts(shard)):
            near = [s for s in others if s.first <= part[-1] and part[0] <= s.last]
            here = [_found(s.folder, part) for s in near]
            both, counts = np.unique(np.concatenate([*here, part[:0]]), return_counts=True)
            _refuse_twice(right, both[counts > 1])
            if len(both):
                holding = [s.folder for s, found in zip(near, here, strict=True) if len(found)]
                yield Block(both, (shard.folder,), tuple(holding))


def _refuse_twice(run: Run, ids: np.ndarray) -> None:
    if len(ids):
        raise TraceError(
            f"{ids[0]} is in two shards of {run.name}: delete the folder {run.shards[0].parent} "
            "and rerun."
        )


def _parts(shard: Shard) -> int:
    """Return into how many blocks a shard is cut, so that no table has too many rows at a time."""
    most = max(count_rows(shard.folder / f"{name}.parquet") for name in ("trajectory", "heads"))
    return min(shard.n, -(-most // ROWS_AT_ONCE) or 1)


def _ids(folder: Path) -> np.ndarray:
    ids = _read(folder, "samples", ["sample_id"], None).column(0).to_numpy()
    if len(np.unique(ids)) != len(ids):
        raise TraceError(f"{folder} has a sample twice: delete the folder and rerun.")
    return np.sort(ids)


def _found(folder: Path, ids: np.ndarray) -> np.ndarray:
    """Return those of some sorted ids that a shard has."""
    return _read(folder, "samples", ["sample_id"], ids).column(0).to_numpy()


def samples_of(folders: Sequence[Path], ids: np.ndarray) -> pd.DataFrame:
    """Return the rows of `samples` of these ids, in their order."""
    table = pa.concat_tables([_read(f, "samples", None, ids) for f in folders])
    return table.to_pandas().set_index("sample_id").loc[ids]


def rows_of(
    folders: Sequence[Path], name: str, columns: Sequence[str], ids: np.ndarray
) -> dict[str, np.ndarray]:
    """Return columns of a table as arrays, lists as a second axis, only the rows of these ids.

    `sample` among them is each row's place in ids.

    Args:
        folders: of shards.
        name: of the table.
        columns: beside sample_id.
        ids: sorted ids.
    """
    table = pa.concat_tables(
        [_read(folder, name, ["sample_id", *columns], ids) for folder in folders]
    )
    found = {column: _array(table.column(column)) for column in columns}
    return {"sample": np.searchsorted(ids, table.column("sample_id").to_numpy()), **found}


def _array(column: pa.ChunkedArray) -> np.ndarray:
    if not pa.types.is_fixed_size_list(column.type):
        return column.to_numpy()
    flat = pa.chunked_array(
        [chunk.flatten() for chunk in column.chunks], type=column.type.value_type
    )
    return flat.to_numpy().reshape(len(column), column.type.list_size)


def _read(
    folder: Path, name: str, columns: Sequence[str] | None, ids: np.ndarray | None
) -> pa.Table:
    """Read a table, or of it the rows of these sorted ids; whole groups without any are skipped."""
    if ids is None:
        return read_rows(folder, name, columns)
    wanted = pc.is_in(pc.field("sample_id"), pa.array(ids.tolist(), pa.string()))
    return read_rows(folder, name, columns, wanted, ("sample_id", str(ids[0]), str(ids[-1])))
