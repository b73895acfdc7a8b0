"""Locks on open files that the kernel frees when a process ends, however it ends."""

from __future__ import annotations

import errno
import os

try:
    import fcntl
except ImportError:  # Not on Windows: there nobody can tell.
    fcntl = None  # type: ignore[assignment]

#: What file systems without locks answer.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


def lock(descriptor: int, wait: bool = False) -> bool | None:
    """Lock an open file for this process until it closes it or ends.

    Args:
        descriptor: of the file, opened for reading and writing (network file systems ask for it).
        wait: whether to wait until whoever holds it lets go.

    Returns:
        Whether it is held now; None where the file system has no locks, so that nobody can tell.
    """
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return None
        raise
    return True


def lies_at(descriptor: int, path: str | os.PathLike[str]) -> bool:
    """Say whether an open file is still the one at a path: it may have been removed or replaced."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False
