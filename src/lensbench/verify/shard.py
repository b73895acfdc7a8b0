"""One shard of a trace read again: its digests, its schema, what its tables say of each other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lensbench.errors import TraceError
from lensbench.files import sha256_of
from lensbench.parquets import UNREADABLE, DamagedError, read_columns, schema_of
from lensbench.trace import in_order
from lensbench.trace_checks import check_shard, check_table
from lensbench.trace_meta import TraceMeta, meta_of
from lensbench.trace_schema import ASKED_TABLES, SHARD_TABLES, TABLES
from lensbench.verify.problems import Problem

PROVENANCE = "provenance.json"
_WANTED = {f"{table.name}.parquet" for table in SHARD_TABLES}
_ASKED = {f"{table.name}.parquet" for table in ASKED_TABLES}


@dataclass(frozen=True)
class Shard:
    """What is known of a shard once it was read.

    Args:
        provenance: as it stands beside the tables.
        meta: what the tables say about themselves.
        samples: ids of all samples, in order.
        n_rejected: how many of them are rejected.
    """

    provenance: dict[str, Any]
    meta: TraceMeta
    samples: list[str]
    n_rejected: int


def read_shard(root: Path, folder: Path, promised: set[Path]) -> tuple[Shard | None, list[Problem]]:
    """Return what a shard holds, or None, and what is wrong with it.

    Args:
        root: the folder of results.
        folder: the shard's.
        promised: gets the files that its provenance names.
    """
    path = folder / PROVENANCE
    try:
        noted = json.loads(path.read_text(encoding="utf-8"))
        files = dict(noted["files"])
    except FileNotFoundError:
        return None, [Problem(root, path, "is missing")]
    except UNREADABLE:
        return None, [Problem(root, path, "names no files by their digests")]
    promised.add(path)
    promised |= {folder / name for name in files if name in _WANTED | _ASKED}
    problems = list(_check_files(root, folder, files))
    if problems:
        return None, problems
    try:
        return _read(folder, noted), []
    except (TraceError, *UNREADABLE) as error:
        what = str(error).rstrip(".").split("\n")[0]
        return None, [Problem(root, folder, f"breaks the schema of traces ({what})")]


def _check_files(root: Path, folder: Path, files: dict[str, str]) -> Iterator[Problem]:
    for name in sorted(_WANTED - set(files)):
        yield Problem(root, folder / name, "is not among the files that its provenance names")
    for name, digest in sorted(files.items()):
        path = folder / name
        if name not in _WANTED | _ASKED:
            yield Problem(root, folder / PROVENANCE, f"names {name!r}, which is no table's file")
        elif not path.is_file():
            yield Problem(root, path, "is missing")
        elif sha256_of(path) != digest:
            yield Problem(root, path, "is not as its provenance says (its SHA-256 differs)")


def _read(folder: Path, noted: dict[str, Any]) -> Shard:
    """Return a shard that is as the schema says.

    Raises:
        TraceError: if it is not.
    """
    tables, metas = {}, {}
    for name in sorted(file.removesuffix(".parquet") for file in noted["files"]):
        path = folder / f"{name}.parquet"
        metas[name] = meta_of(path)
        schema = TABLES[name].arrow(metas[name].widths)
        try:
            if not schema_of(path).remove_metadata().equals(schema):
                raise TraceError(f"the columns of {name} are not those of the schema")
            table = read_columns(path, {field.name: field.type for field in schema})
        except DamagedError as error:
            raise TraceError(f"{path.name} {error}") from error
        tables[name] = in_order(table, TABLES[name].keys).combine_chunks()
        check_table(name, tables[name])
    meta = metas["samples"]
    if len(set(metas.values())) > 1:
        raise TraceError("its tables say different things of the run they are of")
    check_shard(tables, meta.n_layers, meta.n_heads, meta.head_layers)
    samples = tables["samples"]
    return Shard(
        noted,
        meta,
        samples["sample_id"].to_pylist(),
        samples.num_rows - samples["rejected"].null_count,
    )


def of_one_run(metas: list[TraceMeta]) -> bool:
    """Say whether shards are of one run: all they say of it is the same but for their number."""
    return len({replace(meta, shard=0) for meta in metas}) <= 1
