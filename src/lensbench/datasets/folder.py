"""A folder of somebody's photographs, read with care: nothing in it is trusted."""

from __future__ import annotations

import csv
import io
import os
import re
import stat
import sys
import unicodedata
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from tqdm import tqdm

from lensbench.answers import read_answer
from lensbench.errors import DataError
from lensbench.lexicon import Lexicon
from lensbench.pixels import FORMATS, HEIC, UnreadableError, as_rgb, needs_heif

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
)
LONGEST_SIDE = 448
MOST_PIXELS = 100_000_000
_TOO_LARGE = f"larger than {MOST_PIXELS // 1_000_000} million pixels"
IMAGES = "images"
LABELS = "labels.csv"


@dataclass(frozen=True)
class Picture:
    """A file of the folder: where it is, its name to print, and its id, safe as a file name."""

    path: Path
    name: str
    slug: str


def find_pictures(folder: str | Path, any_suffix: bool = False) -> list[Picture]:
    """Return the pictures in a folder and its subfolders, by content, sorted by name.

    A file that is called a picture comes too if it can't be read, for `convert` to say why. Hidden
    files are left out and linked folders not entered.

    Args:
        folder: where they are.
        any_suffix: whether every other file comes too, as one of them may be asked about.

    Raises:
        DataError: if the folder is missing or has no picture.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"The folder of pictures {root} is not there: correct its path.")
    found = [
        (path.relative_to(root).as_posix(), path)
        for path in _files_of(root)
        if not (path.is_dir() if any_suffix else _why_left_out(path, root))
    ]
    if not found:
        tell_left_out(root)
        raise DataError(f"The folder {root} has no picture ({', '.join(FORMATS)}): add some.")
    pictures, taken = [], set()
    # Usual suffixes first: what lies beside the pictures must not change their slugs.
    order = sorted(
        found, key=lambda pair: (pair[1].suffix.lower() not in SUFFIXES, os.fsencode(pair[0]))
    )
    for relative, path in order:
        base = slug = _slug(relative)
        turn = 2
        while slug.lower() in taken:  # Names that differ only in what was cleaned away.
            slug, turn = f"{base}-{turn}", turn + 1
        taken.add(slug.lower())
        pictures.append(Picture(path, _printable(relative), slug))
    return pictures


def tell_left_out(folder: str | Path) -> None:
    """Print what of a folder `find_pictures` left out, and why: one line a reason."""
    root = Path(folder)
    left: dict[str, list[str]] = {}
    for path in _files_of(root):
        reason = "" if path == root / LABELS else _why_left_out(path, root)
        if reason:
            left.setdefault(reason, []).append(_printable(path.relative_to(root).as_posix()))
    for reason, names in sorted(left.items()):
        names.sort()
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        print(
            f"{len(names)} of the folder's files left out ({reason}): {', '.join(names[:3])}{more}",
            file=sys.stderr,
        )


def _files_of(root: Path) -> Iterator[Path]:
    """Yield what isn't hidden in a folder and its subfolders; a linked folder as one thing."""
    for parent, folders, files in os.walk(root):
        shown = sorted(name for name in folders if not name.startswith("."))
        folders[:] = [name for name in shown if not os.path.islink(os.path.join(parent, name))]
        linked = [name for name in shown if name not in folders]
        for name in [*files, *linked]:
            if not name.startswith("."):
                yield Path(parent) / name


def _why_left_out(path: Path, root: Path) -> str:
    """Return why a file is no picture of a folder; "" if it is one, or called one."""
    if path.is_dir():
        return "a linked folder"
    if path.suffix.lower() in SUFFIXES:
        return ""
    reason = _why_closed(path, root)
    if reason:
        return reason
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=FORMATS):
                return ""
    except Image.DecompressionBombError:
        return ""  # A picture, which `convert` will refuse.
    except Exception:  # Hostile bytes make Pillow's readers raise anything.
        return HEIC if needs_heif(path) else "no picture"


def _why_closed(path: Path, root: str | Path) -> str:
    """Return why a file must not be opened, or ""."""
    try:
        if not path.resolve(strict=True).is_relative_to(Path(root).resolve()):
            return "a link out of the folder"
        return "" if stat.S_ISREG(path.stat().st_mode) else "not a regular file"
    except OSError as error:
        return f"unreadable ({error.strerror})"
    except RuntimeError:
        return "unreadable (a link that leads to itself)"


def by_name(pictures: Sequence[Picture]) -> dict[str, list[Picture]]:
    """Return printed name → the pictures that have it, for `picture_named`."""
    named: dict[str, list[Picture]] = {}
    for picture in pictures:
        named.setdefault(_composed(picture.name), []).append(picture)
    return named


def picture_named(name: str, named: Mapping[str, Sequence[Picture]], where: str) -> Picture:
    """Return the picture that somebody names in a file.

    Args:
        name: path inside the folder, in any of Unicode's spellings of it.
        named: what `by_name` gave.
        where: file and line, for the error's sentence.

    Raises:
        DataError: if no picture has that name, or several that print alike.
    """
    found = named.get(_composed(name.removeprefix("./")), ())
    if not found:
        raise DataError(f"{where}: there is no picture {name!r} in the folder.")
    if len(found) > 1:
        raise DataError(
            f"{where}: {len(found)} files of the folder print as {name!r}: rename them."
        )
    return found[0]


