"""Archives are unpacked whole or not at all, and nothing in them is trusted."""

from __future__ import annotations

import gzip
import io
import os
import re
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lensbench.downloads.archives import read_members, unpack
from lensbench.downloads.names import safe_parts
from lensbench.downloads.zips import Limits
from lensbench.errors import DataError

RNG = np.random.default_rng(11)
# The layout of the flowers: pictures in one folder, a licence beside it.
FILES = {
    **{f"jpg/image_{n:05d}.jpg": RNG.bytes(3000 + n) for n in range(1, 8)},
    "LICENSE.txt": b"taken by many\n",
    "jpg/empty.jpg": b"",
}


def write_tar(path: Path, files: dict[str, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        folder = tarfile.TarInfo("./jpg")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def write_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("jpg")
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def refused(archive: Path, limits: Limits | None = None) -> str:
    """Return the sentence of an archive that isn't unpacked, which leaves nothing anywhere."""
    before = {path for path in archive.parent.parent.rglob("*") if path.name != ".out.lock"}
    with pytest.raises(DataError) as caught:
        unpack(archive, archive.parent / "out", limits=limits)
    after = {path for path in archive.parent.parent.rglob("*") if path.name != ".out.lock"}
    assert after == before
    said = str(caught.value)
    assert "\n" not in said
    assert said.endswith(".")
    return said.replace(str(archive), "ARCHIVE")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return an empty folder inside an empty folder, which a climbing member would fill."""
    (tmp_path / "outer" / "inner").mkdir(parents=True)
    return tmp_path / "outer" / "inner"


# Good archives


@pytest.mark.parametrize("kind", ["tgz", "tar", "zip"])
def test_every_file_is_there_and_nothing_else(place: Path, kind: str) -> None:
    path = place / f"a.{kind}"
    if kind == "zip":
        write_zip(path, FILES)
    else:
        write_tar(path, FILES, "w:gz" if kind == "tgz" else "w")
    assert unpack(path, place / "out") == place / "out"
    assert contents(place / "out") == FILES
    assert {each.name for each in place.iterdir()} - {".out.lock"} == {path.name, "out", ".out.ok"}


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_form_of_tar_is_read(place: Path, form: int) -> None:
    name = "a" * 80 + "/" + "b" * 90 + ".jpg"
    with tarfile.open(place / "a.tgz", "w:gz", format=form) as archive:
        entry = tarfile.TarInfo(name)
        entry.size = 5
        archive.addfile(entry, io.BytesIO(b"hello"))
    assert contents(unpack(place / "a.tgz", place / "out")) == {name: b"hello"}


def test_what_was_unpacked_stays_until_the_archive_changes(place: Path) -> None:
    path = write_tar(place / "a.tgz", FILES)
    unpack(path, place / "out")
    inode = (place / "out").stat().st_ino
    (place / "out" / "mine").touch()
    unpack(path, place / "out")
    assert (place / "out").stat().st_ino == inode
    write_tar(path, {"new": b"1"})
    os.utime(path, ns=(1, 1))
    assert contents(unpack(path, place / "out")) == {"new": b"1"}


def test_an_archive_that_turned_bad_leaves_what_was_there(place: Path) -> None:
    path = write_tar(place / "a.tgz", FILES)
    unpack(path, place / "out")
    path.write_bytes(path.read_bytes()[:-100])
    refused(path)
    assert contents(place / "out") == FILES


def test_a_folder_of_somebody_else_is_not_touched(place: Path) -> None:
    (place / "out").mkdir()
    (place / "out" / "thesis.tex").write_text("years of work")
    said = refused(write_tar(place / "a.tgz", FILES))
    assert "was not unpacked into it: move it away" in said
    assert (place / "out" / "thesis.tex").read_text() == "years of work"


def test_what_a_killed_run_left_is_removed(place: Path) -> None:
    (place / ".out.unpacking").mkdir()
    (place / ".out.unpacking" / "half").write_bytes(b"ha")
    assert contents(unpack(write_tar(place / "a.tgz", FILES), place / "out")) == FILES
    assert not (place / ".out.unpacking").exists()


def test_an_end_just_before_the_last_step_is_no_end_of_it_all(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(path: Path, about: object) -> None:
        raise KeyboardInterrupt

    path = write_tar(place / "a.tgz", FILES)
    with monkeypatch.context() as patch:
        patch.setattr("lensbench.downloads.archives.write_stamp", end)
        with pytest.raises(KeyboardInterrupt):
            unpack(path, place / "out")
    # Were the folder there without its stamp, it would be taken for somebody else's.
    assert contents(unpack(path, place / "out")) == FILES


def test_rights_of_an_archive_are_not_taken(place: Path) -> None:
    with tarfile.open(place / "a.tgz", "w:gz") as archive:
        entry = tarfile.TarInfo("run.sh")
        entry.mode, entry.uid, entry.mtime = 0o6777, 4242, 1
        archive.addfile(entry)
    path = unpack(place / "a.tgz", place / "out") / "run.sh"
    assert stat.S_IMODE(path.stat().st_mode) & 0o6111 == 0
    assert path.stat().st_uid == os.getuid()


def test_members_of_an_archive_that_is_here(place: Path) -> None:
    path = write_zip(place / "a b.zip", FILES)
    wanted = {name: place / "got" / Path(name).name for name in list(FILES)[:3]}
    read_members(path, wanted)
    assert {name: out.read_bytes() for name, out in wanted.items()} == dict(list(FILES.items())[:3])
    with pytest.raises(DataError, match="has no member 'none'"):
        read_members(path, {"none": place / "none"})
    with pytest.raises(DataError, match=r"absent\.zip is not there"):
        read_members(place / "absent.zip", wanted)


# Names


HOSTILE = [
    ("../evil", "climbs out of the folder"),
    ("jpg/../../evil", "climbs out of the folder"),
    ("/etc/evil", "is an absolute name"),
    ("//evil", "is an absolute name"),
    ("C:/evil", "is an absolute name"),
    ("c:evil", "is an absolute name"),
    ("..\\evil", "has a backslash"),
    ("jpg\\evil", "has a backslash"),
    ("jpg/\x01evil", "has a control character"),
    ("jpg/\x7fevil", "has a control character"),
    ("jpg/new\nline", "has a control character"),
    ("x" * 256, "is too long"),
    ("x/" * 2100 + "y", "is too long"),
]


@pytest.mark.parametrize("write", [write_tar, write_zip])
@pytest.mark.parametrize(("name", "said"), HOSTILE)
def test_names_that_lead_elsewhere_are_refused(
    place: Path, write: Callable[[Path, dict[str, bytes]], Path], name: str, said: str
) -> None:
    archive = write(place / "archive", {**FILES, name: b"evil"})
    assert f"of ARCHIVE {said}" in refused(archive)


def test_a_name_with_a_nul_is_refused(place: Path) -> None:
    # The library that writes cuts names there: the bytes are changed afterwards, in both places.
    path = write_zip(place / "a.zip", {"good.jpg!exe": b"1"})
    path.write_bytes(path.read_bytes().replace(b"good.jpg!exe", b"good.jpg\0exe"))
    assert "has a control character" in refused(path)


COLLIDING = [
    (["jpg/a.jpg", "jpg/a.jpg"], "a.jpg"),
    (["jpg/a.jpg", "jpg/./a.jpg"], "a.jpg"),
    (["jpg/a.jpg", "JPG/A.jpg"], "A.jpg"),
    (["stra\u00dfe", "STRASSE"], "STRASSE"),
    (["caf\u00e9", "cafe\u0301"], "cafe"),
    (["a", "a/b"], "a/b"),
    (["a/b", "A"], "A"),
]


@pytest.mark.parametrize("write", [write_tar, write_zip])
@pytest.mark.parametrize(("names", "second"), COLLIDING)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_that_collide_somewhere_are_refused(
    place: Path,
    write: Callable[[Path, dict[str, bytes]], Path],
    names: list[str],
    second: str,
) -> None:
    class Twice(dict[str, bytes]):
        def items(self) -> list[tuple[str, bytes]]:  # type: ignore[override]
            return [(name, name.encode()) for name in names]

    said = refused(write(place / "archive", Twice()))
    assert "stands there twice, if only under another case or encoding" in said
    assert second in said


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        ("花.jpg".encode(), "花.jpg"),
        (b"caf\x82.jpg", "café.jpg"),  # Code page 437, as old ZIPs have it.
        (b"\xff\xfe.jpg", "\u00a0■.jpg"),
    ],
)
def test_names_in_any_encoding_are_files(place: Path, raw: bytes, found: str) -> None:
    with tarfile.open(place / "a.tgz", "w:gz", format=tarfile.GNU_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo(raw.decode("utf-8", "surrogateescape")))
    assert contents(unpack(place / "a.tgz", place / "out")) == {found: b""}


def test_a_zip_name_that_is_no_utf8_but_says_so_is_told(place: Path) -> None:
    path = write_zip(place / "a.zip", {"\u00e9\u00e9": b"1"})
    path.write_bytes(path.read_bytes().replace("\u00e9\u00e9".encode(), b"\xff\xff\xff\xff"))
    assert "is no ZIP archive or a damaged one" in refused(path)


def test_parts_of_names() -> None:
    assert safe_parts("./jpg//a.jpg") == ("jpg", "a.jpg")
    assert safe_parts("jpg/") == ("jpg",)
    assert safe_parts("./") == ()
    assert safe_parts("a..b/...") == ("a..b", "...")


# Kinds of members


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, b"V"],
)
def test_links_and_devices_of_a_tar_are_refused(place: Path, kind: bytes) -> None:
    with tarfile.open(place / "a.tgz", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("good"))
        entry = tarfile.TarInfo("bad")
        entry.type, entry.linkname = kind, "/etc/passwd"
        archive.addfile(entry)
    assert "The member 'bad' of ARCHIVE is a link, a device" in refused(place / "a.tgz")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK])
def test_links_and_devices_of_a_zip_are_refused(place: Path, kind: int) -> None:
    with zipfile.ZipFile(place / "a.zip", "w") as archive:
        entry = zipfile.ZipInfo("bad")
        entry.external_attr = (kind | 0o777) << 16
        archive.writestr(entry, "/etc/passwd")
    assert "The member 'bad' of ARCHIVE is a link, a device" in refused(place / "a.zip")


def test_a_sparse_file_is_refused(place: Path) -> None:
    # GNU's old form: a file of 1 TB with no data.
    entry = tarfile.TarInfo("holes")
    raw = bytearray(entry.tobuf(tarfile.GNU_FORMAT))
    raw[156:157] = tarfile.GNUTYPE_SPARSE
    raw[483:495] = b"\x80\0\0\0\0\0\1\0\0\0\0\0"
    raw[148:156] = b" " * 8
    raw[148:156] = b"%06o\0 " % sum(raw)
    (place / "a.tar").write_bytes(bytes(raw) + bytes(1024))
    assert "The member 'holes' of ARCHIVE is a link, a device or of another kind" in refused(
        place / "a.tar"
    )


# Bombs


def test_a_bomb_is_not_unpacked(place: Path) -> None:
    bomb = {"zeros": bytes(30_000_000)}
    said = refused(write_tar(place / "a.tgz", bomb))
    assert "holds more than" in said
    assert "is packed so tightly" in refused(
        write_zip(place / "a.zip", {**bomb, "noise": RNG.bytes(200_000)})
    )


def test_limits_hold(place: Path) -> None:
    tgz, packed = write_tar(place / "a.tgz", FILES), write_zip(place / "a.zip", FILES)
    assert "has more than 5 members" in refused(tgz, Limits(members=5))
    assert "has 10 members, at most 5 are taken" in refused(packed, Limits(members=5))
    for archive in (tgz, packed):
        assert "holds more than 20,000 bytes" in refused(archive, Limits(total_bytes=20_000))
        said = refused(archive, Limits(member_bytes=3001))
        assert re.search(r"image_0000\d\.jpg' of .* has 3,00\d bytes, too many", said)


def test_a_header_without_end_is_not_read(place: Path) -> None:
    # A "long name" of 1 GB, packed to 1 MB: reading it at once would take the memory.
    entry = tarfile.TarInfo("././@LongLink")
    entry.type, entry.size = tarfile.GNUTYPE_LONGNAME, 2**30
    with gzip.open(place / "a.tgz", "wb", compresslevel=1) as stream:
        stream.write(entry.tobuf(tarfile.GNU_FORMAT))
        for _ in range(32):
            stream.write(b"x" * 2**20)
    assert "is damaged (a header that is far too long)" in refused(place / "a.tgz")


def test_headers_of_headers_without_end_are_told(place: Path) -> None:
    entry = tarfile.TarInfo("././@LongLink")
    entry.type, entry.size = tarfile.GNUTYPE_LONGNAME, 2
    one = entry.tobuf(tarfile.GNU_FORMAT) + b"x\0" + bytes(510)
    (place / "a.tar").write_bytes(one * 3000)
    assert "ARCHIVE is damaged" in refused(place / "a.tar")


def test_overlapping_members_of_a_zip_are_refused(place: Path) -> None:
    # The bomb without ratio: many entries of the table point into one another's bytes.
    path = write_zip(place / "a.zip", {"one": RNG.bytes(5000), "two": RNG.bytes(5000)})
    raw = bytearray(path.read_bytes())
    second = raw.rindex(b"two") - 46
    first = raw.rindex(b"one", 0, second) - 46
    struct.pack_into("<I", raw, second + 42, struct.unpack_from("<I", raw, first + 42)[0] + 10)
    path.write_bytes(raw)
    assert "overlaps what comes after it" in refused(path)


# Damage


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
@pytest.mark.parametrize("kind", ["tgz", "zip"])
def test_a_cut_archive_is_told(place: Path, kind: str, share: float) -> None:
    write = write_tar if kind == "tgz" else write_zip
    path = write(place / f"a.{kind}", FILES)
    raw = path.read_bytes()
    path.write_bytes(raw[: int(share * len(raw))])
    assert "fetch it anew" in refused(path)


def test_a_byte_changed_anywhere_is_noticed(place: Path) -> None:
    for path in (write_tar(place / "a.tgz", FILES), write_zip(place / "a.zip", FILES)):
        raw = path.read_bytes()
        for at in range(100, len(raw) * 9 // 10, len(raw) // 12):
            path.write_bytes(raw[:at] + bytes([raw[at] ^ 4]) + raw[at + 1 :])
            out = place / f"{path.suffix[1:]}-{at}"
            try:
                assert contents(unpack(path, out)) == FILES  # It was in nobody's bytes.
            except DataError:
                assert not out.exists()


def test_a_damaged_header_is_not_taken_for_the_end(place: Path) -> None:
    path = write_tar(place / "a.tar", FILES, "w")
    raw = bytearray(path.read_bytes())
    raw[512 + 100] ^= 1  # In the mode of the second member: its header's own checksum breaks.
    path.write_bytes(raw)
    assert "is damaged (something stands after its end)" in refused(path)


def test_what_is_no_archive_is_told(place: Path) -> None:
    (place / "a.rar").write_bytes(b"Rar!" + bytes(600))
    assert refused(place / "a.rar") == "ARCHIVE is no ZIP, tar or tar.gz file: fetch it anew."
    with pytest.raises(DataError, match=r"none\.zip is not there: fetch it first"):
        unpack(place / "none.zip", place / "out")
