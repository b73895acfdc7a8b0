"""Oxford Flowers 102 and the TensorFlow flowers: archives in their true layouts, labels kept."""

from __future__ import annotations

import io
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from tests.published import jpeg, publish, tgz

from lensbench.datasets import oxford_flowers, tf_flowers
from lensbench.datasets.flowers import PROMPT
from lensbench.datasets.manifest import read_about, read_manifest
from lensbench.errors import DataError

# Kind of the photographs 1 to 12; 1 to 4 are for training, 5 and 6 for validation.
LABELS = [77, 77, 77, 77, 77, 77, 5, 5, 5, 5, 102, 1]
SPLITS = {"trnid": [3, 1, 2, 4], "valid": [5, 6], "tstid": [7, 8, 9, 10, 11, 12]}


def mat(**variables: Any) -> bytes:
    """Return a MATLAB file as MATLAB writes it: each variable a row of bytes or short numbers."""
    stream = io.BytesIO()
    rows = {name: np.array([values], np.uint16) for name, values in variables.items()}
    savemat(stream, rows, do_compression=True)
    return stream.getvalue()


def color(number: int) -> tuple[int, int, int]:
    return (20 * number, 255 - 20 * number, 90)


def shows(path: Path, number: int) -> bool:
    with Image.open(path) as picture:
        off = np.array(picture.getpixel((4, 4))) - np.array(color(number))
    return bool(np.abs(off).max() <= 3)


