"""Footers and pages of Parquet files: pyarrow's own counts, or an error and nothing worse."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from lensbench.footers import _FILE_WRITTEN
from lensbench.parquet_pages import size_of
from lensbench.parquets import (
    DamagedError,
    count_rows,
    read_batches,
    read_columns,
    read_own,
    schema_of,
)
from lensbench.thrift import Reader
from lensbench.thrift import written as bytes_of

WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8}
TABLE = pa.table(
    {
        "flag": pa.array([True, None, False] * 20),
        "small": pa.array([1, 2, 3] * 20, pa.int32()),
        "large": pa.array([2**60, None, -1] * 20),
        "half": pa.array([0.5, 1.5, None] * 20, pa.float32()),
        "word": pa.array(["a", "bb" * 300, None] * 20).dictionary_encode(),
        "list": pa.array([[1, 2, 3], [], None] * 20, pa.list_(pa.int32())),
        "deep": pa.array([[[1.0], []], [[2.0, 3.0]], []] * 20),
        "pair": pa.array([{"a": 1, "b": "x"}, None, {"a": None, "b": "y"}] * 20),
        "moment": pa.array([0, 1, 2] * 20, pa.timestamp("ns")),
        "fixed": pa.array([b"abcd"] * 60, pa.binary(4)),
    }
).replace_schema_metadata({"note": "n" * 5000})


def written(folder: Path, content: bytes) -> Path:
    path = folder / "t.parquet"
    path.write_bytes(content)
    return path


def of_table(folder: Path, table: pa.Table, **options: object) -> bytes:
    pq.write_table(table, folder / "whole.parquet", **options)
    return (folder / "whole.parquet").read_bytes()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"row_group_size": 7},
        {"version": "1.0", "use_deprecated_int96_timestamps": True},
        {"compression": "zstd", "write_statistics": False, "write_page_index": True},
        {"data_page_version": "2.0", "data_page_size": 64, "use_dictionary": False},
    ],
)
def test_counts_are_those_of_pyarrow(tmp_path: Path, options: dict[str, object]) -> None:
    path = written(tmp_path, of_table(tmp_path, TABLE, **options))
    about = pq.read_metadata(path)
    wanted = unpacked = 0
    for group in range(about.num_row_groups):
        for place in range(about.num_columns):
            column = about.row_group(group).column(place)
            wanted += column.num_values * WIDTHS.get(column.physical_type, 8)
            unpacked += column.total_uncompressed_size
    size = size_of(path)
    assert size.values == wanted > 60 * 10
    # pyarrow counts the headers with them.
    assert size.unpacked + size.headers == unpacked


def test_statistics_that_fit_no_schema_are_refused_and_end_no_process(tmp_path: Path) -> None:
    kinds = {"value": pa.int32()}
    whole = of_table(tmp_path, pa.table({"value": pa.array([1, 2], pa.int32())}))
    # The schema says now that the column has no nulls; what was counted of them stays.
    optional, required = b"\x25\x02\x18\x05value", b"\x25\x00\x18\x05value"
    assert whole.count(optional) == 1
    path = written(tmp_path, whole.replace(optional, required))
    assert size_of(path).values > 0
    with pytest.raises(DamagedError, match="damaged or cut short"):
        read_columns(path, kinds)
    with pytest.raises(DamagedError, match="damaged or cut short"):
        read_columns(path, kinds, pc.field("value") == 1, ("value", 1, 1))
    with pytest.raises(DamagedError, match="damaged or cut short"):
        list(read_batches(path, kinds, 10))


def test_what_was_changed_or_cut_is_damaged_or_read(tmp_path: Path) -> None:
    columns = {"step": pa.array([1, 2, 3] * 3, pa.int32()), "name": ["a", "b", None] * 3}
    kinds = {"step": pa.int32(), "name": pa.string()}
    options = {"compression": "zstd", "row_group_size": 5, "store_schema": False}
    whole = of_table(tmp_path, pa.table(columns), **options)
    begin = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    outcomes: Counter[str] = Counter()
    for at in range(begin, len(whole)):
        for value in {0, whole[at] ^ 1, whole[at] ^ 0x10}:
            path = written(tmp_path, whole[:at] + bytes([value]) + whole[at + 1 :])
            for within in (None, ("step", 2, 2)):
                wanted = None if within is None else pc.field("step") == 2
                # Where pyarrow ends the process, it isn't reached that the file is refused.
                try:
                    read_columns(path, kinds, wanted, within)
                    outcomes["read"] += 1
                except DamagedError:
                    outcomes["refused"] += 1
    assert min(outcomes["read"], outcomes["refused"]) > 100
    for at in range(begin, len(whole) - 8):
        cut = whole[:at] + (at - begin).to_bytes(4, "little") + b"PAR1"
        with pytest.raises(ValueError, match=r"ends early|another type|order"):
            size_of(written(tmp_path, cut))


def edited(folder: Path, change: Callable[[dict[int, Any]], object]) -> Path:
    """Write two groups of two columns of two rows with another footer than theirs."""
    table = pa.table({"v": pa.array([1, 2, 3, 4], pa.int32()), "w": ["a", "b", "c", "d"]})
    whole = of_table(folder, table, row_group_size=2)
    begin = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    said = Reader(whole[begin:-8]).struct(_FILE_WRITTEN)
    change(said)
    footer = bytes_of(_FILE_WRITTEN, said)
    return written(folder, whole[:begin] + footer + len(footer).to_bytes(4, "little") + b"PAR1")


def column(said: dict[int, Any], group: int = 0, place: int = 0) -> dict[int, Any]:
    return said[4][group][1][place][3]


def test_a_footer_that_is_written_again_is_read(tmp_path: Path) -> None:
    path = edited(tmp_path, lambda said: None)
    assert read_columns(path, {"v": pa.int32()})["v"].to_pylist() == [1, 2, 3, 4]
    assert count_rows(path) == 4


@pytest.mark.parametrize(
    "change",
    [
        lambda said: said.update({3: 0}),
        lambda said: said.update({3: 2**62}),
        lambda said: said[4][0].update({3: -2}),
        lambda said: said[4][0].update({3: 1}),
        lambda said: said[4][0][1].pop(),
        lambda said: said[4].append(said[4][0]) or said.update({3: 6}),
        lambda said: column(said).update({5: 1}),
        lambda said: column(said).update({5: 3}),
        lambda said: column(said).update({5: -1}),
        lambda said: column(said).update({7: 10**6}),
        lambda said: column(said).update({9: -5}),
        lambda said: column(said).update({9: column(said, 1)[9], 11: column(said, 1)[11]}),
        lambda said: said[2].pop(),
        lambda said: said[2].append(said[2][1]),
        lambda said: said[2][0].update({5: 3}),
        lambda said: said[2].clear(),
    ],
)
def test_a_footer_that_does_not_hold_together_is_refused(
    tmp_path: Path, change: Callable[[dict[int, Any]], object]
) -> None:
    path = edited(tmp_path, change)
    for read in (count_rows, schema_of, read_own, lambda p: read_columns(p, {"v": pa.int32()})):
        with pytest.raises(DamagedError, match="is damaged"):
            read(path)


@pytest.mark.parametrize("value", [b"", b"\x01", b"\x01\x00\x00\x00\x00"])
def test_statistics_that_are_no_value_are_none(tmp_path: Path, value: bytes) -> None:
    path = edited(tmp_path, lambda said: column(said).update({12: {5: value, 6: value}}))
    read = read_columns(path, {"v": pa.int32()}, pc.field("v") == 2, ("v", 2, 2))
    assert read["v"].to_pylist() == [2]


def test_names_that_every_column_would_repeat(tmp_path: Path) -> None:
    inner = [{1: 1, 3: 0, 4: b""}] * 9_000

    def nested(said: dict[int, Any]) -> None:
        said[2][:] = [{4: b"s", 5: 1}, {4: b"x" * 9_000, 3: 0, 5: len(inner)}, *inner]
        said.update({3: 0, 4: []})

    path = edited(tmp_path, nested)
    assert path.stat().st_size < 100_000
    with pytest.raises(DamagedError, match="is damaged"):
        schema_of(path)
    deep = [{4: b"s", 5: 1}, *[{4: b"g", 3: 0, 5: 1}] * 50, {1: 1, 3: 0, 4: b"v"}]
    with pytest.raises(DamagedError, match="is damaged"):
        schema_of(edited(tmp_path, lambda said: said.update({2: deep, 3: 0, 4: []})))


def test_types_that_arrow_tells_at_length_are_those_of_parquet(tmp_path: Path) -> None:
    note = {1: b"ARROW:schema", 2: b"x" * (2**16 + 1)}
    path = edited(tmp_path, lambda said: said.update({5: [note, {1: b"other", 2: b"y"}]}))
    assert schema_of(path).metadata == {b"other": b"y"}
    assert read_columns(path, {"w": pa.string()})["w"].to_pylist() == ["a", "b", "c", "d"]


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1\xff\xff\xff\x7fPAR1", b"PAR1" * 5])
def test_what_has_no_footer_is_told(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ValueError, match=r"no footer|ends early"):
        size_of(written(tmp_path, content))
