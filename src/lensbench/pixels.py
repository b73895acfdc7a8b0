"""Pixels of any kind of picture as plain RGB in sRGB, as everyone sees them."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms

#: Only decoders inside Pillow, and only formats told by their first bytes: others (EPS) start
#: programs, or take anything for a picture (TGA).
FORMATS: tuple[str, ...] = (
    *("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "AVIF", "JPEG2000"),
)
try:
    import pillow_heif

    pillow_heif.register_heif_opener()
    FORMATS = (*FORMATS, "HEIF")
except ImportError:  # An optional extra, heic.
    pass
HEIC = "HEIC, which needs pillow-heif: pip install pillow-heif"
#: What an HEIC file has as bytes 4 to 12.
_BRANDS = tuple(b"ftyp" + brand for brand in (b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1"))
_ROWS = 256
#: The color space, as ICC names it, of pixels of each mode.
_SPACES = {"RGB": "RGB ", "L": "GRAY", "CMYK": "CMYK", "LAB": "Lab "}
#: What pixels of other modes than RGB are converted from.
_MODES = {"1": "L", "L": "L", "LA": "L", "La": "L", "CMYK": "CMYK", "LAB": "LAB"}


class UnreadableError(Exception):
    """A picture is of no use, for the reason that its text gives."""


def needs_heif(path: Path) -> bool:
    """Say whether a file is an HEIC picture, and pillow-heif, which reads them, isn't there."""
    if "HEIF" in FORMATS:
        return False
    try:
        with path.open("rb") as stream:
            return stream.read(12)[4:] in _BRANDS
    except OSError:
        return False


def as_rgb(image: Image.Image, opened: Image.Image | None = None) -> Image.Image:
    """Return a picture as upright sRGB without metadata: what is transparent is white.

    An embedded ICC profile (Display P3, Adobe RGB, CMYK) is applied; one that is damaged, or for
    other pixels, is ignored as browsers do. Pixels without one are taken to be sRGB. Grays of 16
    bits keep their upper 8.

    Args:
        image: decoded, of any mode.
        opened: the picture of a file that `image` was turned from, which says how many bits its
            grays have; None if there is no file.

    Raises:
        UnreadableError: if it isn't known which value of its pixels is white: fractions, and whole
            numbers of 32 bits.
    """
    profile = image.info.get("icc_profile")
    image = _eight_bits(_full_range(image, opened))
    clear = image.info.get("transparency")
    if image.mode == "RGB" and isinstance(clear, tuple) and max(clear) > 255:
        # Names a color of 16 bits, of which Pillow has kept 8: it can't be told from others.
        image = image.copy()
        del image.info["transparency"]
    mode = _MODES.get(image.mode, "RGB")
    to_srgb = _transform(profile, mode)
    if image.has_transparency_data:
        plain = _on_white(image, mode, to_srgb)
    elif to_srgb is None:
        plain = image.convert("RGB")
    else:
        plain = _converted(image.convert(mode), to_srgb)
    plain.info = {}
    return plain


def _transform(profile: Any, mode: str) -> Any:
    """Return the conversion from an ICC profile to sRGB; None if there is none to make.

    Args:
        profile: its bytes, or None.
        mode: of the pixels, "RGB", "L", "CMYK" or "LAB", which needs no profile.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if mode == "LAB":
                source = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
            elif not profile:
                return None
            else:
                source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if source.profile.xcolor_space != _SPACES[mode]:
                return None
            return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


def _converted(image: Image.Image, transform: Any) -> Image.Image:
    done = ImageCms.applyTransform(image, transform)
    assert done is not None  # Only a conversion in place gives none.
    return done


def _on_white(image: Image.Image, mode: str, to_srgb: Any) -> Image.Image:
    """Return a picture with transparency as RGB on white, some rows at a time.

    All at once would take four pictures of the largest size that is read.
    """
    plain = Image.new("RGB", image.size, "white")
    for top in range(0, image.height, _ROWS):
        box = (0, top, image.width, min(image.height, top + _ROWS))
        layers = image.crop(box).convert("RGBA")
        if to_srgb is not None:
            colors = _converted(layers.convert("RGB").convert(mode), to_srgb)
            colors.putalpha(layers.getchannel("A"))
            layers = colors
        ground = Image.new("RGBA", layers.size, "white")
        plain.paste(Image.alpha_composite(ground, layers).convert("RGB"), box)
    return plain


def _full_range(image: Image.Image, opened: Image.Image | None) -> Image.Image:
    """Return a picture of a file whose deep grays go from 0, black, to 65,535, white."""
    kind = getattr(opened, "format", None)
    if kind == "PPM" and image.mode == "I":
        return image.convert("I;16")  # Pillow has scaled them by the file's own white.
    if kind != "TIFF" or not image.mode.startswith("I;16"):
        return image
    tags = opened.tag_v2  # type: ignore[union-attr]
    values = np.asarray(image).astype(np.uint16)
    bits = tags.get(258, (16,))[0]
    values <<= 16 - bits
    if tags.get(262) == 0:  # PhotometricInterpretation: white is zero.
        values = (2**bits - 1 << 16 - bits) - values
    ranged = Image.fromarray(values)
    ranged.info = dict(image.info)
    return ranged


def _eight_bits(image: Image.Image) -> Image.Image:
    """Return a picture whose grays have 16 bits with the upper 8; others as they are.

    Pillow's own conversion cuts every value above 255 off to white.
    """
    if image.mode == "F":
        raise UnreadableError("pixels that are no whole numbers: save it with 8 or 16 bits")
    if image.mode == "I":
        raise UnreadableError(
            "pixels of more than 16 bits, of which none is known to be white: save it with 8 or 16"
        )
    if not image.mode.startswith("I;"):
        return image
    values = np.asarray(image)
    grays = (values >> 8).astype(np.uint8)
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        grays[values == clear] = 255
    return Image.fromarray(grays)
