"""A Parquet file's footer, read strictly and written anew with nothing in it that isn't needed.

pyarrow is given the new one. The file's own would let it do what no check foresees: it ends the
whole process at statistics that don't fit their column, copies a name for each column below it, and
takes some bytes for other fields than a second reader does.
Source: https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import IO, Any

from lensbench.thrift import BINARY, BYTE, I32, I64, TRUE, Reader, written

_MAGIC = b"PAR1"
#: Columns, their names with those of all that they lie in, and how deep: more than any table has.
_MOST_COLUMNS, _MOST_NAMES, _DEEPEST = 10_000, 2**20, 32
#: What Arrow says of a schema's types, and of what length that is still asked: it may name one long
#: name for every column, which are copied.
_ARROW, _LONGEST_ARROW = b"ARROW:schema", 2**16

# Structs of the format, of their fields those that are needed.
_NONE: dict[int, Any] = {}
_UNIT = {1: _NONE, 2: _NONE, 3: _NONE}
_LOGICAL = {
    **dict.fromkeys((1, 2, 3, 4, 6, 11, 12, 13, 14, 15), _NONE),
    **{5: {1: I32, 2: I32}, 7: {1: TRUE, 2: _UNIT}, 8: {1: TRUE, 2: _UNIT}, 10: {1: BYTE, 2: TRUE}},
}
_TYPE, _REPETITION, _NAME, _CHILDREN, _LOGICAL_TYPE = 1, 3, 4, 5, 10
_ELEMENT = {
    **{_TYPE: I32, 2: I32, _REPETITION: I32, _NAME: BINARY, _CHILDREN: I32},
    **{6: I32, 7: I32, 8: I32, _LOGICAL_TYPE: _LOGICAL},
}
_ENCODINGS, _PATH, _CODEC, _VALUES, _UNPACKED = 2, 3, 4, 5, 6
_LENGTH, _DATA, _DICTIONARY, _STATISTICS = 7, 9, 11, 12
_MAX, _MIN = 5, 6
_COLUMN = {
    **{_CODEC: I32, _VALUES: I64, _LENGTH: I64, _DATA: I64, _DICTIONARY: I64},
    _STATISTICS: {_MAX: BINARY, _MIN: BINARY},
}
_COLUMN_WRITTEN = {**_COLUMN, 1: I32, _ENCODINGS: [I32], _PATH: [BINARY], _UNPACKED: I64}
_COLUMNS, _BYTES, _ROWS = 1, 2, 3
_GROUP = {_COLUMNS: [{3: _COLUMN}], _ROWS: I64}
_GROUP_WRITTEN = {_COLUMNS: [{2: I64, 3: _COLUMN_WRITTEN}], _BYTES: I64, _ROWS: I64}
_SCHEMA, _FILE_ROWS, _GROUPS, _NOTES = 2, 3, 4, 5
_FILE = {_SCHEMA: [_ELEMENT], _FILE_ROWS: I64, _GROUPS: [_GROUP], _NOTES: [{1: BINARY, 2: BINARY}]}
_FILE_WRITTEN = {**_FILE, 1: I32, _GROUPS: [_GROUP_WRITTEN]}
_REPEATED = 2


@dataclass(frozen=True)
class Leaf:
    """A column as it lies in the file.

    Args:
        path: its name, after those of what it lies in.
        type: number of its type in Parquet.
        repeated: whether a row may have several values.
    """

    path: tuple[bytes, ...]
    type: int
    repeated: bool


@dataclass(frozen=True)
class Chunk:
    """A column's part of a group of rows.

    Args:
        leaf: the column.
        values: how many it has, nulls and empty lists too.
        start, length: where its pages lie, bytes.
        least, most: of its values, as they are written; None if it isn't said.
    """

    leaf: Leaf
    values: int
    start: int
    length: int
    least: bytes | None
    most: bytes | None


@dataclass(frozen=True)
class Footer:
    """What a file says of itself.

    Args:
        rows: of the file.
        groups: for each group of rows, its columns.
        clean: the footer written anew.
    """

    rows: int
    groups: tuple[tuple[Chunk, ...], ...]
    clean: bytes

    def as_file(self) -> bytes:
        """Return a file that has this footer and nothing else."""
        return _MAGIC + self.clean + len(self.clean).to_bytes(4, "little") + _MAGIC


def read_footer(stream: IO[bytes]) -> Footer:
    """Read a file's footer, as `parsed` does."""
    return parsed(*footer_bytes(stream))


def footer_bytes(stream: IO[bytes]) -> tuple[bytes, int]:
    """Return a file's footer as it stands there, and where it begins.

    Raises:
        ValueError: if the file has none.
    """
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - 8))
    end = stream.read(8)
    length = int.from_bytes(end[:4], "little")
    if end[4:] != _MAGIC or length > size - 12:
        raise ValueError("no footer at its end")
    begin = size - 8 - length
    stream.seek(begin)
    return stream.read(length), begin


