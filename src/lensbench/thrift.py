"""Thrift's compact protocol, of which a reader needs little: structs, numbers, and how to skip.

What a number is worth is what the C++ library makes of the same bytes, so that nobody can tell the
one reader this and the other that: too long ones are cut to their bits, and a field that comes
twice or as another type is refused.
Source: https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

_DEEPEST = 32
# Types of the compact protocol.
_TRUE, _FALSE, _BYTE, _I16, I32, I64, _DOUBLE, BINARY = 1, 2, 3, 4, 5, 6, 7, 8
LIST, _SET, _MAP, STRUCT, _UUID = 9, 10, 11, 12, 13
_BITS = {_I16: 16, I32: 32, I64: 64}
_WIDE = {_BYTE: 1, _DOUBLE: 8, _UUID: 16}


class Reader:
    """A place in some bytes, moved on by whatever is read.

    Args:
        content: the bytes; reading past them is an IndexError.
    """

    def __init__(self, content: bytes) -> None:
        self._content, self.at = content, 0

    def struct(self, wanted: Mapping[int, int]) -> Iterator[int]:
        """Read a struct, and stop at each of its fields that is wanted.

        Whoever iterates must read that field before the next step.

        Args:
            wanted: numbers of fields → their types.

        Yields:
            The number of the field.

        Raises:
            ValueError: if a wanted field comes twice or is of another type, or the bytes are no
                struct.
        """
        found = set()
        for number, kind in self._fields():
            if number not in wanted:
                self._skip(kind)
                continue
            if kind != wanted[number] or number in found:
                raise ValueError(f"field {number} comes twice or is of another type")
            found.add(number)
            yield number

    def numbers(self, wanted: Mapping[int, int]) -> dict[int, int]:
        """Read a struct and return those of its fields that are wanted, all of them numbers."""
        return {number: self.number(wanted[number]) for number in self.struct(wanted)}

    def structs(self) -> Iterator[None]:
        """Read a list's head and stop at the beginning of each struct that it holds."""
        n, kind = self._list()
        if kind != STRUCT:
            raise ValueError("a list holds no structs")
        for _ in range(n):
            yield

    def number(self, kind: int) -> int:
        """Read a signed number of that type, whose sign is its lowest bit."""
        value = self._varint() & ((1 << _BITS[kind]) - 1)
        return value >> 1 ^ -(value & 1)

    def binary(self) -> bytes:
        """Read bytes."""
        n = self._varint()
        self._advance(n)
        return self._content[self.at - n : self.at]

    def _fields(self) -> Iterator[tuple[int, int]]:
        """Yield number and type of each field of a struct, whose value is then to be read."""
        number = 0
        while (head := self._byte()) != 0:
            number = number + (head >> 4) if head >> 4 else self.number(_I16)
            if not -(2**15) <= number < 2**15:
                raise ValueError(f"there is no field {number}")
            yield number, head & 15

    def _skip(self, kind: int, depth: int = 0, listed: bool = False) -> None:
        if depth > _DEEPEST:
            raise ValueError("structs too deep in each other")
        if kind in (_TRUE, _FALSE):
            # Within a struct the type is the value; within a list it takes a byte.
            self._advance(int(listed))
        elif kind in _WIDE:
            self._advance(_WIDE[kind])
        elif kind in _BITS:
            self._varint()
        elif kind == BINARY:
            self._advance(self._varint())
        elif kind in (LIST, _SET):
            n, inner = self._list()
            for _ in range(n):
                self._skip(inner, depth + 1, listed=True)
        elif kind == _MAP:
            n = self._varint()
            kinds = self._byte() if n else 0
            for _ in range(n):
                self._skip(kinds >> 4, depth + 1, listed=True)
                self._skip(kinds & 15, depth + 1, listed=True)
        elif kind == STRUCT:
            for _, inner in self._fields():
                self._skip(inner, depth + 1)
        else:
            raise ValueError(f"there is no type {kind}")

    def _list(self) -> tuple[int, int]:
        """Read a list's head: how many there are, and of which type."""
        head = self._byte()
        return (head >> 4 if head >> 4 < 15 else self._varint()), head & 15

    def _advance(self, n: int) -> None:
        self.at += n
        if self.at > len(self._content):
            raise IndexError

    def _byte(self) -> int:
        value = self._content[self.at]
        self.at += 1
        return value

    def _varint(self) -> int:
        """Read an unsigned number: seven bits a byte, the lowest first."""
        value = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value & (2**64 - 1)
        raise ValueError("a number is longer than any can be")
