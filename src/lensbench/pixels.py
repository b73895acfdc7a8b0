"""Pixels of any kind of picture as plain RGB, as everyone sees them."""

from __future__ import annotations

import numpy as np
from PIL import Image


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
    if image.has_transparency_data:
        layers = image.convert("RGBA")
        ground = Image.new("RGBA", layers.size, "white")
        image = Image.alpha_composite(ground, layers)
    plain = image.convert("RGB")
    plain.info = {}
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
