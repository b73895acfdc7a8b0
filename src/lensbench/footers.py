"""What a Parquet file's footer says of its size, read without the library that reads the file.

pyarrow ends the whole process at a column whose size statistics don't fit its schema
(`RowGroupMetaData.column`, "Definition level histogram size mismatch"), so that the counts are
taken from the bytes: Thrift's compact protocol, of which a reader needs little.
Source: https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift and
https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_MAGIC = b"PAR1"
_DEEPEST = 32
#: Bytes of a value by Parquet's types, in the order of their numbers: BOOLEAN, INT32, INT64, INT96,
#: FLOAT, DOUBLE, BYTE_ARRAY, FIXED_LEN_BYTE_ARRAY; of a text its length is added elsewhere.
_WIDTHS = (1, 4, 8, 12, 4, 8, 8, 8)
# Types of the compact protocol.
_TRUE, _FALSE, _BYTE, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT, _UUID = (
    *(1, 2, 3, 6, 7, 8, 9, 10, 11, 12, 13),
)
_VARINTS = frozenset({4, 5, _I64})
_WIDE = {_BYTE: 1, _DOUBLE: 8, _UUID: 16}
# Numbers of fields: of a file, a row group, a column chunk, and a column's metadata.
_ROW_GROUPS, _COLUMNS, _META_DATA, _TYPE, _NUM_VALUES = 4, 1, 3, 1, 5


def stands_for(path: str | Path) -> int:
    """Return how many bytes a file's values take once they are read, the lengths of texts left out.

    Raises:
        ValueError: if the footer can't be read, or counts below nothing.
        OSError: if the file can't be.
    """
    reader = _Reader(_footer(Path(path)))
    total = 0
    try:
        for _ in reader.enter(_ROW_GROUPS, listed=True):
            for _ in reader.enter(_COLUMNS, listed=True):
                for _ in reader.enter(_META_DATA):
                    total += reader.column()
    except IndexError:
        raise ValueError("the footer ends early") from None
    return total


def _footer(path: Path) -> bytes:
    with path.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - 8))
        end = stream.read(8)
        length = int.from_bytes(end[:4], "little")
        if end[4:] != _MAGIC or length > size - 12:
            raise ValueError("no footer at its end")
        stream.seek(size - 8 - length)
        return stream.read(length)


class _Reader:
    """A place in the bytes of a footer, moved on by whatever is read.

    Args:
        content: the bytes; reading past them is an IndexError.
    """

    def __init__(self, content: bytes) -> None:
        self._content, self._at = content, 0

    def enter(self, wanted: int, listed: bool = False) -> Iterator[None]:
        """Read a struct, and stop at the beginning of each struct that one of its fields holds.

        Whoever iterates must read that struct before the next step.

        Args:
            wanted: number of the field.
            listed: whether it holds a list of structs.
        """
        for number, kind in self._fields():
            if number != wanted:
                self._skip(kind)
                continue
            n = 1
            if listed:
                if kind != _LIST:
                    raise ValueError(f"field {number} is no list")
                n, kind = self._list()
            if kind != _STRUCT:
                raise ValueError(f"field {number} holds no struct")
            for _ in range(n):
                yield

    def column(self) -> int:
        """Read a column's metadata and return how many bytes its values take."""
        width, n = max(_WIDTHS), 0
        for number, kind in self._fields():
            if number == _TYPE and kind in _VARINTS:
                physical = self._integer()
                width = _WIDTHS[physical] if 0 <= physical < len(_WIDTHS) else max(_WIDTHS)
            elif number == _NUM_VALUES and kind in _VARINTS:
                n = self._integer()
            else:
                self._skip(kind)
        if n < 0:
            raise ValueError("a column has fewer values than none")
        return n * width

    def _fields(self) -> Iterator[tuple[int, int]]:
        """Yield number and type of each field of a struct, whose value is then to be read."""
        number = 0
        while (head := self._byte()) != 0:
            number = number + (head >> 4) if head >> 4 else self._integer()
            yield number, head & 15

    def _skip(self, kind: int, depth: int = 0, listed: bool = False) -> None:
        if depth > _DEEPEST:
            raise ValueError("structs too deep in each other")
        if kind in (_TRUE, _FALSE):
            # Within a struct the type is the value; within a list it takes a byte.
            self._advance(int(listed))
        elif kind in _WIDE:
            self._advance(_WIDE[kind])
        elif kind in _VARINTS:
            self._varint()
        elif kind == _BINARY:
            self._advance(self._varint())
        elif kind in (_LIST, _SET):
            n, inner = self._list()
            for _ in range(n):
                self._skip(inner, depth + 1, listed=True)
        elif kind == _MAP:
            n = self._varint()
            kinds = self._byte() if n else 0
            for _ in range(n):
                self._skip(kinds >> 4, depth + 1, listed=True)
                self._skip(kinds & 15, depth + 1, listed=True)
        elif kind == _STRUCT:
            for _, inner in self._fields():
                self._skip(inner, depth + 1)
        else:
            raise ValueError(f"there is no type {kind}")

    def _list(self) -> tuple[int, int]:
        """Read a list's head: how many there are, and of which type."""
        head = self._byte()
        return (head >> 4 if head >> 4 < 15 else self._varint()), head & 15

    def _advance(self, n: int) -> None:
        self._at += n
        if self._at > len(self._content):
            raise IndexError

    def _byte(self) -> int:
        value = self._content[self._at]
        self._at += 1
        return value

    def _varint(self) -> int:
        """Read an unsigned number: seven bits a byte, the lowest first."""
        value = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise ValueError("a number is longer than any can be")

    def _integer(self) -> int:
        """Read a signed number, whose sign is its lowest bit."""
        value = self._varint()
        return value >> 1 ^ -(value & 1)
