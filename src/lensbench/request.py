"""What may be asked of a lens: words, a picture, and what is wanted of the layers."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from lensbench.errors import DataError, LensbenchError
from lensbench.models.prompt import open_picture
from lensbench.pixels import UnreadableError, as_rgb

LENSES = ("normed", "raw")
STYLES = ("chat", "plain")
POSITIONS = ("answer", "prompt", "image")

Picture = str | Path | bytes | Image.Image


def check_request(
    text: Any, max_new_tokens: Any, k: Any, lens: Any, style: Any, positions: Any
) -> None:
    """Check what `Lens` is called with, whatever the model.

    Raises:
        LensbenchError: naming the first argument that can't be used.
    """
    if not isinstance(text, str) or not text.strip():
        raise DataError("There is nothing to ask: give the words as text.")
    for name, value in (("max_new_tokens", max_new_tokens), ("k", k)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise LensbenchError(f"{name} is {value!r}: use a whole number, 1 or more.")
    choices: Sequence[tuple[str, Any, Sequence[str]]] = (
        ("lens", lens, LENSES), ("style", style, STYLES), ("positions", positions, POSITIONS),
    )  # fmt: skip
    for name, value, allowed in choices:
        if value not in allowed:
            known = " or ".join(f'"{choice}"' for choice in allowed)
            raise LensbenchError(f"{name} is {value!r}: use {known}.")


def read_picture(image: Picture) -> Image.Image:
    """Return a picture as RGB, turned as its camera says.

    Args:
        image: a path, the bytes of a file or a PIL image.

    Raises:
        DataError: if it is missing, no picture, cut short or so large that it may be an attack.
    """
    if isinstance(image, bytes | bytearray | memoryview):
        # Through a file: there is one way in, with its guards.
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "given as bytes"
            path.write_bytes(image)
            return open_picture(path)
    if isinstance(image, Image.Image):
        try:
            return as_rgb(ImageOps.exif_transpose(image))
        except UnreadableError as error:
            raise DataError(f"The picture given can't be read: it has {error}.") from error
        # Pillow reads files late, and its readers raise anything for damaged ones.
        except Exception as error:
            raise DataError("The picture given can't be read: it is damaged.") from error
    if isinstance(image, str) and image.startswith(("http://", "https://")):
        raise DataError(f"{image} is an address: download the picture and name its file.")
    if isinstance(image, str | Path):
        return open_picture(Path(image).expanduser())
    raise DataError(
        f"A picture is a path, the bytes of a file or a PIL image, not {type(image).__name__}."
    )
