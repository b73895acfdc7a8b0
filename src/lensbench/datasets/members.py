"""What is inside published archives: single members by range requests, or all of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Iterable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from lensbench.files import atomic_path

if TYPE_CHECKING:
    from lensbench.downloads.remote_zip import RemoteZip

#: Where downloads are kept, from the folder of the workflow.
CACHE = "resources/downloads"


def fetch_members(
    dataset: str,
    file: str,
    names: Collection[str],
    cache: str | Path,
    *,
    mirror: str | None = None,
    whole: bool = False,
) -> dict[str, str]:
    """Fetch members of an archive to `cache`/dataset/member, those that are there not again.

    Args:
        dataset: of the table of sources.
        file: the archive, of the table of sources.
        names: the members, checked to be paths that stay in their folder.
        cache: folder of what is downloaded.
        mirror: stands in for the archive's host.
        whole: whether to fetch the whole archive, and take the members out of that. So it is done
            too if the archive is there already or the server refuses to give parts of it.

    Returns:
        member → why it can't be had, of those that the archive lacks.

    Raises:
        LensbenchError: if the archive can't be fetched or is damaged.
    """
    # Here, so that a list of the datasets needs no client for the network.
    from lensbench.downloads.fetch import fetch_source
    from lensbench.downloads.remote_zip import RangesRefused, RemoteZip
    from lensbench.downloads.sources import find_source

    folder = Path(cache) / dataset
    source = find_source(dataset, file)
    noted = _noted(folder / file, source.checksum)
    # What another archive of that name left behind is compared with this one's table first.
    asked = sorted(name for name in names if name not in noted or not (folder / name).is_file())
    if not asked:
        return {}
    lacking: dict[str, str] | None = None
    if not whole and not (folder / file).is_file():
        remote = RemoteZip(source.url, mirror=mirror, size=source.bytes)
        try:
            lacking = _take(remote, asked, folder, file)
        except RangesRefused as refused:
            print(f"{refused} So all of {file} is fetched.", file=sys.stderr)
    if lacking is None:
        archive = fetch_source(dataset, file, cache, mirror)
        lacking = _take(RemoteZip(archive.absolute().as_uri()), asked, folder, file)
    members = sorted(noted | (set(asked) - set(lacking)))
    _note(folder / file, {"checksum": source.checksum, "members": members})
    return lacking


def _noted(archive: Path, checksum: str) -> set[str]:
    """Return the members that were taken out of an archive with this checksum."""
    try:
        note = json.loads(_note_of(archive).read_text(encoding="utf-8"))
        return set(note["members"]) if note["checksum"] == checksum else set()
    except (OSError, ValueError, KeyError, TypeError, RecursionError):  # No note, or none of ours.
        return set()


def _note(archive: Path, about: dict[str, object]) -> None:
    with atomic_path(_note_of(archive)) as temporary:
        temporary.write_text(json.dumps(about), encoding="utf-8")


def _note_of(archive: Path) -> Path:
    return archive.with_name(f".{archive.name}.members")


def _take(archive: RemoteZip, names: Iterable[str], folder: Path, file: str) -> dict[str, str]:
    """Take members out of an archive, wherever it is, and say which it lacks."""
    members = archive.members()
    # Should the archive's top folder have another name, the picture's own is as good.
    by_name = {PurePosixPath(member).name: member for member in members}
    found, lacking = {}, {}
    for name in names:
        member = name if name in members else by_name.get(PurePosixPath(name).name)
        if member is None:
            lacking[name] = f"not in {file}"
        else:
            found[member] = folder / name
    archive.fetch(found)
    return lacking


def unpacked(dataset: str, file: str, cache: str | Path, *, mirror: str | None = None) -> Path:
    """Return the folder that an archive is unpacked to, fetched and unpacked if it isn't there.

    Args:
        dataset: of the table of sources.
        file: the archive, of the table of sources.
        cache: folder of what is downloaded.
        mirror: stands in for the archive's host.

    Raises:
        LensbenchError: if the archive can't be fetched, is damaged or hostile.
    """
    from lensbench.downloads.archives import unpack
    from lensbench.downloads.checksums import read_stamp
    from lensbench.downloads.fetch import fetch_source
    from lensbench.downloads.sources import find_source

    folder = Path(cache) / dataset / file.partition(".")[0]
    checksum = find_source(dataset, file).checksum
    # What `unpack` made of this very archive is whole, with or without the archive.
    if folder.is_dir() and read_stamp(folder) and "" in _noted(folder, checksum):
        return folder
    archive = fetch_source(dataset, file, cache, mirror)
    # First, so that a killed run leaves no note beside another archive's folder.
    _note_of(folder).unlink(missing_ok=True)
    unpack(archive, folder)
    _note(folder, {"checksum": checksum, "members": [""]})  # All of it.
    return folder
