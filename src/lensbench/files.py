"""Files that are either whole or not there: written beside their place, then moved into it."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lensbench.errors import LensbenchError


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path` that replaces it only on success.

    Args:
        path: the file (or, if the block makes a folder there, the folder) to be made.

    Raises:
        LensbenchError: if the disk is full or the folder can't be written; nothing is left behind.
    """
    target = Path(path)
    temporary: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # The random name lets two jobs write the same target without meeting.
        workdir = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        temporary = workdir
        inside = workdir / target.name
        yield inside
        if target.is_dir() and inside.is_dir():
            shutil.rmtree(target)
        os.replace(inside, target)
    except OSError as error:
        sentence = _sentence(error, target)
        if sentence is None:
            raise
        raise LensbenchError(sentence) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _sentence(error: OSError, target: Path) -> str | None:
    """Return what to tell a user whose file system is full or closed; None of any other error."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"No disk space left to write {target}: free some, then run again."
    if error.errno in (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG):
        return f"{target} can't be made ({error.strerror}): name another place."
    if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        return f"{target} can't be written ({error.strerror}): check its folder."
    return None


def sha256_of(path: str | Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
