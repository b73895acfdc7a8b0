"""A picture as a variant of a dataset shows it: as it is, shrunk to some size, or blank."""

from __future__ import annotations

from PIL import Image

from lensbench.errors import LensbenchError

NATIVE, BLANK = "native", "blank"
#: The gray of a blank picture: the middle of each channel, which normalisation takes to about 0.
_GRAY = (128, 128, 128)


def check_variant(name: str) -> None:
    """Refuse what is no variant.

    Raises:
        LensbenchError: unless it is "native", "blank" or a whole number of pixels.
    """
    if name in (NATIVE, BLANK):
        return
    if not (name.isascii() and name.isdecimal() and int(name) > 0):
        raise LensbenchError(
            f'A picture can\'t be shown as {name!r}: use "{NATIVE}", "{BLANK}" or the pixels of '
            'its longer side, such as "256".'
        )


def shown(picture: Image.Image, variant: str) -> Image.Image:
    """Return a picture as a variant shows it.

    Args:
        picture: RGB.
        variant: "native" (as it is), "blank" (one mid-gray of the same size), or a number: the
            longer side is shrunk to so many pixels, bilinear with anti-aliasing; never enlarged.

    Raises:
        LensbenchError: as `check_variant`.
    """
    check_variant(variant)
    if variant == NATIVE:
        return picture
    if variant == BLANK:
        return Image.new("RGB", picture.size, _GRAY)
    longest = max(picture.size)
    side = int(variant)
    if longest <= side:
        return picture
    width, height = (max(1, round(edge * side / longest)) for edge in picture.size)
    return picture.resize((width, height), Image.Resampling.BILINEAR)
