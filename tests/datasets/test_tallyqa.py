"""TallyQA as a dataset: the right picture beside the right question, and no more than is needed."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.published import jpeg, publish, record, tallyqa_zip, zipped
from tests.server import Server

from lensbench.datasets.manifest import read_about, read_manifest
from lensbench.datasets.tallyqa import make
from lensbench.errors import DataError, LensbenchError
from lensbench.files import sha256_of
from lensbench.lexicon import load_lexicon

FOLDERS = ("VG_100K", "VG_100K_2")
N = 24


def color(number: int) -> tuple[int, int, int]:
    """Return the one color of a picture, another for each number."""
    return (8 * number, 250 - 8 * number, 7 * number)


def image(number: int) -> str:
    return f"{FOLDERS[number % 2]}/{2_300_000 + number}.jpg"


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Return a function that publishes TallyQA and gives `make` its options."""

    def files(**changes: Any) -> dict[str, Any]:
        # Questions 0 to 23: every third complex, answers 0 to 23; picture 30 has no question.
        test = [record(i, image(i), i, simple=i % 3 > 0) for i in range(N)]
        train = [
            record(50, "train2014/COCO_train2014_000000000050.jpg", 2, simple=None),
            record(51, "val2014/COCO_val2014_000000000051.jpg", 9, simple=None),
            record(52, "VG_100K/2300002.jpg", 3, simple=None),
        ]
        pictures = {image(i): jpeg(color(i)) for i in [*range(N), 30, 31]}
        pictures |= {train[0]["image"]: jpeg((1, 2, 3)), train[1]["image"]: jpeg((200, 9, 9))}
        pictures |= changes.pop("pictures", {})

        def inside(top: str) -> bytes:
            here = {k: v for k, v in pictures.items() if k.startswith(f"{top}/") and v}
            return zipped({f"{top}/": b"", **here})

        mirror = publish(
            tmp_path / "mirror",
            {
                ("tallyqa", "tallyqa.zip"): tallyqa_zip(changes.pop("test", test), train),
                ("visual_genome", "images.zip"): inside("VG_100K"),
                ("visual_genome", "images2.zip"): inside("VG_100K_2"),
                ("coco", "train2014.zip"): inside("train2014"),
                ("coco", "val2014.zip"): inside("val2014"),
            },
            monkeypatch,
        )
        return {"mirror": mirror, "cache": tmp_path / "cache", "seed": 5, "answers": [0, 99]}

    return files


def cached(folder: Path) -> set[str]:
    """Return the pictures and archives that were fetched, hidden notes left out."""
    found = (path for path in (folder / "cache").rglob("*") if path.is_file())
    names = {path.relative_to(folder / "cache").as_posix() for path in found}
    return {name for name in names if "/." not in name}


def hashes(folder: Path) -> dict[str, str]:
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): sha256_of(path) for path in found}


def test_every_question_has_its_own_picture_answer_and_words(
    tmp_path: Path, published: Callable[..., dict[str, Any]]
) -> None:
    make(tmp_path / "tallyqa", n=1000, **published())
    manifest = read_manifest(tmp_path / "tallyqa").set_index("sample_id")
    assert len(manifest) == N
    lexicon = load_lexicon()
    for i in range(N):
        row = manifest.loc[f"tallyqa-{30_000_000 + i}"]
        assert row["prompt"] == (
            f"How many things are in picture {i}? Output single word with exact number."
        )
        assert row["gold"] == f"number:{i}"
        assert row["language"] in lexicon.languages(row["gold"] if i <= 20 else "number:1")
        assert row["family"] == ("simple" if i % 3 else "complex")
        assert row["source"] == f"tallyqa test {30_000_000 + i} {image(i)}"
        assert (row["kind"], row["style"], row["rejected"]) == ("image", "chat", "")
        assert row["image"] == f"images/{FOLDERS[i % 2]}-{2_300_000 + i}.png"
        with Image.open(tmp_path / "tallyqa" / row["image"]) as picture:
            assert (picture.mode, picture.size) == ("RGB", (40, 30))
            off = np.abs(np.array(picture.getpixel((20, 15))) - np.array(color(i)))
        assert off.max() <= 3  # JPEG's rounding; other pictures are 8 away.


def test_only_what_is_asked_about_is_fetched_and_only_once(
    tmp_path: Path, published: Callable[..., dict[str, Any]]
) -> None:
    options = published()
    make(tmp_path / "a", n=5, **options)
    names = [source.split()[-1] for source in read_manifest(tmp_path / "a")["source"]]
    assert len(names) == 5
    assert cached(tmp_path) == {
        "tallyqa/tallyqa.zip", *(f"visual_genome/{name}" for name in names)
    }  # fmt: skip
    # From then on nothing is asked of anybody.
    shutil.rmtree(tmp_path / "mirror")
    make(tmp_path / "b", n=5, **options)
    assert hashes(tmp_path / "a") == hashes(tmp_path / "b")


