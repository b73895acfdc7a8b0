from __future__ import annotations

import os
import re
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from lensbench import pixels
from lensbench.datasets import folder as folders
from lensbench.datasets.flowers import make
from lensbench.datasets.folder import LONGEST_SIDE, Picture, convert
from lensbench.datasets.manifest import read_manifest
from lensbench.errors import DataError
from lensbench.models import prompt
from lensbench.models.prompt import open_picture


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
    make(tmp_path / "result", n=100, seed=0, folder=photos, max_rejected=0.8)
    manifest = read_manifest(tmp_path / "result")
    reasons = {}
    for row in manifest.itertuples():
        reasons[row.source] = row.rejected
        assert (tmp_path / "result" / row.image).exists() == (not row.rejected), row.source
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
    said = r"10 of the 14 samples of flowers \(71%\) can't be read \(the first, bigger.png: larger"
    with pytest.raises(DataError, match=said):
        make(tmp_path / "more", n=100, seed=0, folder=photos)
    assert not (tmp_path / "more").exists()


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


def heic(path: Path, color: tuple[int, ...]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pillow_heif.from_pillow(Image.new("RGB", (64, 48), color)).save(path, quality=90)


@pytest.fixture
def phone(tmp_path: Path) -> Path:
    """Return a folder as telephones and browsers fill it: 3 .jpg, 17 .jfif, 20 .heic, and more."""
    folder = tmp_path / "phone"
    picture(folder / "0.jpg")
    for index in range(1, 3):
        shutil.copy(folder / "0.jpg", folder / f"{index}.jpg")
    for index in range(17):
        shutil.copy(folder / "0.jpg", folder / f"{index}.jfif")
    for index in range(20):
        heic(folder / f"{index:02d}.heic", (200, 30, 40))
    picture(folder / "new.avif", (10, 200, 30))
    picture(folder / "old.jp2", (10, 200, 30))
    shutil.copy(folder / "0.jpg", folder / "without suffix")
    (folder / "notes.txt").write_text("about")
    (folder / "labels.csv").write_text("file,color\n0.jpg,red\n3.jfif,blue\n")
    (folder / "link").symlink_to(tmp_path)
    (tmp_path / "secret.jfif").write_bytes((folder / "0.jpg").read_bytes())
    (folder / "away.jfif").symlink_to(tmp_path / "secret.jfif")
    os.mkfifo(folder / "pipe")
    return folder


LEFT = """\
1 of the folder's files left out (a link out of the folder): away.jfif
1 of the folder's files left out (a linked folder): link
1 of the folder's files left out (no picture): notes.txt
1 of the folder's files left out (not a regular file): pipe
"""


def test_pictures_are_told_by_content_and_what_is_left_out_is_said(
    tmp_path: Path, phone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path / "out", n=100, seed=0, folder=phone)
    manifest = read_manifest(tmp_path / "out").set_index("source")
    assert len(manifest) == 3 + 17 + 20 + 3
    assert set(manifest["rejected"]) == {""}
    assert manifest.loc["3.jfif", "gold"] == "color:blue"
    with Image.open(tmp_path / "out" / manifest.loc["07.heic", "image"]) as shown:
        assert abs(np.array(shown.getpixel((9, 9))) - (200, 30, 40)).max() < 8
    assert capsys.readouterr().err == LEFT


def test_without_pillow_heif_its_pictures_are_counted(
    tmp_path: Path, phone: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = tuple(name for name in pixels.FORMATS if name != "HEIF")
    for module in (pixels, folders, prompt):
        monkeypatch.setattr(module, "FORMATS", plain)
    make(tmp_path / "out", n=100, seed=0, folder=phone)
    assert len(read_manifest(tmp_path / "out")) == 3 + 17 + 3
    why = "HEIC, which needs pillow-heif: pip install pillow-heif"
    left = f"20 of the folder's files left out ({why}): 00.heic, 01.heic, 02.heic and 17 more\n"
    assert left in capsys.readouterr().err
    with pytest.raises(DataError, match=f"05.heic can't be read: it is {why}"):
        open_picture(phone / "05.heic")
    for path in phone.iterdir():
        if path.suffix != ".heic":
            path.unlink()
    with pytest.raises(DataError, match="has no picture"):
        make(tmp_path / "out", n=100, seed=0, folder=phone)
    assert left in capsys.readouterr().err


def test_a_folder_of_no_use_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere is not there"):
        make(tmp_path / "out", n=5, seed=0, folder=tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty has no picture"):
        make(tmp_path / "out", n=5, seed=0, folder=tmp_path / "empty")
    (tmp_path / "empty" / "a.jpg").write_text("x")
    with pytest.raises(DataError, match=r"None of the 1 samples .*a\.jpg: not a picture"):
        make(tmp_path / "out", n=5, seed=0, folder=tmp_path / "empty")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty"]


def converted(path: Path, out: Path) -> Image.Image:
    """Return what `convert` makes of a file."""
    picture = Picture(path, path.name, path.stem)
    made = convert(picture, path.parent, out)
    assert made.reason == "", made.reason
    with Image.open(out) as opened:
        assert (opened.mode, opened.size) == ("RGB", made.size)
        return opened.copy()


def test_pictures_are_taken_by_their_content_whatever_they_are_called(tmp_path: Path) -> None:
    for name, kind in (("a.png", "JPEG"), ("b.jpg", "PNG"), ("c.gif", "BMP"), ("d.bmp", "WEBP")):
        Image.new("RGB", (9, 5), (10, 200, 30)).save(tmp_path / name, format=kind)
        pixel = converted(tmp_path / name, tmp_path / "out.png").getpixel((4, 2))
        assert np.abs(np.array(pixel) - (10, 200, 30)).max() <= 4


def test_cmyk_becomes_the_color_that_is_seen(tmp_path: Path) -> None:
    # Ink of 0, 255, 255, 0 is pure red; no ink is white; black ink alone is black.
    inks = [(0, 255, 255, 0), (0, 0, 0, 0), (0, 0, 0, 255), (255, 0, 0, 0)]
    strip = Image.new("CMYK", (64, 16))
    for place, ink in enumerate(inks):
        strip.paste(ink, (16 * place, 0, 16 * place + 16, 16))
    for name in ("a.jpg", "a.tif"):
        strip.save(tmp_path / name)
        made = converted(tmp_path / name, tmp_path / "out.png")
        got = [made.getpixel((16 * place + 8, 8)) for place in range(4)]
        want = [(255, 0, 0), (255, 255, 255), (0, 0, 0), (0, 255, 255)]
        assert np.abs(np.array(got) - want).max() <= 6


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_sixteen_bits_become_their_upper_eight(tmp_path: Path, name: str) -> None:
    # Pillow alone would make 255 of all but the first two.
    values = np.array([[0, 255, 256, 0x1234, 0x8000, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / name)
    made = np.asarray(converted(tmp_path / name, tmp_path / "out.png"))
    assert made[0, :, 0].tolist() == [0, 0, 1, 0x12, 0x80, 255]
    assert (made == made[..., :1]).all()


def test_sixteen_bits_of_color_and_transparency(tmp_path: Path) -> None:
    def chunk(name: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + check

    def png(kind: int, samples: list[int], *more: bytes) -> bytes:
        n = len(samples) // {0: 1, 2: 3, 6: 4}[kind]
        row = b"\0" + struct.pack(f">{len(samples)}H", *samples)
        head = chunk(b"IHDR", struct.pack(">IIBBBBB", n, 1, 16, kind, 0, 0, 0))
        body = b"".join(more) + chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")
        return b"\x89PNG\r\n\x1a\n" + head + body

    path, out = tmp_path / "a.png", tmp_path / "out.png"
    path.write_bytes(png(2, [0x1234, 0x8000, 0xFFFF, 0, 0xFF00, 0xFF]))
    assert np.asarray(converted(path, out)).tolist() == [[[0x12, 0x80, 255], [0, 255, 0]]]
    path.write_bytes(png(6, [0x1234, 0x8000, 0xFFFF, 0xFFFF, 1, 2, 3, 0]))
    assert np.asarray(converted(path, out)).tolist() == [[[0x12, 0x80, 255], [255, 255, 255]]]
    # One gray, 0x1234, is said to be transparent.
    path.write_bytes(png(0, [0x1234, 0x1235, 0], chunk(b"tRNS", b"\x12\x34")))
    assert np.asarray(converted(path, out))[0, :, 0].tolist() == [255, 0x12, 0]
    path.write_bytes(png(2, [0x1234, 0, 0, 0, 0, 0xFFFF], chunk(b"tRNS", b"\x12\x34\0\0\0\0")))
    assert np.asarray(converted(path, out)).tolist() == [[[0x12, 0, 0], [0, 0, 255]]]


def test_pixels_that_no_one_can_scale_are_refused(tmp_path: Path) -> None:
    whole = Image.fromarray(np.array([[0, 70_000]], np.int32))
    real = Image.fromarray(np.array([[0.0, 0.5]], np.float32))
    for made, said in ((whole, "pixels of more than 16 bits"), (real, "that are no whole numbers")):
        path = tmp_path / "a.tif"
        made.save(path)
        reason = convert(Picture(path, "a.tif", "a"), tmp_path, tmp_path / "out.png").reason
        assert said in reason
    assert not (tmp_path / "out.png").exists()


def test_palettes_and_their_transparent_places(tmp_path: Path) -> None:
    image = Image.new("P", (4, 1))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9])
    for x in range(4):
        image.putpixel((x, 0), x)
    image.save(tmp_path / "a.png", transparency=1)
    image.save(tmp_path / "b.png", transparency=bytes([255, 255, 0, 255]))
    image.save(tmp_path / "c.gif", transparency=3)
    want = {"a.png": 1, "b.png": 2, "c.gif": 3}
    for name, clear in want.items():
        made = np.asarray(converted(tmp_path / name, tmp_path / "out.png"))[0].tolist()
        colors = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9]]
        colors[clear] = [255, 255, 255]
        assert made == colors, name


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tif"])
def test_of_an_animation_the_first_frame_is_taken(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "lime", "blue")]
    path = tmp_path / f"a.{suffix}"
    options = {"lossless": True} if suffix == "webp" else {}
    frames[0].save(path, save_all=True, append_images=frames[1:], **options)
    assert converted(path, tmp_path / "out.png").getpixel((4, 4)) == (255, 0, 0)


@pytest.mark.parametrize("turn", range(1, 9))
def test_pictures_are_turned_as_their_camera_says(tmp_path: Path, turn: int) -> None:
    upright = Image.fromarray(np.array([[[255, 0, 0], [0, 255, 0]]], np.uint8))  # 2 × 1
    stored = {
        1: upright,
        2: upright.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: upright.transpose(Image.Transpose.ROTATE_180),
        4: upright.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: upright.transpose(Image.Transpose.TRANSPOSE),
        6: upright.transpose(Image.Transpose.ROTATE_90),
        7: upright.transpose(Image.Transpose.TRANSVERSE),
        8: upright.transpose(Image.Transpose.ROTATE_270),
    }[turn]
    exif = Image.Exif()
    exif[0x0112] = turn
    for name in ("a.png", "a.tif"):
        stored.save(tmp_path / name, exif=exif)
        path = tmp_path / name
        made = convert(Picture(path, name, "a"), tmp_path, tmp_path / "out.png")
        assert (made.original, made.size) == ((2, 1), (2, 1)), name
        with Image.open(tmp_path / "out.png") as picture:
            assert [picture.getpixel((x, 0)) for x in (0, 1)] == [(255, 0, 0), (0, 255, 0)], name


def test_damaged_notes_of_a_camera_leave_the_picture_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (2, 1), (1, 2, 3)).save(path, exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert converted(path, tmp_path / "out.png").getpixel((0, 0)) == (1, 2, 3)


def test_smallest_largest_and_empty_files(tmp_path: Path) -> None:
    Image.new("RGB", (1, 1), (7, 8, 9)).save(tmp_path / "one.png")
    assert converted(tmp_path / "one.png", tmp_path / "out.png").getpixel((0, 0)) == (7, 8, 9)
    Image.new("L", (1, 5000), 3).save(tmp_path / "thin.png")
    assert converted(tmp_path / "thin.png", tmp_path / "out.png").size == (1, LONGEST_SIDE)
    # True pixels, 900 million of them, in a file of 110 kB.
    with (tmp_path / "bomb.png").open("wb") as stream:
        squeeze, row = zlib.compressobj(9), bytes(1 + 30_000 // 8)
        body = b"".join(squeeze.compress(row) for _ in range(30_000)) + squeeze.flush()
        stream.write(b"\x89PNG\r\n\x1a\n")
        head = struct.pack(">IIBBBBB", 30_000, 30_000, 1, 0, 0, 0, 0)
        for name, data in ((b"IHDR", head), (b"IDAT", body), (b"IEND", b"")):
            stream.write(struct.pack(">I", len(data)) + name + data)
            stream.write(struct.pack(">I", zlib.crc32(name + data)))
    assert (tmp_path / "bomb.png").stat().st_size < 200_000
    (tmp_path / "empty.jpg").write_bytes(b"")
    for name, said in (("bomb.png", "larger than 100 million pixels"), ("empty.jpg", "not a pict")):
        path = tmp_path / name
        made = convert(Picture(path, name, "a"), tmp_path, tmp_path / "none.png")
        assert made.reason.startswith(said)
        assert made.original == made.size == (0, 0)
    assert not (tmp_path / "none.png").exists()


def test_an_exact_size_is_reached_bilinearly_from_all_pixels(tmp_path: Path) -> None:
    path, out = tmp_path / "a.jpg", tmp_path / "out.png"
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (900, 1300, 3), dtype=np.uint8)).save(path, quality=95)
    made = convert(Picture(path, "a.jpg", "a"), tmp_path, out, size=(512, 512))
    assert (made.original, made.size) == ((1300, 900), (512, 512))
    with Image.open(path) as whole, Image.open(out) as small:
        want = whole.resize((512, 512), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(np.asarray(small), np.asarray(want))
    # Two pixels to four, by hand: a quarter of the way each time.
    Image.fromarray(np.array([[0, 100]], np.uint8)).save(tmp_path / "two.png")
    convert(Picture(tmp_path / "two.png", "two.png", "two"), tmp_path, out, size=(4, 1))
    with Image.open(out) as grown:
        assert np.asarray(grown)[0, :, 0].tolist() == [0, 25, 75, 100]


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "webp", "tif", "bmp", "ppm"])
def test_a_truncated_picture_is_never_taken_for_whole(tmp_path: Path, suffix: str) -> None:
    rng = np.random.default_rng(1)
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(path)
    whole = path.read_bytes()
    for cut in (1, 10, len(whole) // 3, len(whole) // 2, len(whole) - 200):
        path.write_bytes(whole[:cut])
        made = convert(Picture(path, path.name, "a"), tmp_path, tmp_path / "out.png")
        assert made.reason == "not a picture" or made.reason.startswith("unreadable"), cut
    assert not (tmp_path / "out.png").exists()


def test_a_photograph_that_is_square_once_shrunk_keeps_its_turned_size(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # Lies on its side; half of it, 897 × 897, is what is decoded.
    Image.new("RGB", (1793, 1794)).save(tmp_path / "a.jpg", exif=exif)
    made = convert(Picture(tmp_path / "a.jpg", "a.jpg", "a"), tmp_path, tmp_path / "out.png")
    assert (made.original, made.size) == ((1794, 1793), (448, 448))


def test_labels_of_names_that_print_alike_are_refused(tmp_path: Path) -> None:
    picture(tmp_path / os.fsdecode(b"\xff.png"))
    picture(tmp_path / os.fsdecode(b"\xfe.png"))
    (tmp_path / "labels.csv").write_text("file,color\n\ufffd.png,red\n", encoding="utf-8")
    with pytest.raises(DataError, match="line 2: 2 files of the folder print as"):
        make(tmp_path / "out", n=9, seed=0, folder=tmp_path)
