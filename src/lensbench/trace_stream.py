"""Traces read a few samples at a time, from several tables at once, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from lensbench.errors import TraceError
from lensbench.parquets import DamagedError, read_batches
from lensbench.trace import read_meta_of_all
from lensbench.trace_checks import check_values
from lensbench.trace_schema import TABLES

#: Samples a block at most.
BLOCK = 1024
# Rows of a Parquet file that are decoded at once.
_ROWS = 65_536


def stream(
    folder: str | Path, tables: Mapping[str, Sequence[str]], block: int = BLOCK
) -> Iterator[dict[str, pa.Table]]:
    """Yield a shard's samples in order, block by block, with their rows in other tables.

    Args:
        folder: the shard.
        tables: table → the columns wanted, `samples` among them; each table's keys begin with
            sample_id, and its sample_id comes dictionary-encoded.
        block: samples a block at most.

    Raises:
        TraceError: if a file is missing, damaged, of another schema or of another run than
            `samples`, a value is not what it may be, or rows don't go on with the samples.
    """
    path = Path(folder)
    # Each file says of which schema and run it is.
    meta = read_meta_of_all(path, tables)
    rows = {name: _Rows(path, name, columns, meta.widths) for name, columns in tables.items()}
    samples = rows.pop("samples")
    while (found := samples.first(block)) is not None:
        last = str(found["sample_id"][-1].as_py())
        yield {"samples": found, **{name: of.up_to(last) for name, of in rows.items()}}
    for name, of in rows.items():
        if of.first(1) is not None:
            raise TraceError(
                f"{path / name}.parquet has rows of samples that samples.parquet lacks: delete "
                f"the folder {path} and rerun."
            )


class _Rows:
    """The rows of one file from where the last call stopped, sorted by sample_id."""

    def __init__(
        self, folder: Path, name: str, columns: Sequence[str], widths: dict[str, int]
    ) -> None:
        self._path, self._name = folder / f"{name}.parquet", name
        known = {column.name: column for column in TABLES[name].columns}
        kinds = {one: known[one].arrow(widths) for one in dict.fromkeys(["sample_id", *columns])}
        self._batches = read_batches(self._path, kinds, _ROWS, ["sample_id"])
        # The first table has no rows, but the columns.
        self._rest: pa.Table = self._next()

    def _next(self) -> pa.Table | None:
        """Return the next rows, their values checked; None at the end."""
        try:
            table = next(self._batches, None)
        except DamagedError as error:
            raise TraceError(f"{self._path} {error}: delete it and rerun.") from error
        if table is not None:
            check_values(self._name, table)
        return table

    def _more(self) -> bool:
        while (table := self._next()) is not None:
            if table.num_rows:
                joined = [self._rest, table] if self._rest.num_rows else [table]
                self._rest = pa.concat_tables(joined)
                return True
        return False

    def _take(self, n: int) -> pa.Table:
        taken, self._rest = self._rest.slice(0, n), self._rest.slice(n)
        return taken

    def first(self, n: int) -> pa.Table | None:
        """Return the next n rows, fewer at the end, None where there are no more."""
        while self._rest.num_rows < n and self._more():
            pass
        return self._take(min(n, self._rest.num_rows)) if self._rest.num_rows else None

    def up_to(self, last: str) -> pa.Table:
        """Return the rows of all samples up to one, by sample_id."""
        while not (self._rest.num_rows and str(self._rest["sample_id"][-1].as_py()) > last):
            if not self._more():
                break
        return self._take(
            sum(int((names <= last)[codes].sum()) for names, codes in _encoded(self._rest))
        )


def _encoded(table: pa.Table) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the different sample_ids of a part of the rows, and which of them each row has."""
    for chunk in table["sample_id"].chunks:
        if len(chunk):
            yield np.asarray(chunk.dictionary.to_pylist(), dtype=object), chunk.indices.to_numpy()


def sample_ids(table: pa.Table) -> np.ndarray:
    """Return a block's sample_id as texts, [rows], without a text of its own for each row."""
    parts = [names[codes] for names, codes in _encoded(table)]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=object)


def column(table: pa.Table, name: str) -> np.ndarray:
    """Return a column of numbers as an array [rows], of lists of equal length as [rows, length]."""
    array = table[name].combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # Of no rows.
        array = pa.concat_arrays(array.chunks) if array.num_chunks else array.type.empty()
    if pa.types.is_fixed_size_list(array.type):
        values: np.ndarray = array.flatten().to_numpy(zero_copy_only=False)
        return values.reshape(-1, array.type.list_size)
    flat: np.ndarray = array.to_numpy(zero_copy_only=False)
    return flat
