"""Archives: ZIP and tar of any bytes and any members, here and on a server."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zipfile
from typing import Any

from hypothesis import strategies as st
from tests.fuzz.conftest import Fuzz
from tests.fuzz.harness import Jail
from tests.fuzz.mutations import mutated_bytes, texts
from tests.fuzz.seeds import tar_bytes, zip_bytes
from tests.server import Server

from lensbench.downloads.archives import read_members, unpack
from lensbench.downloads.remote_zip import RemoteZip
from lensbench.downloads.retries import Policy
from lensbench.downloads.zips import Limits
from lensbench.errors import DataError

MEMBERS = {"a/one.txt": b"one" * 20, "a/b/two.txt": b"", "three.bin": bytes(range(256)) * 4}
SEEDS = [
    zip_bytes(MEMBERS),
    zip_bytes(MEMBERS, zipfile.ZIP_STORED),
    tar_bytes(MEMBERS),
    tar_bytes(MEMBERS, "w:gz"),
    tar_bytes({"long/" * 30 + "name": b"x"}),
]
WORDS = [
    b"PK\x01\x02",
    b"PK\x03\x04",
    b"PK\x05\x06",
    b"PK\x06\x06",
    b"../",
    b"/etc/",
    b"ustar\x0000",
]
LIMITS = Limits(members=50, member_bytes=2**20, total_bytes=2**22, ratio=50)
HASTY = Policy(attempts=2, first_pause_s=0.0, longest_pause_s=0.0, longest_wait_s=0.0, timeout_s=5)


def note_of(name: str) -> bool:
    """Say whether a file is what unpacking leaves beside its folder: a lock."""
    return name.endswith((".lock", ".ok"))


def of_members(entries: list[tuple[str, bytes, int]], kind: str) -> bytes:
    """Return an archive with members of any names, kinds and link targets."""
    stream = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(stream, "w") as archive:
            for name, content, mode in entries:
                about = zipfile.ZipInfo("x")
                # A name's length has two bytes.
                about.filename = name.encode("utf-8", "replace")[:65_535].decode(errors="ignore")
                about.external_attr = mode << 16
                archive.writestr(about, content)
        return stream.getvalue()
    form = {"tar": tarfile.PAX_FORMAT, "gnu": tarfile.GNU_FORMAT}[kind]
    with tarfile.open(
        fileobj=stream, mode="w", format=form, encoding="utf-8", errors="surrogateescape"
    ) as archive:
        for name, content, mode in entries:
            entry = tarfile.TarInfo(name.encode("utf-8", "replace").decode())
            entry.type = bytes([mode % 256]) if mode else tarfile.REGTYPE
            entry.linkname = "../../victim/keep.txt"
            entry.size = len(content) if entry.isreg() else 0
            archive.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


NAMES = st.one_of(
    texts,
    st.sampled_from(
        ["../x", "/x", "a/../../x", "a//b", "./a", "A", "a", "a/b", "CON", "c:x", "a\\b", ".", "..",
         "link/keep.txt", "a" * 300, "é", "e\u0301", "a\x00b", "a\nb"]
    ),
)  # fmt: skip
MODES = st.sampled_from(
    [0, 0, 0, 0, 0o120777, 0o100644, 0o40755, 0o10644, 0o60644, 48, 49, 50, 53, 54]
)


@st.composite
def archives(draw: Any) -> bytes:
    """Draw an archive of a few members, mostly harmless."""
    entries = draw(
        st.lists(st.tuples(NAMES, st.binary(max_size=30), MODES), min_size=1, max_size=4)
    )
    return of_members(entries, draw(st.sampled_from(["zip", "tar", "gnu"])))


def bombs() -> list[bytes]:
    """Return archives that are much larger inside."""
    zeros = bytes(64 * 2**20)
    long_name = tarfile.TarInfo("x")
    long_name.type, long_name.size = tarfile.GNUTYPE_LONGNAME, 2**40
    stored = bytearray(zip_bytes({"a": b"x"}))
    at = stored.rindex(b"PK\x01\x02")
    stored[at + 20 : at + 28] = struct.pack("<II", 2**32 - 2, 2**32 - 2)
    chain = tarfile.TarInfo("pax")
    chain.type, chain.size = tarfile.XHDTYPE, 0
    return [
        zip_bytes({"a": zeros}),
        gzip.compress(zeros),
        tar_bytes({"a": zeros}, "w:gz"),
        long_name.tobuf() + bytes(1024),
        bytes(stored),
        zip_bytes({str(n): b"" for n in range(60)}),
        chain.tobuf() * 5000,
        b"PK\x05\x06" + bytes(18),
    ]


def test_archives(fuzz: Fuzz) -> None:
    def read(jail: Jail, content: bytes) -> None:
        unpack(jail.give("a.bin", content), jail.out / "made", limits=LIMITS)

    inputs = st.one_of(mutated_bytes(SEEDS, WORDS), archives())
    fuzz("archives", inputs, read, examples=tuple(bombs()), kept=note_of)


def test_members_of_archives(fuzz: Fuzz) -> None:
    def read(jail: Jail, content: bytes) -> None:
        read_members(jail.give("a.zip", content), {"a/one.txt": jail.out / "one.txt"})
        if (jail.out / "one.txt").read_bytes() != MEMBERS["a/one.txt"]:
            raise DataError("Another file.")

    fuzz(
        "archives",
        mutated_bytes(SEEDS[:2], WORDS),
        read,
        examples=tuple(bombs()),
        kept=lambda name: note_of(name) or name == "one.txt",
    )


def test_archives_of_a_server(fuzz: Fuzz, tmp_path_factory: Any) -> None:
    folder = tmp_path_factory.mktemp("served")
    with Server(folder) as server:

        def read(jail: Jail, content: bytes) -> None:
            (folder / "a.zip").write_bytes(content)
            remote = RemoteZip(f"{server.url}/a.zip", policy=HASTY, limits=LIMITS)
            known = remote.members()
            remote.fetch({name: jail.out / f"{n}" for n, name in enumerate(list(known)[:5])}, 1)

        def apart(jail: Jail, content: bytes) -> None:
            jail.allow(folder)
            read(jail, content)

        fuzz(
            "remote archives",
            mutated_bytes(SEEDS[:2], WORDS),
            apart,
            examples=tuple(bombs()),
            kept=lambda name: note_of(name) or name.isdigit(),
        )
