"""Pixels of every mode, by hand; and that a look reads pictures as datasets do."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from lensbench.datasets.folder import Picture, convert
from lensbench.errors import DataError
from lensbench.models.prompt import open_picture
from lensbench.pixels import UnreadableError, as_rgb
from lensbench.request import read_picture


def deep() -> Image.Image:
    """Return grays of 16 bits: 0, 1/4 and all of the range, and one below its first 8-bit step."""
    return Image.fromarray(np.array([[0, 0x4000, 0xFFFF, 0xFF]], dtype=np.uint16))


def clear() -> Image.Image:
    """Return one pixel red, one half red and one quite clear."""
    values = [[[255, 0, 0, 255], [255, 0, 0, 128], [9, 9, 9, 0]]]
    return Image.fromarray(np.array(values, dtype=np.uint8), "RGBA")


WANTED = {
    "deep": (deep(), [[0] * 3, [0x40] * 3, [255] * 3, [0] * 3]),
    # Half red over white: 255 - 128 of 255 in green and blue.
    "clear": (clear(), [[255, 0, 0], [255, 127, 127], [255, 255, 255]]),
}


@pytest.mark.parametrize("name", WANTED)
def test_every_way_in_gives_the_same_pixels(tmp_path: Path, name: str) -> None:
    image, wanted = WANTED[name]
    path = tmp_path / f"{name}.png"
    image.save(path)
    assert not convert(Picture(path, path.name, name), tmp_path, tmp_path / "out.png").reason
    ways = {
        "pixels": as_rgb(image),
        "look": read_picture(image),
        "path": read_picture(path),
        "bytes": read_picture(path.read_bytes()),
        "sample": open_picture(path),
        "dataset": Image.open(tmp_path / "out.png"),
    }
    for way, got in ways.items():
        assert np.asarray(got)[0].tolist() == wanted, way


def test_pixels_without_a_plain_rgb_are_refused(tmp_path: Path) -> None:
    floats = Image.fromarray(np.zeros((2, 2), dtype=np.float32))
    with pytest.raises(UnreadableError, match="no whole numbers"):
        as_rgb(floats)
    with pytest.raises(DataError, match="can't be read: it has pixels that are no whole numbers"):
        read_picture(floats)
    floats.save(tmp_path / "f.tif")
    with pytest.raises(DataError, match=r"f\.tif can't be read: it has pixels that are no whole"):
        open_picture(tmp_path / "f.tif")
    with pytest.raises(UnreadableError, match="more than 16 bits"):
        as_rgb(Image.fromarray(np.array([[2**16]], dtype=np.int32)))


def as_s15(*values: float) -> bytes:
    return b"".join(round(value * 65536).to_bytes(4, "big", signed=True) for value in values)


def p3_profile() -> bytes:
    """Return Display P3: sRGB's own curve and white, with the primaries of P3 (adapted to D50)."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    # Published XYZ of the primaries, as macOS's "Display P3.icc" has them.
    primaries = {
        b"rXYZ": (0.51512, 0.24120, -0.00105),
        b"gXYZ": (0.29198, 0.69225, 0.04189),
        b"bXYZ": (0.15710, 0.06657, 0.78407),
    }
    (count,) = struct.unpack(">I", profile[128:132])
    for index in range(count):
        name, offset, _ = struct.unpack(">4sII", profile[132 + 12 * index : 144 + 12 * index])
        if name in primaries:
            profile[offset + 8 : offset + 20] = as_s15(*primaries[name])
    return bytes(profile)


def cmyk_profile() -> bytes:
    """Return a printer whose paper is white, whose cyan, magenta and yellow print middle gray.

    A table of 2 points an ink: Lab (100, 0, 0) without ink, (0, 0, 0) with black, else (50, 0, 0).
    """
    straight = bytes(range(256))
    # The last ink, black, goes fastest.
    lightness = [255, 0, *[128, 0] * 7]
    corners = b"".join(bytes([value, 128, 128]) for value in lightness)
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + as_s15(1, 0, 0, 0, 1, 0, 0, 0, 1)
    table += straight * 4 + corners + straight * 3
    white = b"XYZ " + bytes(4) + as_s15(0.9642, 1.0, 0.8249)
    start = 132 + 12 * 2
    tags = struct.pack(">I4sII", 2, b"A2B0", start, len(table))
    tags += struct.pack(">4sII", b"wtpt", start + len(table), len(white))
    body = tags + table + white
    head = struct.pack(
        ">I4sI4s4s4s", 128 + len(body), b"none", 0x02400000, b"prtr", b"CMYK", b"Lab "
    )
    head += bytes(12) + b"acsp" + bytes(28) + as_s15(0.9642, 1.0, 0.8249)
    return head.ljust(128, b"\0") + body


