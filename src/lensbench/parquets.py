"""Parquet files that somebody wrote: types first, then the values, and no more than fits.

A file of some kilobytes may stand for gigabytes: a value that is repeated, a text that a dictionary
holds once and a million rows name, a page that unpacks to a million times its size, a list that
isn't there and takes its whole length. All are counted before they are spelled out, and rows are
read some at a time, so that no more is ever held than the table and what one batch takes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lensbench.footers import Chunk, Footer, footer_bytes, parsed
from lensbench.parquet_pages import EncodingError, measured

#: Bytes that a file's pages and values may take in any case, and a table with its texts spelled
#: out, of which many may be the same; and how many times the file's own both may be beyond that.
LARGEST, SPELLED = 32 * 2**20, 128 * 2**20
RATIO = 100
# Rows that are decoded at once, and how many bytes of lists and numbers they may take.
_ROWS, _BYTES = 65_536, 16 * 2**20
# Bytes of a footer whose meaning isn't kept.
_LONG = 2**16


#: What reading a file raises that somebody else, or nobody, wrote as it should be.
UNREADABLE = (
    *(pa.ArrowException, OSError, ValueError, KeyError, TypeError, AttributeError),
    *(RecursionError, OverflowError),
)


class DamagedError(Exception):
    """A file is no Parquet file, is cut short, or holds what was not to be; the text says which."""


@dataclass(frozen=True)
class _Opened:
    """What is known of a file before its pages are looked at."""

    raw: tuple[bytes, int]
    footer: Footer
    about: pq.FileMetaData
    schema: pa.Schema


def _opened(path: str | Path) -> _Opened:
    """Read a file's footer; what it says is worked out once."""
    try:
        with open(path, "rb") as stream:
            return _told(footer_bytes(stream))
    # Damaged bytes make the library raise anything: ArrowInvalid, OSError, UnicodeDecodeError, …
    except Exception as error:
        raise DamagedError("is damaged or cut short") from error


def _told(raw: tuple[bytes, int]) -> _Opened:
    # A long one, which few files have, is not kept.
    return _kept(raw) if len(raw[0]) <= _LONG else _kept.__wrapped__(raw)


@lru_cache(maxsize=64)
def _kept(raw: tuple[bytes, int]) -> _Opened:
    footer = parsed(*raw)
    about = pq.read_metadata(pa.BufferReader(footer.as_file()))
    return _Opened(raw, footer, about, about.schema.to_arrow_schema())


def schema_of(path: str | Path) -> pa.Schema:
    """Return names and types of a file's columns, and its metadata.

    Raises:
        DamagedError: if it can't be read.
    """
    return _opened(path).schema


