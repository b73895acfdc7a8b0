"""Pictures as data URIs: what a page shows, and the thumbnail of its card."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps

from lensbench.errors import DataError, reason_of
from lensbench.pixels import FORMATS, as_rgb

#: Pixels of the longer side at most: of a page's picture, of a thumbnail.
LARGE, SMALL = 768, 160


@dataclass(frozen=True)
class Embedded:
    """A picture as it stands in a page."""

    uri: str
    width: int
    height: int


def embedded(path: str | Path) -> tuple[Embedded, Embedded]:
    """Return a picture, turned as its EXIF says, and its thumbnail.

    Raises:
        DataError: if it is missing or can't be read.
    """
    try:
        with Image.open(path, formats=FORMATS) as opened:
            picture = as_rgb(ImageOps.exif_transpose(opened))
    # Hostile bytes make Pillow's decoders raise anything: SyntaxError, struct.error, …
    except Exception as error:
        raise DataError(
            f"The picture {path} can't be read ({reason_of(error)}): make the dataset again."
        ) from None
    return _embed(picture, LARGE), _embed(picture, SMALL)


def _embed(picture: Image.Image, side: int) -> Embedded:
    small = picture.copy()
    small.thumbnail((side, side), Image.Resampling.LANCZOS)  # Never larger than it was.
    # Drawings are smaller, and exact, as PNG; photographs as JPEG.
    files = {"png": _bytes(small, "PNG", optimize=True), "jpeg": _bytes(small, "JPEG", quality=90)}
    kind = min(files, key=lambda name: len(files[name]))
    data = base64.b64encode(files[kind]).decode("ascii")
    return Embedded(f"data:image/{kind};base64,{data}", small.width, small.height)


def _bytes(picture: Image.Image, kind: str, **options: int | bool) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()
