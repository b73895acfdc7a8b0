"""A folder of somebody's photographs, read with care: nothing in it is trusted."""

from __future__ import annotations

import csv
import io
import os
import re
import stat
import unicodedata
import warnings
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from lensbench.errors import DataError
from lensbench.lexicon import Lexicon

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
)
# Only decoders inside Pillow: others (EPS) start programs.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM")
LONGEST_SIDE = 448
MOST_PIXELS = 100_000_000
LABELS = "labels.csv"


@dataclass(frozen=True)
class Picture:
    """A file of the folder: where it is, its name to print, and its id, safe as a file name."""

    path: Path
    name: str
    slug: str


def find_pictures(folder: str | Path) -> list[Picture]:
    """Return the pictures in a folder and its subfolders, by suffix, sorted by name.

    Hidden files are left out and linked folders not entered.

    Raises:
        DataError: if the folder is missing or has no picture.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"The folder of pictures {root} is not there: correct its path.")
    found: list[tuple[str, Path]] = []
    for parent, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for file in files:
            path = Path(parent) / file
            if not file.startswith(".") and path.suffix.lower() in SUFFIXES:
                found.append((path.relative_to(root).as_posix(), path))
    if not found:
        raise DataError(
            f"The folder {root} has no picture ({', '.join(sorted(SUFFIXES))}): add some."
        )
    pictures, taken = [], set()
    for relative, path in sorted(found, key=lambda pair: os.fsencode(pair[0])):
        base = slug = _slug(relative)
        turn = 2
        while slug.lower() in taken:  # Names that differ only in what was cleaned away.
            slug, turn = f"{base}-{turn}", turn + 1
        taken.add(slug.lower())
        pictures.append(Picture(path, _printable(relative), slug))
    return pictures


def _slug(relative: str) -> str:
    """Return a relative path as one safe name: ASCII letters, digits, hyphens, underscores."""
    stem = unicodedata.normalize("NFKD", relative.rsplit(".", 1)[0])
    return re.sub(r"[^A-Za-z0-9_]+", "-", stem).strip("-_")[:80] or "picture"


def _printable(relative: str) -> str:
    """Return a file's name as text that can be stored and printed on one line."""
    text = os.fsencode(relative).decode("utf-8", "replace")
    return "".join(c if c.isprintable() else "\ufffd" for c in text)


def convert(picture: Picture, root: str | Path, target: Path) -> str:
    """Write a picture as RGB PNG, its longest side at most 448 pixels.

    Args:
        picture: what `find_pictures` gave for `root`.
        root: the folder that a link must not lead out of.
        target: the PNG to write.

    Returns:
        "" if it was written, else why not; then `target` is not there.
    """
    try:
        if not picture.path.resolve(strict=True).is_relative_to(Path(root).resolve()):
            return "a link out of the folder"
        if not stat.S_ISREG(picture.path.stat().st_mode):
            return "not a regular file"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(picture.path, formats=FORMATS) as opened:
                if opened.width * opened.height > MOST_PIXELS:
                    return f"larger than {MOST_PIXELS // 1_000_000} million pixels"
                # JPEGs are shrunk while they are decoded; others afterwards.
                opened.draft("RGB", (2 * LONGEST_SIDE, 2 * LONGEST_SIDE))
                flat = _flattened(ImageOps.exif_transpose(opened))
    except UnidentifiedImageError:
        return "not a picture"
    except Image.DecompressionBombError:
        return f"larger than {MOST_PIXELS // 1_000_000} million pixels"
    except OSError as error:
        return f"unreadable ({error.strerror or 'truncated or damaged'})"
    except Exception:  # Hostile bytes make Pillow's decoders raise anything: struct.error, …
        return "unreadable (damaged)"
    flat.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    flat.save(target, format="PNG")
    return ""


def _flattened(image: Image.Image) -> Image.Image:
    """Return a picture as RGB without metadata, what is transparent in it as white."""
    if image.has_transparency_data:
        layers = image.convert("RGBA")
        ground = Image.new("RGBA", layers.size, "white")
        image = Image.alpha_composite(ground, layers)
    plain = image.convert("RGB")
    plain.info = {}
    return plain


def read_labels(
    folder: str | Path, pictures: list[Picture], lexicon: Lexicon, family: str = "color"
) -> dict[str, str]:
    """Return the concept of each labeled picture, from the folder's labels.csv (file,color).

    Args:
        folder: the folder; if it has no labels.csv, nothing is labeled.
        pictures: what `find_pictures` gave for it.
        lexicon: says which concept a label means, in any of its languages.
        family: what the labels are, and the name of their column.

    Returns:
        name of the picture → concept id.

    Raises:
        DataError: if a column is missing, or a line names an unknown file, a file twice or an
            unknown color.
    """
    path = Path(folder) / LABELS
    if not path.exists():
        return {}
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} can't be read as UTF-8: save it again as UTF-8.") from error
    reader = csv.DictReader(io.StringIO(text, newline=""))
    if not {"file", family} <= set(reader.fieldnames or ()):
        raise DataError(f"{path} lacks the column file or {family}: its first line names both.")
    names = {picture.name for picture in pictures}
    labels: dict[str, str] = {}
    for line in reader:
        file = (line["file"] or "").strip().removeprefix("./")
        concept = (lexicon.find(line[family] or "") or ("", ""))[0]
        where = f"{path}, line {reader.line_num}"
        if file not in names:
            raise DataError(f"{where}: there is no picture {file!r} in the folder.")
        if file in labels:
            raise DataError(f"{where}: {file!r} has a label already: keep one.")
        if not concept.startswith(f"{family}:"):
            raise DataError(f"{where}: {line[family]!r} is no {family} of the lexicon: add it.")
        labels[file] = concept
    return labels
