"""What 500 members of a 2 GB remote ZIP cost beside all of it: bytes, requests, seconds.

python benchmarks/remote_zip.py --mbit 200 --json remote-zip.json

The server is on loopback, in a process of its own. Every answer waits for one round trip, every new
connection for one more; with --mbit all connections share a line of that many megabits a second.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from tests.server import Server  # noqa: E402 (the tests' own server)

from lensbench.downloads.archives import read_members  # noqa: E402
from lensbench.downloads.fetch import fetch  # noqa: E402
from lensbench.downloads.remote_zip import RemoteZip  # noqa: E402

ARCHIVE = "images.zip"


def write_archive(path: Path, gigabytes: float, member_kb: int, seed: int) -> list[str]:
    """Write a ZIP of stored members of random bytes and return their names."""
    rng = np.random.default_rng(seed)
    names = [f"VG_100K/{n}.jpg" for n in range(int(gigabytes * 1e6 / member_kb))]
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, rng.bytes(member_kb * 1000))
    return names


def serve(folder: Path, round_trip_s: float, mbit: float | None) -> None:
    """Serve a folder; for each line that comes in, say what was served since the last."""
    line = None if mbit is None else mbit * 1e6 / 8
    with Server(folder, delay_s=round_trip_s, line=line) as server:
        server.etag = lambda path: '"one-version"'  # Hashing 2 GB a request is no server's way.
        print(server.url, flush=True)
        for _ in sys.stdin:
            told = {"requests": len(server.requests), "bytes": sum(server.sent.values())}
            server.requests.clear()
            server.sent.clear()
            print(json.dumps(told), flush=True)


def main() -> None:
    """Make the archive, serve it, fetch it both ways and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--gigabytes", type=float, default=2.0)
    add("--member-kb", type=int, default=100)
    add("--wanted", type=int, default=500)
    add("--round-trip-ms", type=float, default=50.0)
    add("--mbit", type=float, help="of the line; no limit if not given")
    add("--seed", type=int, default=42)
    add("--json", type=Path)
    add("--serve", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        serve(options.serve, options.round_trip_ms / 1000, options.mbit)
        return
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(options, Path(folder))
    print("| fetched | MB | requests | seconds |\n|---|---|---|---|")
    for row in rows:
        size = row["bytes"] / 1e6
        print(f"| {row['name']} | {size:,.1f} | {row['requests']:,} | {row['seconds']:.1f} |")
    if options.json is not None:
        settings = {key: value for key, value in vars(options).items() if key not in ("json",)}
        text = json.dumps({"settings": settings, "rows": rows}, indent=2, default=str)
        options.json.write_text(text + "\n", encoding="utf-8")


def measure(options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Return one row a way of fetching: its name, bytes, requests and seconds."""
    (folder / "served").mkdir()
    names = write_archive(
        folder / "served" / ARCHIVE, options.gigabytes, options.member_kb, options.seed
    )
    chosen = np.random.default_rng(options.seed).choice(names, options.wanted, replace=False)
    line = [] if options.mbit is None else ["--mbit", str(options.mbit)]
    command = [sys.executable, __file__, "--serve", str(folder / "served"), *line]
    command += ["--round-trip-ms", str(options.round_trip_ms)]
    rows = []
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        url = f"{server.stdout.readline().strip()}/{ARCHIVE}"
        ways: dict[str, Callable[[dict[str, Path]], None]] = {
            f"{options.wanted} members, 8 at a time": lambda wanted: RemoteZip(url).fetch(wanted),
            f"{options.wanted} members, 1 at a time": lambda wanted: RemoteZip(url).fetch(
                wanted, 1
            ),
            "the whole archive, then its members": lambda wanted: read_members(
                fetch(url, folder / ARCHIVE), wanted
            ),
        }
        for number, (name, way) in enumerate(ways.items()):
            wanted = {str(each): folder / str(number) / Path(each).name for each in chosen}
            begun = time.perf_counter()
            way(wanted)
            seconds = time.perf_counter() - begun
            print(file=server.stdin, flush=True)
            rows.append({"name": name, "seconds": seconds, **json.loads(server.stdout.readline())})
            assert all(path.stat().st_size == options.member_kb * 1000 for path in wanted.values())
        server.stdin.close()
    return rows


if __name__ == "__main__":
    main()
