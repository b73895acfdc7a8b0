"""Writing the pages of a run: cards, what is refused, and that nothing half or stale is left."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image
from tests.commands import Done
from tests.explorer import planted

from lensbench.errors import DataError, LensbenchError, TraceError
from lensbench.explorer import write_index, write_pages
from lensbench.explorer.pictures import embedded


@pytest.fixture
def run(tmp_path: Path) -> dict[str, Path]:
    return planted.write_run(tmp_path)


def test_cards_say_what_the_index_needs(run: dict[str, Path], tmp_path: Path) -> None:
    write_pages(tmp_path / "out", **run)  # type: ignore[arg-type]
    cards = json.loads((tmp_path / "out/cards.json").read_text(encoding="utf-8"))["cards"]
    assert [card.pop("thumbnail")[:11] for card in cards] == ["data:image/"] * 2
    assert cards[0] == {
        "title": "scenes-0", "model": "planted-llava", "dataset": "scenes", "right": True,
        "convergence_layer": planted.CONVERGENCE, "n_layers": planted.L,
        "question": planted.QUESTION, "answer": " three w1 w2", "gold": "number:3",
        "href": "scenes-0.html",
    }  # fmt: skip
    assert (cards[1]["right"], cards[1]["convergence_layer"]) == (False, 2)


def test_stale_pages_vanish_and_no_more_than_asked_are_made(
    run: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    write_pages(out, **run)  # type: ignore[arg-type]
    write_pages(out, samples=1, **run)  # type: ignore[arg-type]
    assert sorted(path.name for path in out.iterdir()) == ["cards.json", "scenes-0.html"]


def test_the_same_input_gives_the_same_bytes(run: dict[str, Path], tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_pages(tmp_path / name, **run)  # type: ignore[arg-type]
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_a_rejected_sample_has_no_page(run: dict[str, Path], tmp_path: Path) -> None:
    frame = pd.read_parquet(run["closeup"] / "samples.parquet")
    reasons = ("can't be read", None)
    rows = [
        row | {"image": None, "rejected": reason}
        for row, reason in zip(frame.to_dict("records"), reasons, strict=True)
    ]
    planted.write(
        run["closeup"], "samples", planted.samples(rows), planted.meta("planted-llava", "scenes")
    )
    cards = write_pages(tmp_path / "out", samples=1, **run)  # type: ignore[arg-type]
    assert [card["title"] for card in cards] == ["scenes-1"]


def test_a_failure_leaves_what_was_there(run: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_pages(out, **run)  # type: ignore[arg-type]
    before = sorted(path.name for path in out.iterdir())
    (run["manifest"] / "images/scenes-1.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"scenes-1\.png can't be read"):
        write_pages(out, **run)  # type: ignore[arg-type]
    assert sorted(path.name for path in out.iterdir()) == before
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("table", ["patches", "words"])
def test_a_missing_layer_is_told(run: dict[str, Path], tmp_path: Path, table: str) -> None:
    about = planted.meta("planted-llava", "scenes")
    frame = pd.read_parquet(run["closeup"] / f"{table}.parquet")
    planted.write(run["closeup"], table, frame[frame["layer"] != 3], about)
    with pytest.raises(TraceError, match=f"scenes-0, has a layer missing in {table}"):
        write_pages(tmp_path / "out", **run)  # type: ignore[arg-type]


def test_views_that_are_none_are_told(run: dict[str, Path], tmp_path: Path) -> None:
    about = planted.meta("planted-llava", "scenes")
    frame = pd.read_parquet(run["closeup"] / "samples.parquet")
    rows = [row | {"image": None, "rejected": None} for row in frame.to_dict("records")]
    for views in ('[{"name": "x"}]', "no JSON", '[{"name":"x","rows":1,"cols":1,"box":[0,0,2,1]}]'):
        planted.write(
            run["closeup"], "samples", planted.samples([row | {"views": views} for row in rows]),
            about,
        )  # fmt: skip
        with pytest.raises(TraceError, match="has views that are no list"):
            write_pages(tmp_path / "out", **run)  # type: ignore[arg-type]


def test_exactly_one_source_is_named(run: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(LensbenchError, match="Name either --closeup or --imported"):
        write_pages(tmp_path / "out")
    with pytest.raises(LensbenchError, match="needs --model-folder and --manifest"):
        write_pages(tmp_path / "out", closeup=run["closeup"])


def test_an_index_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LensbenchError, match="No folder of pages"):
        write_index([], tmp_path / "index.html")
    with pytest.raises(LensbenchError, match=r"cards\.json is missing or damaged"):
        write_index([tmp_path], tmp_path / "index.html")


def test_pictures_are_embedded_no_larger_than_needed(tmp_path: Path) -> None:
    Image.new("RGB", (2000, 1000), "red").save(tmp_path / "large.png")
    large, thumbnail = embedded(tmp_path / "large.png")
    assert (large.width, large.height) == (768, 384)
    assert (thumbnail.width, thumbnail.height) == (160, 80)
    Image.new("RGB", (64, 32), "red").save(tmp_path / "small.png")
    assert embedded(tmp_path / "small.png")[0].width == 64


def test_a_picture_is_turned_as_it_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20), "red").save(tmp_path / "turned.jpg", exif=exif)
    assert embedded(tmp_path / "turned.jpg")[0].height == 40


def test_the_commands_make_the_site(
    lensbench: object, run: dict[str, Path], tmp_path: Path
) -> None:
    folder = str(tmp_path / "explorer/planted-llava/scenes")
    done: Done = lensbench(  # type: ignore[operator]
        "explorer-pages", "--closeup", str(run["closeup"]),
        "--model-folder", str(run["model_folder"]), "--manifest", str(run["manifest"]),
        "--convergence", str(run["convergence"]), "--samples", "1", "--out", folder,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    index = tmp_path / "explorer/index.html"
    done = lensbench("explorer-index", folder, "--out", str(index))  # type: ignore[operator]
    assert (done.returncode, done.stderr) == (0, "")
    assert '"href":"planted-llava/scenes/scenes-0.html"' in index.read_text(encoding="utf-8")
    done = lensbench("explorer-pages", "--out", folder)  # type: ignore[operator]
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
