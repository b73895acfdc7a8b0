"""Blocks of samples out of a shard: the rows of the whole, cut where samples end."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lensbench import trace_stream
from lensbench.errors import TraceError
from lensbench.trace import read_table
from lensbench.trace_stream import column, sample_ids, stream
from synthetic import make_run

TABLES = {
    "samples": ("gold", "rejected"),
    "trajectory": ("step", "layer", "top_id", "entropy_nats"),
    "heads": ("step", "image_mass"),
    "lenses": ("lens", "final_rank"),
}


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("run")
    make_run(root, "m", "scenes", n_samples=17, n_steps=3)
    return root / "traces" / "m" / "scenes" / "0"


@pytest.mark.parametrize(("block", "rows"), [(1, 5), (4, 40), (5, 100_000), (100, 64)])
def test_blocks_put_together_are_the_tables(
    shard: Path, block: int, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace_stream, "_ROWS", rows)
    found = list(stream(shard, TABLES, block))
    assert [part["samples"].num_rows for part in found][:-1] == [block] * (len(found) - 1)
    for part in found:
        wanted = set(
            part["samples"].filter(part["samples"]["rejected"].is_null())["sample_id"].to_pylist()
        )
        for name in ("trajectory", "heads", "lenses"):
            assert set(sample_ids(part[name])) == wanted
    for name, columns in TABLES.items():
        whole = read_table(shard, name)
        ids = np.concatenate([sample_ids(part[name]) for part in found])
        assert ids.tolist() == whole["sample_id"].tolist()
        for of in columns:
            got = np.concatenate([column(part[name], of) for part in found])
            want = whole[of].to_numpy()
            if of == "top_id":
                assert got.tolist() == np.stack(want).tolist()
            elif of != "rejected":
                assert got.tolist() == want.tolist()


def test_a_file_cut_short_or_of_another_run_is_named(shard: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    shutil.copytree(shard, cut)
    path = cut / "heads.parquet"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(TraceError, match=r"heads\.parquet is damaged or cut short"):
        list(stream(cut, TABLES))
    other = tmp_path / "other"
    shutil.copytree(shard, other)
    make_run(tmp_path / "run", "m", "scenes", n_samples=17, n_steps=3, k=5)
    shutil.copy(tmp_path / "run/traces/m/scenes/0/lenses.parquet", other)
    with pytest.raises(TraceError, match=r"lenses\.parquet is not of the same run"):
        list(stream(other, TABLES))


def test_damage_inside_a_page_is_told_when_it_is_met(shard: Path, tmp_path: Path) -> None:
    shutil.copytree(shard, tmp_path / "0")
    path = tmp_path / "0" / "trajectory.parquet"
    content = bytearray(path.read_bytes())
    where = pq.ParquetFile(path).metadata.row_group(0).column(3)
    start = where.dictionary_page_offset or where.data_page_offset
    content[start : start + 40] = b"\xff" * 40
    path.write_bytes(content)
    with pytest.raises(TraceError, match=r"trajectory\.parquet is damaged or cut short"):
        list(stream(tmp_path / "0", TABLES))


def test_rows_of_samples_that_are_not_there_are_refused(shard: Path, tmp_path: Path) -> None:
    shutil.copytree(shard, tmp_path / "0")
    path = tmp_path / "0" / "samples.parquet"
    table = pq.read_table(path)
    pq.write_table(table.slice(0, 10), path)
    with pytest.raises(TraceError, match="has rows of samples that samples"):
        list(stream(tmp_path / "0", TABLES))


def test_columns_of_no_rows() -> None:
    kind = pa.list_(pa.int32(), 3)
    empty = pa.schema([("sample_id", pa.dictionary(pa.int32(), pa.string())), ("a", kind)])
    assert column(empty.empty_table(), "a").shape == (0, 3)
    assert sample_ids(empty.empty_table()).tolist() == []
