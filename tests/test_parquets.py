"""Parquet files of others: types before values, and no more than their size allows."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from lensbench.parquets import (
    LARGEST,
    DamagedError,
    count_rows,
    read_batches,
    read_columns,
    read_own,
    schema_of,
)

KINDS = {"name": pa.string(), "value": pa.int32()}


def written(folder: Path, **columns: pa.Array) -> Path:
    path = folder / "t.parquet"
    pq.write_table(pa.table(columns), path)
    return path


def test_columns_are_read_in_the_order_that_is_asked_for(tmp_path: Path) -> None:
    path = written(
        tmp_path, value=pa.array([1, 2], pa.int32()), other=pa.array([0.5, 1.5]),
        name=pa.array(["a", None], pa.string()),
    )  # fmt: skip
    table = read_columns(path, KINDS)
    assert table.to_pydict() == {"name": ["a", None], "value": [1, 2]}
    assert table.schema.field("name").type == pa.string()
    only = read_columns(path, {"value": pa.int32()}, pa.compute.field("value") > 1)
    assert only.to_pydict() == {"value": [2]}


def test_groups_without_any_row_that_is_wanted_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    names = [f"n{place:03}" for place in range(100)]
    table = pa.table({"name": names, "value": pa.array(range(100), pa.int32())})
    pq.write_table(table, path, row_group_size=10)
    whole = path.read_bytes()
    # All but the third group can't be read.
    about = pq.read_metadata(path)
    spoilt = bytearray(whole)
    for group in set(range(10)) - {2}:
        for place in range(2):
            column = about.row_group(group).column(place)
            start = column.dictionary_page_offset or column.data_page_offset
            end = start + column.total_compressed_size
            # The page's bytes; its header, which tells its size, is read before.
            spoilt[end - 5 : end] = b"\xff" * 5
    path.write_bytes(spoilt)
    wanted = (pc.field("name") >= "n023") & (pc.field("name") <= "n027")
    within = ("name", "n023", "n027")
    read = read_columns(
        path, KINDS, wanted & pc.is_in(pc.field("name"), pa.array(["n024", "n900"])), within
    )
    assert read.to_pydict() == {"name": ["n024"], "value": [24]}
    by_number = read_columns(path, KINDS, pc.field("value") == 29, ("value", 29, 29))
    assert by_number.to_pydict() == {"name": ["n029"], "value": [29]}
    nothing = read_columns(path, KINDS, pc.field("name") > "z", ("name", "z", "zz"))
    assert nothing.to_pydict() == {"name": [], "value": []}
    with pytest.raises(DamagedError, match="damaged"):
        read_columns(path, KINDS)


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"name": pa.array(["a"])}, "has no column value"),
        ({"name": pa.array(["a"]), "value": pa.array([1])}, "has value as int64, not int32"),
        ({"name": pa.array([1]), "value": pa.array([1], pa.int32())}, "has name as int64"),
    ],
)
def test_other_columns_are_refused(tmp_path: Path, columns: dict[str, pa.Array], says: str) -> None:
    with pytest.raises(DamagedError, match=says):
        read_columns(written(tmp_path, **columns), KINDS)


def test_many_values_in_few_bytes_are_refused(tmp_path: Path) -> None:
    rows = LARGEST // 4 + 1
    path = written(tmp_path, value=pa.array([7], pa.int32()).take(pa.array([0] * 1000)))
    table = pq.read_table(path)
    with pq.ParquetWriter(path, table.schema) as writer:
        block = pa.concat_tables([table] * 1000).combine_chunks()
        for _ in range(rows // block.num_rows + 1):
            writer.write_table(block, row_group_size=2**22)
    assert path.stat().st_size < 2**20
    with pytest.raises(DamagedError, match="stands for more than 33,554,432 bytes, too many for"):
        read_columns(path, {"value": pa.int32()})
    with pytest.raises(DamagedError, match="too many for its size"):
        list(read_batches(path, {"value": pa.int32()}, 10))


def test_one_text_that_many_rows_name_is_refused(tmp_path: Path) -> None:
    text = pa.DictionaryArray.from_arrays(
        pa.array([0] * 5000, pa.int32()), pa.array(["x" * 100_000])
    )
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"name": text}), path, store_schema=False)
    assert path.stat().st_size < 2**20
    with pytest.raises(DamagedError, match="stands for more than 134,217,728 bytes"):
        read_columns(path, {"name": pa.string()})
    # Of so many rows as are read at once.
    with pytest.raises(DamagedError, match="stands for more than 134,217,728 bytes"):
        list(read_batches(path, {"name": pa.string()}, 3000))
    coded = list(read_batches(path, {"name": pa.string()}, 3000, ["name"]))
    assert [part.num_rows for part in coded] == [0, 3000, 2000]


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + b"\xff" * 40 + b"PAR1", b"nothing"])
def test_what_is_no_parquet_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "t.parquet"
    path.write_bytes(content)
    for read in (schema_of, lambda p: read_columns(p, KINDS), count_rows):
        with pytest.raises(DamagedError, match="is damaged or cut short"):
            read(path)


def test_texts_that_are_no_utf_8_are_refused(tmp_path: Path) -> None:
    offsets, data = pa.py_buffer(b"\0\0\0\0\3\0\0\0"), pa.py_buffer(b"\xff-0")
    path = written(
        tmp_path,
        name=pa.StringArray.from_buffers(1, offsets, data),
        value=pa.array([1], pa.int32()),
    )
    for coded in ([], ["name"]):
        with pytest.raises(DamagedError, match="damaged"):
            list(read_batches(path, KINDS, 10, coded))
    for read in (lambda p: read_columns(p, KINDS), read_own):
        with pytest.raises(DamagedError, match="damaged"):
            read(path)


#: What pandas would take an index or types from, if it were asked.
LIES = (
    b'{"columns": ["name"], "index_columns": []}',
    b'{"columns": [], "index_columns": ["value"]}',
    b"[" * 100_000,
    b"\xff",
)


@pytest.mark.parametrize("lie", LIES)
def test_what_a_file_says_to_pandas_is_not_believed(tmp_path: Path, lie: bytes) -> None:
    path = tmp_path / "t.parquet"
    table = pa.table({"name": ["a", "b"], "value": pa.array([1, 2], pa.int32())})
    pq.write_table(table.replace_schema_metadata({b"pandas": lie}), path)
    frames = [
        read_columns(path, KINDS).to_pandas(),
        *(part.to_pandas() for part in list(read_batches(path, KINDS, 10))[1:]),
        *(part.to_pandas() for part in list(read_batches(path, KINDS, 10, ["name"]))[1:]),
        read_own(path),
    ]
    assert len(frames) == 4
    for frame in frames:
        assert frame.to_dict("list") == {"name": ["a", "b"], "value": [1, 2]}


def test_a_table_of_ones_own_has_the_columns_that_are_asked_for(tmp_path: Path) -> None:
    path = written(tmp_path, a=pa.array([1, 2]), b=pa.array(["x", None]), c=pa.array([0.5, 1.5]))
    assert list(read_own(path, ["c", "a"]).columns) == ["c", "a"]
    assert count_rows(path) == 2
    with pytest.raises(DamagedError, match="out of date"):
        read_own(path, ["a", "d"])
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DamagedError, match="damaged"):
        read_own(path)
    with pytest.raises(FileNotFoundError):
        read_own(tmp_path / "none.parquet")


def test_fewer_rows_than_none_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, a=pa.array([1] * 5, pa.int32()))
    whole = path.read_bytes()
    start = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    # The third field of the footer, a whole number, zigzag: 10 is 5, 9 is -5.
    place = whole.index(b"\x16\x0a", start)
    path.write_bytes(whole[: place + 1] + b"\x09" + whole[place + 2 :])
    with pytest.raises(DamagedError, match="is damaged or cut short"):
        count_rows(path)