def test_selection_is_kept_beside_the_manifest(
    tmp_path: Path, published: Callable[..., dict[str, Any]]
) -> None:
    options = published() | {"answers": [1, 4]}
    make(tmp_path / "t", n=2, kind="simple", balanced=True, **options)
    selection = json.loads((tmp_path / "t" / "selection.json").read_text(encoding="utf-8"))
    assert read_about(tmp_path / "t")["selection"] == selection
    ids = [f"tallyqa-{name}" for name in selection.pop("question_ids")]
    assert ids == read_manifest(tmp_path / "t")["sample_id"].tolist()
    assert set(ids) < {f"tallyqa-{30_000_000 + i}" for i in (1, 2, 4)}
    assert selection == {
        "dataset": "tallyqa",
        "subset": "selected",
        "n": 2,
        "split": "test",
        "seed": 5,
        "kind": "simple",
        "answers": [1, 4],
        "balanced": True,
        "annotations_sha256": sha256_of(tmp_path / "cache" / "tallyqa" / "tallyqa.zip"),
    }


def test_train_uses_coco_too_and_says_no_kind(
    tmp_path: Path, published: Callable[..., dict[str, Any]]
) -> None:
    options = published()
    make(tmp_path / "t", n=10, split="train", **options)
    manifest = read_manifest(tmp_path / "t").set_index("sample_id")
    assert manifest["family"].tolist() == ["count", "large count", "count"]
    with Image.open(tmp_path / "t" / manifest.loc["tallyqa-30000051", "image"]) as picture:
        assert np.abs(np.array(picture.getpixel((9, 9))) - (200, 9, 9)).max() <= 3
    assert "coco/val2014/COCO_val2014_000000000051.jpg" in cached(tmp_path)
    with pytest.raises(DataError, match="don't say which are simple"):
        make(tmp_path / "u", n=10, split="train", kind="simple", **options)
    assert not (tmp_path / "u").exists()


def test_whole_archives_give_the_same_dataset(
    tmp_path: Path, published: Callable[..., dict[str, Any]]
) -> None:
    options = published()
    make(tmp_path / "a", n=6, **options)
    other = options | {"cache": tmp_path / "other"}
    make(tmp_path / "b", n=6, whole_archives=True, **other)
    assert hashes(tmp_path / "a") == hashes(tmp_path / "b")
    assert (tmp_path / "other" / "visual_genome" / "images.zip").is_file()
    # An archive that is there already is used instead of the network, for other questions too.
    shutil.rmtree(tmp_path / "mirror")
    make(tmp_path / "c", n=N, **other)
    assert len(read_manifest(tmp_path / "c")) == N


