"""Pixels of any kind of picture as plain RGB, as everyone sees them."""

from __future__ import annotations

import numpy as np
from PIL import Image

#: Only decoders inside Pillow: others (EPS) start programs.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM")
_ROWS = 256


class UnreadableError(Exception):
    """A picture is of no use, for the reason that its text gives."""


def as_rgb(image: Image.Image) -> Image.Image:
    """Return a picture as RGB without metadata: grays of 16 bits scaled, transparency as white.

    Args:
        image: decoded, of any mode.

    Raises:
        UnreadableError: if its pixels are no whole numbers, or of more than 16 bits.
    """
    image = _eight_bits(image)
    clear = image.info.get("transparency")
    if image.mode == "RGB" and isinstance(clear, tuple) and max(clear) > 255:
        # Names a color of 16 bits, of which Pillow has kept 8: it can't be told from others.
        image = image.copy()
        del image.info["transparency"]
    plain = _on_white(image) if image.has_transparency_data else image.convert("RGB")
    plain.info = {}
    return plain


def _on_white(image: Image.Image) -> Image.Image:
    """Return a picture with transparency as RGB on white, some rows at a time.

    All at once would take four pictures of the largest size that is read.
    """
    plain = Image.new("RGB", image.size, "white")
    for top in range(0, image.height, _ROWS):
        box = (0, top, image.width, min(image.height, top + _ROWS))
        layers = image.crop(box).convert("RGBA")
        ground = Image.new("RGBA", layers.size, "white")
        plain.paste(Image.alpha_composite(ground, layers).convert("RGB"), box)
    return plain


def _eight_bits(image: Image.Image) -> Image.Image:
    """Return a picture whose grays have 16 bits with the upper 8; others as they are.

    Pillow's own conversion cuts every value above 255 off to white.
    """
    if image.mode == "F":
        raise UnreadableError("pixels that are no whole numbers")
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image)
    if values.min() < 0 or values.max() >= 2**16:
        raise UnreadableError("pixels of more than 16 bits")
    grays = (values >> 8).astype(np.uint8)
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        grays[values == clear] = 255
    return Image.fromarray(grays)
