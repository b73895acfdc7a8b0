"""ZIP archives: what their table says, checked, and the bytes of one member."""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

from lensbench.downloads.ranges import Ranges, Seekable
from lensbench.errors import DataError, reason_of

_LOCAL_HEADER = struct.Struct("<4s5H3I2H")
_LOCAL_MAGIC = b"PK\x03\x04"
#: What may stand around a member's data: names and extra fields of 64 KiB, sizes after the data.
_AROUND = _LOCAL_HEADER.size + 2 * 2**16 + 24
#: Small members may be of one byte repeated without being a bomb.
_SMALL = 2**20
_ENCRYPTED = 0x1


@dataclass(frozen=True)
class Limits:
    """How much of an archive is unpacked at most.

    Args:
        members: files and folders.
        member_bytes: of one file, unpacked; it is held in memory.
        total_bytes: of all files, unpacked.
        ratio: unpacked size over packed size, of what is larger than 1 MiB.
    """

    members: int = 1_000_000
    member_bytes: int = 2**30
    total_bytes: int = 2**36
    ratio: float = 200.0


@dataclass(frozen=True)
class Member:
    """A member of a ZIP archive, as the archive's table tells it.

    Args:
        name: with "/" between folders; a folder's ends with it.
        size: bytes, unpacked.
        packed: bytes in the archive.
        crc: CRC-32 of the unpacked bytes.
        method: 0 (stored) or 8 (deflated); others can't be unpacked.
        encrypted: whether a password is needed.
        mode: the kind of file in the sense of `stat`, 0 where the archive doesn't say.
        start: first byte of the member's header in the archive.
        stop: byte at which something else begins.
    """

    name: str
    size: int
    packed: int
    crc: int
    method: int
    encrypted: bool
    mode: int
    start: int
    stop: int


def read_table(ranges: Ranges, limits: Limits) -> list[Member]:
    """Return the members of a ZIP archive in the order of its table.

    Args:
        ranges: the archive; only its table is read.
        limits: how many members there may be.

    Raises:
        DataError: if it is no ZIP archive or a damaged one, or has too many members.
    """
    try:
        with zipfile.ZipFile(Seekable(ranges)) as archive:
            entries, end = archive.infolist(), archive.start_dir
    # Hostile tables make the standard library raise anything: struct.error, UnicodeDecodeError, …
    except (zipfile.BadZipFile, ValueError, struct.error, OSError, NotImplementedError) as error:
        raise DataError(
            f"{ranges.name} is no ZIP archive or a damaged one ({reason_of(error)}): fetch it anew."
        ) from error
    if len(entries) > limits.members:
        raise DataError(
            f"{ranges.name} has {len(entries):,} members, at most {limits.members:,} are taken: "
            "check where it comes from."
        )
    starts = sorted({entry.header_offset for entry in entries} | {end})
    after = dict(pairwise(starts))
    return [
        Member(
            name=entry.orig_filename,
            size=entry.file_size,
            packed=entry.compress_size,
            crc=entry.CRC,
            method=entry.compress_type,
            encrypted=bool(entry.flag_bits & _ENCRYPTED),
            mode=stat.S_IFMT(entry.external_attr >> 16),
            start=entry.header_offset,
            # Whatever stands between two members isn't fetched with the first.
            stop=min(
                after.get(entry.header_offset, entry.header_offset),
                entry.header_offset + entry.compress_size + _AROUND,
            ),
        )
        for entry in entries
    ]


def only_names(members: list[Member]) -> dict[str, Member]:
    """Return name → member, without the names that stand more than once: they mean nothing."""
    counts = Counter(member.name for member in members)
    return {member.name: member for member in members if counts[member.name] == 1}


def check_member(member: Member, where: str, limits: Limits) -> None:
    """Refuse a member that can't be unpacked, or shouldn't be.

    Args:
        member: of `read_table`.
        where: the archive, as it may be printed.
        limits: how large it may be.

    Raises:
        DataError: if it is encrypted, packed in another way, too large, or overlaps the next.
    """
    reason = ""
    if member.encrypted:
        reason = "is encrypted"
    elif member.method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        reason = f"is packed by method {member.method}, which is not read"
    elif max(member.size, member.packed) > limits.member_bytes:
        reason = f"has {max(member.size, member.packed):,} bytes, too many"
    elif member.size > _SMALL and member.size > limits.ratio * member.packed:
        reason = "is packed so tightly that it may be a bomb"
    elif member.method == zipfile.ZIP_STORED and member.size != member.packed:
        reason = "has two sizes"
    elif member.start < 0 or member.start + _LOCAL_HEADER.size + member.packed > member.stop:
        reason = "overlaps what comes after it"
    if reason:
        raise DataError(
            f"The member {member.name!r} of {where} {reason}: check where the archive comes from."
        )


def unpacked(ranges: Ranges, member: Member) -> bytes:
    """Return a member's bytes, with size and CRC checked.

    Args:
        ranges: the archive, of which one range is read.
        member: one that `check_member` let pass.

    Raises:
        DataError: if the bytes aren't what the table says.
    """
    raw = ranges.read(member.start, member.stop)
    damaged = DataError(
        f"The member {member.name!r} of {ranges.name} is damaged: run again, or fetch the archive "
        "anew."
    )
    if len(raw) < _LOCAL_HEADER.size:
        raise damaged
    magic, _, _, method, *_, name_size, extra_size = _LOCAL_HEADER.unpack_from(raw)
    begin = _LOCAL_HEADER.size + name_size + extra_size
    packed = raw[begin : begin + member.packed]
    if magic != _LOCAL_MAGIC or method != member.method or len(packed) != member.packed:
        raise damaged
    content = packed
    if member.method == zipfile.ZIP_DEFLATED:
        inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            # One byte more than promised at most: what lies about its size is found out cheaply.
            content = inflate.decompress(packed, member.size + 1)
        except zlib.error as error:
            raise damaged from error
    if len(content) != member.size or zlib.crc32(content) != member.crc:
        raise damaged
    return content
