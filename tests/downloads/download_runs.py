"""What tests of downloads fetch, and how they look at what came of it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from tests.server import Server

from lensbench.downloads.fetch import fetch
from lensbench.downloads.retries import Policy
from lensbench.errors import DataError

# 300 KB, so that a body takes many blocks.
CONTENT = np.random.default_rng(7).bytes(300_000)
SHA256 = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
FAST = Policy(
    attempts=4, first_pause_s=0.001, longest_pause_s=0.01, longest_wait_s=0.3, timeout_s=5
)
NAME = "/data/file.bin"


def get(
    server: Server, target: Path, size: int | None = None, checksum: str | None = SHA256
) -> Path:
    return fetch(server.url + NAME, target, size=size, checksum=checksum, policy=FAST)


def refused(server: Server, target: Path, size: int | None = None) -> str:
    """Return the sentence of a download that fails, which leaves nothing at its place."""
    with pytest.raises(DataError) as caught:
        get(server, target, size)
    assert not target.exists()
    said = str(caught.value)
    assert "\n" not in said
    assert said.endswith(".")
    return said.replace(server.url, "URL")


def left(target: Path) -> set[str]:
    return {path.name for path in target.parent.iterdir()}


def ranges_of(server: Server) -> list[str | None]:
    return [request.headers.get("range") for request in server.requests]