@pytest.fixture
def oxford(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Return a function that publishes Oxford Flowers 102 and gives `make` its options."""

    def files(
        labels: bytes | None = None, splits: bytes | None = None, without: int | None = None
    ) -> dict[str, Any]:
        photographs = {
            f"jpg/image_{i:05d}.jpg": jpeg(color(i)) for i in range(1, 13) if i != without
        }
        mirror = publish(
            tmp_path / "mirror",
            {
                ("oxford_flowers", "102flowers.tgz"): tgz(photographs),
                ("oxford_flowers", "imagelabels.mat"): labels or mat(labels=LABELS),
                ("oxford_flowers", "setid.mat"): splits or mat(**SPLITS),
            },
            monkeypatch,
        )
        return {"mirror": mirror, "cache": tmp_path / "cache", "seed": 0}

    return files


def test_oxford_photographs_keep_their_kind(
    tmp_path: Path, oxford: Callable[..., dict[str, Any]]
) -> None:
    options = oxford()
    oxford_flowers.make(tmp_path / "o", n=100, **options)
    manifest = read_manifest(tmp_path / "o")
    assert len(manifest) == 12
    assert set(manifest["prompt"]) == {PROMPT}
    assert set(manifest["gold"]) == set(manifest["rejected"]) == {""}
    for number, row in enumerate(manifest.itertuples(), start=1):
        assert row.sample_id == f"oxford_flowers-image_{number:05d}"
        assert row.source == f"jpg/image_{number:05d}.jpg, class {LABELS[number - 1]}"
        assert shows(tmp_path / "o" / row.image, number)
    # From then on nothing is asked of anybody, nor of the archive.
    shutil.rmtree(tmp_path / "mirror")
    (tmp_path / "cache" / "oxford_flowers" / "102flowers.tgz").unlink()
    oxford_flowers.make(tmp_path / "again", n=100, **options)
    assert read_manifest(tmp_path / "again").equals(manifest)


def test_oxford_kinds_take_turns_and_a_larger_n_only_adds(
    tmp_path: Path, oxford: Callable[..., dict[str, Any]]
) -> None:
    options = oxford()
    chosen = []
    for n in (4, 6, 8):
        oxford_flowers.make(tmp_path / str(n), n=n, **options)
        sources = read_manifest(tmp_path / str(n))["source"]
        chosen.append(set(sources))
        kinds = Counter(source.rpartition(" ")[2] for source in sources)
        more = {4: 1, 6: 2, 8: 3}[n]
        assert kinds == {"77": more, "5": more, "102": 1, "1": 1}
    assert chosen[0] < chosen[1] < chosen[2]


@pytest.mark.parametrize(
    ("split", "numbers"), [("train", [1, 2, 3, 4]), ("valid", [5, 6]), ("test", range(7, 13))]
)
def test_oxford_splits(
    tmp_path: Path, oxford: Callable[..., dict[str, Any]], split: str, numbers: list[int]
) -> None:
    oxford_flowers.make(tmp_path / "o", n=100, split=split, **oxford())
    ids = read_manifest(tmp_path / "o")["sample_id"].tolist()
    assert ids == [f"oxford_flowers-image_{number:05d}" for number in numbers]
    selection = read_about(tmp_path / "o")["selection"]
    assert selection == {"dataset": "oxford_flowers", "n": 100, "seed": 0, "split": split}


def test_oxford_photograph_that_lacks_is_a_row(
    tmp_path: Path, oxford: Callable[..., dict[str, Any]]
) -> None:
    options = oxford(without=2)
    oxford_flowers.make(tmp_path / "o", n=100, **options)
    rejected = read_manifest(tmp_path / "o").set_index("sample_id")["rejected"]
    assert rejected[rejected != ""].to_dict() == {
        "oxford_flowers-image_00002": "unreadable (No such file or directory)"
    }
    with pytest.raises(DataError, match="1 of the 12 samples of oxford_flowers"):
        oxford_flowers.make(tmp_path / "p", n=100, max_rejected=0.05, **options)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"labels": b"no matrix"}, r"imagelabels.mat is no MATLAB file with the variable labels"),
        ({"labels": mat(other=LABELS)}, "with the variable labels"),
        ({"labels": mat(labels=[103])}, "kinds of flowers beside 1 to 102"),
        ({"labels": mat(labels=[0, 1])}, "kinds of flowers beside 1 to 102"),
        ({"labels": mat(labels=[])}, "no whole numbers in labels"),
        ({"splits": mat(trnid=[13])}, r"setid.mat has photographs beside 1 to 12"),
        ({"splits": mat(trnid=[0])}, r"setid.mat has photographs beside 1 to 12"),
        ({"splits": mat(valid=[1])}, r"setid.mat is no MATLAB file with the variable trnid"),
    ],
)
def test_oxford_labels_that_do_not_fit_are_refused(
    tmp_path: Path, oxford: Callable[..., dict[str, Any]], files: dict[str, bytes], said: str
) -> None:
    with pytest.raises(DataError, match=said):
        oxford_flowers.make(tmp_path / "o", n=1, split="train", **oxford(**files))
    assert not (tmp_path / "o").exists()


def test_oxford_has_no_other_split(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no split 'val': use one of all, train, valid, test"):
        oxford_flowers.make(tmp_path / "o", n=1, seed=0, split="val")


def test_tensorflow_photographs_keep_their_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = ("daisy", "dandelion", "roses", "sunflowers", "tulips")
    members = {"flower_photos/LICENSE.txt": b"All images CC-BY"}
    for number in range(10):
        name = f"flower_photos/{kinds[number % 5]}/{100 + number}_ab12_n.jpg"
        members[name] = jpeg(color(number))
    members["flower_photos/stray.jpg"] = jpeg((0, 0, 0))
    mirror = publish(
        tmp_path / "mirror", {("tf_flowers", "flower_photos.tgz"): tgz(members)}, monkeypatch
    )
    options = {"mirror": mirror, "cache": tmp_path / "cache", "seed": 1}
    tf_flowers.make(tmp_path / "t", n=100, **options)
    manifest = read_manifest(tmp_path / "t").set_index("source")
    assert len(manifest) == 10
    for number in range(10):
        kind = kinds[number % 5]
        row = manifest.loc[f"{kind}/{100 + number}_ab12_n.jpg, class {kind}"]
        assert row["sample_id"] == f"tf_flowers-{kind}-{100 + number}_ab12_n"
        assert (row["gold"], row["prompt"]) == ("", PROMPT)
        assert shows(tmp_path / "t" / row["image"], number)
    tf_flowers.make(tmp_path / "few", n=5, **options)
    sources = read_manifest(tmp_path / "few")["source"]
    assert sorted(source.rpartition(" ")[2] for source in sources) == sorted(kinds)
    selection = read_about(tmp_path / "few")["selection"]
    assert selection == {"dataset": "tf_flowers", "n": 5, "seed": 1}


def test_tensorflow_archive_without_photographs_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = tgz({"flower_photos/stray.jpg": jpeg((0, 0, 0))})
    mirror = publish(
        tmp_path / "mirror", {("tf_flowers", "flower_photos.tgz"): content}, monkeypatch
    )
    with pytest.raises(DataError, match="has no folder with photographs"):
        tf_flowers.make(tmp_path / "t", n=1, seed=0, mirror=mirror, cache=tmp_path / "cache")
    assert not (tmp_path / "t").exists()
