"""Thrift's compact protocol, the little of it that is needed: known fields are read and written.

What is read must be written in the one way in which writers write it: fields in the order of their
numbers, each of its type. What another reader might take for something else is refused.
Source: https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_DEEPEST = 32
#: Types of the compact protocol; of a truth value the type is the value.
TRUE, FALSE, BYTE, _I16, I32, I64, _DOUBLE, BINARY = 1, 2, 3, 4, 5, 6, 7, 8
_LIST, _SET, _MAP, _STRUCT, _UUID = 9, 10, 11, 12, 13
_BITS = {_I16: 16, I32: 32, I64: 64}
_WIDE = {BYTE: 1, _DOUBLE: 8, _UUID: 16}
#: What a field may be: the number of a type, a list of one kind, or a struct: number → kind.
Kind = int | list[Any] | Mapping[int, Any]


class Reader:
    """A place in some bytes, moved on by whatever is read.

    Args:
        content: the bytes; reading past them is an IndexError.
    """

    def __init__(self, content: bytes) -> None:
        self._content, self.at = content, 0

    def struct(self, kind: Mapping[int, Any], depth: int = 0) -> dict[int, Any]:
        """Read a struct and return those of its fields that are known.

        Args:
            kind: numbers of the fields → what they are.
            depth: structs that it lies in.

        Raises:
            ValueError: if a known field is of another type, or the bytes are no struct.
        """
        found: dict[int, Any] = {}
        number = 0
        while (head := self._byte()) != 0:
            last, number = number, number + (head >> 4) if head >> 4 else self._number(I32)
            if not last < number < 2**15:
                raise ValueError("fields are not in their order")
            if number not in kind:
                self._skip(head & 15, depth + 1)
                continue
            found[number] = self._value(kind[number], head & 15, depth + 1)
        return found

    def _value(self, kind: Kind, told: int, depth: int, listed: bool = False) -> Any:
        if depth > _DEEPEST:
            raise ValueError("structs too deep in each other")
        if told != _type_of(kind) and not (kind == TRUE and told == FALSE and not listed):
            raise ValueError("a field is of another type")
        if isinstance(kind, list):
            n, inner = self._list()
            return [self._value(kind[0], inner, depth + 1, listed=True) for _ in range(n)]
        if not isinstance(kind, int):
            return self.struct(kind, depth)
        if kind == TRUE:
            return told == TRUE
        if kind == BYTE:
            return self._byte()
        return self._binary() if kind == BINARY else self._number(kind)

    def _number(self, kind: int) -> int:
        """Read a signed number, whose sign is its lowest bit; what is too long loses its head."""
        value = self._varint() & ((1 << _BITS[kind]) - 1)
        return value >> 1 ^ -(value & 1)

    def _binary(self) -> bytes:
        n = self._varint()
        self._advance(n)
        return self._content[self.at - n : self.at]

    def _skip(self, kind: int, depth: int, listed: bool = False) -> None:
        if depth > _DEEPEST:
            raise ValueError("structs too deep in each other")
        if kind in (TRUE, FALSE):
            # Within a list it takes a byte.
            self._advance(int(listed))
        elif kind in _WIDE:
            self._advance(_WIDE[kind])
        elif kind in _BITS:
            self._varint()
        elif kind == BINARY:
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
            while (head := self._byte()) != 0:
                if not head >> 4:
                    self._varint()
                self._skip(head & 15, depth + 1)
        else:
            raise ValueError(f"there is no type {kind}")

    def _list(self) -> tuple[int, int]:
        """Read a list's head: how many there are, and of which type."""
        head = self._byte()
        n = head >> 4 if head >> 4 < 15 else self._varint()
        if n > len(self._content) - self.at:
            raise IndexError
        return n, head & 15

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


def written(kind: Mapping[int, Any], values: Mapping[int, Any]) -> bytes:
    """Return a struct's bytes.

    Args:
        kind: numbers of its fields → what they are, as for `Reader.struct`.
        values: numbers of those that it has → what is in them.
    """
    found, last = bytearray(), 0
    for number in sorted(values):
        told = _type_of(kind[number])
        if told == TRUE and not values[number]:
            told = FALSE
        if number - last < 16:
            found.append((number - last) << 4 | told)
        else:
            found += bytes([told]) + _varint_of(2 * number)
        found += _bytes_of(kind[number], values[number])
        last = number
    return bytes(found) + b"\0"


def _bytes_of(kind: Kind, value: Any) -> bytes:
    if isinstance(kind, list):
        n, told = len(value), _type_of(kind[0])
        head = bytes([n << 4 | told]) if n < 15 else bytes([15 << 4 | told]) + _varint_of(n)
        return head + b"".join(_bytes_of(kind[0], one) for one in value)
    if not isinstance(kind, int):
        return written(kind, value)
    if kind == TRUE:
        return b""
    if kind == BYTE:
        return bytes([value])
    if kind == BINARY:
        return _varint_of(len(value)) + bytes(value)
    return _varint_of((value << 1) ^ (value >> (_BITS[kind] - 1)) if value < 0 else value << 1)


def _varint_of(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


def _type_of(kind: Kind) -> int:
    if isinstance(kind, list):
        return _LIST
    return kind if isinstance(kind, int) else _STRUCT
