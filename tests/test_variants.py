"""Pictures as variants show them: sizes and pixels by hand."""

from __future__ import annotations

import pytest
from PIL import Image

from lensbench.errors import LensbenchError
from lensbench.variants import shown


def test_a_picture_is_shrunk_to_its_longer_side_and_never_enlarged():
    picture = Image.new("RGB", (400, 100), (10, 20, 30))
    assert shown(picture, "native") is picture
    assert shown(picture, "200").size == (200, 50)
    assert shown(picture.rotate(90, expand=True), "100").size == (25, 100)
    assert shown(picture, "3").size == (3, 1)
    assert shown(picture, "400") is picture
    assert shown(picture, "1000") is picture


def test_shrinking_averages_what_it_drops():
    # Columns of black and white, two pixels wide: at half the size, one gray between them each.
    picture = Image.new("RGB", (64, 8))
    for x in range(0, 64, 2):
        picture.paste((255, 255, 255), (x, 0, x + 1, 8))
    small = shown(picture, "32")
    inner = [small.getpixel((x, 2))[0] for x in range(4, 28)]
    assert all(100 <= value <= 155 for value in inner)


def test_a_blank_picture_has_the_size_and_one_gray():
    blank = shown(Image.effect_noise((30, 20), 90).convert("RGB"), "blank")
    assert blank.size == (30, 20)
    assert blank.getcolors() == [(600, (128, 128, 128))]


@pytest.mark.parametrize("name", ["0", "-5", "1.5", "", "Native", "²", "٣"])
def test_what_is_no_variant_is_refused(name):
    with pytest.raises(LensbenchError, match="can't be shown as"):
        shown(Image.new("RGB", (4, 4)), name)
