"""Checksums of files, and stamps that remember what was checked once."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

from lensbench.errors import DataError

_BLOCK = 2**20
#: Kind → digits. git's own hash is of a header with the size, then the bytes.
_DIGITS = {"sha256": 64, "git-blob-sha1": 40}


def parse_checksum(text: str) -> tuple[str, str]:
    """Return kind and digits of a checksum such as "sha256:9f86…".

    Raises:
        DataError: if it is of no known kind, or has another number of hexadecimal digits.
    """
    kind, _, digits = text.partition(":")
    if kind not in _DIGITS or not re.fullmatch(rf"[0-9a-f]{{{_DIGITS[kind]}}}", digits):
        wish = ", ".join(f"{name}: and {n} hexadecimal digits" for name, n in _DIGITS.items())
        raise DataError(f'"{text}" is no checksum: write {wish}.')
    return kind, digits


def checksum_of(path: Path, kind: str) -> str:
    """Return a file's checksum, "sha256:…" or "git-blob-sha1:…".

    Args:
        path: the file.
        kind: "sha256" or "git-blob-sha1".
    """
    hasher = hashlib.sha256()
    if kind == "git-blob-sha1":
        hasher = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            hasher.update(block)
    return f"{kind}:{hasher.hexdigest()}"


def beside(path: Path, kind: str) -> Path:
    """Return the hidden file of a kind ("part", "lock", "ok", …) that stands beside a path."""
    return path.with_name(f".{path.name}.{kind}")


def identity(path: Path) -> dict[str, int]:
    """Return what changes when a file is written to: its size and its time of modification."""
    about = path.stat()
    return {"size": about.st_size, "mtime_ns": about.st_mtime_ns}


def write_stamp(path: Path, about: Mapping[str, object]) -> None:
    """Remember something about a path in the hidden file beside it."""
    stamp, new = beside(path, "ok"), beside(path, "ok-new")
    new.write_text(json.dumps(about), encoding="utf-8")
    os.replace(new, stamp)


def read_stamp(path: Path) -> dict[str, object]:
    """Return what `write_stamp` remembered about a path; nothing if that can't be read."""
    try:
        content = json.loads(beside(path, "ok").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
