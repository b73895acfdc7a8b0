"""Parquet files that somebody wrote: types first, then the values, and no more than fits.

A file of some kilobytes may stand for gigabytes: a value that is repeated, a text that a dictionary
holds once and a million rows name, a page that unpacks to a million times its size, a list that
isn't there and takes its whole length. All are counted before they are spelled out, and rows are
read some at a time, so that no more is ever held than the table and what one batch takes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from lensbench.footers import EncodingError, size_of

#: Bytes that a file's pages and values may take in any case, and a table with its texts spelled
#: out, of which many may be the same; and how many times the file's own both may be beyond that.
LARGEST, SPELLED = 32 * 2**20, 128 * 2**20
RATIO = 100
# Rows that are decoded at once, and how many bytes of lists and numbers they may take.
_ROWS, _BYTES = 65_536, 16 * 2**20


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
    parts, held = [], 0
    try:
        most = _most(path, SPELLED)
        for part in _parts(path, kinds, kinds, _ROWS, filters):
            parts.append(part)
            held += part.nbytes
            if held > most:
                raise _too_much(most)
        return pa.concat_tables(parts)
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
    wanted = {
        name: pa.dictionary(pa.int32(), kind) if name in coded else kind
        for name, kind in kinds.items()
    }
    try:
        yield from _parts(path, kinds, wanted, rows)
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
    try:
        return read_columns(path, kinds_of(path, columns)).to_pandas()
    except FileNotFoundError:
        raise
    except Exception as error:
        raise DamagedError("is damaged or out of date") from error


def kinds_of(path: str | Path, columns: Sequence[str] | None = None) -> dict[str, pa.DataType]:
    """Return the type of each column of a file, or of those that are asked for, in that order.

    Raises:
        FileNotFoundError: if it isn't there.
        DamagedError: if it can't be read, or has a column twice or not at all.
    """
    if not Path(path).exists():
        raise FileNotFoundError(path)
    schema = schema_of(path)
    wanted = schema.names if columns is None else list(columns)
    for name in wanted:
        _place(schema, name)
    return {name: schema.field(name).type for name in wanted}


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
        found = schema.field(_place(schema, name)).type
        if found != kind:
            raise DamagedError(f"has {name} as {found}, not {kind}")


def _place(schema: pa.Schema, name: str) -> int:
    found = schema.get_all_field_indices(name)
    if len(found) != 1:
        raise DamagedError(f"has {'no' if not found else 'more than one'} column {name}")
    return int(found[0])


def _most(path: str | Path, least: int) -> int:
    """Return how many bytes a file may stand for: `least`, or more if it is large."""
    return max(least, RATIO * Path(path).stat().st_size)


def _too_much(most: int) -> DamagedError:
    return DamagedError(f"stands for more than {most:,} bytes, too many for its size")


@lru_cache(maxsize=256)
def _is_too_much(path: str, most: int, *version: int) -> bool:
    """Say whether a file takes more than `most`; asked once of each version of a file."""
    return size_of(path, most).held > most


def _check_size(path: str | Path) -> None:
    """Refuse a file whose pages, or values, texts not counted, are too many for its size."""
    about, most = Path(path).stat(), _most(path, LARGEST)
    try:
        refused = _is_too_much(str(path), most, about.st_ino, about.st_size, about.st_mtime_ns)
    except EncodingError as error:
        raise DamagedError(f"has texts in the encoding {error}, which is not read") from error
    if refused:
        raise _too_much(most)


def _parts(
    path: str | Path,
    kinds: Mapping[str, pa.DataType],
    wanted: Mapping[str, pa.DataType],
    rows: int,
    filters: pc.Expression | None = None,
) -> Iterator[pa.Table]:
    """Yield a table without rows, then the rows, checked, so many at a time or fewer.

    Args:
        path: the file.
        kinds: name → type of each column in the file.
        wanted: the same names → what it becomes.
        rows: how many are decoded at once, if they are no lists of great length.
        filters: which rows; all by default.
    """
    _check_kinds(schema_of(path), kinds)
    _check_size(path)
    yield pa.schema(list(wanted.items())).empty_table()
    rows = max(1, min(rows, _BYTES // max(1, sum(map(_row_bytes, kinds.values())))))
    with pq.ParquetFile(path, read_dictionary=_words(kinds)) as file:
        groups = None if filters is None else _groups(path, filters)
        for batch in file.iter_batches(rows, row_groups=groups, columns=list(kinds)):
            part = _spelled(batch, wanted, _most(path, SPELLED))
            yield part if filters is None else part.filter(filters)


def _row_bytes(kind: pa.DataType) -> int:
    """Return how many bytes a row of a column takes even where it is null; 0 where it has none."""
    if pa.types.is_fixed_size_list(kind):
        return int(kind.list_size) * _row_bytes(kind.value_type)
    if pa.types.is_fixed_size_binary(kind):
        return int(kind.byte_width)
    return (kind.bit_width + 7) // 8 if pa.types.is_primitive(kind) else 0


def _groups(path: str | Path, filters: pc.Expression) -> list[int]:
    """Return the groups of rows that may have some that are wanted.

    Told of the file as it is: of columns that are read as dictionaries no group is left out.
    """
    parts = ds.dataset(path, format="parquet").get_fragments()
    return [group.id for part in parts for group in part.subset(filters).row_groups]


def _words(kinds: Mapping[str, pa.DataType]) -> list[str]:
    """Return the columns of texts, which are read as dictionaries: a text need not be copied."""
    return [name for name, kind in kinds.items() if pa.types.is_string(kind)]


def _spelled(table: pa.RecordBatch, kinds: Mapping[str, pa.DataType], most: int) -> pa.Table:
    """Return the columns as they are wanted, of texts no more bytes than `most`, all of it valid.

    Nothing of the metadata is kept: pandas would believe what it says.
    """
    spelled = sum(_text_bytes(table.column(name)) for name in _words(kinds))
    if spelled > most:
        raise _too_much(most)
    columns = [table.column(name).cast(kind) for name, kind in kinds.items()]
    found = pa.table(columns, names=list(kinds))
    # Texts too, which need not be UTF-8: told here, and not wherever they are first looked at.
    found.validate(full=True)
    return found


def _text_bytes(column: pa.Array) -> int:
    """Return how many bytes a column of dictionaries would have, spelled out."""
    if not pa.types.is_dictionary(column.type):
        return int(column.nbytes)
    lengths = pc.binary_length(column.dictionary).to_numpy(zero_copy_only=False)
    places = column.indices.drop_null().to_numpy(zero_copy_only=False)
    if not len(places):
        return 0
    return int(np.bincount(places, minlength=len(lengths)) @ lengths)
