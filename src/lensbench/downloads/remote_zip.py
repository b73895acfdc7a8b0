"""Single members out of a ZIP archive elsewhere, without the rest of it."""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from pathlib import Path

from lensbench.downloads.checksums import beside
from lensbench.downloads.mirror import mirrored, shown
from lensbench.downloads.place import alone, byte_bar, check_space, writing
from lensbench.downloads.ranges import Ranges, RangesRefused, open_ranges
from lensbench.downloads.retries import POLICY, Policy
from lensbench.downloads.zips import (
    Limits,
    Member,
    check_member,
    only_names,
    read_table,
    unpacked,
)
from lensbench.errors import DataError

__all__ = ["Limits", "Member", "RangesRefused", "RemoteZip"]

_BLOCK = 2**20


class RemoteZip:
    """A ZIP archive on a server, of which single members are fetched by range requests.

    Args:
        url: where it is published: http, https or file.
        mirror: what stands in for the host, as `mirrored` takes it.
        size: its bytes, if known; an archive of another size is refused.
        policy: when to try again, and when to give up.
        limits: how much is unpacked at most.

    Raises:
        ConfigError: if the mirror has no form of a mirror.
    """

    def __init__(
        self,
        url: str,
        mirror: str | None = None,
        size: int | None = None,
        *,
        policy: Policy = POLICY,
        limits: Limits = Limits(),  # noqa: B008 (frozen)
    ) -> None:
        self._address, self._size = mirrored(url, mirror), size
        self._policy, self._limits = policy, limits
        self._ranges: Ranges | None = None
        self._members: dict[str, Member] | None = None

    def members(self) -> dict[str, Member]:
        """Return name → member, from the archive's table; read once.

        A name that stands twice in the table is left out.

        Raises:
            RangesRefused: if the server gives files only whole; the caller may fetch all of it.
            DataError: if there is no such archive, it is damaged, or it can't be reached.
        """
        if self._members is None:
            self._members = only_names(read_table(self._opened(), self._limits))
        return self._members

    def fetch(self, wanted: Mapping[str, Path], workers: int = 8) -> None:
        """Fetch members, each in one request; those that are there whole are left as they are.

        Every file is whole (size and CRC as the table says) or not there, and fetched by one
        process at a time.

        Args:
            wanted: a member's name → where its file goes.
            workers: requests at a time.

        Raises:
            RangesRefused: if the server gives files only whole; the caller may fetch all of it.
            DataError: if a member isn't in the archive, can't or shouldn't be unpacked or is
                damaged; if the archive can't be reached; or if the disk is too small.
        """
        members, name = self.members(), shown(self._address)
        for each in wanted:
            if each not in members:
                raise DataError(
                    f"{name} has no member {each!r}, or two: check the name and the archive."
                )
            check_member(members[each], name, self._limits)
        places = sorted({path.parent for path in wanted.values()})
        with ExitStack() as locks:
            for place in places:
                locks.enter_context(writing(place))
                locks.enter_context(alone(place / "members"))
                for left in place.glob(".*.member"):
                    left.unlink()  # By a run that was killed: nobody else writes here now.
            missing = [
                (members[each], path)
                for each, path in wanted.items()
                if not _is_whole(path, members[each])
            ]
            if missing:
                needed = sum(member.size for member, _ in missing)
                check_space(missing[0][1].parent, needed, f"What is wanted of {name}")
                self._fetch_all(missing, workers)

    def _opened(self) -> Ranges:
        if self._ranges is None:
            self._ranges = open_ranges(self._address, self._size, self._policy)
        return self._ranges

    def _fetch_all(self, missing: Sequence[tuple[Member, Path]], workers: int) -> None:
        """Fetch members side by side; the first error ends all."""
        ranges = self._opened()
        total = sum(member.packed for member, _ in missing)
        pool = ThreadPoolExecutor(max_workers=workers)
        label = f"{len(missing)} of {Path(self._address).name}"
        with byte_bar(label, total) as bar:
            try:
                under_way = [pool.submit(_fetch_one, ranges, *each) for each in missing]
                for done in as_completed(under_way):
                    bar.update(done.result())
            except BaseException:
                # Ends the waits of the other threads; what is opened next begins anew.
                ranges.close()
                self._ranges = None
                raise
            finally:
                pool.shutdown(cancel_futures=True)


def _fetch_one(ranges: Ranges, member: Member, path: Path) -> int:
    """Fetch a member and return its packed size."""
    content = unpacked(ranges, member)
    new = beside(path, "member")
    new.write_bytes(content)
    os.replace(new, path)
    return member.packed


def _is_whole(path: Path, member: Member) -> bool:
    """Return whether a file has a member's size and CRC."""
    if not path.is_file() or path.stat().st_size != member.size:
        return False
    crc = 0
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            crc = zlib.crc32(block, crc)
    return crc == member.crc
