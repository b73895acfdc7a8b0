from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from lensbench.datasets import DATASETS
from lensbench.datasets.manifest import (
    COLUMNS,
    building,
    check_rejected,
    read_manifest,
    write_manifest,
)
from lensbench.errors import DataError

ROW = {
    "sample_id": "scenes-00001",
    "kind": "image",
    "image": "images/a.png",
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
    return pd.DataFrame([{**ROW, **changes}])


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
        ({"rejected": None}, "rejected is None, not a text"),
        ({"sample_id": "../a"}, "its id may have only"),
        ({"sample_id": "a b"}, "its id may have only"),
        ({"image": None}, "an image sample names no picture"),
        ({"image": "/etc/passwd"}, "outside the dataset's folder"),
        ({"image": "images/../../a.png"}, "outside the dataset's folder"),
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
