"""Parquet files that somebody wrote: types first, then the values, and no more than fits.

A file of some kilobytes may stand for gigabytes: a value that is repeated, or a text that a
dictionary holds once and a million rows name. Both are counted before they are spelled out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from lensbench.footers import stands_for

#: Bytes that a file may stand for: so many in any case, and so many times its own.
LARGEST = 256 * 2**20
RATIO = 100


#: What reading a file raises that somebody else, or nobody, wrote as it should be.
UNREADABLE = (
    *(pa.ArrowException, OSError, ValueError, KeyError, TypeError, AttributeError),
    *(RecursionError, OverflowError),
)


class DamagedError(Exception):
    """A file is no Parquet file, is cut short, or holds what was not to be; the text says which."""


def schema_of(path: str | Path) -> pa.Schema:
    """Return names and types of a file's columns, and its metadata.

    Raises:
        DamagedError: if it can't be read.
    """
    try:
        return pq.read_schema(path)
    # Damaged bytes make the library raise anything: ArrowInvalid, OSError, UnicodeDecodeError, …
    except Exception as error:
        raise DamagedError("is damaged or cut short") from error


def read_columns(
    path: str | Path, kinds: Mapping[str, pa.DataType], filters: pc.Expression | None = None
) -> pa.Table:
    """Read columns whose types are known beforehand; nothing is read of a file that has others.

    Args:
        path: the file.
        kinds: name → type of each column that is wanted, in the order that they come in.
        filters: which rows, by those columns; all by default. Groups of rows that have none by
            their statistics are not read.

    Returns:
        The columns, without the file's metadata.

    Raises:
        DamagedError: if the file is damaged, lacks a column, has one of another type, or stands for
            more than it should.
    """
    _check_kinds(schema_of(path), kinds)
    try:
        _check_size(path)
        with pq.ParquetFile(path, read_dictionary=_words(kinds)) as file:
            if filters is None:
                table = file.read(columns=list(kinds))
            else:
                table = file.read_row_groups(_groups(path, filters), columns=list(kinds))
                table = table.filter(filters)
        return _spelled(table, kinds, _most(path))
    except DamagedError:
        raise
    except Exception as error:
        raise DamagedError("is damaged or cut short") from error


def read_batches(
    path: str | Path, kinds: Mapping[str, pa.DataType], rows: int, coded: Sequence[str] = ()
) -> Iterator[pa.Table]:
    """Yield a table without rows, then the rows, so many at a time, as `read_columns` reads them.

    Args:
        path: the file.
        kinds: as for `read_columns`.
        rows: how many are read at once.
        coded: columns of texts that come as dictionaries.
    """
    _check_kinds(schema_of(path), kinds)
    try:
        _check_size(path)
        most = _most(path)
        wanted = {
            name: pa.dictionary(pa.int32(), kind) if name in coded else kind
            for name, kind in kinds.items()
        }
        yield pa.schema(list(wanted.items())).empty_table()
        with pq.ParquetFile(path, read_dictionary=_words(kinds)) as file:
            for batch in file.iter_batches(batch_size=rows, columns=list(kinds)):
                yield _spelled(batch, wanted, most)
    except DamagedError:
        raise
    except Exception as error:
        raise DamagedError("is damaged or cut short") from error


def read_own(path: str | Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read a table that a stage of one's own run has made, whatever the types of its columns.

    Args:
        path: the file.
        columns: which of its columns, in that order; all by default.

    Raises:
        FileNotFoundError: if it isn't there.
        DamagedError: if it is damaged, or has not those columns.
    """
    if not Path(path).exists():
        raise FileNotFoundError(path)
    try:
        wanted = schema_of(path).names if columns is None else list(columns)
        table = pq.read_table(path, columns=wanted, partitioning=None).select(wanted)
        # What a file says to pandas needn't be so.
        table = table.replace_schema_metadata(None)
        table.validate(full=True)
        return table.to_pandas()
    except Exception as error:
        raise DamagedError("is damaged or out of date") from error


def count_rows(path: str | Path) -> int:
    """Return how many rows a file says that it has.

    Raises:
        DamagedError: if it can't be read, or says that they are fewer than none.
    """
    try:
        found = int(pq.read_metadata(path).num_rows)
    except Exception as error:
        raise DamagedError("is damaged or cut short") from error
    if found < 0:
        raise DamagedError(f"says that it has {found} rows")
    return found


def _check_kinds(schema: pa.Schema, kinds: Mapping[str, pa.DataType]) -> None:
    """Refuse a file that lacks a column, has it twice, or of another type."""
    for name, kind in kinds.items():
        found = schema.get_all_field_indices(name)
        if len(found) != 1:
            raise DamagedError(f"has {'no' if not found else 'more than one'} column {name}")
        if schema.field(found[0]).type != kind:
            raise DamagedError(f"has {name} as {schema.field(found[0]).type}, not {kind}")


def _most(path: str | Path) -> int:
    """Return how many bytes a file may stand for."""
    return max(LARGEST, RATIO * Path(path).stat().st_size)


def _check_size(path: str | Path) -> None:
    """Refuse a file whose values, texts not counted, are too many for its size."""
    total = stands_for(path)
    if total > _most(path):
        raise DamagedError(f"stands for {total:,} bytes, too many for its size")


def _groups(path: str | Path, filters: pc.Expression) -> list[int]:
    """Return the groups of rows that may have some that are wanted.

    Told of the file as it is: of columns that are read as dictionaries no group is left out.
    """
    parts = ds.dataset(path, format="parquet").get_fragments()
    return [group.id for part in parts for group in part.subset(filters).row_groups]


def _words(kinds: Mapping[str, pa.DataType]) -> list[str]:
    """Return the columns of texts, which are read as dictionaries: a text need not be copied."""
    return [name for name, kind in kinds.items() if pa.types.is_string(kind)]


def _spelled(
    table: pa.Table | pa.RecordBatch, kinds: Mapping[str, pa.DataType], most: int
) -> pa.Table:
    """Return the columns as they are wanted, of texts no more bytes than `most`, all of it valid.

    Nothing of the metadata is kept: pandas would believe what it says.
    """
    spelled = sum(_text_bytes(table.column(name)) for name in _words(kinds))
    if spelled > most:
        raise DamagedError(f"stands for {spelled:,} bytes of text, too many for its size")
    columns = [table.column(name).cast(kind) for name, kind in kinds.items()]
    found = pa.table(columns, names=list(kinds))
    # Texts too, which need not be UTF-8: told here, and not wherever they are first looked at.
    found.validate(full=True)
    return found


def _text_bytes(column: pa.ChunkedArray | pa.Array) -> int:
    """Return how many bytes a column of dictionaries would have, spelled out."""
    total = 0
    for chunk in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
        if not pa.types.is_dictionary(chunk.type):
            total += chunk.nbytes
            continue
        lengths = pc.binary_length(chunk.dictionary).to_numpy(zero_copy_only=False)
        places = chunk.indices.drop_null().to_numpy(zero_copy_only=False)
        if len(places):
            total += int(np.bincount(places, minlength=len(lengths)) @ lengths)
    return total
