"""Thrift's compact protocol: what is written comes back, and nothing is read two ways."""

from __future__ import annotations

from typing import Any

import pytest

from lensbench.thrift import BINARY, BYTE, I32, I64, TRUE, Reader, written

KIND: dict[int, Any] = {
    **{1: I32, 2: I64, 3: BINARY, 4: TRUE, 5: TRUE, 6: BYTE, 7: [I32], 8: {1: I32}},
    **{9: [{2: BINARY}], 40: I32, 41: [BINARY]},
}
VALUES: dict[int, Any] = {
    **{1: -3, 2: 2**62, 3: b"\x00text", 4: True, 5: False, 6: 9, 7: list(range(-9, 9))},
    **{8: {1: -(2**31)}, 9: [{2: b"a"}, {}], 40: 2**31 - 1, 41: []},
}


def test_what_is_written_comes_back() -> None:
    content = written(KIND, VALUES)
    reader = Reader(content + b"more")
    assert reader.struct(KIND) == VALUES
    assert reader.at == len(content)
    # Of a field that isn't asked for nothing is left.
    for number in KIND:
        some = {n: kind for n, kind in KIND.items() if n != number}
        assert Reader(content).struct(some) == {n: v for n, v in VALUES.items() if n != number}


def test_bytes_by_hand() -> None:
    # Field 1, i32: 0x15, 5 zigzag; field 20, long form: type 8, 40 zigzag of 20, two bytes.
    content = b"\x15\x0a\x08\x28\x02hi\x00"
    assert written({1: I32, 20: BINARY}, {1: 5, 20: b"hi"}) == content
    assert Reader(content).struct({1: I32, 20: BINARY}) == {1: 5, 20: b"hi"}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        # A number of a field that others cut to its lower bits: 2 for them.
        (b"\x15\x0a\x05\xfb\xff\x07\x02\x00", "order"),
        (b"\x15\x0a\x05\x02\x02\x00", "order"),  # Field 1 again.
        (b"\x05\x00\x02\x00", "order"),  # Field 0.
        (b"\x16\x0a\x00", "another type"),  # An i64 for an i32.
        (b"\x79\x18\x02hi\x00", "another type"),  # A list of bytes for a list of i32.
        (b"\x79\x11\x00\x00", "another type"),  # A list of truth values for it.
        (b"\x0c\xc8\x01" + b"\x1c" * 50, "too deep"),
        (b"\xff\x00", "no type 15"),
        (b"\x16" + b"\xff" * 20, "another type"),
        (b"\x0f\xc8\x01", "no type 15"),
        (b"\x26" + b"\xff" * 20, "longer than any"),
    ],
)
def test_what_could_be_read_two_ways_is_refused(content: bytes, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Reader(content).struct(KIND)


@pytest.mark.parametrize(
    "content", [b"", b"\x15", b"\x38\x7fshort", b"\x79\xf5\xff\xff\x03\x02", b"\xf9\xf8\xff\x7f"]
)
def test_what_ends_early_is_told(content: bytes) -> None:
    with pytest.raises(IndexError):
        Reader(content).struct(KIND)
