"""The manifest: one row a sample, written and read with the same checks."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from lensbench.errors import DataError
from lensbench.files import atomic_path, is_nameable, sha256_of
from lensbench.lexicon import LANGUAGES
from lensbench.parquets import DamagedError, read_columns, schema_of

FILE_NAME = "manifest.parquet"
KINDS: tuple[str, ...] = ("image", "text")
STYLES: tuple[str, ...] = ("chat", "completion")
COLUMNS: tuple[str, ...] = (
    "sample_id",
    "kind",
    "image",
    "picture",
    "prompt",
    "style",
    "gold",
    "language",
    "family",
    "objects",
    "source",
    "rejected",
)
_SCHEMA = pa.schema([pa.field(name, pa.string(), nullable=name == "image") for name in COLUMNS])
#: Key of the file's metadata that holds what is known of the whole manifest, as JSON.
_ABOUT = b"lensbench"
#: Short enough for the names of files that are made of it.
_SAMPLE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_CONCEPT = re.compile(r"[a-z0-9][a-z0-9-]*:[a-z0-9][a-z0-9-]*")


@contextmanager
def building(out: str | Path, name: str, n: int) -> Iterator[Path]:
    """Yield an empty folder that becomes `out` when the block has filled it, and else vanishes.

    Args:
        out: the dataset's folder; what stood there is replaced.
        name: the dataset's name, for the error's sentence.
        n: how many samples are asked for.

    Raises:
        DataError: if n is no positive whole number, or `out` is a file.
    """
    if isinstance(n, bool) or not isinstance(n, int) or n <= 0:
        raise DataError(f"The dataset {name} would be empty (n is {n!r}): set n to 1 or more.")
    if Path(out).exists() and not Path(out).is_dir():
        raise DataError(f"{out} is a file where the dataset {name} needs a folder: move it away.")
    with atomic_path(out) as folder:
        folder.mkdir()
        yield folder


def write_manifest(
    folder: str | Path, frame: pd.DataFrame, selection: Mapping[str, Any] | None = None
) -> None:
    """Check a manifest and write it to its folder, sorted by sample_id.

    The bytes depend on the rows, on what selected them and on the bytes of the pictures that are
    there, and on nothing else.

    Args:
        folder: where `manifest.parquet` goes; the paths in `image` are relative to it.
        frame: one row a sample, with the columns of `COLUMNS` but `picture`, which is made here:
            the first sample that shows the same picture, by the file's content or, where no file
            is, its path; the sample itself where there is no picture. All are text, only `image`
            may be null. `gold` is a concept id, or "" where the answer is not known; `rejected` is
            the reason why the sample can't be read, or "".
        selection: what selected the samples, as JSON can hold it, for `read_about`.

    Raises:
        DataError: if a column is missing or unknown, or a value is not allowed.
    """
    path = Path(folder) / FILE_NAME
    names = [name for name in COLUMNS if name != "picture"]
    _check_names(list(frame.columns), path, names)
    checked = _checked(frame.assign(picture=frame["sample_id"]), path)
    about: dict[str, Any] = {}
    images = {name for name in checked["image"] if name is not None}
    digests = {
        image: sha256_of(Path(folder) / image)
        for image in sorted(images)
        if (Path(folder) / image).is_file()
    }
    if images:
        lines = "".join(f"{digest}  {image}\n" for image, digest in digests.items())
        about["pictures"] = hashlib.sha256(lines.encode()).hexdigest()
    shown = checked["image"].map(lambda image: digests.get(image, image))
    first = checked.groupby(shown, sort=False)["sample_id"].transform("first")
    checked["picture"] = first.where(shown.notna(), checked["sample_id"])
    if selection is not None:
        about["selection"] = dict(selection)
    schema = _SCHEMA.with_metadata({_ABOUT: json.dumps(about, sort_keys=True).encode()})
    columns = {name: pa.array(checked[name].tolist(), pa.string()) for name in COLUMNS}
    with atomic_path(path) as temporary:
        # No pandas metadata, which names versions.
        pq.write_table(pa.table(columns, schema=schema), temporary, compression="zstd")


def read_about(folder: str | Path) -> dict[str, Any]:
    """Return what a dataset's manifest says about itself.

    Returns:
        `pictures`, the SHA-256 over a line "<SHA-256 of the file>  <path>" for each picture that
        was there (not of a text dataset), and `selection`, what selected the samples (where the
        dataset says it); empty if the file says nothing.

    Raises:
        DataError: if the manifest is missing or damaged.
    """
    path = Path(folder) / FILE_NAME
    if not path.is_file():
        raise DataError(f"There is no manifest {path}: make the dataset first.")
    try:
        about = json.loads((schema_of(path).metadata or {}).get(_ABOUT, b"{}"))
    except (DamagedError, ValueError, RecursionError) as error:
        raise DataError(f"The manifest {path} is damaged: delete it and make it again.") from error
    if not isinstance(about, dict):
        raise DataError(f"The manifest {path} is damaged: delete it and make it again.")
    return about


def storable(text: str) -> bool:
    """Return whether a text can be stored: JSON allows half a character, a file doesn't."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def check_rejected(frame: pd.DataFrame, share: float, name: str) -> None:
    """Refuse a dataset of which too many samples can't be read.

    Args:
        frame: one row a sample, with the columns `source` and `rejected`.
        share: what part of the samples may be rejected, 0 to 1.
        name: the dataset's name, for the error's sentence.

    Raises:
        DataError: if more than that share is rejected, or every sample is.
    """
    bad = frame[frame["rejected"] != ""]
    if bad.empty:
        return
    first = f"{bad['source'].iloc[0]}: {bad['rejected'].iloc[0]}"
    if len(bad) == len(frame):
        raise DataError(
            f"None of the {len(frame)} samples of {name} can be read (the first, {first}): "
            "replace them."
        )
    if len(bad) / len(frame) > share:
        raise DataError(
            f"{len(bad)} of the {len(frame)} samples of {name} ({len(bad) / len(frame):.0%}) can't "
            f"be read (the first, {first}), more than max_rejected, {share:g}, allows: replace "
            "them or allow more."
        )


