from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lensbench.datasets import DATASETS
from lensbench.datasets.manifest import (
    COLUMNS,
    building,
    check_rejected,
    read_about,
    read_manifest,
    write_manifest,
)
from lensbench.errors import DataError

ROW = {
    "sample_id": "scenes-00001",
    "kind": "image",
    "image": "images/a.png",
    "picture": "scenes-00001",
    "prompt": "How many?",
    "style": "chat",
    "gold": "number:3",
    "language": "en",
    "family": "count",
    "objects": '[{"shape":"star","color":"red","box":[1,2,3,4]}]',
    "source": "drawn",
    "rejected": "",
}


def frame(**changes: Any) -> pd.DataFrame:
    # As objects, for pandas' own texts can't hold half a character.
    return pd.DataFrame([{**ROW, **changes}], dtype=object)


def test_what_is_written_is_read_sorted(tmp_path: Path) -> None:
    text = {**ROW, "sample_id": "a", "kind": "text", "image": None, "objects": "[]", "gold": ""}
    write_manifest(tmp_path, pd.DataFrame([ROW, text])[list(reversed(COLUMNS))])
    back = read_manifest(tmp_path)
    assert list(back.columns) == list(COLUMNS)
    assert back["sample_id"].tolist() == ["a", "scenes-00001"]
    assert back["image"].tolist() == [None, "images/a.png"]
    assert back.iloc[1].to_dict() == ROW
    assert [p.name for p in tmp_path.iterdir()] == ["manifest.parquet"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kind": "video"}, "kind is 'video'"),
        ({"style": "poem"}, "style is 'poem'"),
        ({"language": "xx"}, "language is 'xx'"),
        ({"prompt": "  "}, "prompt is blank"),
        ({"prompt": None}, "prompt is None, not a text"),
        ({"family": ""}, "family is blank"),
        ({"gold": "three"}, "gold is 'three', not a concept"),
        ({"gold": 3}, "gold is 3, not a text"),
        ({"prompt": "x \ud800"}, r"prompt is 'x \\ud800', which has half a character"),
        (
            {"objects": '[{"shape":"\udfff","color":"c","box":[1,2,3,4]}]'},
            "objects is .* half a char",
        ),
        ({"rejected": None}, "rejected is None, not a text"),
        ({"sample_id": "../a"}, "its id may have only"),
        ({"sample_id": "a b"}, "its id may have only"),
        ({"sample_id": "a" * 201}, "its id may have only .* up to 200"),
        ({"image": None}, "an image sample names no picture"),
        ({"image": "/etc/passwd"}, "outside the dataset's folder"),
        ({"image": "images/../../a.png"}, "outside the dataset's folder"),
        ({"image": "a\0.png"}, "has a name that no file can have"),
        ({"image": "a" * 252 + ".png"}, "has a name that no file can have"),
        ({"image": "a/" * 512 + ".png"}, "has a name that no file can have"),
        ({"kind": "text"}, "a text sample has a picture"),
        ({"objects": "{"}, "objects is not JSON"),
        ({"objects": "{}"}, "objects is not a list"),
        ({"objects": '[{"shape":"star"}]'}, "other keys than shape, color and box"),
        ({"objects": '[{"shape":"s","color":"c","box":[1,2,1,4]}]'}, r"box is \[1, 2, 1, 4\]"),
        ({"objects": '[{"shape":"s","color":"c","box":[1,2,3]}]'}, r"box is \[1, 2, 3\]"),
        ({"objects": '[{"shape":"s","color":"c","box":[1,2,3.5,4]}]'}, r"box is \[1, 2, 3.5, 4\]"),
    ],
)
def test_a_bad_value_is_named_and_nothing_written(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(DataError, match=said) as caught:
        write_manifest(tmp_path, frame(**changes))
    assert "manifest.parquet" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_bad_shapes_of_the_whole(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="lacks column gold"):
        write_manifest(tmp_path, frame().drop(columns="gold"))
    with pytest.raises(DataError, match="unknown column extra"):
        write_manifest(tmp_path, frame(extra="1"))
    with pytest.raises(DataError, match="has no samples"):
        write_manifest(tmp_path, frame().iloc[:0])
    with pytest.raises(DataError, match="'scenes-00001' twice"):
        write_manifest(tmp_path, pd.DataFrame([ROW, ROW]))


def test_a_missing_or_damaged_manifest(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no manifest .*: make the dataset first"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.parquet").write_bytes(b"PAR1 no PAR1")
    with pytest.raises(DataError, match="damaged"):
        read_manifest(tmp_path)
    frame(gold="nonsense").to_parquet(tmp_path / "manifest.parquet")
    with pytest.raises(DataError, match="gold is 'nonsense'"):
        read_manifest(tmp_path)


def test_a_folder_is_whole_or_as_it_was(tmp_path: Path) -> None:
    out = tmp_path / "facts"
    with building(out, "facts", 1) as folder:
        (folder / "old").write_text("old")

    def break_off() -> None:
        with building(out, "facts", 1) as folder:
            (folder / "new").write_text("new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        break_off()
    assert [p.name for p in out.iterdir()] == ["old"]
    with building(out, "facts", 1) as folder:
        (folder / "new").write_text("new")
    assert [p.name for p in out.iterdir()] == ["new"]
    assert [p.name for p in tmp_path.iterdir()] == ["facts"]


def test_a_file_in_the_place_of_the_folder_is_kept(tmp_path: Path) -> None:
    (tmp_path / "facts").write_text("mine")
    with pytest.raises(DataError, match="is a file where"):
        DATASETS["facts"][1](tmp_path / "facts", n=1, seed=0)
    assert (tmp_path / "facts").read_text() == "mine"


@pytest.mark.parametrize("name", ["scenes", "fills", "flowers", "facts"])
@pytest.mark.parametrize("n", [0, -3, True, 2.0])
def test_no_dataset_is_empty(tmp_path: Path, name: str, n: Any) -> None:
    with pytest.raises(DataError, match=rf"{name} would be empty \(n is {n!r}\)"):
        DATASETS[name][1](tmp_path / name, n=n, seed=0)
    assert list(tmp_path.iterdir()) == []


def test_too_many_rejected_samples_are_refused() -> None:
    def samples(bad: int, good: int) -> pd.DataFrame:
        reasons = [f"torn {place}" for place in range(bad)] + [""] * good
        names = [f"{place}.png" for place in range(bad + good)]
        return pd.DataFrame({"source": names, "rejected": reasons})

    check_rejected(samples(0, 1), 0.0, "own")
    check_rejected(samples(29, 71), 0.29, "own")  # In binary, 0.29 × 100 is less than 29.
    with pytest.raises(DataError) as caught:
        check_rejected(samples(30, 70), 0.29, "own")
    assert str(caught.value) == (
        "30 of the 100 samples of own (30%) can't be read (the first, 0.png: torn 0), more than "
        "max_rejected, 0.29, allows: replace them or allow more."
    )
    with pytest.raises(DataError, match="None of the 2 samples of own can be read"):
        check_rejected(samples(2, 0), 1.0, "own")


def test_the_manifest_depends_on_the_bytes_of_its_pictures(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(b"first")
    (tmp_path / "images" / "b.png").write_bytes(b"other")
    rows = [
        {**ROW, "sample_id": "3", "image": "images/b.png"},
        {**ROW, "sample_id": "2", "image": "images/lacks.png", "rejected": "torn"},
        {**ROW, "sample_id": "1"},
        {**ROW, "sample_id": "0"},
    ]
    lines = [(b"first", "images/a.png"), (b"other", "images/b.png")]
    text = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for data, name in lines)
    write_manifest(tmp_path, pd.DataFrame(rows))
    assert read_about(tmp_path) == {"pictures": hashlib.sha256(text.encode()).hexdigest()}
    first = (tmp_path / "manifest.parquet").read_bytes()
    write_manifest(tmp_path, pd.DataFrame(rows[::-1]))
    assert (tmp_path / "manifest.parquet").read_bytes() == first
    (tmp_path / "images" / "a.png").write_bytes(b"First")
    write_manifest(tmp_path, pd.DataFrame(rows))
    assert (tmp_path / "manifest.parquet").read_bytes() != first


def test_samples_that_show_one_picture_are_named_so(tmp_path: Path) -> None:
    """By content, so that a copy under another name is the same picture; a torn one by its path."""
    (tmp_path / "images").mkdir()
    for name, content in (("a", b"first"), ("b", b"other"), ("copy", b"first")):
        (tmp_path / "images" / f"{name}.png").write_bytes(content)
    shows = {"5": "a", "2": "copy", "3": "b", "1": "torn", "4": "torn"}
    rows = [{**ROW, "sample_id": k, "image": f"images/{v}.png"} for k, v in shows.items()]
    words = {**ROW, "kind": "text", "image": None, "objects": "[]"}
    rows += [{**words, "sample_id": one} for one in ("0", "6")]
    # What the frame says of it counts for nothing.
    write_manifest(tmp_path, pd.DataFrame(rows))
    found = read_manifest(tmp_path).set_index("sample_id")["picture"].to_dict()
    assert found == {"0": "0", "1": "1", "2": "2", "3": "3", "4": "1", "5": "2", "6": "6"}


def test_what_selected_the_samples_is_part_of_the_manifest(tmp_path: Path) -> None:
    text = pd.DataFrame([{**ROW, "kind": "text", "image": None}])
    write_manifest(tmp_path, text, {"seed": 1, "n": 5, "question": "多少？"})
    assert read_about(tmp_path) == {"selection": {"n": 5, "seed": 1, "question": "多少？"}}
    first = (tmp_path / "manifest.parquet").read_bytes()
    write_manifest(tmp_path, text, {"question": "多少？", "n": 5, "seed": 1})
    assert (tmp_path / "manifest.parquet").read_bytes() == first
    write_manifest(tmp_path, text, {"question": "多少？", "n": 5, "seed": 2})
    assert (tmp_path / "manifest.parquet").read_bytes() != first
    assert read_manifest(tmp_path).loc[0, "sample_id"] == "scenes-00001"


def test_what_is_said_about_a_manifest_may_lack(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no manifest .*: make the dataset first"):
        read_about(tmp_path)
    frame().to_parquet(tmp_path / "manifest.parquet")
    assert read_about(tmp_path) == {}
    (tmp_path / "manifest.parquet").write_bytes(b"PAR1 no PAR1")
    with pytest.raises(DataError, match="damaged"):
        read_about(tmp_path)
    for text in (b"{", b"[]", b"\xff"):
        table = pa.table({"a": [1]}).replace_schema_metadata({b"lensbench": text})
        pq.write_table(table, tmp_path / "manifest.parquet")
        with pytest.raises(DataError, match="damaged"):
            read_about(tmp_path)