def _composed(name: str) -> str:
    """Return a name in one of Unicode's spellings: file systems and editors use different ones."""
    return unicodedata.normalize("NFC", name)


def _slug(relative: str) -> str:
    """Return a relative path as one safe name: ASCII letters, digits, hyphens, underscores."""
    stem = unicodedata.normalize("NFKD", relative.rsplit(".", 1)[0])
    return re.sub(r"[^A-Za-z0-9_]+", "-", stem).strip("-_")[:80] or "picture"


def _printable(relative: str) -> str:
    """Return a file's name as text that can be stored and printed on one line."""
    text = os.fsencode(relative).decode("utf-8", "replace")
    return "".join(c if c.isprintable() else "\ufffd" for c in text)


@dataclass(frozen=True)
class Converted:
    """What became of a picture.

    Args:
        reason: why it can't be read, or "".
        original: width and height in pixels, turned as its camera says; (0, 0) if unread.
        size: width and height in pixels of what was written; (0, 0) if unread.
    """

    reason: str
    original: tuple[int, int] = (0, 0)
    size: tuple[int, int] = (0, 0)


def convert(
    picture: Picture, root: str | Path, target: Path, size: tuple[int, int] | None = None
) -> Converted:
    """Write a picture as sRGB PNG: the first frame, upright, 8 bits, what is transparent as white.

    Args:
        picture: where it is, `root` or a folder inside it.
        root: the folder that a link must not lead out of.
        target: the PNG to write; not there afterwards if the picture can't be read.
        size: width and height in pixels to resize it to, bilinearly; None to shrink it until its
            longest side is at most 448 pixels.
    """
    closed = _why_closed(picture.path, root)
    if closed:
        return Converted(closed)
    try:
        flat, original = _read(picture.path, draft=size is None)
    except UnreadableError as error:
        return Converted(str(error))
    except UnidentifiedImageError:
        return Converted(HEIC if needs_heif(picture.path) else "not a picture")
    except Image.DecompressionBombError:
        return Converted(_TOO_LARGE)
    except OSError as error:
        return Converted(f"unreadable ({error.strerror or 'truncated or damaged'})")
    except Exception:  # Hostile bytes make Pillow's decoders raise anything: struct.error, …
        return Converted("unreadable (damaged)")
    if size is None:
        flat.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    else:
        flat = flat.resize(size, Image.Resampling.BILINEAR)
    flat.save(target, format="PNG")
    return Converted("", original, flat.size)


def convert_all(
    pictures: Sequence[Picture],
    root: str | Path | None,
    place: Path,
    size: tuple[int, int] | None = None,
) -> list[Converted]:
    """Convert pictures into the folder `images` of a dataset, each to `image_of` it.

    Args:
        pictures: each with another slug.
        root: as `convert` takes it; None for each picture's own folder.
        place: the dataset's folder, where `images` is made.
        size: as `convert` takes it.
    """
    (place / IMAGES).mkdir(exist_ok=True)
    bar = tqdm(pictures, desc="pictures", unit="picture", disable=None)
    return [
        convert(each, each.path.parent if root is None else root, place / image_of(each), size)
        for each in bar
    ]


def image_of(picture: Picture) -> str:
    """Return where in a dataset's folder a picture goes."""
    return f"{IMAGES}/{picture.slug}.png"


def _read(path: Path, draft: bool) -> tuple[Image.Image, tuple[int, int]]:
    """Return a picture as upright RGB, and the width and height that it has upright.

    Args:
        path: a regular file.
        draft: whether a JPEG may be shrunk while it is decoded, which saves most of the time.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # By content, whatever the file is called; a stream, as in `open_picture`.
        with open(path, "rb") as stream, Image.open(stream, formats=FORMATS) as opened:
            width, height = opened.size
            if width * height > MOST_PIXELS:
                raise UnreadableError(_TOO_LARGE)
            if draft:
                opened.draft("RGB", (2 * LONGEST_SIDE, 2 * LONGEST_SIDE))
            opened.load()
            try:
                # Not told from the sizes: a draft may be square where the picture isn't.
                lies = opened.getexif().get(ExifTags.Base.Orientation) in (5, 6, 7, 8)
                upright = ImageOps.exif_transpose(opened)
            except Exception:  # The camera's notes are damaged, the pixels are whole.
                lies, upright = False, opened.copy()
    return as_rgb(upright, opened), (height, width) if lies else (width, height)


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
    named = by_name(pictures)
    labels: dict[str, str] = {}
    reader = csv.DictReader(io.StringIO(text, newline=""))
    try:
        if not {"file", family} <= set(reader.fieldnames or ()):
            raise DataError(f"{path} lacks the column file or {family}: its first line names both.")
        for line in reader:
            file = (line["file"] or "").strip()
            label = read_answer(line[family] or "", family, lexicon)
            where = f"{path}, line {reader.line_num}"
            name = picture_named(file, named, where).name
            if name in labels:
                raise DataError(f"{where}: {file!r} has a label already: keep one.")
            if label is None:
                raise DataError(f"{where}: {line[family]!r} is no {family} of the lexicon: add it.")
            labels[name] = label.concept
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: it is no CSV ({error}).") from error
    return labels
