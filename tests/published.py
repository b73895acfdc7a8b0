"""Archives as others publish them, in their true layouts, with pictures and records made here."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import tarfile
import uuid
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from PIL import Image

from lensbench.downloads import sources

Rgb = tuple[int, int, int]


def publish(
    folder: Path, files: Mapping[tuple[str, str], bytes], monkeypatch: pytest.MonkeyPatch
) -> str:
    """Put files into a mirror's folder, and let the table of sources be the one that fits them.

    Args:
        folder: the mirror's.
        files: as `write_mirror` takes them.
        monkeypatch: takes the change back.

    Returns:
        The folder as a mirror, file://…
    """
    monkeypatch.setenv(sources.VARIABLE, str(write_mirror(folder, files)))
    return folder.as_uri()


def write_mirror(folder: Path, files: Mapping[tuple[str, str], bytes]) -> Path:
    """Put files into a mirror's folder, and return a table of sources with their own checksums.

    Args:
        folder: the mirror's; a file goes to <folder>/<host>/<path>, the table beside the hosts.
        files: (dataset, file) of the table of sources → bytes.
    """
    rows = []
    for row in sources.load_sources():
        content = files.get((row.dataset, row.file))
        if content is not None:
            url = urlsplit(row.url)
            place = folder / str(url.hostname) / unquote(url.path).lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
            digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
            if row.checksum.startswith("git-blob-sha1:"):
                blob = b"blob %d\0" % len(content) + content
                digest = f"git-blob-sha1:{hashlib.sha1(blob, usedforsecurity=False).hexdigest()}"
            row = replace(row, bytes=len(content), checksum=digest)
        rows.append({k: "" if v is None else v for k, v in asdict(row).items()})
    # A name of its own each time: a table that was read once is remembered.
    table = folder / f"sources-{uuid.uuid4().hex}.csv"
    with table.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return table


def jpeg(color: Rgb, size: tuple[int, int] = (40, 30)) -> bytes:
    """Return a JPEG of one color."""
    stream = io.BytesIO()
    Image.new("RGB", size, color).save(stream, "JPEG", quality=95)
    return stream.getvalue()


def record(
    number: int, image: str, answer: int, question: str = "", simple: bool | None = True
) -> dict[str, Any]:
    """Return a question with every key that TallyQA's records have; train's have no `issimple`."""
    made = {
        "image": image,
        "answer": answer,
        "data_source": "imported_genome",
        "question": question or f"How many things are in picture {number}?",
        "image_id": 92_000_000 + number,
        "question_id": 30_000_000 + number,
    }
    return made if simple is None else {**made, "issimple": simple}


def zipped(members: Mapping[str, bytes]) -> bytes:
    """Return a ZIP archive, its pictures stored and its texts deflated."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            packed = zipfile.ZIP_STORED if name.endswith(".jpg") else zipfile.ZIP_DEFLATED
            archive.writestr(zipfile.ZipInfo(name), content, compress_type=packed)
    return stream.getvalue()


def tallyqa_zip(
    test: Sequence[Mapping[str, Any]], train: Sequence[Mapping[str, Any]] = (), top: str = ""
) -> bytes:
    """Return TallyQA's archive, its two files in the folder `top`, such as "tallyqa/"."""
    return zipped(
        {
            f"{top}test.json": json.dumps(list(test)).encode(),
            f"{top}train.json": json.dumps(list(train)).encode(),
        }
    )


def tgz(members: Mapping[str, bytes]) -> bytes:
    """Return a .tgz of regular files."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in members.items():
            about = tarfile.TarInfo(name)
            about.size = len(content)
            archive.addfile(about, io.BytesIO(content))
    return stream.getvalue()