def p3_as_srgb(color: tuple[int, ...]) -> list[int]:
    """Return what a color of Display P3 is in sRGB, from the published matrices alone."""
    # D65 both: linear P3 → XYZ (SMPTE EG 432-1) → linear sRGB (IEC 61966-2-1).
    to_xyz = np.array([[0.48657, 0.26567, 0.19822], [0.22897, 0.69174, 0.07929],
                       [0.00000, 0.04511, 1.04394]])  # fmt: skip
    to_rgb = np.array([[3.24045, -1.53714, -0.49853], [-0.96927, 1.87601, 0.04156],
                       [0.05564, -0.20403, 1.05723]])  # fmt: skip
    values = np.array(color) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    linear = np.clip(to_rgb @ to_xyz @ linear, 0, 1)
    shown = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return [round(255 * value) for value in shown]


@pytest.mark.parametrize("color", [(200, 60, 60), (60, 160, 90), (128, 128, 128), (250, 240, 200)])
def test_display_p3_is_shown_in_srgb(tmp_path: Path, color: tuple[int, int, int]) -> None:
    wanted = np.array(p3_as_srgb(color))
    profile = p3_profile()
    plain, half = Image.new("RGB", (4, 4), color), Image.new("RGBA", (4, 4), (*color, 128))
    for name, image, goal in [
        ("a.png", plain, wanted),
        ("a.tif", plain, wanted),
        ("p.png", plain.quantize(4), wanted),
        # Half of it over white, 128 of 255.
        ("half.png", half, 255 + (wanted - 255) * 128 / 255),
    ]:
        image.save(tmp_path / name, icc_profile=profile)
        got = np.asarray(open_picture(tmp_path / name))[1, 1].astype(int)
        assert abs(got - goal).max() <= 1.5, (name, got, goal)
    if len(set(color)) > 1:
        assert abs(wanted - color).max() >= 5, "the profile would make no difference"
    out = convert(Picture(tmp_path / "a.png", "a.png", "a"), tmp_path, tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as made:
        assert not out.reason
        assert abs(np.asarray(made)[1, 1].astype(int) - wanted).max() <= 1
        assert "icc_profile" not in made.info


def test_inks_are_shown_as_their_profile_says(tmp_path: Path) -> None:
    inks = Image.new("CMYK", (2, 2), (0, 0, 0, 0))
    inks.putpixel((1, 1), (255, 0, 0, 0))
    inks.save(tmp_path / "a.tif", icc_profile=cmyk_profile())
    got = np.asarray(open_picture(tmp_path / "a.tif")).astype(int)
    # L* 50 is a luminance of 18.4 %, in sRGB 119; cyan it is without a profile.
    assert abs(got[1, 1] - 119).max() <= 2
    assert abs(got[0, 0] - 255).max() <= 2
    inks.save(tmp_path / "b.tif")
    assert np.asarray(open_picture(tmp_path / "b.tif"))[1, 1].tolist() == [0, 255, 255]


def test_lab_is_shown_in_srgb(tmp_path: Path) -> None:
    Image.new("LAB", (2, 2), (128, 128, 128)).save(tmp_path / "a.tif")
    got = np.asarray(open_picture(tmp_path / "a.tif")).astype(int)
    assert abs(got - 119).max() <= 2


@pytest.mark.parametrize(
    "profile", [b"none", p3_profile()[:200], cmyk_profile()], ids=["junk", "cut", "of inks"]
)
def test_a_profile_that_is_none_of_these_pixels_changes_nothing(
    tmp_path: Path, profile: bytes
) -> None:
    Image.new("RGB", (2, 2), (200, 60, 60)).save(tmp_path / "a.png", icc_profile=profile)
    assert np.asarray(open_picture(tmp_path / "a.png"))[0, 0].tolist() == [200, 60, 60]


def tiff(values: list[int], bits: int, photometric: int = 1, sign: int = 1) -> bytes:
    """Return a TIFF file of one row of grays."""
    if bits == 12:
        packed = "".join(f"{value:03x}" for value in values)
        data = bytes.fromhex(packed.ljust(-(-len(packed) // 2) * 2, "0"))
    else:
        data = b"".join(value.to_bytes(bits // 8, "little", signed=sign == 2) for value in values)
    tags = [(256, len(values)), (257, 1), (258, bits), (259, 1), (262, photometric), (273, 8),
            (277, 1), (278, 1), (279, len(data)), (339, sign)]  # fmt: skip
    data = data.ljust(-(-len(data) // 2) * 2, b"\0")
    head = b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags))
    return head + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags) + bytes(4)


@pytest.mark.parametrize(
    ("values", "bits", "photometric", "wanted"),
    [
        ([0, 1 << 14, 65535], 16, 1, [0, 64, 255]),
        ([0, 3 << 14, 65535], 16, 0, [255, 63, 0]),  # White is zero.
        ([0, 1 << 10, 4095], 12, 1, [0, 64, 255]),
    ],
)
def test_deep_grays_of_a_tiff_are_scaled_by_their_bits(
    tmp_path: Path, values: list[int], bits: int, photometric: int, wanted: list[int]
) -> None:
    (tmp_path / "a.tif").write_bytes(tiff(values, bits, photometric))
    assert np.asarray(open_picture(tmp_path / "a.tif"))[0, :, 1].tolist() == wanted
    pictured = Picture(tmp_path / "a.tif", "a.tif", "a")
    assert not convert(pictured, tmp_path, tmp_path / "a.png").reason
    assert np.asarray(Image.open(tmp_path / "a.png"))[0, :, 1].tolist() == wanted


@pytest.mark.parametrize(("bits", "sign"), [(32, 1), (32, 2), (16, 2)])
def test_grays_without_a_white_are_refused_and_not_black(
    tmp_path: Path, bits: int, sign: int
) -> None:
    (tmp_path / "a.tif").write_bytes(tiff([0, 128, 255], bits, sign=sign))
    with pytest.raises(DataError, match=r"a\.tif can't be read: .*white: save it with 8 or 16"):
        open_picture(tmp_path / "a.tif")
    pictured = Picture(tmp_path / "a.tif", "a.tif", "a")
    assert "save it with 8 or 16" in convert(pictured, tmp_path, tmp_path / "a.png").reason


def test_grays_of_a_pgm_are_scaled_by_its_own_white(tmp_path: Path) -> None:
    (tmp_path / "a.pgm").write_bytes(b"P5 3 1 1000\n" + struct.pack(">3H", 0, 500, 1000))
    got = np.asarray(open_picture(tmp_path / "a.pgm"))[0, :, 0].tolist()
    assert got == [0, 128, 255]  # Half of 65,535, rounded up.


@pytest.mark.parametrize("mode", ["L", "I;16", "RGB", "CMYK"])
def test_raw_pixels_that_a_camera_turned_stand_upright(tmp_path: Path, mode: str) -> None:
    # The left quarter is white; turned by a quarter (6), the top one is.
    plain = np.zeros((20, 40), dtype=np.uint16 if mode == "I;16" else np.uint8)
    plain[:, :10] = 65535 if mode == "I;16" else 255
    exif = Image.Exif()
    exif[274] = 6
    made = Image.fromarray(plain)
    (made if mode in ("L", "I;16") else made.convert(mode)).save(tmp_path / "a.tif", exif=exif)
    wanted = np.zeros((40, 20), dtype=np.uint8)
    wanted[:10] = 255
    picture = Picture(tmp_path / "a.tif", "a.tif", "a")
    converted = convert(picture, tmp_path, tmp_path / "out.png")
    assert (converted.original, converted.size) == ((20, 40), (20, 40))
    for shown in (open_picture(tmp_path / "a.tif"), Image.open(tmp_path / "out.png")):
        assert np.asarray(shown.convert("L")).tolist() == wanted.tolist()
