"""What a footer says of a file's size: pyarrow's own counts, or an error and nothing worse."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lensbench.footers import size_of
from lensbench.parquets import DamagedError, read_batches, read_columns

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
        list(read_batches(path, kinds, 10))


def test_what_was_changed_or_cut_is_an_error_or_a_count(tmp_path: Path) -> None:
    table = TABLE.select(["word", "list"]).replace_schema_metadata()
    whole = of_table(tmp_path, table, store_schema=False)
    length = int.from_bytes(whole[-8:-4], "little")
    begin = len(whole) - 8 - length
    counts = set()
    for at in range(begin, len(whole)):
        for value in (0, 0x7F, 0xFF, whole[at] ^ 1, whole[at] ^ 0x10):
            changed = whole[:at] + bytes([value]) + whole[at + 1 :]
            with suppress(ValueError):
                counts.add(size_of(written(tmp_path, changed)).held)
    assert len(counts) > 1
    assert min(counts) >= 0
    for at in range(begin, len(whole) - 8):
        cut = whole[:at] + (at - begin).to_bytes(4, "little") + b"PAR1"
        with pytest.raises(ValueError, match="ends early"):
            size_of(written(tmp_path, cut))


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1\xff\xff\xff\x7fPAR1", b"PAR1" * 5])
def test_what_has_no_footer_is_told(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ValueError, match=r"no footer|ends early"):
        size_of(written(tmp_path, content))


def test_depth_and_length_have_an_end(tmp_path: Path) -> None:
    def footer(content: bytes) -> Path:
        return written(tmp_path, b"PAR1" + content + len(content).to_bytes(4, "little") + b"PAR1")

    with pytest.raises(ValueError, match="too deep"):
        size_of(footer(b"\x1c" * 100_000))
    with pytest.raises(ValueError, match="longer than any"):
        size_of(footer(b"\x16" + b"\xff" * 20))
    # Lists within lists, each of 2**60: as many as there are bytes.
    with pytest.raises(ValueError, match=r"too deep|ends early"):
        size_of(footer(b"\x19" + b"\xf9\xff\xff\xff\xff\xff\xff\xff\xff\x0f" * 1000))
