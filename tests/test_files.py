"""Files are whole or not there, whatever happens while they are written."""

from __future__ import annotations

import errno
import hashlib
import os
import time
from pathlib import Path

import pytest

from lensbench import files
from lensbench.errors import LensbenchError
from lensbench.files import atomic_path, digest_of, is_nameable, require_writable, sha256_of


def test_a_file_appears_whole_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "new" / "table.csv"
    with atomic_path(target) as temporary:
        temporary.write_text("a\n")
        assert not target.exists()
        # Same folder, so that the move at the end is one step on any file system.
        assert temporary.parent.parent == target.parent
    assert target.read_text() == "a\n"
    assert list(target.parent.iterdir()) == [target]


def _write_half(target: Path, error: Exception) -> None:
    with atomic_path(target) as temporary:
        temporary.write_text("half of the ne")
        raise error


def test_what_stood_there_stays_if_the_block_fails(tmp_path: Path) -> None:
    target = tmp_path / "table.csv"
    target.write_text("old")
    with pytest.raises(RuntimeError, match="halfway"):
        _write_half(target, RuntimeError("halfway"))
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_replaces_a_folder_whole(tmp_path: Path) -> None:
    target = tmp_path / "shard"
    target.mkdir()
    (target / "stale").touch()
    with atomic_path(target) as temporary:
        temporary.mkdir()
        (temporary / "fresh").touch()
    assert [path.name for path in target.iterdir()] == ["fresh"]


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (errno.ENOSPC, "No disk space left to write {}: free some, then run again."),
        (errno.EDQUOT, "No disk space left to write {}: free some, then run again."),
        (errno.EACCES, "{} can't be written (told why): check its folder."),
        (errno.EROFS, "{} can't be written (told why): check its folder."),
        (errno.ENOTDIR, "{} can't be made (told why): name another place."),
    ],
)
def test_a_full_or_closed_disk_is_one_sentence_and_leaves_nothing(
    tmp_path: Path, number: int, sentence: str
) -> None:
    target = tmp_path / "trace.parquet"
    with pytest.raises(LensbenchError) as caught:
        _write_half(target, OSError(number, "told why"))
    assert str(caught.value) == sentence.format(target)
    assert list(tmp_path.iterdir()) == []


def test_a_device_that_is_really_full_is_told(tmp_path: Path) -> None:
    with (
        pytest.raises(LensbenchError, match="No disk space left"),
        atomic_path(tmp_path / "x"),
        open("/dev/full", "wb", buffering=0) as full,
    ):
        full.write(b"x")


def test_other_errors_of_the_file_system_pass_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="absent"):
        _write_half(tmp_path / "x", FileNotFoundError("absent"))
    assert list(tmp_path.iterdir()) == []


def test_a_place_below_a_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(LensbenchError, match=r"file/x/y can't be made .*: name another place"),
        atomic_path(tmp_path / "file" / "x" / "y"),
    ):
        pass


def test_sha256_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    # FIPS 180-2, appendix B.1.
    assert sha256_of(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_of(path) == hashlib.sha256(b"abc").hexdigest()


@pytest.mark.parametrize("part", ["a", "三"])
def test_a_name_is_one_if_a_file_can_have_it(tmp_path: Path, part: str) -> None:
    # Bytes count, not characters: 三 has three.
    longest = 255 // len(part.encode())
    (tmp_path / (part * longest)).touch()
    assert is_nameable(part * longest)
    assert is_nameable(f"{part * longest}/{part * longest}")
    with pytest.raises(OSError, match="File name too long"):
        (tmp_path / (part * (longest + 1))).touch()
    assert not is_nameable(part * (longest + 1))
    assert not is_nameable("a\0b")
    assert not is_nameable("/".join(["abc"] * 257))
    assert not is_nameable("\ud800")


def test_a_folder_that_another_process_put_there_meanwhile_is_replaced(tmp_path: Path) -> None:
    target = tmp_path / "shard"
    with atomic_path(target) as late:
        late.mkdir()
        (late / "late").touch()
        with atomic_path(target) as early:
            early.mkdir()
            (early / "early").touch()
    assert [path.name for path in target.iterdir()] == ["late"]
    assert list(tmp_path.iterdir()) == [target]


def test_of_two_that_move_into_one_place_at_once_the_last_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, own = tmp_path / "shard", os.replace
    target.mkdir()

    def crowded(made: Path, place: Path) -> None:
        own(made, place)
        # Just after the old one was set aside, somebody else's is put there, once.
        if place.name == ".old0":
            target.mkdir()
            (target / "theirs").touch()

    monkeypatch.setattr(os, "replace", crowded)
    with atomic_path(target) as path:
        path.mkdir()
        (path / "ours").touch()
    assert [path.name for path in target.iterdir()] == ["ours"]
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_that_cannot_be_written_is_refused_before_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "results/figures").mkdir(parents=True)
    require_writable(tmp_path / "results")
    require_writable(tmp_path / "nowhere")
    # Nobody can close a folder to root: tests/faults does it with a disk that is read-only.
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: "figures" not in path and real(path, mode))
    with pytest.raises(LensbenchError, match=r"results/figures can't be written \(Permission den"):
        require_writable(tmp_path / "results")


def test_a_digest_is_of_the_content_and_read_again_only_after_a_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".snakemake").mkdir()
    folder = tmp_path / "own"
    (folder / "deep").mkdir(parents=True)
    for name in ("b", "deep/a", ".hidden"):
        (folder / name).write_bytes(name.encode())
    os.mkfifo(folder / "pipe")

    def wanted(b: bytes) -> str:
        digests = {
            "b": hashlib.sha256(b).hexdigest(),
            "deep/a": hashlib.sha256(b"deep/a").hexdigest(),
            "pipe": "",
        }
        lines = "".join(f"{digest}  {name}\n" for name, digest in digests.items())
        return hashlib.sha256(lines.encode()).hexdigest()

    assert digest_of(folder) == wanted(b"b")
    assert digest_of(folder / "b") == hashlib.sha256(b"b").hexdigest()
    assert digest_of(tmp_path / "absent") == ""
    # Changed just now is read each time; afterwards what is noted counts.
    monkeypatch.setattr(files.time, "time_ns", lambda: time.time() * 1e9 + 1e10)
    assert digest_of(folder) == wanted(b"b")
    monkeypatch.setattr(files, "sha256_of", lambda path: "read again")
    assert digest_of(folder) == wanted(b"b")
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    # Another of the same size and time, as `cp -p` leaves it.
    times = (folder / "b").stat()
    (folder / "b").write_bytes(b"c")
    os.utime(folder / "b", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert digest_of(folder) == wanted(b"c")


@pytest.mark.parametrize("damaged", ["5", "null", "[1, 2]"])
def test_a_damaged_note_of_digests_is_no_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damaged: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").write_bytes(b"a")
    note = tmp_path / ".snakemake" / "lensbench-digests.json"
    note.parent.mkdir()
    note.write_text(f'{{"{tmp_path / "a"}": {damaged}}}')
    assert digest_of(tmp_path / "a") == hashlib.sha256(b"a").hexdigest()
