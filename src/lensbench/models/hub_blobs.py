"""The large files of a hub's repository: each resumed where it stopped, and checked by its SHA-256.

huggingface_hub throws away what a killed process had of a file, and a shard has gigabytes. Here a
`.part` beside the place where its cache keeps the whole file goes on by a range request; once it is
whole and right it takes that place, and huggingface_hub finds it there.
"""

from __future__ import annotations

import hashlib
import os
import threading
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from requests import Session

from lensbench.downloads.http import answer, body, content_range, new_session
from lensbench.downloads.place import byte_bar
from lensbench.downloads.retries import Passing, Policy, Stopped
from lensbench.errors import DataError, ModelError
from lensbench.files import sha256_of
from lensbench.models.hub_errors import asked

#: Files that are fetched side by side.
_WORKERS = 4


@dataclass(frozen=True)
class HubFile:
    """One file of a hub's repository.

    Args:
        name: its path in the repository.
        bytes: its size.
        sha256: its digest as the hub states it; "" for a small file that git itself holds.
        git: its digest as git computes it (SHA-1 of "blob <size>\\0" and its bytes); "" if unknown.
    """

    name: str
    bytes: int
    sha256: str = ""
    git: str = ""

    def fits(self, path: Path) -> bool:
        """Say whether a file has the size and the digest that the hub states."""
        if not path.is_file() or path.stat().st_size != self.bytes:
            return False
        if self.sha256:
            return sha256_of(path) == self.sha256
        return not self.git or git_sha1_of(path) == self.git


def git_sha1_of(path: Path) -> str:
    """Return the digest under which git holds a file."""
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(2**20), b""):
            digest.update(block)
    return digest.hexdigest()


def part_of(blobs: Path, file: HubFile) -> Path:
    """Return where the first bytes of a file wait for the others."""
    return blobs / f".{file.sha256}.part"


def fetch_blobs(
    repository: str, revision: str, files: list[HubFile], blobs: Path, done: int, policy: Policy
) -> None:
    """Fetch files into the cache's folder of blobs, side by side, with one bar of bytes.

    Args:
        repository: ORG/NAME.
        revision: the commit.
        files: those that are missing, each with its SHA-256.
        blobs: the folder, where each is named by its SHA-256.
        done: bytes of them that are there already.
        policy: how often and how long is tried again.

    Raises:
        ModelError: if one can't be had, or isn't what the hub states.
    """
    if not files:
        return
    blobs.mkdir(parents=True, exist_ok=True)
    stop = threading.Event()
    total = sum(file.bytes for file in files)
    with (
        byte_bar(repository.split("/")[-1], total, done) as bar,
        ThreadPoolExecutor(_WORKERS) as pool,
    ):
        bars = _Bar(bar, stop)
        jobs = [pool.submit(_blob, repository, revision, f, blobs, bars, policy) for f in files]
        try:
            done_jobs, _ = wait(jobs, return_when=FIRST_EXCEPTION)
            for job in done_jobs:
                job.result()
        except BaseException:
            # The others stop at their next block; what they have stays.
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


class _Bar:
    """One bar that many threads move on."""

    def __init__(self, bar: Any, stop: threading.Event) -> None:
        self._bar, self._lock, self.stop = bar, threading.Lock(), stop

    def move(self, n: float) -> None:
        if self.stop.is_set():
            raise Stopped
        with self._lock:
            self._bar.update(n)


def _blob(
    repository: str, revision: str, file: HubFile, blobs: Path, bar: _Bar, policy: Policy
) -> None:
    """Fetch one file to blobs/<its SHA-256>."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import WeakFileLock

    if bar.stop.is_set():
        raise Stopped
    # The lock that huggingface_hub itself takes, so that two processes make one download.
    lock = blobs.parent.parent / ".locks" / blobs.parent.name / f"{file.sha256}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    url = hf_hub_url(repository, file.name, revision=revision)
    with WeakFileLock(lock), new_session() as session:
        if file.fits(blobs / file.sha256):
            bar.move(file.bytes)
            return
        part = part_of(blobs, file)
        what = f"hub:{repository} at {revision}"
        resumed = fresh = False

        def receive() -> None:
            nonlocal resumed
            resumed = resumed or _received(part) > 0
            try:
                _receive(session, url, file, part, bar, policy)
            except DataError as error:
                raise ModelError(f"{what}, {file.name}: {error}") from error

        while True:
            asked(f"{what}, {file.name}", receive, policy, lambda: _received(part), bar.stop.wait)
            found = sha256_of(part)
            if found == file.sha256:
                os.replace(part, blobs / file.sha256)
                return
            _drop(part, bar)
            if fresh or not resumed:
                raise ModelError(
                    f"{what}: {file.name} arrived with SHA-256 {found}, but the hub states "
                    f"{file.sha256}: run again, and check HF_ENDPOINT if it happens again."
                )
            fresh = True  # What an earlier attempt left may have been at fault: once from 0.


def _receive(
    session: Session, url: str, file: HubFile, part: Path, bar: _Bar, policy: Policy
) -> None:
    """Append what is missing of a file to its part, in one request.

    Raises:
        Passing: if not all of it came.
    """
    from huggingface_hub.utils import build_hf_headers

    have = _received(part)
    if have == file.bytes and part.exists():
        return
    # The token among them; requests itself leaves it out where a storage's host is redirected to.
    headers = build_hf_headers(library_name="lensbench")
    if have:
        headers["Range"] = f"bytes={have}-"
    with answer(session, url, headers, policy) as response:
        found = content_range(response) if response.status_code == 206 else None
        if not have or found is None or found[0] != have:
            # No ranges there, or more is here than there: from the start.
            _drop(part, bar)
            have = 0
            if response.status_code != 200:
                raise Passing("what arrived before doesn't fit the file there")
        with part.open("ab") as stream:
            for block in body(response):
                bar.move(len(block))
                # Handed over at once: a killed process keeps all that arrived.
                stream.write(block)
                stream.flush()
                have += len(block)
                if have > file.bytes:
                    break
    if have > file.bytes:
        _drop(part, bar)
        raise Passing(f"more than its {file.bytes:,} bytes came")
    if have < file.bytes:
        raise Passing("the connection ended early")


def _drop(part: Path, bar: _Bar) -> None:
    """Forget what arrived of a file."""
    bar.move(-_received(part))
    part.unlink(missing_ok=True)


def _received(part: Path) -> int:
    """Return how many bytes of a file are there."""
    return part.stat().st_size if part.exists() else 0
