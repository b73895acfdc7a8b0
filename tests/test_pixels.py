"""Pixels of every mode, by hand; and that a look reads pictures as datasets do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

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
