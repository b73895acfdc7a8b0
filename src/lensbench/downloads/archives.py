"""Archives that are here: single members of them, or all in a folder that is whole or not there."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import stat
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from lensbench.downloads.checksums import beside, identity, read_stamp, write_stamp
from lensbench.downloads.names import Taken, safe_parts
from lensbench.downloads.place import alone, check_space, writing
from lensbench.downloads.ranges import open_ranges
from lensbench.downloads.remote_zip import RemoteZip
from lensbench.downloads.retries import POLICY
from lensbench.downloads.zips import Limits, check_member, read_table, unpacked
from lensbench.errors import DataError, reason_of

_BLOCK = 2**20
#: A header's own data (a long name, say) is read at once; more than this is no name.
_LONGEST_HEADER = 2**20
_KINDS = {b"PK\x03\x04": "zip", b"PK\x05\x06": "zip", b"\x1f\x8b": "gzip"}
_TAR_MAGIC = slice(257, 262)
# RecursionError: the library calls itself for each header that belongs to the next.
_DAMAGED = (
    tarfile.TarError,
    gzip.BadGzipFile,
    zlib.error,
    EOFError,
    ValueError,
    RecursionError,
)


def read_members(archive: str | Path, wanted: Mapping[str, Path]) -> None:
    """Take single members out of a ZIP archive that is here.

    Args:
        archive: the ZIP file.
        wanted: a member's name → where its file goes; those that are there whole stay.

    Raises:
        DataError: as `RemoteZip.fetch`.
    """
    RemoteZip(Path(archive).absolute().as_uri()).fetch(wanted, workers=2)


def unpack(archive: str | Path, folder: str | Path, *, limits: Limits | None = None) -> Path:
    """Unpack all of an archive into a folder of its own; nothing to do if that was done already.

    The folder appears at once when all of it is written; what a killed run left behind is removed
    by the next. Files get no rights, owners or times from the archive.

    Args:
        archive: a ZIP, tar or tar.gz file.
        folder: where its members go; made here, and replaced when the archive is another one.
        limits: how much is unpacked at most.

    Returns:
        `folder`.

    Raises:
        DataError: if the archive is damaged or of another kind; if a member climbs out, is a link
            or a device, or collides with another; if it is larger than the limits or the disk; or
            if the folder is there and wasn't made here.
    """
    source, target = Path(archive), Path(folder)
    if not source.is_file():
        raise DataError(f"The archive {source} is not there: fetch it first.")
    with writing(target), alone(target):
        made, old = beside(target, "unpacking"), beside(target, "old")
        for left in (made, old):  # By a run that was killed.
            shutil.rmtree(left, ignore_errors=True)
        about = {"archive": source.name, **identity(source)}
        if target.exists() and read_stamp(target) == about:
            return target
        if target.exists() and not read_stamp(target):
            raise DataError(
                f"{target} is there, but {source.name} was not unpacked into it: move it away, or "
                "name another folder."
            )
        try:
            made.mkdir()
            _Unpacking(source, made, limits or Limits()).run()
            if target.exists():
                os.replace(target, old)
            # Stamp first: a folder without one would be taken for somebody else's.
            write_stamp(target, about)
            os.replace(made, target)
        finally:
            for left in (made, old):
                shutil.rmtree(left, ignore_errors=True)
    return target


class _Unpacking:
    """The members of one archive on their way into a folder.

    Args:
        archive: the file.
        folder: empty; nobody looks at it yet.
        limits: how much is unpacked at most.
    """

    def __init__(self, archive: Path, folder: Path, limits: Limits) -> None:
        self._archive, self._folder, self._limits = archive, folder, limits
        self._taken, self._members, self._bytes = Taken(), 0, 0

    def run(self) -> None:
        """Write every member.

        Raises:
            DataError: as `unpack`.
        """
        with self._archive.open("rb") as stream:
            head = stream.read(512)
        kinds = [kind for magic, kind in _KINDS.items() if head.startswith(magic)]
        if kinds == ["zip"]:
            self._unzip()
        elif kinds == ["gzip"] or head[_TAR_MAGIC] == b"ustar":
            self._untar(bool(kinds))
        else:
            raise DataError(f"{self._archive} is no ZIP, tar or tar.gz file: fetch it anew.")

    def _unzip(self) -> None:
        ranges = open_ranges(self._archive.absolute().as_uri(), None, POLICY)
        table = read_table(ranges, self._limits)
        self._count_bytes(sum(member.size for member in table))
        check_space(self._folder, self._bytes, self._archive.name)
        for member in table:
            folder = member.name.endswith("/")
            plain = (0, stat.S_IFDIR) if folder else (0, stat.S_IFREG)
            path = self._place(member.name, folder, member.mode in plain)
            if path is None:
                continue
            check_member(member, self._archive.name, self._limits)
            path.write_bytes(unpacked(ranges, member))

    def _untar(self, gzipped: bool) -> None:
        check_space(self._folder, self._archive.stat().st_size, self._archive.name)
        with self._reading(), self._archive.open("rb") as raw:
            reader = _Forward(gzip.GzipFile(fileobj=raw) if gzipped else raw, self._by_ratio())
            with tarfile.open(
                fileobj=reader, mode="r:", encoding="utf-8", errors="surrogateescape"
            ) as archive:
                while (entry := archive.next()) is not None:
                    # The library keeps them for going back, which is never done here.
                    archive.members.clear()  # type: ignore[attr-defined]
                    plain = (entry.isreg() and not entry.issparse()) or entry.isdir()
                    path = self._place(entry.name, entry.isdir(), plain)
                    if path is not None:
                        self._copy(archive, entry, path)
            # A damaged header looks like the end; after the true end there are only zeros, and
            # reading to it has the checksum of gzip compared.
            while block := reader.read(_LONGEST_HEADER):
                if block.strip(b"\0"):
                    raise tarfile.ReadError("something stands after its end")

    def _copy(self, archive: tarfile.TarFile, entry: tarfile.TarInfo, path: Path) -> None:
        self._count_bytes(entry.size)
        if entry.size > self._limits.member_bytes:
            raise self._refused(entry.name, f"has {entry.size:,} bytes, too many")
        stream = archive.extractfile(entry)
        left = entry.size
        with path.open("wb") as made:
            while stream is not None and left:
                block = stream.read(min(left, _LONGEST_HEADER))
                if not block:
                    raise EOFError("it ends early")
                made.write(block)
                left -= len(block)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Turn what the libraries say of a damaged archive into one sentence."""
        try:
            yield
        except _DAMAGED as error:
            raise DataError(
                f"{self._archive} is damaged ({reason_of(error)}): fetch it anew."
            ) from error

    def _place(self, name: str, folder: bool, plain: bool) -> Path | None:
        """Return where a member's file goes, its folder made; None for a folder.

        Args:
            name: as the archive has it.
            folder: whether it is a folder.
            plain: whether it is a file or a folder and no link, device or else.

        Raises:
            DataError: if it may not be written.
        """
        self._members += 1
        if self._members > self._limits.members:
            raise DataError(
                f"{self._archive} has more than {self._limits.members:,} members: check where it "
                "comes from."
            )
        if not plain:
            raise self._refused(name, "is a link, a device or of another kind that isn't unpacked")
        try:
            parts = safe_parts(name)
            if not parts and not folder:
                raise DataError("has no name")
            self._taken.add(parts, folder)
        except DataError as reason:
            raise self._refused(name, str(reason)) from None
        path = self._folder.joinpath(*parts)
        (path if folder else path.parent).mkdir(parents=True, exist_ok=True)
        return None if folder else path

    def _refused(self, name: str, reason: str) -> DataError:
        return DataError(
            f"The member {name!a} of {self._archive} {reason}: check where the archive comes from."
        )

    def _most_bytes(self) -> int:
        """Return how many bytes may come out of the archive."""
        return min(self._limits.total_bytes, self._by_ratio())

    def _by_ratio(self) -> int:
        # Even an honest archive of almost nothing is mostly zeros.
        return max(int(self._limits.ratio * self._archive.stat().st_size), _LONGEST_HEADER)

    def _count_bytes(self, more: int) -> None:
        self._bytes += more
        if self._bytes > self._most_bytes():
            raise DataError(
                f"{self._archive} holds more than {self._most_bytes():,} bytes, which is too many "
                "for an archive of its size: check where it comes from."
            )


class _Forward(io.RawIOBase):
    """A stream that is read forward, in small steps and not for ever.

    Args:
        stream: at its beginning.
        most: bytes that may come out of it.
    """

    def __init__(self, stream: io.BufferedIOBase, most: int) -> None:
        self._stream, self._most, self._at = stream, most, 0

    def seekable(self) -> bool:
        """Return True: forward it is."""
        return True

    def tell(self) -> int:
        """Return the place of the next byte."""
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        """Return the next bytes.

        Raises:
            ReadError: if too many are asked for at once, or came in all.
        """
        if size is None or not 0 <= size <= _LONGEST_HEADER:
            raise tarfile.ReadError("a header that is far too long")
        found = self._stream.read(size)
        self._at += len(found)
        if self._at > self._most:
            raise tarfile.ReadError(f"more than {self._most:,} bytes come out of it")
        return found

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go forward to a place, or to the end if it is before that.

        Raises:
            ReadError: if the place lies behind.
        """
        if whence != io.SEEK_SET or offset < self._at:
            raise tarfile.ReadError("it goes backwards")
        while self._at < offset and self.read(min(offset - self._at, _BLOCK)):
            pass
        return self._at
