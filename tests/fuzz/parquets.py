"""Strategies of Parquet files: tables that are written well and hold what they must not."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st
from tests.fuzz.mutations import mutated_trees, odd_values, texts

_REALS = [float("nan"), float("inf"), -float("inf"), 1e30, -1e30, -1.0, 2.0, 0.0]
_WHOLES = [-1, -(2**31), 2**31 - 1, 0, 1, 10**6, 7]
_KINDS = [
    *(
        pa.string(),
        pa.large_string(),
        pa.binary(),
        pa.int8(),
        pa.int64(),
        pa.uint64(),
        pa.float16(),
    ),
    *(pa.float64(), pa.bool_(), pa.null(), pa.timestamp("ns"), pa.date32(), pa.decimal128(9, 2)),
    *(pa.list_(pa.int32()), pa.list_(pa.float32(), 3), pa.dictionary(pa.int32(), pa.string())),
    *(pa.struct([("a", pa.int32())]), pa.map_(pa.string(), pa.int32()), pa.duration("s")),
]


def _safe(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


def _converted(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """Return a column as another type; nulls where that can't be."""
    try:
        return column.cast(kind)
    except (pa.ArrowException, ValueError):
        return pa.chunked_array([pa.nulls(len(column), kind)])


def _spoilt(draw: Any, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column with one value that is odd for its type."""
    kind, values = column.type, column.to_pylist()
    if not values:
        return column
    place = draw(st.integers(0, len(values) - 1))

    def odd(of: pa.DataType) -> Any:
        if pa.types.is_floating(of):
            return draw(st.sampled_from(_REALS))
        if pa.types.is_integer(of):
            return draw(st.sampled_from(_WHOLES))
        if pa.types.is_boolean(of):
            return draw(st.booleans())
        return _safe(draw(texts))

    if draw(st.integers(0, 5)) == 0:
        values[place] = None
    elif pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        cell = list(values[place] or [])
        if cell:
            cell[draw(st.integers(0, len(cell) - 1))] = odd(kind.value_type)
        if pa.types.is_list(kind) and draw(st.booleans()):
            cell *= draw(st.sampled_from([0, 2, 1000]))
        values[place] = cell
    elif pa.types.is_string(kind) and draw(st.booleans()):
        values[place] = json.dumps(draw(odd_values))
    else:
        values[place] = odd(kind)
    try:
        return pa.chunked_array([pa.array(values, kind)])
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        return column  # A type that can't hold it.


@st.composite
def mutated_tables(draw: Any, seeds: Sequence[bytes], key: bytes, most: int = 3) -> pa.Table:
    """Draw one of some tables with up to `most` changes to columns, rows and metadata.

    Args:
        draw: hypothesis gives it.
        seeds: Parquet files.
        key: of the metadata that holds JSON.
        most: changes at most.
    """
    table = pq.read_table(io.BytesIO(draw(st.sampled_from(list(seeds)))))
    for _ in range(draw(st.integers(0, most))):
        names = table.column_names
        change = draw(st.sampled_from("vvvvtdnrexmmp"))
        at = draw(st.integers(0, len(names) - 1)) if names else None
        if change in "vtdn" and at is None:
            continue
        if change == "v":
            table = table.set_column(at, names[at], _spoilt(draw, table.column(at)))
        elif change == "t":
            kind = draw(st.sampled_from(_KINDS))
            table = table.set_column(at, names[at], _converted(table.column(at), kind))
        elif change == "d":
            table = table.remove_column(at)
        elif change == "n":
            new = _safe(draw(texts))
            table = table.rename_columns([new if n == at else x for n, x in enumerate(names)])
        elif change == "x" and names:
            table = table.append_column(_safe(draw(texts)), table.column(0))
        elif change == "r" and table.num_rows:
            rows = draw(st.lists(st.integers(0, table.num_rows - 1), max_size=table.num_rows))
            table = table.take(pa.array(rows, pa.int64()))
        elif change == "e":
            table = pa.concat_tables([table, table]) if draw(st.booleans()) else table.slice(0, 0)
        elif change == "m":
            known = dict(table.schema.metadata or {})
            tree = None
            with contextlib.suppress(ValueError):  # It was changed before.
                said = json.loads(known.get(key, b"{}"))
                tree = draw(mutated_trees([said])) if draw(st.booleans()) else None
            known[key] = (
                json.dumps(tree).encode() if tree is not None else draw(st.binary(max_size=30))
            )
            table = table.replace_schema_metadata(known)
        elif change == "p":
            pandas = {"index_columns": [draw(odd_values)], "columns": draw(odd_values)}
            known = dict(table.schema.metadata or {}) | {b"pandas": json.dumps(pandas).encode()}
            table = table.replace_schema_metadata(known)
    return table
