"""What is inside published archives: single members by range requests, or all of it."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

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
    lacking = sorted(name for name in names if not (folder / name).is_file())
    if not lacking:
        return {}
    source = find_source(dataset, file)
    if not whole and not (folder / file).is_file():
        remote = RemoteZip(source.url, mirror=mirror, size=source.bytes)
        try:
            return _take(remote, lacking, folder, file)
        except RangesRefused as refused:
            print(f"{refused} So all of {file} is fetched.", file=sys.stderr)
    archive = fetch_source(dataset, file, cache, mirror)
    return _take(RemoteZip(archive.absolute().as_uri()), lacking, folder, file)


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

    folder = Path(cache) / dataset / file.partition(".")[0]
    # What `unpack` made is whole, with or without the archive.
    if folder.is_dir() and read_stamp(folder):
        return folder
    return unpack(fetch_source(dataset, file, cache, mirror), folder)
