"""Small Parquet files that stand for a lot: refused before that is held, and what fits is read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lensbench.parquet_pages import size_of
from lensbench.parquets import (
    LARGEST,
    SPELLED,
    DamagedError,
    kinds_of,
    read_batches,
    read_columns,
    read_own,
)

MIB = 2**20
TOO_MUCH = "stands for more than 33,554,432 bytes, too many for its size"


#: What was allocated in a pool must not outlive it.
_POOLS: list[pa.MemoryPool] = []


@contextmanager
def arrow_peak() -> Iterator[list[int]]:
    """Yield a list that then holds the most bytes that Arrow had at once within the block."""
    whole, found = pa.default_memory_pool(), list[int]()
    counted = pa.proxy_memory_pool(whole)
    _POOLS.append(counted)
    pa.set_memory_pool(counted)
    try:
        yield found
    finally:
        pa.set_memory_pool(whole)
        found.append(counted.max_memory())


def refused(path: Path, kinds: dict[str, pa.DataType], says: str, most: int = 8 * MIB) -> None:
    """Check that every reader refuses a small file, and how much memory that takes."""
    assert path.stat().st_size < LARGEST // 100
    for read in (
        lambda: read_columns(path, kinds),
        lambda: list(read_batches(path, kinds, 1000)),
        lambda: list(read_batches(path, kinds, 1000, [n for n in kinds if n == "name"])),
    ):
        with arrow_peak() as peak, pytest.raises(DamagedError, match=says):
            read()
        assert peak[0] < most
    with arrow_peak() as peak, pytest.raises(DamagedError):
        read_own(path)
    assert peak[0] < most


@pytest.mark.parametrize("dictionary", [False, True])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_one_long_text(tmp_path: Path, dictionary: bool, version: str) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(
        pa.table({"name": ["x" * (LARGEST + 1)]}), path, compression="zstd", write_statistics=False,
        use_dictionary=dictionary, data_page_version=version,
    )  # fmt: skip
    refused(path, {"name": pa.string()}, TOO_MUCH)


@pytest.mark.parametrize("encoding", ["DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"])
def test_texts_in_encodings_that_hide_their_size(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "t.parquet"
    # In the first of the two they are what each has beyond the one before.
    table = pa.table({"name": ["x" * 50_000 + str(n) for n in range(20)]})
    options = {"use_dictionary": False, "write_statistics": False}
    pq.write_table(table, path, column_encoding={"name": encoding}, **options)
    refused(path, {"name": pa.string()}, f"has texts in the encoding {encoding}, which is not read")
    pq.write_table(table, path, column_encoding={"name": "PLAIN"}, **options)
    assert read_columns(path, {"name": pa.string()}).to_pydict() == table.to_pydict()


def test_lists_of_one_length_that_are_not_there(tmp_path: Path) -> None:
    kind = pa.list_(pa.float32(), 10_000)
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"list": pa.nulls(4000, kind)}), path)
    # A batch holds what 16 MiB of lists take: 419 rows.
    with arrow_peak() as peak, pytest.raises(DamagedError, match="more than 134,217,728 bytes"):
        read_columns(path, {"list": kind})
    assert SPELLED < peak[0] < SPELLED + 48 * MIB
    with arrow_peak() as peak:
        rows = [part.num_rows for part in read_batches(path, {"list": kind}, 1000)]
    assert rows == [0, *[419] * 9, 229]
    assert peak[0] < 64 * MIB


def test_one_list_of_a_number_that_is_repeated(tmp_path: Path) -> None:
    kind = pa.list_(pa.int32())
    values = pa.array(np.zeros(LARGEST // 4 + 1, "int32"))
    path = tmp_path / "t.parquet"
    one = pa.ListArray.from_arrays(pa.array([0, len(values)], pa.int32()), values)
    pq.write_table(pa.table({"list": one}), path, data_page_size=2**30)
    assert path.stat().st_size < 100_000
    refused(path, {"list": kind}, TOO_MUCH)
    # The footer says now that there are eight: the pages don't.
    content = path.read_bytes()
    claim = b"\x16" + varint(2 * len(values))
    assert content.count(claim) == 1
    lie = b"\x16" + b"\x90" + b"\x80" * (len(claim) - 3) + b"\x00"
    path.write_bytes(content.replace(claim, lie))
    assert pq.read_metadata(path).row_group(0).column(0).num_values == 8
    refused(path, {"list": kind}, TOO_MUCH)


def varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


def test_many_pages_of_one_column(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    with pq.ParquetWriter(path, pa.schema([("name", pa.string())]), compression="zstd") as writer:
        for _ in range(150):
            writer.write_table(pa.table({"name": ["x" * 2**18]}))
    assert size_of(path).unpacked > 150 * 2**18
    refused(path, {"name": pa.string()}, TOO_MUCH)


def test_pages_without_end_are_counted_in_time(tmp_path: Path) -> None:
    # 30,000 pages of one value each: their headers alone are work.
    path = tmp_path / "t.parquet"
    numbers = pa.table({"value": pa.array(range(30_000), pa.int32())})
    pq.write_table(
        numbers, path, data_page_size=1, write_batch_size=1, use_dictionary=False,
        compression="none",
    )  # fmt: skip
    whole = size_of(path)
    assert whole.pages == 30_000
    assert size_of(path, LARGEST).pages < 10_000
    assert whole.held > 30_000 * 4096


def test_types_of_which_no_length_is_known(tmp_path: Path) -> None:
    word = pa.array(["x" * 20_000]).take(pa.array([0] * 5000, pa.int32()))
    nested = pa.StructArray.from_arrays([pa.nulls(100, pa.list_(pa.float64(), 20_000))], ["a"])
    for column in (word.cast(pa.binary()), nested, pa.nulls(3, pa.list_(pa.float64(), 10**7))):
        path = tmp_path / "t.parquet"
        pq.write_table(pa.table({"v": column}), path, compression="zstd")
        for read in (kinds_of, read_own):
            with arrow_peak() as peak, pytest.raises(DamagedError):
                read(path)
            assert peak[0] < 8 * MIB


def test_rows_without_columns(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"v": [1]}), path)
    with pytest.raises(DamagedError, match="damaged or out of date"):
        read_own(path, [])


def test_what_fits_is_read_in_memory_of_its_own_size(tmp_path: Path) -> None:
    rows = 95_000
    rng = np.random.default_rng(3)
    numbers = rng.normal(size=rows * 80).astype("float32")
    table = pa.table(
        {
            "name": pa.array([f"n{n % 50}" for n in range(rows)]),
            "list": pa.FixedSizeListArray.from_arrays(pa.array(numbers), 80),
        }
    )
    path = tmp_path / "t.parquet"
    pq.write_table(table, path, compression="zstd")
    kinds = {"name": pa.string(), "list": pa.list_(pa.float32(), 80)}
    with arrow_peak() as peak:
        read = read_columns(path, kinds)
        size = read.nbytes
        assert read.equals(table.cast(read.schema))
    assert 25 * MIB < size < LARGEST
    # Beside it a batch; read as a whole it took five times its size.
    assert peak[0] < size + 48 * MIB
