"""Traces are held against their digests before anything is computed from them.

Parquet files tell when they are cut, but a flipped bit inside a page can pass as another number.
The chain is: ledger → provenance of each shard → its files.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from lensbench.errors import TraceError
from lensbench.files import sha256_of

LEDGERS = "parts"
PROVENANCE = "provenance.json"


def require_whole(folders: Iterable[Path]) -> None:
    """Refuse traces that are not, byte for byte, what was written.

    The note that vouched for what is damaged is removed, so that the next run makes that shard
    again (and keeps the others); the damaged files stay where they are until then.

    Args:
        folders: runs with ledgers, or single shards; a shard without digests is taken as it is.

    Raises:
        TraceError: naming the first file that is missing or has other bytes.
    """
    for folder in folders:
        ledgers = sorted((folder / LEDGERS).glob("*.json"))
        for ledger in ledgers:
            for shard in _shards_of(ledger):
                _require(folder / shard, ledger)
        if not ledgers and (folder / PROVENANCE).is_file():
            _require(folder, folder / PROVENANCE)


def _require(shard: Path, voucher: Path) -> None:
    for name, digest in _files_of(shard):
        path = shard / name
        try:
            found = sha256_of(path)
        except OSError as error:
            what = f"{path} can't be read ({error.strerror})"
        else:
            if found == digest:
                continue
            what = f"{path} was damaged or changed after it was made"
        again = f"delete {voucher}"
        with suppress(OSError):
            voucher.unlink()
            again = f"{voucher} is removed, so that the next run makes it anew"
        raise TraceError(f"{what}: {again}.")


def _shards_of(ledger: Path) -> Iterator[str]:
    """Yield the folders of a ledger's shards; who reads a ledger tells if it is damaged."""
    with suppress(OSError, ValueError, RecursionError, KeyError, TypeError):
        for entry in json.loads(ledger.read_text(encoding="utf-8"))["shards"]:
            yield str(int(entry["shard"]))


def _files_of(shard: Path) -> Iterator[tuple[str, Any]]:
    """Yield the files that a shard's provenance names, with their digests."""
    with suppress(OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError):
        noted = json.loads((shard / PROVENANCE).read_text(encoding="utf-8"))
        yield from sorted(noted["files"].items())
