"""A process killed at 50 random moments: the next run ends with the same bytes, fetched once.

Run as a script this file is the process that is killed: it forks a child for each line it reads.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from lensbench.downloads.archives import unpack
from lensbench.downloads.fetch import fetch
from lensbench.downloads.remote_zip import RemoteZip

KILLS = 50
#: What may be on its way, in the system's buffers, when a process is killed.
SLACK = 2**18


def work(task: dict[str, Any]) -> None:
    """Do what is killed."""
    if task["do"] == "fetch":
        fetch(task["url"], task["path"], checksum=task["checksum"])
    elif task["do"] == "members":
        wanted = {name: Path(path) for name, path in task["wanted"].items()}
        RemoteZip(task["url"]).fetch(wanted, workers=4)
    else:
        unpack(task["archive"], task["folder"])


def serve_kills() -> None:
    """For each line of stdin do the task in a child, kill it in time, and say how it ended."""
    for line in sys.stdin:
        task = json.loads(line)
        child = os.fork()
        if child == 0:
            done = 1
            try:
                work(task)
                done = 0
            finally:
                os._exit(done)
        deadline = time.monotonic() + task["kill_after_s"]
        ended, status = 0, 0
        while not ended and time.monotonic() < deadline:
            time.sleep(0.0005)
            ended, status = os.waitpid(child, os.WNOHANG)
        if not ended:
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
        print(json.dumps(os.waitstatus_to_exitcode(status)), flush=True)


if __name__ == "__main__":
    serve_kills()
    sys.exit()

from tests.server import Server  # noqa: E402 (the killed process has no use for it)

Run = Callable[..., int]


@contextmanager
def killer() -> Iterator[Run]:
    """Yield run(kill_after_s, do=…, …) → exit code, -9 if it was killed."""
    with subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        into, out = process.stdin, process.stdout

        def run(kill_after_s: float, **task: object) -> int:
            print(json.dumps({**task, "kill_after_s": kill_after_s}), file=into, flush=True)
            return int(json.loads(out.readline()))

        yield run
        into.close()


def test_a_download_killed_50_times_ends_with_the_same_bytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(50)
    content = rng.bytes(6_000_000)
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "big.bin").write_bytes(content)
    checksum = f"sha256:{hashlib.sha256(content).hexdigest()}"
    target = tmp_path / "here" / "big.bin"
    killed = 0
    with Server(tmp_path / "served", rate=20e6) as server, killer() as run:
        task = {"do": "fetch", "url": server.url + "/big.bin", "path": str(target)}
        while killed < KILLS:
            # Undisturbed it takes 300 ms: one that began anew each time would never end.
            kills = 0
            # Ever later on average, so that a machine with other work ends too.
            while (
                code := run(rng.uniform(0, 0.05 + 0.001 * kills), checksum=checksum, **task)
            ) == -signal.SIGKILL:
                kills += 1
                assert not target.exists() or target.read_bytes() == content
            assert code == 0
            assert target.read_bytes() == content
            assert {path.name for path in target.parent.iterdir()} <= {
                "big.bin", ".big.bin.ok", ".big.bin.lock",
            }  # fmt: skip
            assert server.sent["/big.bin"] <= len(content) + SLACK * kills
            killed += kills
            server.sent.clear()
            target.unlink()
    assert killed >= KILLS


def test_members_of_a_remote_zip_are_fetched_once_however_often_it_is_killed(
    tmp_path: Path,
) -> None:
    rng = np.random.default_rng(51)
    members = {f"VG_100K/{n}.jpg": rng.bytes(40_000) for n in range(200)}
    (tmp_path / "served").mkdir()
    with zipfile.ZipFile(tmp_path / "served" / "images.zip", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    here = tmp_path / "here"
    wanted = {name: str(here / Path(name).name) for name in members}
    killed = 0
    with Server(tmp_path / "served", rate=4e6) as server, killer() as run:
        task = {"do": "members", "url": server.url + "/images.zip", "wanted": wanted}
        while run(rng.uniform(0.0, 0.2 + 0.01 * killed), **task) == -signal.SIGKILL:
            killed += 1
            for name, path in wanted.items():
                assert not os.path.exists(path) or Path(path).read_bytes() == members[name]
        sent = server.sent["/images.zip"]
    assert {name: Path(path).read_bytes() for name, path in wanted.items()} == members
    # Nobody's leftovers either.
    assert {path.name for path in here.iterdir()} - {".members.lock"} == {
        Path(path).name for path in wanted.values()
    }
    assert killed >= 5
    # Each run reads the table (64 KiB) and has four members under way when it is killed.
    assert sent <= sum(map(len, members.values())) + (killed + 1) * (2**17 + 4 * 40_000)


def test_an_extraction_killed_50_times_ends_with_the_same_bytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(52)
    files = {f"jpg/image_{n:05d}.jpg": rng.bytes(2000 + n) for n in range(150)}
    archive = tmp_path / "102flowers.tgz"
    with tarfile.open(archive, "w:gz", compresslevel=1) as made:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            made.addfile(entry, io.BytesIO(content))
    target = tmp_path / "here" / "flowers"
    names = {"flowers", ".flowers.ok", ".flowers.lock"}

    def whole() -> bool:
        return {
            path.relative_to(target).as_posix(): path.read_bytes()
            for path in target.rglob("*")
            if path.is_file()
        } == files

    killed, done = 0, 2
    with killer() as run:
        task = {"do": "unpack", "archive": str(archive), "folder": str(target)}
        assert run(60, **task) == 0  # Not timed: the process is just starting.
        os.utime(archive, ns=(0, 1))
        begun = time.monotonic()
        assert run(60, **task) == 0
        length = time.monotonic() - begun
        assert whole()
        while killed < KILLS:
            # A stamp of an archive of another time: all of it is to be unpacked again.
            os.utime(archive, ns=(done, done))
            code = run(rng.uniform(0, length), **task)
            # Whatever moment it was: all of it or nothing.
            assert not target.exists() or whole()
            if code == -signal.SIGKILL:
                killed += 1
            else:
                assert code == 0
                done += 1
                assert {path.name for path in target.parent.iterdir()} <= names
        os.utime(archive)
        assert run(60, **task) == 0
    assert whole()
    assert {path.name for path in target.parent.iterdir()} <= names


def test_two_processes_that_want_the_same_file_make_one_download(tmp_path: Path) -> None:
    content = np.random.default_rng(53).bytes(1_000_000)
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "big.bin").write_bytes(content)
    checksum = f"sha256:{hashlib.sha256(content).hexdigest()}"
    target = tmp_path / "here" / "big.bin"
    codes: list[int] = []
    with Server(tmp_path / "served", rate=4e6) as server, killer() as one, killer() as other:
        task = {"do": "fetch", "url": server.url + "/big.bin", "checksum": checksum}
        threads = [
            threading.Thread(
                target=lambda run: codes.append(run(60, path=str(target), **task)), args=(run,)
            )
            for run in (one, other)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(server.requests) == 1
    assert codes == [0, 0]
    assert target.read_bytes() == content
