"""What a GGUF file says of its size before anything is built of it: tensors and whole numbers.

The library that loads such a file takes a second for every ten thousand tokens of its vocabulary;
here all but the whole numbers is stepped over.
Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_DEEPEST = 8
#: Number of a type → how `struct` calls it. Of these the sign and the width matter here.
_SCALARS = {
    0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d",
}  # fmt: skip
_STRING, _ARRAY = 8, 9
_WHOLE = frozenset("BbHhIiQq")
#: Bytes of the shortest note of a tensor: its name's length, its rank, its type and its place.
_SHORTEST = 24


def header_of(path: str | Path) -> tuple[int, list[tuple[str, int]]]:
    """Return how many tensors a file says that it has, and its whole numbers with their keys.

    A list of one number is that number, as the library takes it, and no key hides another.

    Raises:
        ValueError: if it is no GGUF file, or its header goes on beyond its end.
        OSError: if it can't be read.
    """
    with Path(path).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as raw:
        return _Header(raw).read()


class _Header:
    """Reads from a place on; every step is held to the file's end."""

    def __init__(self, raw: mmap.mmap) -> None:
        self._raw, self._at, self._order = raw, 0, "<"

    def read(self) -> tuple[int, list[tuple[str, int]]]:
        if self._bytes(4) != _MAGIC:
            raise ValueError("It is no GGUF file.")
        version = self._bytes(4)
        # A number of four bytes whose low half is nothing was written from the other end.
        self._order = "<" if any(version[:2]) else ">"
        if struct.unpack(f"{self._order}I", version)[0] not in _VERSIONS:
            raise ValueError("It is of another version of GGUF.")
        tensors, n_keys = self._whole("Q"), self._whole("Q")
        found = []
        for _ in range(n_keys):
            key = self._bytes(self._whole("Q")).decode("utf-8", "replace")
            found += [(key, value) for value in self._value(self._whole("I"), _DEEPEST)]
        return min(tensors, len(self._raw) // _SHORTEST), found

    def _value(self, kind: int, deepest: int) -> list[int]:
        """Step over a value, and return it in a list if it is a whole number."""
        if _SCALARS.get(kind, "") in _WHOLE:
            return [self._whole(_SCALARS[kind])]
        if kind in _SCALARS:
            self._step(struct.calcsize(_SCALARS[kind]))
        elif kind == _STRING:
            self._step(self._whole("Q"))
        elif kind == _ARRAY and deepest:
            of, n = self._whole("I"), self._whole("Q")
            if n == 1:
                return self._value(of, deepest - 1)
            if of in _SCALARS:
                self._step(n * struct.calcsize(_SCALARS[of]))
                return []
            for _ in range(n):
                self._value(of, deepest - 1)
        else:
            raise ValueError("It has a value of an unknown type.")
        return []

    def _whole(self, kind: str) -> int:
        layout = f"{self._order}{kind}"
        return int(struct.unpack(layout, self._bytes(struct.calcsize(layout)))[0])

    def _bytes(self, n: int) -> bytes:
        start = self._at
        self._step(n)
        return self._raw[start : self._at]

    def _step(self, n: int) -> None:
        if n > len(self._raw) - self._at:
            raise ValueError("It ends within its header.")
        self._at += n
