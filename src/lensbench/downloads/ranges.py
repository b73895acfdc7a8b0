"""A file elsewhere, read in ranges of bytes as if it were here."""

from __future__ import annotations

import io
import threading
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit
from urllib.request import url2pathname

from requests import Response, Session

from lensbench.downloads.http import answer, body, content_range, new_session, validator
from lensbench.downloads.mirror import shown
from lensbench.downloads.place import reading
from lensbench.downloads.retries import Passing, Policy, Retries
from lensbench.errors import DataError, LensbenchError

#: The end of a ZIP archive: its last record with the longest comment, and the records before it.
_TAIL = 2**16 + 2**10
#: What is read at once at most; a table that says it is larger lies.
_MOST = 2**30


class RangesRefused(LensbenchError):  # noqa: N818 (nobody did wrong: it says what to do else)
    """A server gives files only whole; the caller may fetch all of it instead."""


class Ranges(Protocol):
    """Bytes that can be read at any place.

    Args:
        name: the address, as it may be printed.
        size: bytes in all.
    """

    name: str
    size: int

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes from start to before stop; safe to call from many threads."""

    def close(self) -> None:
        """End what is under way, in other threads too."""


def open_ranges(address: str, size: int | None, policy: Policy) -> Ranges:
    """Return a file that is read in ranges.

    Args:
        address: http, https or file.
        size: its bytes, if known.
        policy: when to try again, and when to give up.

    Raises:
        RangesRefused: if the server gives files only whole.
        DataError: if it has no such file, has another, or can't be reached.
    """
    remote = urlsplit(address).scheme != "file"
    found: Ranges = _Remote(address, size, policy) if remote else _Local(address)
    if size not in (None, found.size):
        raise _other_size(found.name, found.size, size)
    return found


def _other_size(name: str, found: int, size: int | None) -> DataError:
    return DataError(
        f"{name} has {found:,} bytes where {size:,} were published: name a mirror that has the "
        "published file."
    )


class _Local:
    """A file of this machine."""

    def __init__(self, address: str) -> None:
        self._path = Path(url2pathname(urlsplit(address).path))
        with reading(self._path):
            if not self._path.is_file():
                raise DataError(
                    f"{self._path} is not there: put the file there, or name another mirror."
                )
            self.name, self.size = str(self._path), self._path.stat().st_size

    def read(self, start: int, stop: int) -> bytes:
        # A stream of its own for each call: threads share no position.
        with reading(self._path), self._path.open("rb") as stream:
            stream.seek(start)
            return stream.read(stop - start)

    def close(self) -> None:
        pass


class _Remote:
    """A file on a server; every thread has a connection of its own."""

    def __init__(self, address: str, size: int | None, policy: Policy) -> None:
        self.name = shown(address)
        self._address, self._policy = address, policy
        self._here, self._stop = threading.local(), threading.Event()
        self._validator: str | None = None
        # Asked first, because the end says where everything is; it also tells the file's size.
        self.size, self._tail = self._end(size)

    def _session(self) -> Session:
        if not hasattr(self._here, "session"):
            self._here.session = new_session()
        session: Session = self._here.session
        return session

    def _end(self, size: int | None) -> tuple[int, bytes]:
        """Return the file's size and its last bytes."""
        span = f"-{_TAIL}" if size is None else f"{max(0, size - _TAIL)}-"
        retries = Retries(self._policy, self.name, self._stop)
        while True:
            try:
                with answer(
                    self._session(), self._address, {"Range": f"bytes={span}"}, self._policy
                ) as response:
                    if response.status_code == 416:
                        raise DataError(
                            f"{self.name} is shorter than what was published: name a mirror that "
                            "has the published file."
                        )
                    start, stop, total = self._span(response)
                    if total is not None and size not in (None, total):
                        raise _other_size(self.name, total, size)
                    if total is None or (start, stop) != (max(0, total - _TAIL), total):
                        raise self._refused()
                    self._validator = validator(response)
                    tail = b"".join(body(response))
                    if len(tail) != stop - start:
                        raise Passing("the connection ended early")
                    return total, tail
            except Passing as reason:
                retries.failed(reason)

    def _refused(self) -> RangesRefused:
        return RangesRefused(
            f"{self.name} is given only whole, not in ranges: fetch all of it (whole_archives), or "
            "name a mirror."
        )

    def _span(self, response: Response) -> tuple[int, int, int | None]:
        """Return which bytes an answer holds."""
        found = content_range(response) if response.status_code == 206 else None
        if found is None:
            raise self._refused()
        return found

    def read(self, start: int, stop: int) -> bytes:
        begin = self.size - len(self._tail)
        if start >= begin:
            return self._tail[start - begin : stop - begin]
        found = bytearray()
        retries = Retries(self._policy, self.name, self._stop)
        while len(found) < stop - start:
            before = len(found)
            try:
                self._append(found, start + before, stop)
            except Passing as reason:
                if len(found) > before:
                    retries.progressed()
                retries.failed(reason)
        return bytes(found)

    def _append(self, found: bytearray, start: int, stop: int) -> None:
        """Append the bytes from start to before stop, or as many as come.

        Raises:
            Passing: if not all came.
        """
        wanted = {"Range": f"bytes={start}-{stop - 1}"}
        if self._validator is not None:
            wanted["If-Range"] = self._validator
        with answer(self._session(), self._address, wanted, self._policy) as response:
            now = validator(response)
            if response.status_code == 416 or now != self._validator:
                raise DataError(
                    f"{self.name} changed while it was read: run again, so that all of it is of "
                    "one version."
                )
            if self._span(response)[:2] != (start, stop):
                raise self._refused()
            missing = stop - start
            for block in body(response):
                found += block[:missing]
                missing -= len(block)
                if missing < 0:
                    raise self._refused()
            if missing:
                raise Passing("the connection ended early")

    def close(self) -> None:
        self._stop.set()


class Seekable(io.RawIOBase):
    """A file that is read in ranges, as the standard library wants to read one."""

    def __init__(self, ranges: Ranges) -> None:
        self._ranges, self._at = ranges, 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the place of the next byte."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place; nothing is read yet."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._ranges.size}[whence]
        if base + offset < 0:
            raise OSError("before the beginning of the file")
        self._at = base + offset
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        """Return the next bytes; all that are left if size is negative."""
        left = max(0, self._ranges.size - self._at)
        count = left if size is None or size < 0 else min(size, left)
        if count > _MOST:
            raise OSError(f"{count:,} bytes at once")
        found = self._ranges.read(self._at, self._at + count) if count else b""
        self._at += len(found)
        return found
