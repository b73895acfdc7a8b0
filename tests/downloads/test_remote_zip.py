"""Members out of a remote ZIP: one request each, checked, and nothing else of the archive."""

from __future__ import annotations

import struct
import threading
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from tests.server import Fault, Server

from lensbench.downloads import ranges, zips
from lensbench.downloads.remote_zip import Limits, RangesRefused, RemoteZip
from lensbench.downloads.retries import Policy
from lensbench.errors import DataError

FAST = Policy(attempts=4, first_pause_s=0.001, longest_pause_s=0.01, timeout_s=5)
RNG = np.random.default_rng(3)
# The layout of Visual Genome's archive: stored pictures in one folder, here of 5 to 20 KB.
PICTURES = {f"VG_100K/{2331000 + n}.jpg": RNG.bytes(5000 + 375 * n) for n in range(40)}
TEXT = b"[" + b'{"answer": 3}, ' * 4000 + b"]"
PATH = "/pictures.zip"


def write_zip(path: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(zipfile.ZipInfo("VG_100K/"), b"")
        for name, content in members.items():
            packed = zipfile.ZIP_STORED if name.endswith(".jpg") else zipfile.ZIP_DEFLATED
            archive.writestr(name, content, compress_type=packed)


@pytest.fixture
def served(tmp_path: Path) -> Path:
    folder = tmp_path / "served"
    folder.mkdir()
    write_zip(folder / "pictures.zip", {**PICTURES, "train.json": TEXT})
    return folder


@pytest.fixture
def small_tail(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read little of the end at first, so that small archives behave as large ones do."""
    monkeypatch.setattr(ranges, "_TAIL", 200)


def remote(server: Server, size: int | None = None, limits: Limits | None = None) -> RemoteZip:
    return RemoteZip(server.url + PATH, None, size, policy=FAST, limits=limits or Limits())


def places(folder: Path, *names: str) -> dict[str, Path]:
    return {name: folder / Path(name).name for name in names}


SOME = tuple(PICTURES)[3:40:4]


# What is fetched


def test_the_table_tells_every_member(server: Server, small_tail: None) -> None:
    members = remote(server).members()
    assert set(members) == {"VG_100K/", "train.json", *PICTURES}
    assert members["train.json"].size == len(TEXT)
    assert members["train.json"].packed < len(TEXT) / 50
    assert {name: members[name].crc for name in PICTURES} == {
        name: zlib.crc32(content) for name, content in PICTURES.items()
    }
    # The end, then the table: none of the pictures.
    assert len(server.requests) <= 3
    assert server.sent[PATH] < 10_000


def test_members_arrive_and_little_else(server: Server, tmp_path: Path, small_tail: None) -> None:
    wanted = places(tmp_path / "here", *SOME)
    archive = remote(server)
    archive.members()
    asked, sent = len(server.requests), server.sent[PATH]
    archive.fetch(wanted)
    assert {name: path.read_bytes() for name, path in wanted.items()} == {
        name: PICTURES[name] for name in SOME
    }
    assert len(server.requests) - asked == len(SOME)
    # Beside its bytes each has a header of 30 bytes and its name.
    packed = sum(len(PICTURES[name]) + 30 + len(name) for name in SOME)
    assert server.sent[PATH] - sent == packed


def test_deflated_members_and_the_last_one_arrive(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "train.json"
    remote(server).fetch({"train.json": path})
    assert path.read_bytes() == TEXT


def test_what_is_there_whole_is_not_fetched_again(
    server: Server, tmp_path: Path, small_tail: None
) -> None:
    wanted = places(tmp_path, *SOME)
    remote(server).fetch(wanted)
    wanted[SOME[0]].write_bytes(b"short")
    wanted[SOME[1]].write_bytes(b"\0" * len(PICTURES[SOME[1]]))  # Its size, but not its CRC.
    wanted[SOME[2]].unlink()
    archive = remote(server)
    archive.members()
    before = len(server.requests)
    archive.fetch(wanted)
    assert len(server.requests) - before == 3
    assert all(wanted[name].read_bytes() == PICTURES[name] for name in SOME)
    left = {path.name for path in tmp_path.iterdir() if path.is_file()}
    assert left - {".members.lock"} == {path.name for path in wanted.values()}


def test_members_come_side_by_side(served: Path, tmp_path: Path, small_tail: None) -> None:
    with Server(served, delay_s=0.05) as server:
        archive = remote(server)
        archive.members()
        server.requests.clear()
        archive.fetch(places(tmp_path, *PICTURES), workers=8)
    at = sorted(request.at for request in server.requests)
    assert len(at) == 40
    # One after the other they would take 40 × 50 ms at least.
    assert at[-1] - at[0] < 1.0


def test_a_bar_shows_the_bytes(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    remote(server).fetch(places(tmp_path, *SOME))
    assert "10 of pictures.zip: 100%" in capsys.readouterr().err


def test_zip64_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Every size and offset above this counts as too large for the old fields.
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 100)
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 10)
    (tmp_path / "served").mkdir()
    write_zip(tmp_path / "served" / "pictures.zip", PICTURES)
    raw = (tmp_path / "served" / "pictures.zip").read_bytes()
    assert b"PK\x06\x06" in raw  # The zip64 end of the table.
    with Server(tmp_path / "served") as server:
        remote(server).fetch(places(tmp_path, *SOME))
    assert all((tmp_path / Path(name).name).read_bytes() == PICTURES[name] for name in SOME)


def test_members_behind_the_first_four_gigabytes_arrive(tmp_path: Path) -> None:
    path = tmp_path / "pictures.zip"
    with path.open("wb") as hole:
        hole.truncate(5 * 2**30)  # Takes no disk.
    with zipfile.ZipFile(path, "a") as archive:
        for name, content in PICTURES.items():
            archive.writestr(name, content)
    with Server(tmp_path) as server:
        server.etag = lambda file: '"one"'  # By its bytes would take a while.
        remote(server, path.stat().st_size).fetch(places(tmp_path, *SOME))
    assert all((tmp_path / Path(name).name).read_bytes() == PICTURES[name] for name in SOME)


def test_an_archive_behind_other_bytes_is_read(served: Path, tmp_path: Path) -> None:
    whole = served / "pictures.zip"
    whole.write_bytes(b"#!/bin/sh self-extracting\n" + whole.read_bytes())
    with Server(served) as server:
        remote(server).fetch(places(tmp_path, *SOME))
    assert (tmp_path / Path(SOME[0]).name).read_bytes() == PICTURES[SOME[0]]


def test_a_folder_as_mirror_is_read_in_ranges_too(served: Path, tmp_path: Path) -> None:
    (served / "host").mkdir()
    (served / "pictures.zip").rename(served / "host" / "pictures.zip")
    archive = RemoteZip("https://host/pictures.zip", served.as_uri())
    archive.fetch(places(tmp_path, *SOME))
    assert (tmp_path / Path(SOME[0]).name).read_bytes() == PICTURES[SOME[0]]
    with pytest.raises(DataError, match=r"none\.zip is not there"):
        RemoteZip("https://host/none.zip", served.as_uri()).members()


# Faults


def test_cut_and_refused_requests_are_tried_again(
    server: Server, tmp_path: Path, small_tail: None
) -> None:
    faults = [Fault(status=500), Fault(after=1000), Fault(status=429), None]
    server.faults = lambda path, before: faults[before % 4]
    wanted = places(tmp_path, *SOME)
    remote(server).fetch(wanted, workers=1)  # In this order: no member meets four faults.
    assert all(wanted[name].read_bytes() == PICTURES[name] for name in SOME)
    assert len(server.requests) > 2 * len(SOME)


def test_a_cut_member_goes_on_where_it_was_cut(
    server: Server, tmp_path: Path, small_tail: None
) -> None:
    archive = remote(server)
    member = archive.members()[SOME[5]]
    server.requests.clear()
    server.sent.clear()
    server.fail_first(Fault(after=1000))
    archive.fetch(places(tmp_path, SOME[5]))
    start = member.start
    assert [request.headers["range"] for request in server.requests] == [
        f"bytes={start}-{member.stop - 1}",
        f"bytes={start + 1000}-{member.stop - 1}",
    ]
    assert server.sent[PATH] == member.stop - start


def test_a_server_without_ranges_is_said_so_before_anything_is_read(
    served: Path, tmp_path: Path
) -> None:
    with Server(served, ranges=False) as server:
        with pytest.raises(RangesRefused, match="is given only whole, not in ranges"):
            remote(server).fetch(places(tmp_path, *SOME))
        assert len(server.requests) == 1
    assert not list(tmp_path.glob("*.jpg"))


def test_an_error_ends_the_waits_of_all(server: Server, tmp_path: Path, small_tail: None) -> None:
    archive = remote(server)
    archive.members()
    gate = threading.Event()

    def fault(path: str, before: int) -> Fault:
        # The others wait for an hour, and one is refused for good.
        if not gate.is_set():
            gate.set()
            return Fault(status=404)
        return Fault(status=503, headers={"Retry-After": "250"})

    server.requests.clear()
    server.faults = fault
    with pytest.raises(DataError, match="is not there"):
        archive.fetch(places(tmp_path, *SOME))
    server.faults = lambda path, before: None
    archive.fetch(places(tmp_path, *SOME))  # The archive can be used again.
    assert (tmp_path / Path(SOME[0]).name).read_bytes() == PICTURES[SOME[0]]


def test_wrong_bytes_are_noticed_and_not_kept(served: Path, server: Server, tmp_path: Path) -> None:
    raw = bytearray((served / "pictures.zip").read_bytes())
    at = raw.index(PICTURES[SOME[2]])
    raw[at + 100] ^= 1
    (served / "pictures.zip").write_bytes(raw)
    with pytest.raises(DataError) as caught:
        remote(server).fetch(places(tmp_path / "here", SOME[2]))
    assert f"The member '{SOME[2]}' of {server.url}/pictures.zip is damaged" in str(caught.value)
    assert not (tmp_path / "here" / Path(SOME[2]).name).exists()


def test_an_archive_that_changes_meanwhile_is_told(
    served: Path, server: Server, tmp_path: Path, small_tail: None
) -> None:
    archive = remote(server)
    archive.members()
    write_zip(served / "pictures.zip", dict(reversed(PICTURES.items())))
    with pytest.raises(DataError, match="changed while it was read: run again"):
        archive.fetch(places(tmp_path, *SOME))


def test_another_size_than_published_is_told(served: Path, server: Server) -> None:
    size = (served / "pictures.zip").stat().st_size
    assert len(remote(server, size).members()) == 42
    for other in (size - 1, size + 1):
        with pytest.raises(DataError, match=f"has {size:,} bytes where {other:,} were published"):
            remote(server, other).members()
    with pytest.raises(DataError, match="is shorter than what was published"):
        remote(server, 10 * size).members()


@pytest.mark.parametrize("content", [b"", b"no archive", b"x" * 70_000, b"PK\x05\x06" + b"\0" * 17])
def test_what_is_no_archive_is_told(served: Path, server: Server, content: bytes) -> None:
    (served / "pictures.zip").write_bytes(content)
    with pytest.raises(DataError) as caught:
        remote(server).members()
    assert str(caught.value).endswith(".")


def test_a_missing_member_is_named(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"pictures\.zip has no member 'VG_100K/1\.jpg', or two"):
        remote(server).fetch(places(tmp_path, "VG_100K/1.jpg"))


# Hostile archives


def rewrite(path: Path, name: bytes, field: int, form: str, value: int) -> None:
    """Change a field of a member's entry in the table of an archive.

    Args:
        path: the archive.
        name: the member's.
        field: where it stands in the entry, in bytes.
        form: of `struct`.
        value: the new one.
    """
    raw = bytearray(path.read_bytes())
    entry = raw.rindex(name) - 46
    assert raw[entry : entry + 4] == b"PK\x01\x02"
    struct.pack_into(form, raw, entry + field, value)
    path.write_bytes(raw)


@pytest.mark.parametrize(
    ("field", "form", "value", "said"),
    [
        (8, "<H", 1, "is encrypted"),
        (10, "<H", 12, "is packed by method 12, which is not read"),
        (20, "<I", 2**31, "has 2,147,483,648 bytes, too many"),
        (24, "<I", 2**29, "is packed so tightly that it may be a bomb"),
        (24, "<I", 60_003, "is damaged"),
        (24, "<I", 59_001, "is damaged"),
        (16, "<I", 12345, "is damaged"),
        (42, "<I", 2**30, "overlaps what comes after it"),
        (42, "<I", 0, "overlaps what comes after it"),
        (42, "<I", 37, "overlaps what comes after it"),
    ],
)
def test_members_that_lie_are_refused(
    served: Path, server: Server, tmp_path: Path, field: int, form: str, value: int, said: str
) -> None:
    rewrite(served / "pictures.zip", b"train.json", field, form, value)
    with pytest.raises(DataError) as caught:
        remote(server).fetch({"train.json": tmp_path / "here.json"})
    assert said in str(caught.value)
    assert not (tmp_path / "here.json").exists()


def test_two_members_of_one_name_are_none(served: Path, server: Server, tmp_path: Path) -> None:
    with (
        zipfile.ZipFile(served / "pictures.zip", "a") as archive,
        pytest.warns(UserWarning, match="Duplicate name"),
    ):
        archive.writestr(SOME[0], b"another")
    with pytest.raises(DataError, match=r"has no member .*, or two"):
        remote(server).fetch(places(tmp_path, SOME[0]))
    remote(server).fetch(places(tmp_path, SOME[1]))


def test_a_table_of_too_many_members_is_refused(server: Server) -> None:
    with pytest.raises(DataError, match="has 42 members, at most 41 are taken"):
        remote(server, limits=Limits(members=41)).members()


def test_a_bomb_is_given_up_where_it_exceeds_its_word(tmp_path: Path) -> None:
    # 100 MB of zeros that say they are 1 MB: unpacking stops one byte after that.
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(100_000_000))
    rewrite(path, b"zeros", 24, "<I", 1_000_000)
    opened = ranges.open_ranges(path.as_uri(), None, FAST)
    (member,) = zips.read_table(opened, Limits())
    zips.check_member(member, "bomb.zip", Limits())  # Small enough by what it says.
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="is damaged"):
            zips.unpacked(opened, member)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_an_answer_of_another_range_is_not_taken(
    server: Server, tmp_path: Path, small_tail: None
) -> None:
    archive = remote(server)
    member = archive.members()[SOME[0]]
    lie = f"bytes {member.start + 1}-{member.stop}/999999"
    server.faults = lambda path, before: Fault(headers={"Content-Range": lie})
    with pytest.raises(RangesRefused):
        archive.fetch(places(tmp_path, SOME[0]))
    assert not list(tmp_path.glob("*.jpg"))
