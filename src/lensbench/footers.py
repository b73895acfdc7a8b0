"""What a Parquet file takes once it is read, counted from its bytes before anything is unpacked.

The footer says where each column's pages lie, and each page's header what the page unpacks to: both
are walked as pyarrow walks them, so that nothing is read which was not counted. They are read here
since pyarrow tells nothing of pages, and ends the whole process at a column whose size statistics
don't fit its schema (`RowGroupMetaData.column`, "Definition level histogram size mismatch").
Source: https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from lensbench.thrift import BINARY, I32, I64, LIST, STRUCT, Reader

_MAGIC = b"PAR1"
#: Bytes of a value by Parquet's types, in the order of their numbers: BOOLEAN, INT32, INT64, INT96,
#: FLOAT, DOUBLE, BYTE_ARRAY, FIXED_LEN_BYTE_ARRAY; of a text its length is added elsewhere.
_WIDTHS = (1, 4, 8, 12, 4, 8, 8, 8)
# Numbers of fields: of a file, a row group, a column chunk, and a column's metadata.
_ROW_GROUPS, _CREATED_BY, _COLUMNS, _META_DATA = 4, 6, 1, 3
_TYPE, _NUM_VALUES, _LENGTH, _DATA, _DICTIONARY = 1, 5, 7, 9, 11
_OF_COLUMN = {_TYPE: I32, _NUM_VALUES: I64, _LENGTH: I64, _DATA: I64, _DICTIONARY: I64}
# Of a page's header, and of the struct in it that tells of a page of its kind (type → field).
_KIND, _UNPACKED, _PACKED = 1, 2, 3
_DATA_PAGE, _DICTIONARY_PAGE, _DATA_PAGE_V2 = 0, 2, 3
_DETAILS = {_DATA_PAGE: 5, _DICTIONARY_PAGE: 7, _DATA_PAGE_V2: 8}
_OF_PAGE = {_KIND: I32, _UNPACKED: I32, _PACKED: I32, 5: STRUCT, 7: STRUCT, 8: STRUCT}
_N, _ENCODING = 1, {5: 2, 7: 2, 8: 4}
#: Encodings of texts that are not read. In the second a text repeats the beginning of the one
#: before: a page of n bytes may be n² of text, and no header says how much. The first pyarrow can't
#: read as a dictionary, and texts that are read otherwise are spelled out before they are counted.
_NOT_READ = {6: "DELTA_LENGTH_BYTE_ARRAY", 7: "DELTA_BYTE_ARRAY"}
#: A header has some tens of bytes, and its statistics of texts, cut by whoever writes them.
_LONGEST_HEADER = 2**16
#: What a page costs beside its bytes, and a byte of its header, so that counting has an end too.
_A_PAGE, _A_HEADER_BYTE = 4096, 64
#: pyarrow keeps a text of a dictionary as its place and length.
_A_WORD = 16
#: Files of one old writer leave so much out of a column's length (PARQUET-816).
_OLD_WRITER, _LEFT_OUT = b"parquet-mr", 100


class EncodingError(ValueError):
    """A file's texts are in an encoding that isn't read; the text is its name."""


@dataclass
class Size:
    """What a file takes.

    Args:
        values: bytes of its values, the lengths of texts left out.
        unpacked: bytes of its pages, unpacked, without their headers.
        headers: bytes of its pages' headers.
        pages: how many there are.
        words: values of its dictionaries.
    """

    values: int = 0
    unpacked: int = 0
    headers: int = 0
    pages: int = 0
    words: int = 0

    @property
    def held(self) -> int:
        """Bytes at most that are held at once to read it, beside the table that comes of it."""
        read = self.unpacked + _A_WORD * self.words
        return max(self.values, read + _A_PAGE * self.pages + _A_HEADER_BYTE * self.headers)


@dataclass(frozen=True)
class _Page:
    """What a page's header says, and how many bytes it takes itself."""

    kind: int
    unpacked: int
    packed: int
    n: int
    header: int


def size_of(path: str | Path, most: int | None = None) -> Size:
    """Return what a file takes once it is read.

    Args:
        path: the file.
        most: counting stops once `held` is above it.

    Raises:
        EncodingError: if a page has texts in an encoding that isn't read.
        ValueError: if footer or pages can't be read, or count below nothing.
        OSError: if the file can't be.
    """
    found = Size()
    with Path(path).open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        footer = _footer(stream, size)
        try:
            chunks, spare = _chunks(footer)
            for chunk in chunks:
                for _ in _count(stream, size, chunk, spare, found):
                    if most is not None and found.held > most:
                        return found
        except IndexError:
            raise ValueError("the footer ends early") from None
    return found