def test_over_http_single_pictures_come_by_ranges_and_never_twice(
    tmp_path: Path, published: Callable[..., dict[str, Any]]
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (700, 700, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, "JPEG", quality=98)
    options = published(pictures={image(30): stream.getvalue(), image(31): stream.getvalue()})
    make(tmp_path / "a", n=12, **options)
    with Server(tmp_path / "mirror") as server:
        far = options | {"mirror": server.url, "cache": tmp_path / "far"}
        make(tmp_path / "b", n=12, **far)
        assert hashes(tmp_path / "a") == hashes(tmp_path / "b")
        archives = {path: sent for path, sent in server.sent.items() if "VG_100K_2/" in path}
        assert len(archives) == 2
        for path, sent in archives.items():
            assert sent < (tmp_path / "mirror" / path[1:]).stat().st_size / 4
        asked = len(server.requests)
        make(tmp_path / "c", n=7, **far)
        assert len(server.requests) == asked
    assert len(read_manifest(tmp_path / "c")) == 7


def test_a_server_without_ranges_gives_whole_archives(
    tmp_path: Path, published: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    options = published()
    make(tmp_path / "a", n=6, **options)
    with Server(tmp_path / "mirror", ranges=False) as server:
        make(tmp_path / "b", n=6, **options | {"mirror": server.url, "cache": tmp_path / "far"})
    assert hashes(tmp_path / "a") == hashes(tmp_path / "b")
    assert (tmp_path / "far" / "visual_genome" / "images.zip").is_file()
    assert "So all of images.zip is fetched" in capsys.readouterr().err


def test_published_subset_has_the_studys_questions_and_pictures(
    tmp_path: Path, published: Callable[..., dict[str, Any]]
) -> None:
    rng = np.random.default_rng(3)
    noise = Image.fromarray(rng.integers(0, 256, (37, 61, 3), dtype=np.uint8))
    stream = io.BytesIO()
    noise.save(stream, "JPEG", quality=90)
    # Simple with answers up to 5: six of the ten, so only the first six records can occur.
    answers = [(1, True), (2, False), (9, True), (3, True), (5, True), (4, False)]
    answers += [(0, True), (5, True), (2, True), (9, False)]
    test = [record(i, image(i), *pair[:1], simple=pair[1]) for i, pair in enumerate(answers)]
    options = published(test=test, pictures={image(i): stream.getvalue() for i in range(10)})
    make(tmp_path / "t", n=5000, subset="published", kind="complex", **options)
    torch.manual_seed(42)
    want = [30_000_000 + i for i in torch.randperm(6).tolist() if i != 2]
    selection = json.loads((tmp_path / "t" / "selection.json").read_text(encoding="utf-8"))
    assert selection["question_ids"] == [str(name) for name in want]
    assert (selection["subset"], selection["seed"], selection["drawn"]) == ("published", 42, 5000)
    manifest = read_manifest(tmp_path / "t")
    assert manifest["sample_id"].tolist() == [f"tallyqa-{name}" for name in sorted(want)]
    shown = Image.open(stream).convert("RGB").resize((512, 512), Image.Resampling.BILINEAR)
    for name in manifest["image"]:
        with Image.open(tmp_path / "t" / name) as picture:
            np.testing.assert_array_equal(np.asarray(picture), np.asarray(shown))
    make(tmp_path / "u", n=2, subset="published", **options)
    few = json.loads((tmp_path / "u" / "selection.json").read_text(encoding="utf-8"))
    assert few["question_ids"] == selection["question_ids"][:2]


def test_bad_and_missing_pictures_are_rows_with_their_reason(
    tmp_path: Path, published: Callable[..., dict[str, Any]]
) -> None:
    torn = jpeg(color(4), (400, 400))
    options = published(pictures={image(3): b"", image(4): torn[: len(torn) // 2]})
    make(tmp_path / "t", n=N, **options)
    manifest = read_manifest(tmp_path / "t").set_index("sample_id")
    bad = manifest[manifest["rejected"] != ""]
    assert bad["rejected"].to_dict() == {
        "tallyqa-30000003": "not in images2.zip",
        "tallyqa-30000004": "unreadable (truncated or damaged)",
    }
    for row in manifest.itertuples():
        assert (tmp_path / "t" / row.image).is_file() == (not row.rejected)
    said = r"2 of the 24 samples of tallyqa \(8%\) can't be read .* max_rejected, 0.08, allows"
    with pytest.raises(DataError, match=said):
        make(tmp_path / "u", n=N, max_rejected=0.08, **options)
    assert not (tmp_path / "u").exists()


def test_downloads_may_lie_on_another_disk(
    tmp_path: Path, published: Callable[..., dict[str, Any]]
) -> None:
    options = published()
    (tmp_path / "large").mkdir()
    options["cache"].mkdir()
    (options["cache"] / "visual_genome").symlink_to(tmp_path / "large")
    make(tmp_path / "t", n=N, **options)
    assert set(read_manifest(tmp_path / "t")["rejected"]) == {""}
    assert len(list((tmp_path / "large" / "VG_100K").glob("*.jpg"))) == N // 2


def test_one_picture_of_several_questions_is_there_once(
    tmp_path: Path, published: Callable[..., dict[str, Any]]
) -> None:
    test = [record(i, image(0), i) for i in range(4)]
    make(tmp_path / "t", n=9, **published(test=test))
    assert len(read_manifest(tmp_path / "t")) == 4
    assert len(list((tmp_path / "t" / "images").iterdir())) == 1


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"subset": "all"}, "no subset 'all': use one of selected, published"),
        ({"split": "val"}, "no split 'val': use one of test, train"),
        ({"kind": "easy"}, "no kind 'easy': use one of all, simple, complex"),
        ({"answers": [3]}, r"answers of the dataset tallyqa are \[3\]"),
        ({"answers": [5, 2]}, r"are \[5, 2\]"),
        ({"answers": [0, 2.5]}, r"are \[0, 2.5\]"),
        ({"answers": 3}, "are 3: give the smallest"),
        ({"n": 0}, "tallyqa would be empty"),
    ],
)
def test_options_without_meaning_are_refused(
    tmp_path: Path, option: dict[str, Any], said: str
) -> None:
    with pytest.raises(LensbenchError, match=said):
        make(tmp_path / "t", **{"n": 1, "seed": 0, "mirror": "file:///nowhere", **option})
    assert list(tmp_path.iterdir()) == []
