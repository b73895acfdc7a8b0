"""Mirrors stand in for every host, and never lead anywhere else."""

from __future__ import annotations

import errno
import io
import zipfile
from pathlib import Path
from typing import Any

import pytest
from download_runs import CONTENT, SHA256
from tests.server import Server

from lensbench.downloads.fetch import fetch, fetch_source
from lensbench.downloads.mirror import mirrored, shown
from lensbench.downloads.remote_zip import RemoteZip
from lensbench.errors import ConfigError, DataError


@pytest.mark.parametrize(
    ("url", "mirror", "found"),
    [
        ("http://host/a/b.zip", None, "http://host/a/b.zip"),
        ("http://host/a/b.zip", "file:///data/m", "file:///data/m/host/a/b.zip"),
        ("https://Host.org/a/b.zip", "http://127.0.0.1:8/x/", "http://127.0.0.1:8/x/host.org/a/b.zip"),
        ("https://host:81/b.zip?raw=true", "http://m", "http://m/host/b.zip?raw=true"),
        ("https://host/b.zip?raw=true", "file:///m", "file:///m/host/b.zip"),
        ("https://host/b.zip", "file://localhost/m", "file://localhost/m/host/b.zip"),
    ],
)  # fmt: skip
def test_a_mirror_replaces_the_host(url: str, mirror: str | None, found: str) -> None:
    assert mirrored(url, mirror) == found


@pytest.mark.parametrize(
    "mirror",
    ["", "/data", "file://data/m", "file:data", "ftp://host/x", "http://", "http://h:x/", "http://h/?q"],
)  # fmt: skip
def test_what_is_no_mirror_is_told(mirror: str) -> None:
    with pytest.raises(ConfigError) as caught:
        mirrored("http://host/a", mirror)
    assert str(caught.value) == (
        f'mirror is "{mirror}": it must be file:///FOLDER (absolute), http://HOST/BASE, '
        "https://HOST/BASE or null."
    )


@pytest.mark.parametrize("path", ["../x", "a/../../x", "%2e%2e/x", "a/..%2fx", "..%5cx"])
def test_an_address_never_leads_out_of_a_mirror(path: str) -> None:
    with pytest.raises(DataError, match=r"climbs out of its folder"):
        mirrored(f"http://host/{path}", "file:///m")


def test_passwords_are_not_printed() -> None:
    assert shown("https://me:secret@host/a?token=1") == "https://host/a"
    assert shown("file:///a/b") == "file:///a/b"


def test_a_folder_as_mirror_is_copied_from(tmp_path: Path, target: Path) -> None:
    place = tmp_path / "a mirror" / "host" / "data"
    place.mkdir(parents=True)
    (place / "file.bin").write_bytes(CONTENT)
    mirror = (tmp_path / "a mirror").as_uri()
    url = "https://host/data/file.bin"
    assert fetch(url, target, checksum=SHA256, mirror=mirror).read_bytes() == CONTENT
    (place / "file.bin").write_bytes(CONTENT[:-1] + b"?")
    target.unlink()
    with pytest.raises(DataError, match=r"gives sha256:\w+ where sha256"):
        fetch(url, target, checksum=SHA256, mirror=mirror)
    with pytest.raises(DataError, match="has 300,000 bytes where 7 were published"):
        fetch(url, target, size=7, mirror=mirror)
    with pytest.raises(DataError, match=r"other\.bin is not there: put the file there"):
        fetch("https://host/data/other.bin", target, mirror=mirror)
    assert not target.exists()


@pytest.mark.parametrize("moment", ["open", "read"])
def test_a_file_of_a_mirror_that_cannot_be_read_is_told(
    tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    place = tmp_path / "m" / "host" / "file.zip"
    place.parent.mkdir(parents=True)
    with zipfile.ZipFile(place, "w") as archive:
        archive.writestr("a.txt", "a" * 100_000)
    opened = Path.open

    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(errno.EIO, "Input/output error")

    def closed(path: Path, *args: Any, **options: Any) -> Any:
        if path != place:
            return opened(path, *args, **options)
        if moment == "read":
            return Broken()
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", closed)
    reason = "Permission denied" if moment == "open" else "Input/output error"
    mirror = (tmp_path / "m").as_uri()
    for ask in (
        lambda: fetch("https://host/file.zip", target, mirror=mirror),
        lambda: RemoteZip("https://host/file.zip", mirror=mirror).fetch({"a.txt": target}),
    ):
        with pytest.raises(DataError) as caught:
            ask()
        assert str(caught.value) == (
            f"{place} can't be read ({reason}): check its rights and its disk, or name another "
            "mirror."
        )
        assert not target.exists()


def test_a_source_is_fetched_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "m" / "www.robots.ox.ac.uk" / "~vgg" / "data" / "flowers" / "102"
    place.mkdir(parents=True)
    (place / "setid.mat").write_bytes(b"not the published one")
    with (
        Server(tmp_path / "m") as server,
        pytest.raises(DataError, match=r"gives sha256:\w+ where"),
    ):
        fetch_source("oxford_flowers", "setid.mat", tmp_path / "here", server.url)
    assert [request.path for request in server.requests] == [
        "/www.robots.ox.ac.uk/~vgg/data/flowers/102/setid.mat"
    ]
