"""Parquet files of others: types before values, and no more than their size allows."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lensbench.parquets import LARGEST, DamagedError, check_size, read_columns, schema_of

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
    with pytest.raises(DamagedError, match=r"stands for 2\d\d,\d{3},000 bytes, too many for its"):
        read_columns(path, {"value": pa.int32()})
    with pytest.raises(DamagedError, match="too many for its size"):
        check_size(path)


def test_one_text_that_many_rows_name_is_refused(tmp_path: Path) -> None:
    text = pa.DictionaryArray.from_arrays(
        pa.array([0] * 5000, pa.int32()), pa.array(["x" * 100_000])
    )
    path = tmp_path / "t.parquet"
    schema = pa.schema([("name", pa.string())])
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, 5000, 500):
            writer.write_table(pa.table([text.slice(start, 500).cast(pa.string())], schema=schema))
    with pytest.raises(DamagedError, match="stands for 500,000,000 bytes of text"):
        read_columns(path, {"name": pa.string()})


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + b"\xff" * 40 + b"PAR1", b"nothing"])
def test_what_is_no_parquet_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "t.parquet"
    path.write_bytes(content)
    for read in (schema_of, lambda p: read_columns(p, KINDS)):
        with pytest.raises(DamagedError, match="is damaged or cut short"):
            read(path)


def test_texts_that_are_no_utf_8_are_refused(tmp_path: Path) -> None:
    offsets, data = pa.py_buffer(b"\0\0\0\0\3\0\0\0"), pa.py_buffer(b"\xff-0")
    path = written(
        tmp_path,
        name=pa.StringArray.from_buffers(1, offsets, data),
        value=pa.array([1], pa.int32()),
    )
    with pytest.raises(DamagedError, match="damaged"):
        read_columns(path, KINDS)
