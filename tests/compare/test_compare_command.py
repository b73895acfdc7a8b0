"""The command: what it prints and writes, what it refuses, and when it ends with status 1."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.commands import Done
from tests.compare.planted import DATASET, MODEL, N_LAYERS, K, at, change, shard, two
from tests.synthetic import make_run

from lensbench.metrics.run import MetricOptions, compute_run, write_run

Command = Callable[..., Done]


def fainter(frame: pd.DataFrame) -> None:
    """Let one log-probability be 0.25 lower."""
    row = at(frame, 2, 5)
    frame.at[row, "top_logprob"] = frame.at[row, "top_logprob"] - np.eye(K)[9] * 0.25


def words(done: Done) -> list[list[str]]:
    return [line.split() for line in done.stdout.splitlines()]


def test_a_copy_is_within_the_strictest_class(tmp_path: Path, lensbench: Command) -> None:
    a, b, _ = two(tmp_path)
    done = lensbench("compare", str(a), str(b), "--within", "same")
    assert (done.returncode, done.stderr) == (0, "")
    line = [MODEL, DATASET, "5/5", "0", "0", "630", "0/63", "0/7", "0/7", "0/7"]
    assert line in words(done)
    assert "Identical in every sample and number: 1 of 1 runs." in done.stdout


def test_what_was_planted_is_in_every_form(tmp_path: Path, lensbench: Command) -> None:
    a, b, _ = two(tmp_path)
    change(shard(b) / "trajectory.parquet", fainter)
    out = {kind: tmp_path / f"out.{kind}" for kind in ("csv", "tex", "json")}
    files = [part for kind, path in out.items() for part in (f"--{kind}", str(path))]
    done = lensbench("compare", str(a), str(b), "--full", *files)
    assert done.returncode == 0
    line = [MODEL, DATASET, "4/5", "0.25", "0.25", "630", "0/63", "0/7", "0/7", "0/7"]
    assert line in words(done)
    assert ["log", "p", "of", "top", "tokens", "0.25", "0.25", "630"] in words(done)
    with out["csv"].open(encoding="utf-8", newline="") as stream:
        rows = {row["measure"]: row for row in csv.DictReader(stream)}
    assert (rows["top_logprob"]["value"], rows["top_logprob"]["n"]) == ("0.25", "630")
    assert (rows["identical_files"]["value"], rows["identical_files"]["n"]) == ("4", "5")
    assert (rows["samples"]["value"], rows["top1"]["n"]) == ("7", "63")
    content = json.loads(out["json"].read_text())
    assert content["runs"][0]["measures"]["top_logprob"]["value"] == pytest.approx(0.25, abs=1e-6)
    assert content["runs"][0]["measures"]["unexplained"] == {"value": None, "p999": None, "n": 0}
    tex = out["tex"].read_text(encoding="utf-8")
    assert "synthetic-llava & scenes & 4/5 & 0.25 & 0.25 & 630 & 0/63 & 0/7 & 0/7 & 0/7" in tex


@pytest.mark.parametrize(
    ("name", "code", "sentence"),
    [
        ("same", 1, "1 of 5 files differ (and 1 more)."),
        ("cpu", 1, "log p of top tokens: 0.25 (n = 630), where 0.00024 is allowed."),
        ("dtype", 0, ""),
    ],
)
def test_a_class_that_is_exceeded_ends_with_one_sentence(
    tmp_path: Path, lensbench: Command, name: str, code: int, sentence: str
) -> None:
    a, b, _ = two(tmp_path)
    change(shard(b) / "trajectory.parquet", fainter)
    done = lensbench("compare", str(a), str(b), "--within", name)
    assert done.returncode == code
    wanted = f"lensbench: Not within {name}: {MODEL} on {DATASET}: {sentence}\n" if code else ""
    assert done.stderr == wanted


def test_a_dropped_sample_is_said_and_is_within_no_class(
    tmp_path: Path, lensbench: Command
) -> None:
    a, b, _ = two(tmp_path)
    for name in ("samples", "trajectory", "heads", "lenses"):
        change(
            shard(b) / f"{name}.parquet",
            lambda frame: frame[frame["sample_id"] != f"{DATASET}-00002"],
        )
    done = lensbench("compare", str(a), str(b), columns=200)
    assert done.returncode == 0
    assert f"1 samples are in {a} only ({MODEL} on {DATASET})" in done.stdout
    done = lensbench("compare", str(a), str(b), "--within", "dtype")
    assert done.returncode == 1
    assert "1 samples are in one of the two only" in done.stderr


def refused(done: Done) -> str:
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("lensbench: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ("prompt", "the prompt of scenes-00003"),
        ("asked", "the question of scenes-00003"),
        ("gold", "the gold answer of scenes-00003"),
        ("views", "the grid of image positions of scenes-00003"),
    ],
)
def test_other_samples_are_refused(
    tmp_path: Path, lensbench: Command, column: str, words: str
) -> None:
    a, b, _ = two(tmp_path)

    def other(frame: pd.DataFrame) -> None:
        frame.loc[3, column] = 'something\n"else"'

    change(shard(b) / "samples.parquet", other)
    sentence = refused(lensbench("compare", str(a), str(b)))
    assert words in sentence
    assert "run both on the same dataset." in sentence


def test_another_k_and_other_words_are_refused(tmp_path: Path, lensbench: Command) -> None:
    a, b, _ = two(tmp_path)
    make_run(tmp_path / "c", MODEL, DATASET, n_samples=8, n_layers=N_LAYERS, n_steps=1, k=5)
    assert "the two list so many top tokens (extraction.top_k) 10 and 5" in refused(
        lensbench("compare", str(a), str(tmp_path / "c"))
    )
    change(b / "models" / MODEL / "forms.parquet", lambda frame: frame.iloc[1:])
    assert "the lexicon's forms differ (forms.parquet of the model)" in refused(
        lensbench("compare", str(a), str(b))
    )
    # Of a run's folder alone, the same is known from where it lies.
    runs = [str(shard(results).parent) for results in (a, b)]
    assert "the lexicon's forms differ" in refused(lensbench("compare", *runs))


@pytest.mark.parametrize(
    ("key", "values", "sentence"),
    [
        ("weights_sha256", ("a" * 64, "b" * 64), "the two were read from other weights"),
        ("picture", ("native", "blank"), "the two were shown other pictures"),
    ],
)
def test_other_weights_and_pictures_are_refused(
    tmp_path: Path, lensbench: Command, key: str, values: tuple[str, str], sentence: str
) -> None:
    a, b, _ = two(tmp_path)
    for results, value in zip((a, b), values, strict=True):
        path = shard(results) / "provenance.json"
        content = json.loads(path.read_text())
        content |= {"model": {key: value}, "options": {key: value}}
        path.write_text(json.dumps(content))
    assert sentence in refused(lensbench("compare", str(a), str(b)))


def test_folders_that_hold_nothing_in_common_are_refused(
    tmp_path: Path, lensbench: Command
) -> None:
    a, b, _ = two(tmp_path)
    (tmp_path / "empty").mkdir()
    assert "holds no trace" in refused(lensbench("compare", str(a), str(tmp_path / "empty")))
    assert "is no folder" in refused(lensbench("compare", str(a), str(tmp_path / "nowhere")))
    make_run(tmp_path / "c", "other", DATASET, n_samples=4)
    assert "they share no run" in refused(lensbench("compare", str(a), str(tmp_path / "c")))
    assert "No tolerance is called exact: there are same, threads" in refused(
        lensbench("compare", str(a), str(b), "--within", "exact")
    )
    make_run(b, "other", DATASET, n_samples=4)
    done = lensbench("compare", str(a), str(b), columns=200)
    assert f"Only in {b}: other on {DATASET}." in done.stdout


@pytest.mark.parametrize("damage", ["cut", "gone", "twice"])
def test_a_damaged_shard_is_one_sentence(tmp_path: Path, lensbench: Command, damage: str) -> None:
    a, b, _ = two(tmp_path, right=2)
    path = shard(b) / "trajectory.parquet"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    elif damage == "gone":
        path.unlink()
    else:
        for file in shard(b).iterdir():
            shutil.copy(file, shard(b, 1) / file.name)
    wanted = {
        "cut": "trajectory.parquet is damaged or cut short",
        "gone": "trajectory.parquet is missing",
        "twice": "scenes-00000 is in two shards of synthetic-llava on scenes",
    }
    assert wanted[damage] in refused(lensbench("compare", str(a), str(b)))


def test_what_a_shard_says_to_pandas_is_not_believed(tmp_path: Path, lensbench: Command) -> None:
    a, b, _ = two(tmp_path)
    before = lensbench("compare", str(a), str(b))
    for path in sorted(shard(b).glob("*.parquet")):
        table = pq.read_table(path, partitioning=None)
        lie = {**table.schema.metadata, b"pandas": b'{"columns": ["step"], "index_columns": []}'}
        pq.write_table(table.replace_schema_metadata(lie), path)
    after = lensbench("compare", str(a), str(b))
    assert after.returncode == 0
    # Nothing is another but the files' bytes, of which none is the same now.
    assert "5/5" in before.stdout
    assert after.stdout == before.stdout.replace("5/5", "0/5")


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [("entropy_nats", -1.0, "-1.0 is below"), ("layer", -7, "-7 is below")],
)
def test_a_value_that_can_t_be_is_refused(
    tmp_path: Path, lensbench: Command, column: str, value: float, says: str
) -> None:
    a, b, _ = two(tmp_path)
    path = shard(b) / "trajectory.parquet"
    table = pq.read_table(path, partitioning=None)
    place = table.column_names.index(column)
    values = table[column].to_pylist()
    values[3] = value
    changed = table.set_column(place, table.field(column), pa.array(values, table[column].type))
    pq.write_table(changed, path)
    said = refused(lensbench("compare", str(a), str(b)))
    assert f"column {column}" in said
    assert says in said


def rewrite(folder: Path, table: str, change: Callable[[pa.Table], pa.Table]) -> None:
    path = folder / f"{table}.parquet"
    pq.write_table(change(pq.read_table(path, partitioning=None)), path)


def saying(table: pa.Table, **what: object) -> pa.Table:
    about = json.loads(table.schema.metadata[b"lensbench"]) | what
    return table.replace_schema_metadata({b"lensbench": json.dumps(about)})


@pytest.mark.parametrize(
    ("table", "change", "says"),
    [
        ("trajectory", lambda t: saying(t, k=K - 1), "is not of the same run as samples.parquet"),
        ("lenses", lambda t: saying(t, model="other"), "is not of the same run as samples"),
        ("lenses", lambda t: pa.concat_tables([t, t]), "lenses of .* has a row twice"),
        ("heads", lambda t: pa.concat_tables([t, t]), "heads of .* has a row twice"),
        ("trajectory", lambda t: t.slice(1), "lacks a layer of a step"),
        ("trajectory", lambda t: t.slice(0, 0), "lacks a layer of a step, or a sample"),
    ],
)
def test_tables_that_do_not_hold_together_are_refused(
    tmp_path: Path,
    lensbench: Command,
    table: str,
    change: Callable[[pa.Table], pa.Table],
    says: str,
) -> None:
    a, b, _ = two(tmp_path)
    for side in (a, b):
        rewrite(shard(side), table, change)
    assert re.search(says, refused(lensbench("compare", str(a), str(b))))


def test_a_shard_of_another_schema_is_refused(tmp_path: Path, lensbench: Command) -> None:
    a, b, _ = two(tmp_path)
    path = shard(b) / "samples.parquet"
    table = pq.read_table(path, partitioning=None)
    about = json.loads(table.schema.metadata[b"lensbench"]) | {"schema_version": 2}
    pq.write_table(table.replace_schema_metadata({b"lensbench": json.dumps(about)}), path)
    assert "is written by schema 2" in refused(lensbench("compare", str(a), str(b)))


def test_aggregates_are_measured_by_the_width_of_their_interval(
    tmp_path: Path, lensbench: Command
) -> None:
    a, b, _ = two(tmp_path)
    for results in (a, b):
        tables = compute_run([shard(results)], results / "models" / MODEL, MetricOptions())
        write_run(results / "metrics" / MODEL / DATASET, tables)
    path = b / "metrics" / MODEL / DATASET / "summary.parquet"
    before = pd.read_parquet(path).set_index("metric").loc["convergence_layer"]
    width = float(before["high"] - before["low"])

    def moved(frame: pd.DataFrame) -> None:
        frame.loc[frame["metric"] == "convergence_layer", "value"] += width / 4

    change(path, moved)
    out = tmp_path / "out.json"
    done = lensbench("compare", str(a), str(b), "--json", str(out), columns=200)
    found = json.loads(out.read_text())["runs"][0]["measures"]["metric"]
    assert found["value"] == pytest.approx(0.25, rel=1e-6)
    assert found["n"] > 100
    assert "the aggregate that changes most is summary: convergence_layer" in done.stdout
