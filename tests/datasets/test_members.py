"""What is kept of published archives: of the one that the table names, not another."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.published import jpeg, publish, tgz, zipped

from lensbench.datasets.members import fetch_members, unpacked

A, B = "VG_100K/1.jpg", "VG_100K/2.jpg"
OLD, NEW, OTHER = jpeg((250, 0, 0)), jpeg((0, 0, 250)), jpeg((0, 250, 0), (50, 50))


def test_unpacked_folder_follows_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = ("tf_flowers", "flower_photos.tgz")
    cache = tmp_path / "cache"
    for number, content in enumerate((OLD, NEW)):
        mirror = publish(
            tmp_path / f"mirror{number}", {place: tgz({f"{number}.jpg": content})}, monkeypatch
        )
        folder = unpacked(*place, cache, mirror=mirror)
        assert {p.name: p.read_bytes() for p in folder.iterdir()} == {f"{number}.jpg": content}
    # Without archive and mirror, too: what was unpacked is of the archive that is named.
    (cache / "tf_flowers" / "flower_photos.tgz").unlink()
    nowhere = (tmp_path / "nowhere").as_uri()
    assert unpacked(*place, cache, mirror=nowhere) == folder
    assert (folder / "1.jpg").read_bytes() == NEW


def test_members_of_another_archive_are_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, cache = ("visual_genome", "images.zip"), tmp_path / "cache"
    mirror = publish(tmp_path / "old", {place: zipped({A: OLD, B: OTHER})}, monkeypatch)
    assert fetch_members(*place, [A, B], cache, mirror=mirror) == {}
    kept = cache / "visual_genome"
    mirror = publish(tmp_path / "new", {place: zipped({A: NEW, B: NEW})}, monkeypatch)
    assert fetch_members(*place, [A], cache, mirror=mirror) == {}
    assert (kept / A).read_bytes() == NEW
    # The other one is still of the old archive, and isn't taken for the new one's later on.
    assert (kept / B).read_bytes() == OTHER
    assert fetch_members(*place, [A, B], cache, mirror=mirror) == {}
    assert (kept / B).read_bytes() == NEW


@pytest.mark.parametrize("whole", [False, True])
def test_members_that_are_noted_need_no_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    place, cache = ("visual_genome", "images.zip"), tmp_path / "cache"
    mirror = publish(tmp_path / "mirror", {place: zipped({A: OLD, B: NEW})}, monkeypatch)
    assert fetch_members(*place, [A], cache, mirror=mirror, whole=whole) == {}
    assert fetch_members(*place, [B], cache, mirror=mirror, whole=whole) == {}
    (cache / "visual_genome" / "images.zip").unlink(missing_ok=True)
    nowhere = (tmp_path / "nowhere").as_uri()
    assert fetch_members(*place, [A, B], cache, mirror=nowhere, whole=whole) == {}
    (cache / "visual_genome" / A).unlink()
    assert fetch_members(*place, [A, B], cache, mirror=mirror, whole=whole) == {}
    assert (cache / "visual_genome" / A).read_bytes() == OLD


def test_members_without_a_note_are_compared_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, cache = ("visual_genome", "images.zip"), tmp_path / "cache"
    mirror = publish(tmp_path / "mirror", {place: zipped({A: OLD, B: NEW})}, monkeypatch)
    for name, content in ((A, OLD), (B, OTHER)):
        path = cache / "visual_genome" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, ns=(7, 7))
    absent = "VG_100K/3.jpg"
    lacking = fetch_members(*place, [A, B, absent], cache, mirror=mirror)
    assert lacking == {absent: "not in images.zip"}
    assert (cache / "visual_genome" / A).stat().st_mtime_ns == 7
    assert (cache / "visual_genome" / B).read_bytes() == NEW
    assert fetch_members(*place, [absent], cache, mirror=mirror) == lacking


@pytest.mark.parametrize("note", ["[]", "{}", '"x"', '{"checksum": 1, "members": 2}', "\x00"])
def test_a_note_of_another_shape_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, note: str
) -> None:
    place, cache = ("visual_genome", "images.zip"), tmp_path / "cache"
    mirror = publish(tmp_path / "mirror", {place: zipped({A: OLD})}, monkeypatch)
    assert fetch_members(*place, [A], cache, mirror=mirror) == {}
    (found,) = (cache / "visual_genome").glob(".images.zip.members")
    found.write_text(note, encoding="utf-8")
    assert fetch_members(*place, [A], cache, mirror=mirror) == {}
    assert (cache / "visual_genome" / A).read_bytes() == OLD


def test_a_run_killed_while_it_unpacks_another_archive_leaves_no_note_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, cache = ("tf_flowers", "flower_photos.tgz"), tmp_path / "cache"
    first = publish(tmp_path / "first", {place: tgz({"a.jpg": OLD})}, monkeypatch)
    unpacked(*place, cache, mirror=first)
    table = os.environ["LENSBENCH_SOURCES"]
    second = publish(tmp_path / "second", {place: tgz({"a.jpg": NEW})}, monkeypatch)

    def killed(folder: Path, about: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("lensbench.datasets.members._note", killed)
        with pytest.raises(KeyboardInterrupt):
            unpacked(*place, cache, mirror=second)
    # The folder holds the second archive's picture now; the first one's table doesn't take it.
    monkeypatch.setenv("LENSBENCH_SOURCES", table)
    assert (unpacked(*place, cache, mirror=first) / "a.jpg").read_bytes() == OLD
