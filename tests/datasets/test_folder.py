from __future__ import annotations

import os
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lensbench.datasets.flowers import make
from lensbench.datasets.folder import LONGEST_SIDE
from lensbench.datasets.manifest import read_manifest
from lensbench.errors import DataError


def picture(
    path: Path, color: tuple[int, ...] = (200, 30, 40), size: tuple[int, int] = (32, 24)
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGBA" if len(color) == 4 else "RGB", size, color).save(path)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    picture(folder / "rose" / "a.png")
    picture(folder / "rose" / "B.JPEG", (20, 30, 200))
    picture(folder / "tulip" / "a.png", (1, 2, 3), (1000, 500))
    return folder


def test_photographs_are_taken_with_safe_names_and_sizes(tmp_path: Path, photos: Path) -> None:
    (photos / "README.txt").write_text("about")
    picture(photos / ".hidden.png")
    make(tmp_path / "out", n=10, seed=0, folder=photos)
    manifest = read_manifest(tmp_path / "out").set_index("source")
    assert sorted(manifest.index) == ["rose/B.JPEG", "rose/a.png", "tulip/a.png"]
    assert manifest.loc["rose/B.JPEG", "sample_id"] == "flowers-rose-B"
    assert manifest.loc["rose/B.JPEG", "image"] == "images/rose-B.png"
    assert set(manifest["gold"]) == {""}
    with Image.open(tmp_path / "out" / "images" / "tulip-a.png") as wide:
        assert wide.size == (LONGEST_SIDE, LONGEST_SIDE // 2)
    with Image.open(tmp_path / "out" / "images" / "rose-a.png") as small:
        assert small.size == (32, 24)  # Never enlarged.
        assert small.getpixel((5, 5)) == (200, 30, 40)


def test_n_chooses_by_the_seed_and_repeats_to_the_byte(tmp_path: Path, photos: Path) -> None:
    for run in ("a", "b"):
        make(tmp_path / run, n=2, seed=4, folder=photos)
    one, two = (
        {p.name: p.read_bytes() for p in (tmp_path / run).rglob("*") if p.is_file()} for run in "ab"
    )
    assert one == two
    assert len(one) == 3  # Two pictures and the manifest.


def test_labels_give_golds(tmp_path: Path, photos: Path) -> None:
    (photos / "labels.csv").write_text(
        "file,color\nrose/a.png,Red\n./rose/B.JPEG,蓝色\n", encoding="utf-8-sig"
    )
    make(tmp_path / "out", n=10, seed=0, folder=photos)
    gold = read_manifest(tmp_path / "out").set_index("source")["gold"]
    assert gold.to_dict() == {
        "rose/a.png": "color:red",
        "rose/B.JPEG": "color:blue",
        "tulip/a.png": "",
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name,color\nx,red\n", r"labels\.csv lacks the column file or color"),
        ("", "lacks the column"),
        ("file,color\nrose/z.png,red\n", r"line 2: there is no picture 'rose/z.png'"),
        ("file,color\nrose/a.png,three\n", "line 2: 'three' is no color of the lexicon"),
        ("file,color\nrose/a.png,\n", "line 2: '' is no color"),
        ("file,color\nrose/a.png\n", "line 2: None is no color"),
        ("file,color\nrose/a.png,red\nrose/a.png,blue\n", "line 3: 'rose/a.png' has a label"),
        ("file,color\n\xff", "can't be read as UTF-8"),
    ],
)
def test_bad_labels(tmp_path: Path, photos: Path, text: str, said: str) -> None:
    (photos / "labels.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=said):
        make(tmp_path / "out", n=10, seed=0, folder=photos)
    assert not (tmp_path / "out").exists()


def bomb(path: Path, side: int) -> None:
    """Write the head of a PNG that claims to be enormous."""
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(b"\0" * 1000)), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def test_bad_pictures_keep_their_row_with_the_reason(tmp_path: Path, photos: Path) -> None:
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    for suffix in ("jpg", "png"):
        noise.save(photos / f"cut-{suffix}.{suffix}")
        whole = (photos / f"cut-{suffix}.{suffix}").read_bytes()
        (photos / f"cut-{suffix}.{suffix}").write_bytes(whole[: len(whole) // 2])
    (photos / "empty.png").write_bytes(b"")
    (photos / "text.jpg").write_text("not a picture")
    (photos / "script.jpg").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    bomb(photos / "bomb.png", 12_000)
    bomb(photos / "bigger.png", 60_000)
    picture(tmp_path / "secret.png")
    (photos / "out.png").symlink_to(tmp_path / "secret.png")
    (photos / "dangling.png").symlink_to(tmp_path / "nothing.png")
    (photos / "inside.png").symlink_to(photos / "rose" / "a.png")
    (photos / "linked").symlink_to(tmp_path)
    os.mkfifo(photos / "pipe.png")
    make(tmp_path / "result", n=100, seed=0, folder=photos)
    manifest = read_manifest(tmp_path / "result")
    reasons = {}
    for row in manifest.itertuples():
        name, _, reason = row.source.partition(" (")
        reasons[name] = reason.removesuffix(")")
        assert (tmp_path / "result" / row.image).exists() == (not reason), row.source
    bad = {name: reason for name, reason in reasons.items() if reason}
    assert set(reasons) - set(bad) == {"inside.png", "rose/B.JPEG", "rose/a.png", "tulip/a.png"}
    assert bad["text.jpg"] == bad["script.jpg"] == bad["empty.png"] == "not a picture"
    assert bad["out.png"] == "a link out of the folder"
    assert bad["pipe.png"] == "not a regular file"
    assert bad["bomb.png"] == bad["bigger.png"] == "larger than 100 million pixels"
    assert bad["dangling.png"] == "unreadable (No such file or directory)"
    assert bad["cut-jpg.jpg"].startswith("unreadable (")
    assert bad["cut-png.png"].startswith("unreadable (")
    assert len(bad) == 10


def test_hostile_names_become_safe_and_stay_apart(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    names = [
        "a b.png",
        "a-b.png",
        "A.B.png",
        "<script>.png",
        "$(rm).png",
        "花.png",
        "é\n.png",
        "..png.png",
    ]
    for index, name in enumerate(names):
        picture(folder / name, (index, 0, 0))
    picture(folder / os.fsdecode(b"\xff\xfe.png"))
    picture(folder / ("x" * 200 + ".png"))
    make(tmp_path / "out", n=100, seed=0, folder=folder)
    manifest = read_manifest(tmp_path / "out")
    # "..png.png" is hidden; the rest is there, each with a file of its own.
    assert len(manifest) == len(names) - 1 + 2
    assert len({image.lower() for image in manifest["image"]}) == len(manifest)
    for row in manifest.itertuples():
        assert re.fullmatch(r"images/[A-Za-z0-9_-]{1,90}\.png", row.image)
        assert row.source.isprintable()
        assert (tmp_path / "out" / row.image).is_file()


def test_turned_transparent_and_gray_pictures_become_plain_rgb(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    picture(folder / "clear.png", (255, 0, 0, 0))
    Image.new("L", (10, 10), 77).save(folder / "gray.png")
    turned = Image.new("RGB", (20, 10), (9, 9, 9))
    exif = Image.Exif()
    exif[0x0112] = 6  # Lies on its side.
    turned.save(folder / "turned.png", exif=exif)
    Image.new("P", (10, 10), 0).save(folder / "index.gif")
    make(tmp_path / "out", n=9, seed=0, folder=folder)
    opened = {p.stem: Image.open(p) for p in (tmp_path / "out" / "images").iterdir()}
    assert {image.mode for image in opened.values()} == {"RGB"}
    assert opened["clear"].getpixel((3, 3)) == (255, 255, 255)
    assert opened["gray"].getpixel((3, 3)) == (77, 77, 77)
    assert opened["turned"].size == (10, 20)
    assert not opened["turned"].getexif()
    assert len(opened) == 4


def test_a_folder_of_no_use_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere is not there"):
        make(tmp_path / "out", n=5, seed=0, folder=tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty has no picture"):
        make(tmp_path / "out", n=5, seed=0, folder=tmp_path / "empty")
    (tmp_path / "empty" / "a.jpg").write_text("x")
    with pytest.raises(DataError, match=r"None of the 1 pictures .*a\.jpg \(not a picture\)"):
        make(tmp_path / "out", n=5, seed=0, folder=tmp_path / "empty")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty"]