def read_columns(
    path: str | Path,
    kinds: Mapping[str, pa.DataType],
    filters: pc.Expression | None = None,
    within: tuple[str, Any, Any] | None = None,
) -> pa.Table:
    """Read columns whose types are known beforehand; nothing is read of a file that has others.

    Args:
        path: the file.
        kinds: name → type of each column that is wanted, in the order that they come in.
        filters: which rows, by those columns; all by default.
        within: a column, the least and the most of its values that `filters` lets through: groups
            of rows that have none such by their statistics are not read.

    Returns:
        The columns, without the file's metadata.

    Raises:
        DamagedError: if the file is damaged, lacks a column, has one of another type, or stands for
            more than it should.
    """
    parts, held = [], 0
    try:
        most = _most(path, SPELLED)
        for part in _parts(path, kinds, kinds, _ROWS, filters, within):
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
        DamagedError: if it can't be read, has a column twice or not at all, or one that is neither
            of numbers, truth values nor texts.
    """
    if not Path(path).exists():
        raise FileNotFoundError(path)
    schema = schema_of(path)
    wanted = schema.names if columns is None else list(columns)
    kinds = {name: schema.field(_place(schema, name)).type for name in wanted}
    for name, kind in kinds.items():
        if not (_is_text(kind) or _is_plain(kind)):
            raise DamagedError(f"has {name} as {kind}, neither numbers nor texts")
    return kinds


def count_rows(path: str | Path) -> int:
    """Return how many rows a file says that it has.

    Raises:
        DamagedError: if it can't be read, or its groups have others.
    """
    return _opened(path).footer.rows


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


@lru_cache(maxsize=64)
def _size(
    path: str, raw: tuple[bytes, int], most: int, *version: int
) -> tuple[bool, frozenset[str]]:
    """Say whether a file takes more than `most`, and which columns have dictionaries."""
    with open(path, "rb") as stream:
        size = measured(stream, _told(raw).footer, most)
    return size.held > most, frozenset(b".".join(leaf.path).decode() for leaf in size.coded)


def _check_size(path: str | Path, raw: tuple[bytes, int]) -> frozenset[str]:
    """Refuse a file whose pages, or values, texts not counted, are too many for its size.

    Returns:
        The columns that have dictionaries.
    """
    about, most = Path(path).stat(), _most(path, LARGEST)
    version = (about.st_ino, about.st_size, about.st_mtime_ns)
    try:
        refused, coded = _size(str(path), raw, most, *version)
    except EncodingError as error:
        raise DamagedError(f"has texts in the encoding {error}, which is not read") from error
    if refused:
        raise _too_much(most)
    return coded


def _parts(
    path: str | Path,
    kinds: Mapping[str, pa.DataType],
    wanted: Mapping[str, pa.DataType],
    rows: int,
    filters: pc.Expression | None = None,
    within: tuple[str, Any, Any] | None = None,
) -> Iterator[pa.Table]:
    """Yield a table without rows, then the rows, checked, so many at a time or fewer.

    Args:
        path: the file.
        kinds: name → type of each column in the file.
        wanted: the same names → what it becomes.
        rows: how many are decoded at once, if they are no lists of great length.
        filters: which rows; all by default.
        within: as for `read_columns`.
    """
    opened = _opened(path)
    _check_kinds(opened.schema, kinds)
    if not kinds:
        raise DamagedError("has no column that is asked for")
    coded = _check_size(path, opened.raw)
    yield pa.schema(list(wanted.items())).empty_table()
    rows = max(1, min(rows, _BYTES // max(1, sum(map(_row_bytes, kinds.values())))))
    # Texts with a dictionary are read as such, and need not be copied.
    words = [name for name, kind in kinds.items() if _is_text(kind) and name in coded]
    groups = None if within is None else _groups(opened, *within)
    found, most = 0, _most(path, SPELLED)
    with pq.ParquetFile(path, metadata=opened.about, read_dictionary=words) as file:
        for batch in file.iter_batches(rows, row_groups=groups, columns=list(kinds)):
            found += batch.num_rows
            part = _spelled(batch, wanted, most)
            yield part if filters is None else part.filter(filters)
    if groups is None and found != opened.footer.rows:
        raise DamagedError("has other rows than it says")


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_plain(kind: pa.DataType) -> bool:
    tests = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_null)
    return any(test(kind) for test in tests)


def _row_bytes(kind: pa.DataType) -> int:
    """Return how many bytes a row of a column takes even where it is null."""
    if pa.types.is_fixed_size_list(kind):
        return int(kind.list_size) * _row_bytes(kind.value_type)
    return (kind.bit_width + 7) // 8 if _is_plain(kind) and not pa.types.is_null(kind) else 4


def _groups(opened: _Opened, name: str, least: Any, most: Any) -> list[int]:
    """Return the groups of rows that may have values of a column from `least` to `most`."""
    kind = opened.schema.field(_place(opened.schema, name)).type
    found = []
    for place, group in enumerate(opened.footer.groups):
        low, high = _span([one for one in group if one.leaf.path == (name.encode(),)], kind)
        if not ((high is not None and high < least) or (low is not None and low > most)):
            found.append(place)
    return found


def _span(chunks: list[Chunk], kind: pa.DataType) -> tuple[Any, Any]:
    """Return the least and the most value of a column's part, None where that isn't known."""
    if len(chunks) != 1:
        return None, None
    found: list[Any] = []
    for value in (chunks[0].least, chunks[0].most):
        if value is not None and _is_text(kind):
            # Cut within a character, as a writer may, it is no bound.
            try:
                found.append(value.decode())
            except UnicodeDecodeError:
                found.append(None)
        elif value is not None and kind == pa.int32() and len(value) == 4:
            found.append(int.from_bytes(value, "little", signed=True))
        else:
            found.append(None)
    return found[0], found[1]


def _spelled(table: pa.RecordBatch, kinds: Mapping[str, pa.DataType], most: int) -> pa.Table:
    """Return the columns as they are wanted, of texts no more bytes than `most`, all of it valid.

    Nothing of the metadata is kept: pandas would believe what it says.
    """
    texts = [name for name, kind in kinds.items() if _is_text(kind)]
    spelled = sum(_text_bytes(table.column(name)) for name in texts)
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
