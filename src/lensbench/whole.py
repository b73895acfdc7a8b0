"""Traces are held against their digests before anything is computed from them.

Parquet files tell when they are cut, but a flipped bit inside a page can pass as another number.
The chain is: ledger → provenance of each shard → its files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from lensbench.errors import TraceError
from lensbench.files import sha256_of
from lensbench.shards import PARTS, PROVENANCE

_TABLE = re.compile(r"[a-z_]{1,40}\.parquet")


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
        ledgers = sorted((folder / PARTS).glob("*.json"))
        for ledger in ledgers:
            for shard in _shards_of(ledger):
                _require(folder / shard, ledger)
        if not ledgers and (folder / PROVENANCE).is_file():
            _require(folder, folder / PROVENANCE)


def _require(shard: Path, voucher: Path) -> None:
    wrong = _wrong_with(shard)
    if not wrong:
        return
    again = f"delete {voucher}, then run again"
    with suppress(OSError):
        voucher.unlink()
        again = f"{voucher} is removed, so that the next run makes it anew"
    raise TraceError(f"{wrong}: {again}.")


def _wrong_with(shard: Path) -> str:
    """Return the first thing that is not as it was written, or not as it is written now."""
    # Reading the schema takes as long as all of pyarrow.
    from lensbench.trace_schema import SCHEMA_VERSION

    version, files = _noted_in(shard)
    if version not in (None, SCHEMA_VERSION):
        return f"{shard}/ is written by schema {version}, this is {SCHEMA_VERSION}"
    for name, digest in sorted(files.items()):
        # Another path could be a device that is read for ever.
        if not _TABLE.fullmatch(name):
            return f"{shard / PROVENANCE} names {name!r}, which is no table's file"
        try:
            found = sha256_of(shard / name)
        except OSError as error:
            return f"{shard / name} can't be read ({error.strerror})"
        if found != digest:
            return f"{shard / name} was damaged or changed after it was made"
    return ""


def _shards_of(ledger: Path) -> Iterator[str]:
    """Yield the folders of a ledger's shards; who reads a ledger tells if it is damaged."""
    with suppress(OSError, ValueError, RecursionError, KeyError, TypeError):
        for entry in json.loads(ledger.read_text(encoding="utf-8"))["shards"]:
            yield str(int(entry["shard"]))


def _noted_in(shard: Path) -> tuple[Any, dict[str, Any]]:
    """Return the schema and the files, with their digests, that a shard's provenance names."""
    with suppress(OSError, ValueError, RecursionError, AttributeError):
        noted = json.loads((shard / PROVENANCE).read_text(encoding="utf-8"))
        files = noted.get("files")
        return noted.get("schema_version"), files if isinstance(files, dict) else {}
    return None, {}
