"""One run at a time in a folder, one writer at a time of a file: locks that outlive no process.

The kernel holds them for a process and frees them when it ends, however it ends. So a run that was
killed leaves nothing to be unlocked, which is why snakemake's own lock files (which a kill does
leave) are switched off in workflow/profiles/default. Two things are kept apart:

- the folder: `only_run` is called once the plan stands and the first job is about to begin
  (`onstart`), in the process that the user started. Dry runs, reports, linting and jobs that
  enter the Snakefile anew, on whatever host, never come there.
- a job's outputs: jobs of a run that was killed may live on, since a shell and a scheduler don't
  end what they started. The next run's job for the same output waits for such a one.

On a network file system flock holds across hosts where the server has locks (NFS since Linux
2.6.12, Lustre mounted with `flock`); where it has none, that is said and the run goes on.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lensbench.errors import LensbenchError
from lensbench.locks import lies_at, lock

# Held until this process ends.
_held: list[int] = []


def only_run(folder: str | Path = ".") -> None:
    """Hold a folder for this process's life, or refuse because another run is at work in it.

    Args:
        folder: the project's folder, that `results/` lies in.

    Raises:
        LensbenchError: if another process holds it, or the folder can't be written.
    """
    place = Path(folder).absolute()
    path = place / ".snakemake" / "lensbench.lock"
    held = _opened(path)
    mine = lock(held)
    if mine is False:
        with open(held, encoding="utf-8", errors="replace") as stream:
            who = stream.readline().strip()
        raise LensbenchError(
            f"Another run is at work in {place}{f' ({who})' if who else ''}: wait until it has "
            "ended, or end it."
        )
    if mine is None:
        print(
            f"The file system of {place} has no locks: take care that no second run begins there.",
            file=sys.stderr,
        )
    since = time.strftime("%H:%M:%S")
    os.ftruncate(held, 0)
    os.pwrite(held, f"process {os.getpid()} on {socket.gethostname()} since {since}\n".encode(), 0)
    _held.append(held)


@contextmanager
def only_writer(out: str | Path, part: str = "") -> Iterator[None]:
    """Wait until nobody else writes an output, then keep others waiting while the block does.

    Args:
        out: the file or folder that is made.
        part: tells apart what may be written into one folder at the same time.

    Raises:
        LensbenchError: if the folder of `out` can't be written.
    """
    target = Path(out).absolute()
    path = target.parent / f".{target.name}{part and '.' + part}.lock"
    held = _alone(path)
    try:
        yield
    finally:
        # Removed while it is held: whoever waits for it sees that it is gone, and begins anew.
        path.unlink(missing_ok=True)
        os.close(held)


def _alone(path: Path) -> int:
    """Return a lock file that is held, and still lies where others will look for it."""
    said = False
    while True:
        held = _opened(path)
        if lock(held) is False:
            if not said:
                print(
                    f"Another job, of a run that was ended, still writes in {path.parent}: "
                    "waiting until it is done.",
                    file=sys.stderr,
                )
            said = True
            lock(held, wait=True)
        if lies_at(held, path):
            return held
        os.close(held)


def _opened(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            what = "no disk space is left: free some, then run again"
        elif error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            what = f"it can't be written ({error.strerror}): check who may write there"
        else:
            what = f"it can't be used ({error.strerror}): name another place"
        raise LensbenchError(f"Nothing can be made in {path.parent}: {what}.") from error
