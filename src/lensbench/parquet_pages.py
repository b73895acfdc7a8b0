"""What a Parquet file takes once it is read, counted from its bytes before anything is unpacked.

Each page's header says what the page unpacks to. Pages are walked as pyarrow walks them, so that
none is read which was not counted; pyarrow itself tells nothing of pages.
Source: https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from lensbench.footers import Chunk, Footer, Leaf, read_footer
from lensbench.thrift import I32, Reader

#: Bytes of a value by Parquet's types, in the order of their numbers: BOOLEAN, INT32, INT64, INT96,
#: FLOAT, DOUBLE, BYTE_ARRAY, FIXED_LEN_BYTE_ARRAY; of a text its length is added elsewhere.
_WIDTHS = (1, 4, 8, 12, 4, 8, 8, 8)
# Of a page's header, and of the struct in it that tells of a page of its kind (type → field).
_KIND, _UNPACKED, _PACKED = 1, 2, 3
_DATA_PAGE, _DICTIONARY_PAGE, _DATA_PAGE_V2 = 0, 2, 3
_DETAILS = {_DATA_PAGE: 5, _DICTIONARY_PAGE: 7, _DATA_PAGE_V2: 8}
_N, _ENCODING = 1, {5: 2, 7: 2, 8: 4}
_PAGE = {
    **{_KIND: I32, _UNPACKED: I32, _PACKED: I32},
    **{place: {_N: I32, encoding: I32} for place, encoding in _ENCODING.items()},
}
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
        coded: columns that have dictionaries.
    """

    values: int = 0
    unpacked: int = 0
    headers: int = 0
    pages: int = 0
    words: int = 0
    coded: set[Leaf] = field(default_factory=set)

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
    """Return what a file takes once it is read, as `measured` does."""
    with Path(path).open("rb") as stream:
        return measured(stream, read_footer(stream), most)


def measured(stream: IO[bytes], footer: Footer, most: int | None = None) -> Size:
    """Return what a file takes once it is read.

    Args:
        stream: the file.
        footer: what it says of itself.
        most: counting stops once `held` is above it.

    Raises:
        EncodingError: if a page has texts in an encoding that isn't read.
        ValueError: if pages can't be read, or count below nothing.
    """
    found = Size()
    for group in footer.groups:
        for chunk in group:
            for _ in _count(stream, chunk, found):
                if most is not None and found.held > most:
                    return found
    return found


def _count(stream: IO[bytes], chunk: Chunk, found: Size) -> Iterator[None]:
    """Add what a column of a group takes, and stop after each page."""
    claimed, kind = chunk.values, chunk.leaf.type
    width = _WIDTHS[kind] if 0 <= kind < len(_WIDTHS) else max(_WIDTHS)
    found.values += claimed * width
    yield
    seen, start, end = 0, chunk.start, chunk.start + chunk.length
    while seen < claimed and start < end:
        page = _page(stream, start, end)
        start += page.header + page.packed
        if page.kind in (_DATA_PAGE, _DATA_PAGE_V2):
            # More than were claimed are read where all of them are of one row.
            found.values += (max(0, seen + page.n - claimed) - max(0, seen - claimed)) * width
            seen += page.n
        elif page.kind == _DICTIONARY_PAGE:
            found.words += page.n
            found.coded.add(chunk.leaf)
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
    said = reader.struct(_PAGE)
    if not {_KIND, _UNPACKED, _PACKED} <= set(said):
        raise ValueError("a page's header does not say what the page is")
    kind, n = said[_KIND], 0
    if kind in _DETAILS:
        told = said.get(_DETAILS[kind], {})
        n, encoding = told.get(_N, -1), told.get(_ENCODING[_DETAILS[kind]], -1)
        if encoding in _NOT_READ:
            raise EncodingError(_NOT_READ[encoding])
    if min(said[_UNPACKED], said[_PACKED], n) < 0:
        raise ValueError("a page has less than nothing")
    return _Page(kind, said[_UNPACKED], said[_PACKED], n, reader.at)
