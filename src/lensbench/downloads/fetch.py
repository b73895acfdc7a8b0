"""One file from elsewhere: whole and verified at its place, or not there."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from requests import Response, Session

from lensbench.downloads.checksums import (
    beside,
    checksum_of,
    identity,
    parse_checksum,
    read_stamp,
    write_stamp,
)
from lensbench.downloads.http import (
    answer,
    body,
    content_length,
    content_range,
    new_session,
    total_of_refused,
    validator,
)
from lensbench.downloads.mirror import mirrored, shown
from lensbench.downloads.place import alone, byte_bar, check_space, reading, writing
from lensbench.downloads.retries import POLICY, Passing, Policy, Retries
from lensbench.downloads.sources import find_source
from lensbench.errors import DataError

_BLOCK = 2**20


def fetch(
    url: str,
    path: str | Path,
    *,
    size: int | None = None,
    checksum: str | None = None,
    mirror: str | None = None,
    policy: Policy = POLICY,
) -> Path:
    """Make sure that a published file is at its place, and fetch what of it isn't there yet.

    What arrives stands beside the place as `.{name}.part` and is continued by the next run. Of two
    processes that want the same file one fetches it and the other waits. A file that was verified
    once is remembered by its size and time, so that it isn't read again.

    Args:
        url: where it is published: http, https or file.
        path: where it goes.
        size: its bytes, if known.
        checksum: "sha256:…" or "git-blob-sha1:…", if known; else its size alone is checked.
        mirror: what stands in for the host, as `mirrored` takes it.
        policy: when to try again, and when to give up.

    Returns:
        `path`.

    Raises:
        DataError: if the server refuses, has another file, or can't be reached; or if the disk is
            too small.
        ConfigError: if the mirror has no form of a mirror.
    """
    target = Path(path)
    if checksum is not None:
        parse_checksum(checksum)
    address = mirrored(url, mirror)
    if checksum is not None and _is_known(target, checksum):
        return target  # Also where nothing may be written: a cache that is shared, say.
    with writing(target), alone(target):
        download = _Download(address, target, size, checksum, policy)
        if _is_whole(target, size, checksum):
            download.drop()  # Of what was fetched before somebody put the file there.
        else:
            download.run()
    return target


def fetch_source(
    dataset: str,
    file: str,
    folder: str | Path,
    mirror: str | None = None,
    policy: Policy = POLICY,
) -> Path:
    """Fetch a file of the table of sources into folder/dataset/file, as `fetch` does.

    Raises:
        DataError: as `fetch`, and if the table has no such file.
        ConfigError: if the mirror has no form of a mirror.
    """
    source = find_source(dataset, file)
    return fetch(
        source.url,
        Path(folder) / dataset / file,
        size=source.bytes,
        checksum=source.checksum,
        mirror=mirror,
        policy=policy,
    )


def _is_known(target: Path, checksum: str) -> bool:
    """Return whether a file is there and is the one that was verified before."""
    try:
        return target.is_file() and read_stamp(target) == {"checksum": checksum, **identity(target)}
    except OSError:  # Told where it is opened.
        return False


def _is_whole(target: Path, size: int | None, checksum: str | None) -> bool:
    """Return whether the published file is there; another one is removed."""
    if not target.exists():
        return False
    if size is None or target.stat().st_size == size:
        if checksum is None:
            return True
        about = {"checksum": checksum, **identity(target)}
        if read_stamp(target) == about:
            return True
        if checksum_of(target, parse_checksum(checksum)[0]) == checksum:
            write_stamp(target, about)
            return True
    print(f"{target} is not the file that was published: it is fetched anew.", file=sys.stderr)
    target.unlink()
    return False


class _Download:
    """One download, from the bytes that are there to the file at its place.

    Args:
        address: http, https or file.
        target: where the file goes; its lock is held.
        size: bytes expected, or None.
        checksum: expected, or None.
        policy: when to try again.
    """

    def __init__(
        self, address: str, target: Path, size: int | None, checksum: str | None, policy: Policy
    ) -> None:
        self._address, self._name, self._target = address, shown(address), target
        self._size, self._checksum, self._policy = size, checksum, policy
        self._part, self._note = beside(target, "part"), beside(target, "part-of")
        self._starts = 0

    def run(self) -> None:
        """Fetch, verify and move into place; wrong bytes are fetched once more if pieced together.

        Raises:
            DataError: as `fetch`.
        """
        pieced = self._fill()
        found = self._found()
        if pieced and found != self._checksum:
            # Pieces of two versions of a file may have met: all of one version will tell.
            self.drop()
            self._fill()
            found = self._found()
        if found != self._checksum:
            self.drop()
            raise DataError(
                f"{self._name} gives {found} where {self._checksum} was published: the file "
                "changed or is damaged there, so name a mirror that has the published one."
            )
        with self._part.open("rb+") as stream:
            os.fsync(stream.fileno())
        os.replace(self._part, self._target)
        self._note.unlink(missing_ok=True)
        if self._checksum is not None:
            write_stamp(self._target, {"checksum": self._checksum, **identity(self._target)})

    def _found(self) -> str | None:
        """Return the checksum of what arrived; None if none is expected."""
        if self._checksum is None:
            return None
        return checksum_of(self._part, parse_checksum(self._checksum)[0])

    def _have(self) -> int:
        return self._part.stat().st_size if self._part.exists() else 0

    def _whole(self) -> object:
        """Return how many bytes the file has, as far as that is known."""
        return self._noted().get("total") if self._size is None else self._size

    def drop(self) -> None:
        """Remove what arrived so far."""
        self._part.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    def _noted(self) -> dict[str, object]:
        """Return what is known of the answer that the part began with; nothing if of another."""
        try:
            note = json.loads(self._note.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        fits = isinstance(note, dict) and note.get("address") == self._name
        return note if fits else {}

    def _keep_provable(self) -> None:
        """Drop what arrived if nothing would tell that the rest is of another version."""
        if self._checksum is None and self._noted().get("validator") is None:
            self.drop()

    def _fill(self) -> bool:
        """Fetch until the part is whole; return whether it was pieced together."""
        if urlsplit(self._address).scheme == "file":
            self._copy()
            return False
        self._keep_provable()
        pieced = self._have() > 0
        retries = Retries(self._policy, self._name)
        with new_session() as session:
            while (have := self._have()) != self._whole() or not have:
                try:
                    self._attempt(session, have)
                    break
                except Passing as reason:
                    if self._have() > have:
                        retries.progressed()
                    retries.failed(reason)
                self._keep_provable()
                pieced = pieced or self._have() > 0
        return pieced

    def _attempt(self, session: Session, have: int) -> None:
        """Fetch what is missing in one request.

        Raises:
            Passing: if not all of it came.
            DataError: if the server won't give it, or has another file.
        """
        wanted = {}
        noted = self._noted()
        if have:
            wanted["Range"] = f"bytes={have}-"
            if isinstance(noted.get("validator"), str):
                wanted["If-Range"] = str(noted["validator"])
        with answer(session, self._address, wanted, self._policy) as response:
            if response.status_code == 416 and total_of_refused(response) == have:
                return  # All of it arrived before.
            if response.status_code == 200:
                start, total = 0, content_length(response)
            else:
                start, total = self._continued(response, have, noted)
            self._check_size(total)
            if start == 0:
                self._begin(response, total)
            expected = total if self._size is None else self._size
            if expected is not None:
                check_space(self._part.parent, expected - start, self._target.name)
            self._receive(response, start, expected)

    def _continued(
        self, response: Response, have: int, noted: dict[str, object]
    ) -> tuple[int, int | None]:
        """Return first byte and size of the file of an answer to a request for a range.

        Raises:
            Passing: if it doesn't continue what is there, which is then dropped.
        """
        found = content_range(response) if response.status_code == 206 else None
        changed = None not in (noted.get("validator"), validator(response)) and (
            validator(response) != noted["validator"]
        )
        if found is None or found[0] != have or changed:
            self.drop()
            raise Passing("what arrived before doesn't fit the file there")
        return have, found[2]

    def _check_size(self, total: int | None) -> None:
        if self._size is not None and total is not None and total != self._size:
            raise DataError(
                f"{self._name} has {total:,} bytes where {self._size:,} were published: name a "
                "mirror that has the published file."
            )

    def _begin(self, response: Response, total: int | None) -> None:
        """Forget what arrived before and remember what this answer says of itself."""
        self._starts += 1
        if self._starts > self._policy.attempts:
            self.drop()
            raise DataError(
                f"{self._name} was begun {self._policy.attempts} times from the start and never "
                "came whole: its server gives no ranges or keeps changing it, so name a mirror."
            )
        self.drop()
        note = {"address": self._name, "validator": validator(response), "total": total}
        self._note.write_text(json.dumps(note), encoding="utf-8")

    def _receive(self, response: Response, start: int, expected: int | None) -> None:
        """Append an answer's body to the part."""
        done = start
        with (
            self._part.open("ab") as stream,
            byte_bar(self._target.name, expected, start) as bar,
        ):
            for block in body(response):
                done += len(block)
                if expected is not None and done > expected:
                    raise DataError(
                        f"{self._name} gives more than the {expected:,} bytes it should have: name "
                        "a mirror that has the published file."
                    )
                stream.write(block)
                # Handed over at once: a killed process keeps all that arrived.
                stream.flush()
                bar.update(len(block))
        if expected is not None and done < expected:
            raise Passing("the connection ended early")

    def _copy(self) -> None:
        """Copy the file from a folder."""
        source = Path(url2pathname(urlsplit(self._address).path))
        with reading(source):
            if not source.is_file():
                raise DataError(
                    f"{source} is not there: put the file there, or name another mirror."
                )
            total = source.stat().st_size
        self._check_size(total)
        self.drop()
        check_space(self._part.parent, total, self._target.name)
        with reading(source):
            stream = source.open("rb")
        with (
            stream,
            self._part.open("wb") as part,
            byte_bar(self._target.name, total) as bar,
        ):
            while True:
                with reading(source):
                    block = stream.read(_BLOCK)
                if not block:
                    break
                part.write(block)
                bar.update(len(block))
