"""Downloads: whole and verified at their place or not there, and made once."""

from __future__ import annotations

import errno
import hashlib
import threading
from collections import namedtuple
from pathlib import Path

import pytest
from download_runs import CONTENT, NAME, SHA256, get, left, ranges_of, refused
from tests.server import Fault, Server

from lensbench.downloads.checksums import checksum_of, parse_checksum
from lensbench.errors import DataError


def test_a_file_arrives_whole_and_is_not_asked_for_again(server: Server, target: Path) -> None:
    assert get(server, target, len(CONTENT)) == target
    assert target.read_bytes() == CONTENT
    assert left(target) <= {"file.bin", ".file.bin.ok", ".file.bin.lock"}
    get(server, target, len(CONTENT))
    assert len(server.requests) == 1
    assert server.sent == {NAME: len(CONTENT)}


def test_a_verified_file_is_not_read_again(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    get(server, target)
    monkeypatch.setattr("lensbench.downloads.fetch.checksum_of", None)  # Fails if it is called.
    get(server, target)
    assert len(server.requests) == 1


def test_a_verified_file_may_lie_where_nothing_can_be_written(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    get(server, target)

    def closed(*args: object, **options: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("lensbench.downloads.place.FileLock.acquire", closed)
    assert get(server, target, len(CONTENT)) == target
    assert len(server.requests) == 1
    with pytest.raises(DataError, match="can't be written"):
        get(server, target, None, f"sha256:{'0' * 64}")
    target.write_bytes(CONTENT + b"more")
    with pytest.raises(DataError, match="can't be written"):
        get(server, target)


def test_a_file_that_was_put_there_by_hand_is_verified(server: Server, target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(CONTENT)
    (target.parent / ".file.bin.part").write_bytes(CONTENT[:1000])
    get(server, target)
    assert server.requests == []
    assert left(target) == {"file.bin", ".file.bin.ok", ".file.bin.lock"}


def test_a_file_that_changed_is_fetched_anew(
    server: Server, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    get(server, target, len(CONTENT))
    target.write_bytes(CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]))
    get(server, target, len(CONTENT))
    assert target.read_bytes() == CONTENT
    target.write_bytes(CONTENT[:-1])
    get(server, target, len(CONTENT))
    assert target.read_bytes() == CONTENT
    assert f"{target} is not the file that was published" in capsys.readouterr().err


def test_a_bar_shows_bytes_and_time_left(
    server: Server, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    get(server, target)
    bar = capsys.readouterr().err
    assert "file.bin: 100%" in bar
    assert "300k/300k" in bar
    assert "B/s]" in bar


def test_an_empty_file_is_a_file(served: Path, server: Server, target: Path) -> None:
    (served / "data" / "file.bin").write_bytes(b"")
    empty = f"sha256:{hashlib.sha256(b'').hexdigest()}"
    assert get(server, target, None, empty).read_bytes() == b""


def test_what_git_hashes_is_verified(served: Path, server: Server, target: Path) -> None:
    (served / "data" / "file.bin").write_bytes(b"hello\n")
    # `git hash-object` of a file with the line hello.
    known = "git-blob-sha1:ce013625030ba8dba906f756967f9e9ca394464a"
    assert get(server, target, 6, known).read_bytes() == b"hello\n"
    assert checksum_of(target, "git-blob-sha1") == known


# Wrong bytes


def test_wrong_bytes_are_not_kept(served: Path, server: Server, target: Path) -> None:
    wrong = CONTENT[:-1] + b"?"
    (served / "data" / "file.bin").write_bytes(wrong)
    found = hashlib.sha256(wrong).hexdigest()
    assert refused(server, target) == (
        f"URL/data/file.bin gives sha256:{found} where {SHA256} was published: the file changed or "
        "is damaged there, so name a mirror that has the published one."
    )
    assert left(target) == {".file.bin.lock"}
    assert len(server.requests) == 1


def test_wrong_bytes_in_pieces_are_fetched_once_more_from_the_start(
    server: Server, target: Path
) -> None:
    # The second piece's first byte is damaged on its way.
    server.fail_first(Fault(after=100_000), Fault(flip=True))
    assert get(server, target).read_bytes() == CONTENT
    assert ranges_of(server) == [None, "bytes=100000-", None]


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Range": "bytes 99999-299999/300000"},
        {"Content-Range": "bytes */300000"},
        {"Content-Range": "nonsense"},
        {"ETag": '"another"'},
    ],
)
def test_an_answer_that_does_not_go_on_there_is_not_appended(
    server: Server, target: Path, headers: dict[str, str]
) -> None:
    server.fail_first(Fault(after=100_000), Fault(headers=headers))
    # Without a checksum nothing else would notice.
    assert get(server, target, None, None).read_bytes() == CONTENT
    assert ranges_of(server) == [None, "bytes=100000-", None]


def test_a_damaged_part_of_an_earlier_run_is_fetched_once_more(
    server: Server, target: Path
) -> None:
    target.parent.mkdir()
    (target.parent / ".file.bin.part").write_bytes(b"x" * 1000)
    assert get(server, target).read_bytes() == CONTENT
    assert ranges_of(server) == ["bytes=1000-", None]


def test_a_part_that_was_whole_is_not_fetched_again(server: Server, target: Path) -> None:
    target.parent.mkdir()
    (target.parent / ".file.bin.part").write_bytes(CONTENT)
    assert get(server, target, len(CONTENT)).read_bytes() == CONTENT
    assert server.requests == []
    # Without a known size the server is asked, and has nothing more to give.
    target.unlink()
    (target.parent / ".file.bin.part").write_bytes(CONTENT)
    assert get(server, target).read_bytes() == CONTENT
    assert server.sent == {}


def test_a_part_that_is_too_long_is_dropped(server: Server, target: Path) -> None:
    target.parent.mkdir()
    (target.parent / ".file.bin.part").write_bytes(CONTENT + b"more")
    assert get(server, target, len(CONTENT)).read_bytes() == CONTENT


def test_a_file_that_changes_on_the_server_is_begun_anew(
    served: Path, server: Server, target: Path
) -> None:
    new = CONTENT[::-1]
    server.fail_first(Fault(after=100_000))
    before = server.faults

    def change(path: str, count: int) -> Fault | None:
        if count == 1:
            (served / "data" / "file.bin").write_bytes(new)
        return before(path, count)

    server.faults = change
    # No checksum: the ETag alone tells.
    assert get(server, target, None, None).read_bytes() == new
    assert server.sent == {NAME: 100_000 + len(new)}


def test_a_file_that_always_changes_is_given_up(server: Server, target: Path) -> None:
    tags = iter(range(1000))
    server.etag = lambda path: f'"{next(tags)}"'
    server.faults = lambda path, before: Fault(after=100_000)
    assert "can't be had after 4 attempts (the connection broke)" in refused(server, target)
    assert server.sent == {NAME: 400_000}


def test_another_size_than_published_is_told_before_the_body(server: Server, target: Path) -> None:
    assert refused(server, target, 400_000) == (
        "URL/data/file.bin has 300,000 bytes where 400,000 were published: name a mirror that has "
        "the published file."
    )


def test_more_bytes_than_published_are_not_written(served: Path, target: Path) -> None:
    with Server(served, lengths=False) as server:
        said = refused(server, target, 100_000)
    assert "gives more than the 100,000 bytes it should have" in said
    assert (target.parent / ".file.bin.part").stat().st_size <= 100_000


# The place


def test_a_disk_that_is_too_small_is_told_first(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(
        "lensbench.downloads.place.shutil.disk_usage", lambda folder: usage(10**9, 10**9, 123)
    )
    with pytest.raises(DataError) as caught:
        get(server, target)
    assert str(caught.value) == (
        f"file.bin needs 0.00 GB more in {target.parent}, but 0.00 GB are free: free some, or name "
        "another folder."
    )


def test_a_place_that_can_not_be_written_is_one_sentence(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"can't be written \((Not a directory|File exists)\)"):
        get(server, tmp_path / "file" / "x")


def test_two_that_want_the_same_file_make_one_download(
    served: Path, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Server(served, rate=1e6) as server:
        threads = [threading.Thread(target=get, args=(server, target)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert target.read_bytes() == CONTENT
        assert server.sent == {NAME: len(CONTENT)}
        assert len(server.requests) == 1
    assert f"{target} is being made by another process: waiting for it." in capsys.readouterr().err


@pytest.mark.parametrize(
    "text", ["", "sha256", "sha256:12", "md5:" + "0" * 32, "sha256:" + "G" * 64]
)
def test_what_is_no_checksum_is_told(text: str) -> None:
    with pytest.raises(DataError, match="is no checksum: write sha256: and 64"):
        parse_checksum(text)
