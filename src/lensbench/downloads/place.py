"""Where files are written: one process at a time, enough room, and a bar of how far it is."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from tqdm import tqdm

from lensbench.downloads.checksums import beside
from lensbench.errors import DataError


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold the lock beside a path, which a killed process lets go of; wait for it if need be.

    Args:
        path: the file or folder that is to be made; its own folder is made if need be.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(beside(path, "lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"{path} is being made by another process: waiting for it.", file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def check_space(folder: Path, needed: int, what: str) -> None:
    """Refuse what the disk has no room for, before its first byte arrives.

    Args:
        folder: where it is to be written; it is there.
        needed: bytes.
        what: what needs them, as the sentence begins.

    Raises:
        DataError: if fewer bytes are free.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DataError(
            f"{what} needs {needed / 1e9:.2f} GB more in {folder}, but {free / 1e9:.2f} GB are "
            "free: free some, or name another folder."
        )


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn a disk that is full or closed into one sentence.

    Args:
        path: what is written inside the block.

    Raises:
        DataError: if the file system refuses.
    """
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{path} can't be written ({error.strerror or error}): free disk space or check its "
            "folder, then run again; what arrived is kept."
        ) from error


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn a file of a mirror that can't be read into one sentence.

    Args:
        path: what is read inside the block, and nothing written.

    Raises:
        DataError: if the file system refuses.
    """
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{path} can't be read ({error.strerror or error}): check its rights and its disk, or "
            "name another mirror."
        ) from error


def byte_bar(name: str, total: int | None, done: int = 0) -> tqdm:
    """Return a bar on stderr with bytes and time left.

    Args:
        name: what is fetched.
        total: its bytes; None if they aren't known.
        done: bytes that are there already.
    """
    return tqdm(
        total=total,
        initial=done,
        desc=name,
        unit="B",
        unit_scale=True,
        file=sys.stderr,
        mininterval=0.5,
    )