def read_manifest(folder: str | Path) -> pd.DataFrame:
    """Read and check the manifest of a dataset.

    Returns:
        One row a sample, sorted by sample_id, with the columns of `COLUMNS` as Python strings;
        `image` is None where there is no picture.

    Raises:
        DataError: if it is missing, damaged, empty or holds a value that is not allowed.
    """
    path = Path(folder) / FILE_NAME
    if not path.is_file():
        raise DataError(f"There is no manifest {path}: make the dataset first.")
    try:
        names = schema_of(path).names
        _check_names(names, path)
        table = read_columns(path, dict.fromkeys(COLUMNS, pa.string()))
    except DamagedError as error:
        raise DataError(f"The manifest {path} {error}: delete it and make it again.") from error
    return _checked(table.to_pandas(), path)


def _checked(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Return the manifest sorted, as Python strings and None, once every value is as it must be."""
    _check_names(list(frame.columns), path)
    if frame.empty:
        raise DataError(f"The manifest {path} has no samples: set the dataset's n to 1 or more.")
    frame = frame[list(COLUMNS)].astype(object)
    frame = frame.where(frame.notna(), None)
    for values in frame.itertuples(index=False, name=None):
        row = dict(zip(COLUMNS, values, strict=True))
        problem = _problem(row)
        if problem:
            raise DataError(
                f"The manifest {path}, sample {row['sample_id']!r}: {problem}; make it again."
            )
    frame = frame.sort_values("sample_id", kind="stable").reset_index(drop=True)
    twice = frame.loc[frame["sample_id"].duplicated(), "sample_id"]
    if not twice.empty:
        raise DataError(f"The manifest {path} has the sample {twice.iloc[0]!r} twice: keep one.")
    return frame


def _check_names(found: Sequence[Any], path: Path, wanted: Sequence[str] = COLUMNS) -> None:
    """Refuse a manifest that lacks a column or has another."""
    missing = [name for name in wanted if name not in found]
    unknown = [str(name) for name in found if name not in COLUMNS]
    if missing or unknown:
        what, names = ("lacks", missing) if missing else ("has the unknown", unknown)
        raise DataError(f"The manifest {path} {what} column {', '.join(names)}: make it again.")


def _problem(row: dict[str, Any]) -> str:
    """Return what is wrong with a row, or "" if nothing is."""
    for name in COLUMNS:
        if not isinstance(row[name], str) and not (name == "image" and row[name] is None):
            return f"{name} is {row[name]!r}, not a text"
        if not storable(row[name] or ""):
            return f"{name} is {row[name]!r}, which has half a character"
    if not _SAMPLE_ID.fullmatch(row["sample_id"]):
        return "its id may have only letters, digits, points, hyphens and underscores, up to 200"
    for name, allowed in (("kind", KINDS), ("style", STYLES), ("language", LANGUAGES)):
        if row[name] not in allowed:
            return f"{name} is {row[name]!r}, not one of {', '.join(allowed)}"
    for name in ("prompt", "family"):
        if not row[name].strip():
            return f"{name} is blank"
    if row["gold"] and not _CONCEPT.fullmatch(row["gold"]):
        return f"gold is {row['gold']!r}, not a concept such as number:3"
    return _problem_of_image(row) or _problem_of_objects(row["objects"])


def _problem_of_image(row: dict[str, Any]) -> str:
    if row["kind"] == "text":
        return "" if row["image"] is None else "a text sample has a picture"
    if not row["image"]:
        return "an image sample names no picture"
    path = PurePosixPath(row["image"])
    if path.is_absolute() or ".." in path.parts or "\\" in row["image"]:
        return f"its picture {row['image']!r} lies outside the dataset's folder"
    if not is_nameable(row["image"]):
        return f"its picture {row['image'][:40]!r} has a name that no file can have"
    return ""


def _problem_of_objects(text: str) -> str:
    try:
        objects = json.loads(text)
    except (ValueError, RecursionError):
        return "objects is not JSON"
    if not isinstance(objects, list):
        return "objects is not a list"
    for thing in objects:
        if not isinstance(thing, dict) or set(thing) != {"shape", "color", "box"}:
            return "an object has other keys than shape, color and box"
        box = thing["box"]
        whole = isinstance(box, list) and all(type(edge) is int for edge in box)
        if not whole or len(box) != 4 or box[0] >= box[2] or box[1] >= box[3]:
            return f"an object's box is {box!r}, not [x0, y0, x1, y1] in pixels"
    return ""
