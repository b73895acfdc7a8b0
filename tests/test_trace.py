"""Traces on disk: what is written comes back, equal bytes, and bad shards are refused by name."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lensbench.errors import TraceError
from lensbench.trace import read_meta, read_table, stack, write_model_table, write_shard
from lensbench.trace_meta import TraceMeta
from lensbench.trace_schema import SCHEMA_VERSION, TABLES

META = TraceMeta("m", "d", 0, 1, 2, ("Latin", "Han"), ("en", "zh", "ru"), 1, 2, "normed", (1,))
Tables = dict[str, Any]


def tables(ids: tuple[str, ...] = ("b", "a")) -> Tables:
    """Two samples, one step, one block, two heads; sample "z" is rejected."""
    n = len(ids)
    samples = pd.DataFrame(
        {
            "sample_id": [*ids, "z"],
            "prompt": "p 🙂",
            "n_tokens": 3,
            "n_image_tokens": 1,
            "grid_h": 1,
            "grid_w": 1,
            "views": "[]",
            "generated": "x",
            "generated_ids": [[7, 8], *([[]] * n)],
            "generated_ends": [[1, 1], *([[]] * n)],
            "gold": "number:1",
            "language": "en",
            "family": "count",
            "asked": "q",
            "image": [None, *(["x.png"] * n)],
            "picture": [*ids, "z"],
            "rejected": [*([None] * n), "unreadable picture"],
        }
    )
    trajectory = pd.DataFrame(
        {
            "sample_id": np.repeat(ids, 2),
            "step": 0,
            "layer": np.tile([0, 1], n),
            "top_id": list(np.tile([[5, 6], [7, 6]], (n, 1))),
            "top_logprob": list(np.tile([-0.5, -2.0], (2 * n, 1))),
            "entropy_nats": np.arange(2 * n) / 10,
            "kl_to_final_nats": 0.25,
            "js_to_final_nats": 0.125,
            "final_id": 7,
            "final_rank": np.tile([4, 0], n),
            "final_logprob": -0.5,
            "gold_rank": -1,
            "gold_logprob": 0.0,
            "script_mass": list(np.tile([0.25, 0.75], (2 * n, 1))),
            "concept_mass": list(np.tile([0.0, 0.5, 0.0], (2 * n, 1))),
        }
    )
    heads = pd.DataFrame(
        {
            "sample_id": np.repeat(ids, 2),
            "step": 0,
            "layer": 1,
            "head": np.tile([0, 1], n),
            "image_mass": 0.25,
            "sink_mass": 0.25,
            "image_sink_mass": 0.0,
            "text_mass": 0.5,
            "image_entropy_nats": 0.0,
            "image_max": 0.25,
            "overview_mass": 0.125,
        }
    )
    lenses = pd.DataFrame(
        {
            "sample_id": np.repeat(ids, 3),
            "lens": np.tile(["raw", "raw", "mlp"], n),
            "layer": np.tile([0, 1, 1], n),
            "top_id": 6,
            "top_logprob": -0.5,
            "entropy_nats": 0.5,
            "kl_to_final_nats": 0.25,
            "final_rank": 3,
            "final_logprob": -1.5,
            "gold_rank": -1,
            "gold_logprob": 0.0,
        }
    )
    floors = pd.DataFrame(
        {"layer": [0, 1], "norm": 2.0, "n_directions": 3, "script_mass": [[0.5, 0.5]] * 2}
    )
    return {
        "samples": samples,
        "trajectory": trajectory,
        "heads": heads,
        "lenses": lenses,
        "floors": floors,
    }


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_round_trip(tmp_path: Path) -> None:
    given = tables()
    write_shard(tmp_path / "0", given, META, {"seed": 1, "a": "é"})
    got = read_table(tmp_path / "0", "trajectory")
    want = given["trajectory"].sort_values(["sample_id", "step", "layer"])
    assert list(got.columns) == [c.name for c in TABLES["trajectory"].columns]
    assert got["sample_id"].tolist() == ["a", "a", "b", "b"]
    assert got["entropy_nats"].to_numpy() == pytest.approx(want["entropy_nats"].to_numpy())
    assert stack(got, "top_id").tolist() == [[5, 6], [7, 6]] * 2
    assert stack(got, "concept_mass").shape == (4, 3)
    samples = read_table(tmp_path / "0", "samples").set_index("sample_id")
    assert samples.loc["b", "generated_ids"].tolist() == [7, 8]
    assert samples["rejected"].isna().tolist() == [True, True, False]
    assert samples["image"].isna().tolist() == [False, True, False]
    assert samples.loc["a", "prompt"] == "p 🙂"
    assert read_meta(tmp_path / "0") == META
    provenance = (tmp_path / "0" / "provenance.json").read_text(encoding="utf-8")
    written = sorted((tmp_path / "0").glob("*.parquet"))
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in written}
    assert json.loads(provenance) == {"seed": 1, "a": "é", "files": files}


def test_types_in_the_file_are_those_of_the_schema(tmp_path: Path) -> None:
    write_shard(tmp_path / "0", tables(), META)
    for name in ("samples", "trajectory", "heads", "lenses", "floors"):
        schema = pq.read_schema(tmp_path / "0" / f"{name}.parquet")
        assert schema.remove_metadata() == TABLES[name].arrow(META.widths)


def test_same_rows_in_any_order_give_the_same_bytes(tmp_path: Path) -> None:
    given = tables()
    write_shard(tmp_path / "a", given, META)
    write_shard(tmp_path / "b", {k: v[::-1] for k, v in given.items()}, META)
    back = {name: pq.read_table(tmp_path / "a" / f"{name}.parquet") for name in given}
    write_shard(tmp_path / "c", back, META)
    assert bytes_of(tmp_path / "a") == bytes_of(tmp_path / "b") == bytes_of(tmp_path / "c")


def test_columns_and_step_can_be_chosen(tmp_path: Path) -> None:
    given = tables()
    later = given["trajectory"].assign(step=1, entropy_nats=9.0)
    given["trajectory"] = pd.concat([given["trajectory"], later])
    given["heads"] = pd.concat([given["heads"], given["heads"].assign(step=1)])
    write_shard(tmp_path / "0", given, META)
    got = read_table(tmp_path / "0", "trajectory", ["entropy_nats"], step=0)
    assert list(got.columns) == ["entropy_nats"]
    # Sorted by keys that were not asked for: a's rows (0.2, 0.3) before b's.
    assert got["entropy_nats"].tolist() == pytest.approx([0.2, 0.3, 0.0, 0.1])
    assert (read_table(tmp_path / "0", "trajectory", step=1)["entropy_nats"] == 9).all()


def test_order_of_shards_does_not_matter(tmp_path: Path) -> None:
    for shard, sample in enumerate("ab"):
        meta = TraceMeta(**{**META.__dict__, "shard": shard, "n_shards": 2})
        given = tables((sample,))
        given["samples"] = given["samples"][given["samples"]["sample_id"] != "z"]
        write_shard(tmp_path / str(shard), given, meta)
    folders = [tmp_path / "0", tmp_path / "1"]
    one, two = read_table(folders, "samples"), read_table(folders[::-1], "samples")
    assert one["sample_id"].tolist() == two["sample_id"].tolist() == ["a", "b"]


def test_a_shard_whose_samples_are_all_rejected_is_empty_but_whole(tmp_path: Path) -> None:
    given = {name: frame[:0] for name, frame in tables().items()}
    given["samples"] = tables()["samples"].assign(rejected="unreadable picture")
    write_shard(tmp_path / "0", given, META)
    assert read_table(tmp_path / "0", "trajectory").empty
    assert stack(read_table(tmp_path / "0", "heads"), "image_mass").size == 0
    assert len(read_table(tmp_path / "0", "samples")) == 3


# What is wrong, in which table and column, how it is made wrong, and what the sentence must name.
def _change(table: str, column: str, row: int, value: object) -> Any:
    def change(given: Tables) -> None:
        frame = given[table].copy()
        values = list(frame[column])
        values[row] = value
        frame[column] = pd.Series(values, index=frame.index)
        given[table] = frame

    return change


def _drop(table: str, row: int) -> Any:
    def drop(given: Tables) -> None:
        given[table] = given[table].drop(index=row)

    return drop


def _without_layer_0(given: Tables) -> None:
    given["trajectory"] = given["trajectory"][given["trajectory"]["layer"] == 1]


BAD = {
    "not a number": (
        _change("trajectory", "entropy_nats", 1, np.nan),
        "table trajectory, column entropy_nats, row 3 (sample_id b, step 0, layer 1)",
    ),
    "infinite": (_change("trajectory", "kl_to_final_nats", 0, np.inf), "kl_to_final_nats, row 2"),
    "no text": (_change("samples", "prompt", 0, None), "table samples, column prompt, row 1"),
    "log-probability above 0": (
        _change("trajectory", "final_logprob", 2, 0.5),
        "final_logprob, row 0",
    ),
    "list with a bad value": (
        _change("trajectory", "top_logprob", 0, [-0.5, np.nan]),
        "top_logprob, row 2",
    ),
    "list too short": (
        _change("trajectory", "top_id", 0, [5]),
        "table trajectory, column top_id, can't be stored",
    ),
    "top k not sorted": (
        _change("trajectory", "top_logprob", 0, [-2.0, -0.5]),
        "top_logprob, row 2",
    ),
    "script mass": (
        _change("trajectory", "script_mass", 0, [0.5, 0.6]),
        "column script_mass, row 2",
    ),
    "floor": (_change("floors", "script_mass", 1, [0.5, 0.4]), "table floors, column script_mass"),
    "mass above 1": (
        _change("trajectory", "concept_mass", 3, [0, 0, 1.1]),
        "column concept_mass, row 1",
    ),
    "attention does not sum to 1": (
        _change("heads", "image_mass", 1, 0.3),
        "image_mass + sink_mass + text_mass - image_sink_mass, row 3",
    ),
    "negative rank": (_change("trajectory", "gold_rank", 0, -2), "column gold_rank, row 2"),
    "JS above log 2": (_change("trajectory", "js_to_final_nats", 0, 0.7), "js_to_final_nats"),
    "id too large": (_change("trajectory", "final_id", 0, 2**40), "final_id, can't be stored"),
    "negative generated id": (
        _change("samples", "generated_ids", 0, [7, -1]),
        "generated_ids, row 1",
    ),
    "duplicate row": (
        _change("trajectory", "layer", 1, 0),
        "table trajectory, column sample_id step layer, row 3",
    ),
    "missing head": (_drop("heads", 0), "table heads has 3 rows"),
    "missing layer": (_without_layer_0, "table trajectory, column layer"),
    "layer of no block": (_change("heads", "layer", 0, 2), "table heads, column layer"),
    "step left out": (
        lambda given: given.update(
            trajectory=given["trajectory"].assign(step=1), heads=given["heads"].assign(step=1)
        ),
        "column step, row 0",
    ),
    "other steps in heads": (
        lambda given: given.update(heads=given["heads"].assign(step=1)),
        "trajectory and heads do not hold the same",
    ),
    "floor of a layer missing": (_drop("floors", 1), "table floors must have one row"),
    "rejected sample in heads": (
        _change("samples", "rejected", 0, "because"),
        "table trajectory has rows of b",
    ),
    "sample without rows": (_change("samples", "rejected", 2, None), "has no row of z"),
    "final token is not the last layer's": (
        _change("trajectory", "top_id", 1, [6, 7]),
        "column final_id, row 3",
    ),
    "final token is not first at the end": (
        _change("trajectory", "final_rank", 1, 1),
        "column final_rank, row 3",
    ),
    "unknown column": (
        lambda given: given.update(floors=given["floors"].assign(extra=1)),
        "unknown columns ['extra']",
    ),
    "missing column": (
        lambda given: given.update(floors=given["floors"].drop(columns="norm")),
        "table floors lacks ['norm']",
    ),
    "negative rank in a lens": (
        _change("lenses", "final_rank", 3, -1),
        "table lenses, column final_rank, row 1 (sample_id a, lens raw, layer 0)",
    ),
    "lens twice": (
        _change("lenses", "lens", 2, "raw"),
        "table lenses, column sample_id lens layer, row 5",
    ),
    "overview above the picture": (
        _change("heads", "overview_mass", 1, 0.3),
        "table heads, column overview_mass, row 3",
    ),
    "missing lenses": (lambda given: given.pop("lenses"), "a shard needs the tables"),
    "missing table": (lambda given: given.pop("floors"), "a shard needs the tables"),
}


@pytest.mark.parametrize(("change", "said"), BAD.values(), ids=BAD)
def test_a_bad_shard_is_refused_by_name_and_leaves_nothing(
    tmp_path: Path, change: Any, said: str
) -> None:
    given = tables()
    change(given)
    with pytest.raises(TraceError, match=re.compile(re.escape(said), re.IGNORECASE)) as caught:
        write_shard(tmp_path / "0", given, META)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def closeup() -> Tables:
    """The shard of `tables` with all that can be asked for: one image position of three."""
    given = tables()
    tops = {"top_id": [5, 6], "top_logprob": [-0.5, -2.0]}

    def rows(**columns: Any) -> pd.DataFrame:
        frame = pd.DataFrame(columns)
        for name, values in tops.items():
            frame[name] = [values] * len(frame)
        return frame.assign(entropy_nats=0.5)

    given["patches"] = rows(
        sample_id=["b", "b", "a", "a"], layer=[0, 1] * 2, patch=0, position=1, view=0, row=0, col=0
    )
    given["words"] = rows(
        sample_id=np.repeat(["b", "a"], 4), layer=[0, 0, 1, 1] * 2, position=[0, 2] * 4, token_id=9
    )
    given["attention"] = pd.DataFrame(
        {"sample_id": ["b", "b", "a", "a"], "layer": 1, "head": [0, 1] * 2, "weights": [[0.25]] * 4}
    )
    return given


def test_what_was_asked_for_comes_back(tmp_path: Path) -> None:
    given = closeup()
    given["patches"]["entropy_nats"] = [0.5, 1.0, 0.25, 0.75]
    write_shard(tmp_path / "0", given, META)
    patches = read_table(tmp_path / "0", "patches")
    assert patches["sample_id"].tolist() == ["a", "a", "b", "b"]
    assert patches["entropy_nats"].tolist() == [0.25, 0.75, 0.5, 1.0]
    assert read_table(tmp_path / "0", "words")["position"].tolist() == [0, 2] * 4
    weights = read_table(tmp_path / "0", "attention")["weights"]
    assert [w.tolist() for w in weights] == [[0.25]] * 4


BAD_CLOSEUPS = {
    "patch missing": (_drop("patches", 0), "table patches has 1 rows of b, where its positions and "
                      "layers make 2"),
    "word missing": (_drop("words", 5), "table words has 3 rows of a"),
    "head missing": (_drop("attention", 2), "table attention has 1 rows of a"),
    "rows of a rejected sample": (_change("words", "sample_id", 0, "z"), "rows of b"),
    "weights of other positions": (
        _change("attention", "weights", 3, [0.1, 0.2]),
        "table attention, column weights, row 1 (sample_id a, layer 1, head 1)",
    ),
    "weight above 1": (_change("attention", "weights", 0, [1.5]), "column weights, row 2"),
    "top k not sorted": (
        _change("words", "top_logprob", 0, [-2.0, -0.5]), "table words, column top_logprob"
    ),
    "entropy that is no number": (
        _change("patches", "entropy_nats", 0, float("inf")), "table patches, column entropy_nats"
    ),
    "entropy that is unknown": (
        _change("words", "entropy_nats", 0, np.nan), "column entropy_nats, row 4 (sample_id b"
    ),
    "row below the grid": (_change("patches", "row", 0, -2), "table patches, column row, row 2"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "said"), BAD_CLOSEUPS.values(), ids=BAD_CLOSEUPS)
def test_a_bad_closeup_is_refused_by_name(tmp_path: Path, change: Any, said: str) -> None:
    given = closeup()
    change(given)
    with pytest.raises(TraceError, match=re.compile(re.escape(said), re.IGNORECASE)):
        write_shard(tmp_path / "0", given, META)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_shard(tmp_path: Path, monkeypatch: Any) -> None:
    write_shard(tmp_path / "0", tables(), META)
    before = bytes_of(tmp_path / "0")
    real, written = pq.write_table, []

    def fails_at_the_third(*args: Any, **kwargs: Any) -> None:
        written.append(args)
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        real(*args, **kwargs)

    monkeypatch.setattr(pq, "write_table", fails_at_the_third)
    with pytest.raises(Exception, match="No disk space"):
        write_shard(tmp_path / "0", tables(("c", "d")), META)
    assert bytes_of(tmp_path / "0") == before
    assert [path.name for path in tmp_path.iterdir()] == ["0"]


def _rewrite(path: Path, **changes: object) -> None:
    table = pq.read_table(path)
    meta = json.loads(table.schema.metadata[b"lensbench"]) | changes
    pq.write_table(table.replace_schema_metadata({b"lensbench": json.dumps(meta)}), path)


@pytest.mark.parametrize("version", [SCHEMA_VERSION - 1, SCHEMA_VERSION + 1])
def test_another_schema_is_refused(tmp_path: Path, version: int) -> None:
    write_shard(tmp_path / "0", tables(), META)
    _rewrite(tmp_path / "0" / "heads.parquet", schema_version=version)
    said = f"written by schema {version}, this is {SCHEMA_VERSION}: delete the folder"
    with pytest.raises(TraceError, match=said):
        read_table(tmp_path / "0", "heads")


def test_missing_damaged_and_foreign_files_are_refused(tmp_path: Path) -> None:
    write_shard(tmp_path / "0", tables(), META)
    path = tmp_path / "0" / "heads.parquet"
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:-3], b""):
        path.write_bytes(content)
        with pytest.raises(TraceError, match=r"heads\.parquet is damaged or cut short"):
            read_table(tmp_path / "0", "heads")
    # The footer is whole but the pages before it are not.
    path.write_bytes(whole[:4] + bytes(200) + whole[204:])
    with pytest.raises(TraceError, match=r"heads\.parquet is damaged or cut short"):
        read_table(tmp_path / "0", "heads")
    pq.write_table(pa.table({"a": [1]}), path)
    with pytest.raises(TraceError, match="is no lensbench trace"):
        read_table(tmp_path / "0", "heads")
    path.unlink()
    with pytest.raises(TraceError, match=r"heads\.parquet is missing"):
        read_table(tmp_path / "0", "heads")
    with pytest.raises(TraceError, match=r"samples\.parquet is missing"):
        read_meta(tmp_path / "nowhere")
    with pytest.raises(TraceError, match="No trace folder"):
        read_table([], "heads")


def test_shards_of_two_runs_are_refused(tmp_path: Path) -> None:
    write_shard(tmp_path / "0", tables(), META)
    write_shard(tmp_path / "1", tables(), TraceMeta(**{**META.__dict__, "model": "other"}))
    with pytest.raises(TraceError, match="not shards of one run"):
        read_table([tmp_path / "0", tmp_path / "1"], "heads")


def test_model_tables(tmp_path: Path) -> None:
    vocabulary = pd.DataFrame(
        {
            "token_id": [1, 0],
            "text": ["NA", "\ufffd"],
            "script": ["Latin", "Fragment"],
            "is_fragment": [False, True],
        }
    )
    write_model_table(tmp_path, "vocabulary", vocabulary, META)
    got = read_table(tmp_path, "vocabulary")
    assert got["text"].tolist() == ["\ufffd", "NA"]
    assert got["is_fragment"].tolist() == [True, False]
    assert read_meta(tmp_path).dataset == ""
    with pytest.raises(TraceError, match="is there twice"):
        write_model_table(tmp_path, "vocabulary", vocabulary.assign(token_id=3), META)
    assert read_table(tmp_path, "vocabulary").equals(got)
    broken = pd.Series(["\ud800", "a"], dtype=object)
    with pytest.raises(TraceError, match="column text, can't be stored"):
        write_model_table(tmp_path, "vocabulary", vocabulary.assign(text=broken), META)


def test_every_column_says_what_it_holds() -> None:
    for table in TABLES.values():
        assert set(table.keys) <= {column.name for column in table.columns}
        for column in table.columns:
            assert column.meaning
            assert column.width in ("", "k", "scripts", "languages", "any")
