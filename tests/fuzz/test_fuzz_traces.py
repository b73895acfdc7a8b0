"""Trace shards and models' tables that somebody handed on: any bytes, any tables, and metrics."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st
from tests.fuzz.conftest import Fuzz
from tests.fuzz.harness import Jail, command
from tests.fuzz.mutations import mutated_bytes
from tests.fuzz.parquets import mutated_tables
from tests.fuzz.seeds import parquet_bytes, run_files

from lensbench.explorer.reading import read_vocabulary
from lensbench.parquets import LARGEST
from lensbench.trace import read_meta, read_table
from lensbench.trace_schema import TABLES

SHARD = "traces/synthetic-llava/scenes/0"
MODEL = "models/synthetic-llava"
FILES = {
    path.rpartition("/")[2].removesuffix(".parquet"): content
    for path, content in run_files().items()
    if path.startswith((SHARD, MODEL)) and path.endswith(".parquet")
}
NAMES = sorted(FILES)


def repeated(rows: int) -> bytes:
    """Return floors of a few kilobytes that stand for any number of rows."""
    seed = pq.read_table(pa.BufferReader(FILES["floors"]))
    layer = pa.array([3], pa.int32())
    first = seed.slice(0, 1).set_column(0, seed.field("layer"), layer)
    return parquet_bytes(pa.concat_tables([first] * 64).take(pa.array([0] * rows)))


def largest(k: int = 1) -> bytes:
    """Return words that stand for just less than is allowed, in the most rows, all as they may be.

    Read, each list of a row becomes an array of its own, and each name is spelled out.
    """
    meta = json.loads(pq.read_schema(pa.BufferReader(FILES["samples"])).metadata[b"lensbench"])
    schema = TABLES["words"].arrow({"k": k})
    rows = LARGEST // 33
    columns = []
    for field in schema:
        if field.name == "sample_id":
            columns.append(pa.array(["a" * 80]).take(pa.array(np.zeros(rows, "int64"))))
        elif pa.types.is_fixed_size_list(field.type):
            zeros = pa.array(np.zeros(rows * k)).cast(field.type.value_type)
            columns.append(pa.FixedSizeListArray.from_arrays(zeros, type=field.type))
        else:
            # Backwards, so that they have to be sorted.
            places = np.arange(rows)[::-1] if field.name == "position" else np.zeros(rows)
            columns.append(pa.array(places).cast(field.type))
    said = {b"lensbench": json.dumps({**meta, "k": k}).encode()}
    return parquet_bytes(pa.table(columns, schema=schema).replace_schema_metadata(said))


def one_text(length: int) -> bytes:
    """Return samples of a few kilobytes, one of whose prompts unpacks to any length."""
    seed = pq.read_table(pa.BufferReader(FILES["samples"])).slice(0, 1)
    place = seed.schema.get_field_index("prompt")
    return parquet_bytes(seed.set_column(place, "prompt", pa.array(["x" * length])))


def long_text(rows: int, length: int) -> bytes:
    """Return samples whose prompt is one long text that many rows name."""
    seed = pq.read_table(pa.BufferReader(FILES["samples"]))
    wide = seed.take(pa.array([0] * rows))
    text = pa.array(["x" * length], pa.string())
    column = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), text)
    place = wide.schema.get_field_index("prompt")
    return parquet_bytes(wide.set_column(place, "prompt", column)).replace(
        b"ARROW:schema", b"ARROW:schemb"
    )


def one_table(jail: Jail, name: str, content: bytes) -> None:
    """Read one table in every way that there is."""
    folder = jail.give(f"shard/{name}.parquet", content).parent
    read_table(folder, name)
    if "step" in TABLES[name].keys:
        read_table(folder, name, columns=["layer"], step=0)
    if name in ("samples", "vocabulary", "forms"):
        read_meta(folder)
    if name == "vocabulary":
        read_vocabulary(folder)


def test_tables_of_any_bytes(fuzz: Fuzz) -> None:
    def read(jail: Jail, given: tuple[str, bytes]) -> None:
        one_table(jail, *given)

    inputs = st.sampled_from(NAMES).flatmap(
        lambda name: st.tuples(
            st.just(name), mutated_bytes([FILES[name]], [b"PAR1", b"lensbench", b"ARROW:schema"])
        )
    )
    fuzz("trace shards", inputs, read)


def test_tables_of_any_content(fuzz: Fuzz) -> None:
    def read(jail: Jail, given: tuple[str, pa.Table | bytes]) -> None:
        name, table = given
        one_table(jail, name, table if isinstance(table, bytes) else parquet_bytes(table))

    inputs = st.sampled_from(NAMES).flatmap(
        lambda name: st.tuples(st.just(name), mutated_tables([FILES[name]], b"lensbench"))
    )
    bombs = (
        ("floors", repeated(2_000_000)),
        ("samples", long_text(20_000, 100_000)),
        ("samples", one_text(2**28)),
        ("words", largest()),
    )
    fuzz("trace shards", inputs, read, examples=bombs)


def test_metrics_of_any_shard(fuzz: Fuzz) -> None:
    def read(jail: Jail, given: tuple[str, pa.Table]) -> None:
        changed, table = given
        for path, content in run_files().items():
            # Without digests, which would refuse it at the door: tests of results make them fit.
            if path.startswith((SHARD, MODEL)) and not path.endswith("provenance.json"):
                whole = path.rpartition("/")[2] != f"{changed}.parquet"
                jail.give(path, content if whole else parquet_bytes(table))
        options = json.dumps({"resamples": 20, "seed": 1, "max_rejected": 0.5})
        command(
            *("metrics", str(jail.given / SHARD), "--model-folder", str(jail.given / MODEL)),
            *("--out", str(jail.out / "metrics"), "--options", options),
        )

    inputs = st.sampled_from(NAMES).flatmap(
        lambda name: st.tuples(st.just(name), mutated_tables([FILES[name]], b"lensbench", 2))
    )
    fuzz("metrics of shards", inputs, read, kept=lambda name: name == "metrics", share=1 / 10)