def _footer(stream: IO[bytes], size: int) -> bytes:
    stream.seek(max(0, size - 8))
    end = stream.read(8)
    length = int.from_bytes(end[:4], "little")
    if end[4:] != _MAGIC or length > size - 12:
        raise ValueError("no footer at its end")
    stream.seek(size - 8 - length)
    return stream.read(length)


def _chunks(footer: bytes) -> tuple[list[dict[int, int]], int]:
    """Return what the footer says of each column of each group, and bytes that are left out."""
    reader, found, spare = Reader(footer), [], 0
    for field in reader.struct({_ROW_GROUPS: LIST, _CREATED_BY: BINARY}):
        if field == _CREATED_BY:
            spare = _LEFT_OUT if _OLD_WRITER in reader.binary().lower() else 0
            continue
        for _ in reader.structs():
            for _ in reader.struct({_COLUMNS: LIST}):
                for _ in reader.structs():
                    for _ in reader.struct({_META_DATA: STRUCT}):
                        found.append(reader.numbers(_OF_COLUMN))
    return found, spare


def _count(
    stream: IO[bytes], size: int, chunk: dict[int, int], spare: int, found: Size
) -> Iterator[None]:
    """Add what a column of a group takes, and stop after each page."""
    physical, claimed = chunk.get(_TYPE, -1), chunk.get(_NUM_VALUES, 0)
    start, length = chunk.get(_DATA, -1), chunk.get(_LENGTH, -1)
    if claimed < 0:
        raise ValueError("a column has fewer values than none")
    # A dictionary comes first; 0 is said by some who write none.
    if 0 < chunk.get(_DICTIONARY, 0) < start:
        start = chunk[_DICTIONARY]
    if start < 0 or length < 0 or start + length > size:
        raise ValueError("a column does not lie in its file")
    width = _WIDTHS[physical] if 0 <= physical < len(_WIDTHS) else max(_WIDTHS)
    found.values += claimed * width
    yield
    seen, end = 0, min(size, start + length + spare)
    while seen < claimed and start < end:
        page = _page(stream, start, end)
        start += page.header + page.packed
        if page.kind in (_DATA_PAGE, _DATA_PAGE_V2):
            # More than were claimed are read where all of them are of one row.
            found.values += (max(0, seen + page.n - claimed) - max(0, seen - claimed)) * width
            seen += page.n
        elif page.kind == _DICTIONARY_PAGE:
            found.words += page.n
        if page.kind in _DETAILS:
            found.unpacked += page.unpacked
        found.headers += page.header
        found.pages += 1
        yield


def _page(stream: IO[bytes], start: int, end: int) -> _Page:
    """Read the header of the page that begins there."""
    ahead = 512
    while True:
        stream.seek(start)
        content = stream.read(min(ahead, end - start))
        try:
            return _told(Reader(content))
        except IndexError:
            if len(content) < ahead or ahead >= _LONGEST_HEADER:
                raise ValueError("a page's header ends early") from None
            ahead *= 2


def _told(reader: Reader) -> _Page:
    numbers: dict[int, int] = {}
    details: dict[int, dict[int, int]] = {}
    for field in reader.struct(_OF_PAGE):
        if _OF_PAGE[field] == I32:
            numbers[field] = reader.number(I32)
        else:
            details[field] = reader.numbers({_N: I32, _ENCODING[field]: I32})
    if not {_KIND, _UNPACKED, _PACKED} <= set(numbers):
        raise ValueError("a page's header does not say what the page is")
    kind, n = numbers[_KIND], 0
    if kind in _DETAILS:
        told = details.get(_DETAILS[kind], {})
        n, encoding = told.get(_N, -1), told.get(_ENCODING[_DETAILS[kind]], -1)
        if encoding in _NOT_READ:
            raise EncodingError(_NOT_READ[encoding])
    if min(numbers[_UNPACKED], numbers[_PACKED], n) < 0:
        raise ValueError("a page has less than nothing")
    return _Page(kind, numbers[_UNPACKED], numbers[_PACKED], n, reader.at)
