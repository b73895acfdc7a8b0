"""What killed processes leave of files they were writing: found by a lock that died with them."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

#: `.TARGET.HOST-PID-RANDOM`, a folder that `files.atomic_path` writes into.
_NAME = re.compile(r"\..+\.(?P<host>[0-9a-f]{8})-(?P<pid>[0-9]{1,10})-[a-z0-9_]+")
_LOCK = ".lock"
#: Seconds after which a process of the same number is taken for another one.
_YOUNG_S = 60
#: Seconds without a write after which a folder of another machine is given up: whether its writer
#: lives can't be asked from here, and not every shared file system has locks.
_FOREIGN_S = 24 * 3600

_swept: set[str] = set()


@cache
def _host() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def mark() -> str:
    """Return what names this process among all that may write into a shared folder."""
    return f"{_host()}-{os.getpid()}"


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder while the block writes into it; the system frees it at death."""
    lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        # Some file systems have no locks: then the process's number has to do.
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(lock)


def sweep_once(folder: Path) -> None:
    """Remove what dead processes left in a folder, the first time this process writes there."""
    place = os.path.abspath(folder)
    if place not in _swept:
        _swept.add(place)
        sweep(folder)


def sweep(folder: Path) -> list[Path]:
    """Remove what dead processes left of the files they were writing into a folder.

    Args:
        folder: where the files were to be; a folder that isn't there has no leftovers.

    Returns:
        What was removed. Nothing that a living process writes into is touched, nor what has
        another name than `files.atomic_path` gives.
    """
    removed = []
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            match = _NAME.fullmatch(entry.name)
            if match is None or not entry.is_dir(follow_symlinks=False):
                continue
            path = Path(entry.path)
            with suppress(OSError):
                if _abandoned(path, match["host"], int(match["pid"])):
                    shutil.rmtree(path, ignore_errors=True)
                    removed.append(path)
    return removed


def _abandoned(path: Path, host: str, pid: int) -> bool:
    """Return whether nobody writes into such a folder any more."""
    state = _lock_state(path / _LOCK)
    if state == "held":
        return False
    if host != _host():
        return time.time() - _last_write(path) > _FOREIGN_S
    if not _lives(pid):
        return True
    # A living process of that number: it has just begun, or it is another one.
    return state == "free" and time.time() - path.stat().st_mtime > _YOUNG_S


def _lock_state(path: Path) -> str:
    """Return "held", "free", or "unknown" where there is no lock or no way to ask."""
    try:
        lock = os.open(path, os.O_RDWR)
    except OSError:
        return "unknown"
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return "held" if error.errno in (errno.EWOULDBLOCK, errno.EACCES) else "unknown"
    finally:
        os.close(lock)
    return "free"


def _last_write(path: Path) -> float:
    """Return the time of the last write of anything in a folder, in seconds."""
    times = [path.stat().st_mtime]
    for parent, folders, files in os.walk(path):
        times += [os.lstat(os.path.join(parent, name)).st_mtime for name in folders + files]
    return max(times)


def _lives(pid: int) -> bool:
    """Return whether a process of this machine has that number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        # It is somebody else's, or no number of a process.
        return True
    return True