def parsed(footer: bytes, begin: int) -> Footer:
    """Return what a footer says.

    Args:
        footer: its bytes.
        begin: where it begins in its file: all columns lie before.

    Raises:
        ValueError: if it can't be read, or doesn't hold together.
    """
    try:
        said = Reader(footer).struct(_FILE)
    except IndexError:
        raise ValueError("the footer ends early") from None
    leaves = _leaves(said.get(_SCHEMA, []))
    rows, told = said.get(_FILE_ROWS, -1), said.get(_GROUPS, [])
    groups = tuple(_group(group, leaves, begin) for group in told)
    if rows < 0 or sum(group.get(_ROWS, -1) for group in told) != rows:
        raise ValueError("groups have not the rows that the file has")
    _check_apart(groups)
    return Footer(rows, groups, _clean(said, groups))


def _leaves(schema: list[dict[int, Any]]) -> list[Leaf]:
    """Return the columns of a schema, which lists what lies in each other in its order."""
    if not schema or schema[0].get(_CHILDREN, 0) < 0:
        raise ValueError("it has no schema")
    found: list[Leaf] = []
    names = 0
    # What is open: children that are still to come, name, whether anything above is repeated.
    above: list[tuple[int, bytes, bool]] = [(schema[0].get(_CHILDREN, 0), b"", False)]
    for element in schema[1:]:
        while above and not above[-1][0]:
            above.pop()
        if not above:
            raise ValueError("the schema has more than it says")
        left, name, many = above[-1]
        above[-1] = (left - 1, name, many)
        many = many or element.get(_REPETITION) == _REPEATED
        children = element.get(_CHILDREN, 0)
        path = (*(one[1] for one in above[1:]), element.get(_NAME, b""))
        if children < 0 or len(above) > _DEEPEST:
            raise ValueError("the schema is too deep, or has fewer columns than none")
        if children:
            above.append((children, element.get(_NAME, b""), many))
            continue
        names += sum(map(len, path)) + len(path)
        if len(found) >= _MOST_COLUMNS or names > _MOST_NAMES:
            raise ValueError("it has too many columns, or too long names")
        found.append(Leaf(path, element.get(_TYPE, -1), many))
    if any(left for left, *_ in above):
        raise ValueError("the schema has less than it says")
    return found


def _group(group: dict[int, Any], leaves: list[Leaf], end: int) -> tuple[Chunk, ...]:
    columns, rows = group.get(_COLUMNS, []), group.get(_ROWS, -1)
    if rows < 0 or len(columns) != len(leaves):
        raise ValueError("a group of rows has not each column once")
    return tuple(
        _chunk(column.get(3, {}), leaf, rows, end)
        for column, leaf in zip(columns, leaves, strict=True)
    )


def _chunk(column: dict[int, Any], leaf: Leaf, rows: int, end: int) -> Chunk:
    values, length = column.get(_VALUES, -1), column.get(_LENGTH, -1)
    if values < rows or (values > rows and not leaf.repeated):
        raise ValueError("a column has not a value for each row")
    start = column.get(_DATA, -1)
    # A dictionary comes first; 0 is said by some who write none.
    if 0 < column.get(_DICTIONARY, 0) < start:
        start = column[_DICTIONARY]
    if start < 0 or length < 0 or start + length > end:
        raise ValueError("a column does not lie in its file")
    known = column.get(_STATISTICS, {})
    return Chunk(leaf, values, start, length, known.get(_MIN), known.get(_MAX))


def _check_apart(groups: tuple[tuple[Chunk, ...], ...]) -> None:
    """Refuse pages that are read for more than one column or group."""
    # Of a column without values no page is read, wherever it says that they are.
    read = [one for group in groups for one in group if one.values]
    places = sorted((one.start, one.length) for one in read)
    for (start, length), (following, _) in pairwise(places):
        if start + length > following:
            raise ValueError("two columns lie in the same place")


def _clean(said: Mapping[int, Any], groups: tuple[tuple[Chunk, ...], ...]) -> bytes:
    """Return the footer with what is needed to read the columns, and its notes."""
    elements = [
        {n: value for n, value in element.items() if n != _LOGICAL_TYPE or value}
        for element in said[_SCHEMA]
    ]
    again = []
    for group, chunks in zip(said.get(_GROUPS, []), groups, strict=True):
        columns = [
            {2: 0, 3: _column(column[3], chunk)}
            for column, chunk in zip(group[_COLUMNS], chunks, strict=True)
        ]
        size = sum(chunk.length for chunk in chunks)
        again.append({_COLUMNS: columns, _BYTES: size, _ROWS: group[_ROWS]})
    notes = list(_notes(said.get(_NOTES, [])))
    return written(
        _FILE_WRITTEN,
        {
            **{1: 2, _SCHEMA: elements, _FILE_ROWS: said[_FILE_ROWS], _GROUPS: again},
            **({_NOTES: notes} if notes else {}),
        },
    )


def _column(column: dict[int, Any], chunk: Chunk) -> dict[int, Any]:
    kept = {n: value for n, value in column.items() if n != _STATISTICS}
    return {
        **{1: chunk.leaf.type, _ENCODINGS: [], _PATH: list(chunk.leaf.path)},
        **{_CODEC: 0, _UNPACKED: chunk.length, **kept},
    }


def _notes(notes: list[dict[int, bytes]]) -> Iterator[dict[int, bytes]]:
    for note in notes:
        if note.get(1) != _ARROW or len(note.get(2, b"")) <= _LONGEST_ARROW:
            yield {1: note.get(1, b""), **({2: note[2]} if 2 in note else {})}
