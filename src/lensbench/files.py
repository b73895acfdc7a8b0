"""Files that are either whole or not there: written beside their place, then moved into it."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lensbench.errors import LensbenchError
from lensbench.leftovers import held, mark, sweep_once

#: What `atomic_path` has put in its place in this process, for `made` to seal.
placed: list[Path] = []


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
        sweep_once(target.parent)
        # The random name lets two jobs write the same target without meeting; who writes here, and
        # the lock, tell the next process whether this one still lives.
        workdir = Path(tempfile.mkdtemp(prefix=f".{target.name}.{mark()}-", dir=target.parent))
        temporary = workdir
        with held(workdir):
            inside = workdir / target.name
            yield inside
            _put(inside, target)
            placed.append(target)
    except OSError as error:
        sentence = _sentence(error, target)
        if sentence is None:
            raise
        raise LensbenchError(sentence) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _put(made: Path, target: Path, turns: int = 8) -> None:
    """Move what was made into its place; a folder there goes first, as a whole."""
    for turn in range(turns):
        if target.is_dir() and made.is_dir():
            _set_aside(target, made.parent / f".old{turn}")
        try:
            return os.replace(made, target)
        except OSError as error:
            # Another process put its own there in between: the last one to come stays.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or turn == turns - 1:
                raise


def _set_aside(target: Path, aside: Path) -> None:
    """Take a folder away in one step, so that no half of it is ever seen in its place."""
    try:
        os.replace(target, aside)
    except FileNotFoundError:
        return
    except OSError as error:
        # Layered file systems move no folder of a lower layer.
        if error.errno != errno.EXDEV:
            raise
        shutil.rmtree(target)


def _sentence(error: OSError, target: Path) -> str | None:
    """Return what to tell a user whose file system is full or closed; None of any other error."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"No disk space left to write {target}: free some, then run again."
    if error.errno in (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG):
        return f"{target} can't be made ({error.strerror}): name another place."
    if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        return f"{target} can't be written ({error.strerror}): check its folder."
    return None


def require_writable(folder: str | Path = "results") -> None:
    """Refuse a folder in which something can't be written, before a run begins to.

    What links lead to is not looked at: it may well be shared, and made by somebody else.

    Raises:
        LensbenchError: naming the first folder in it that is read-only.
    """
    for parent, _, _ in os.walk(folder):
        if not os.access(parent, os.W_OK):
            closed = os.statvfs(parent).f_flag & os.ST_RDONLY
            number = errno.EROFS if closed else errno.EACCES
            raise LensbenchError(
                f"{parent} can't be written ({os.strerror(number)}): make it writable, then run "
                "again."
            )


def sha256_of(path: str | Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_of(path: str | Path) -> str:
    """Return one SHA-256 of somebody's file, or of all files in a folder that aren't hidden.

    Of a folder it is that of the lines "digest  name" sorted by name. A file is read again only if
    its size, its number or one of its times differs from when it was read last, of which the time
    of change can't be set as `cp -p` sets the others; what was read is noted in `.snakemake`, where
    a workflow has made one.

    Returns:
        64 hexadecimal digits; "" if nothing is there that can be read.
    """
    root = Path(path)
    known = _Digests(Path(".snakemake", "lensbench-digests.json"))
    if not root.is_dir():
        found = known.of(root)
    else:
        names = []
        for parent, folders, files in os.walk(root):
            folders[:] = [name for name in folders if not name.startswith(".")]
            names += [Path(parent, name) for name in files if not name.startswith(".")]
        lines = [
            os.fsencode(f"{known.of(name)}  {name.relative_to(root)}\n") for name in sorted(names)
        ]
        found = hashlib.sha256(b"".join(lines)).hexdigest()
    known.keep()
    return found


class _Digests:
    """What files were when they were read: path → what the file system says of it, and digest.

    Args:
        note: where that is kept between processes.
    """

    def __init__(self, note: Path) -> None:
        self._note, self._new = note, False
        try:
            known = json.loads(note.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            known = {}
        # A damaged note is no note.
        self._known: dict[str, list[Any]] = {
            name: entry
            for name, entry in (known.items() if isinstance(known, dict) else ())
            if isinstance(entry, list) and len(entry) == 5
        }

    def of(self, path: Path) -> str:
        """Return the SHA-256 of a file; "" if it is none, or can't be read."""
        try:
            seen = path.stat()
            # What else there is (a pipe, a device) could be read for ever.
            if not stat.S_ISREG(seen.st_mode):
                return ""
            name = str(path.absolute())
            mark = [seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns, seen.st_ino]
            if name in self._known and self._known[name][:-1] == mark:
                return str(self._known[name][-1])
            found = sha256_of(path)
        except OSError:
            return ""
        # A file that was changed just now can be changed again at what counts as the same time.
        if time.time_ns() - seen.st_ctime_ns > 2e9:
            self._known[name], self._new = [*mark, found], True
        return found

    def keep(self) -> None:
        """Note what was read, if there is a place for it."""
        if not self._new or not self._note.parent.is_dir():
            return
        # Not by atomic_path: it is nobody's output. Who comes last stays; others read once more.
        with suppress(OSError), tempfile.TemporaryDirectory(dir=self._note.parent) as folder:
            new = Path(folder, self._note.name)
            new.write_text(json.dumps(self._known), encoding="utf-8")
            os.replace(new, self._note)


def is_nameable(name: str) -> bool:
    """Say whether file systems take a name that somebody else chose, with the folders in it.

    Args:
        name: at most 255 bytes a part and 1,024 in all, none of them 0.
    """
    try:
        raw = os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return b"\0" not in raw and len(raw) <= 1024 and max(map(len, raw.split(b"/"))) <= 255
