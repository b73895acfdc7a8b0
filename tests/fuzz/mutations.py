"""Strategies that make hostile inputs of valid ones: bytes, texts and trees, a few changes each."""

from __future__ import annotations

import copy
import struct
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

#: Numbers at the borders of types and of good sense.
EDGES = (
    *(0, 1, -1, 2, 7, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 10**6, 2**24, 2**31 - 1),
    *(2**31, 2**32 - 1, 2**32, 2**53, 2**63 - 1, 2**63, 2**64 - 1, -(2**31), -(2**63)),
)
#: Texts that mean something to a path, a page, a terminal, TeX, a template or a format.
TEXTS = (
    *("", " ", "\n", "\x00", "\x1b[31mred\x1b[0m", "\r\n", "\u202egnp.exe", "\ufeff", "\u2028"),
    *("\ud800", "\udfff", "e\u0301" * 40, "ﷺ" * 40, "x" * 5000, "a" * 70000, "中" * 300),
    *(
        "../../victim/keep.txt",
        "/etc/passwd",
        "..\\..\\x",
        "~/x",
        "C:\\x",
        "//x/y",
        "link/keep.txt",
    ),
    *("<script>alert(1)</script>", "]]>", "<!--", "&lt;", "javascript:alert(1)", "' onload='x"),
    *("\\input{/etc/passwd}", "\\write18{x}", "$\\csname x", "%", "{{7*7}}", "{% for x in y %}"),
    *("=cmd|'/c x'!A1", "%s%n", "$(id)", "`id`", "; rm -rf x", "nan", "inf", "-0", "1e999", "0x10"),
    *("true", "null", "[", "{", '"', "\\", "!!python/object/apply:os.system [id]", "__proto__"),
    *("number:3", "١٢٣", "３", "²", "1_000", "+1", "1.0"),
)


def _deep(levels: int) -> list[Any]:
    tree: list[Any] = []
    for _ in range(levels):
        tree = [tree]
    return tree


#: Values of JSON and YAML that a reader may not have thought of.
ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0.5, -0.0, 1e308, -1e308, 1e-320, float("nan"), float("inf")),
    *([], {}, [[]], [None], {"": None}, {"a": {"b": {}}}, [0] * 1000, _deep(60), _deep(400)),
    *(10**30, 10**400, -(10**30), *EDGES, *TEXTS),
)

odd_values = st.one_of(
    st.sampled_from(ODD_VALUES),
    st.text(max_size=20),
    st.integers(),
    st.floats(),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=6),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
        ),
        max_leaves=6,
    ),
)
#: Text with every kind of character, lone halves too.
texts = st.one_of(
    st.sampled_from(TEXTS),
    st.text(max_size=30),
    st.text(st.characters(categories=["Cs", "Cc", "Cf", "Co", "Zl", "Zp", "Mn", "Lo"]), max_size=8),
)
_PACKS = [struct.Struct(order + kind) for order in "<>" for kind in "BHIQ"]


def _place(draw: Any, length: int) -> int:
    """Draw a place in bytes, the beginning and the end more often than their share."""
    near = draw(st.sampled_from("fbe"))
    if near == "b":
        return draw(st.integers(0, min(64, length)))
    if near == "e":
        return length - draw(st.integers(0, min(64, length)))
    return draw(st.integers(0, length))


@st.composite
def mutated_bytes(
    draw: Any, seeds: Sequence[bytes], words: Sequence[bytes] = (), most: int = 6
) -> bytes:
    """Draw one of some valid files with up to `most` changes; with none it is as it was.

    Args:
        draw: hypothesis gives it.
        seeds: valid files.
        words: byte strings that mean something in the format, to be put in.
        most: changes at most.
    """
    data = bytearray(draw(st.sampled_from(list(seeds))))
    for _ in range(draw(st.integers(0, most))):
        at = _place(draw, len(data))
        kind = draw(st.sampled_from("bbfinndcsrwwt"))
        if kind == "b":
            data[at : at + 1] = bytes([draw(st.integers(0, 255))])
        elif kind == "f" and at < len(data):
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "i":
            data[at:at] = draw(st.binary(min_size=1, max_size=12))
        elif kind == "n":
            pack = draw(st.sampled_from(_PACKS))
            value = draw(st.sampled_from(EDGES)) % 256**pack.size
            data[at : at + pack.size] = pack.pack(value)
        elif kind == "d":
            del data[at : at + draw(st.integers(1, 40))]
        elif kind == "c":
            del data[at:]
        elif kind == "s":
            other = draw(st.sampled_from(list(seeds)))
            start = draw(st.integers(0, len(other)))
            data[at:at] = other[start : start + draw(st.integers(1, 200))]
        elif kind == "r":
            part = bytes(data[at : at + draw(st.integers(1, 30))])
            data[at:at] = part * draw(st.integers(1, 50))
        elif kind == "t":
            data += draw(st.binary(max_size=40))
        elif words:
            word = draw(st.sampled_from(list(words)))
            stop = at + draw(st.sampled_from([0, len(word)]))
            data[at:stop] = word
    return bytes(data)


def mutated_text(seeds: Sequence[str], words: Sequence[str] = ()) -> st.SearchStrategy[bytes]:
    """Return a strategy of files of text, as bytes: changes of bytes, and odd texts put in."""
    more = [text.encode("utf-8", "surrogatepass") for text in (*words, *TEXTS)]
    return mutated_bytes([seed.encode() for seed in seeds], more)


def _paths(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path]
    if isinstance(tree, dict):
        for key, value in tree.items():
            found += _paths(value, (*path, key))
    elif isinstance(tree, list):
        for place, value in enumerate(tree[:20]):
            found += _paths(value, (*path, place))
    return found


@st.composite
def mutated_trees(draw: Any, seeds: Sequence[Any], most: int = 4) -> Any:
    """Draw one of some valid trees (of JSON or YAML) with up to `most` parts changed.

    A part is replaced by an odd value, left out, written twice, renamed, or put one level deeper.
    """
    tree = copy.deepcopy(draw(st.sampled_from(list(seeds))))
    for _ in range(draw(st.integers(0, most))):
        path = draw(st.sampled_from(_paths(tree)))
        if not path:
            if draw(st.integers(0, 9)) == 0:
                tree = copy.deepcopy(draw(odd_values))
            continue
        *above, last = path
        node = tree
        for step in above:
            node = node[step]
        kind = draw(st.sampled_from("rrrrdanw"))
        if kind == "r":
            node[last] = copy.deepcopy(draw(odd_values))
        elif kind == "d":
            del node[last]
        elif kind == "a" and isinstance(node, dict):
            node[draw(texts)] = copy.deepcopy(draw(odd_values))
        elif kind == "a":
            node.insert(last, copy.deepcopy(node[last]))
        elif kind == "n" and isinstance(node, dict):
            node[draw(texts)] = node.pop(last)
        else:
            node[last] = [node[last]]
    return tree
