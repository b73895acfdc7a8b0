"""Traces on disk: Parquet shards of one versioned schema, checked when written, whole or not there.

A shard is a folder with `samples`, `trajectory`, `heads` and `floors`; a model's folder holds
`vocabulary` and `forms`. Two writes of the same rows, in any order, give the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image

from lensbench.errors import TraceError
from lensbench.files import atomic_path, sha256_of
from lensbench.parquets import DamagedError, read_columns
from lensbench.trace_checks import (
    check_columns,
    check_import,
    check_shard,
    check_table,
    check_values,
)
from lensbench.trace_meta import KEY, TraceMeta, meta_of
from lensbench.trace_schema import ASKED_TABLES, IMPORT_TABLES, SHARD_TABLES, TABLES

_ROWS_A_GROUP = 262_144


def write_shard(
    folder: str | Path,
    tables: Mapping[str, pd.DataFrame | pa.Table],
    meta: TraceMeta,
    provenance: Mapping[str, Any] | None = None,
) -> None:
    """Check and write one shard; its folder is replaced as a whole, or not at all.

    Args:
        folder: the shard's folder. Whatever it held before is gone afterwards.
        tables: `samples`, `trajectory`, `heads`, `floors` and, if they were asked for, `patches`,
            rows in any order; list columns hold one array a row (`list(array2d)` makes such a
            column).
        meta: what the shard says about itself.
        provenance: written beside the tables as provenance.json, if given, with `files`: the
            SHA-256 of each table's file, by its name.

    Raises:
        TraceError: naming table, column and row, if anything is not as the schema says.
        LensbenchError: if the disk is full or the folder can't be written.
    """
    wanted = [table.name for table in SHARD_TABLES]
    asked_for = [table.name for table in ASKED_TABLES if table.name in tables]
    if sorted(tables) != sorted(wanted + asked_for):
        raise TraceError(f"A shard needs the tables {wanted}, but {sorted(tables)} were given.")
    wanted += asked_for
    ready = {name: _prepared(name, tables[name], meta) for name in wanted}
    check_shard(ready, meta.n_layers, meta.n_heads, meta.head_layers)
    with atomic_path(folder) as path:
        path.mkdir()
        for name, table in ready.items():
            _write(path / f"{name}.parquet", table)
        if provenance is not None:
            files = {f"{name}.parquet": sha256_of(path / f"{name}.parquet") for name in ready}
            _note(path, {**provenance, "files": files})


def write_import(
    folder: str | Path,
    tables: Mapping[str, pd.DataFrame],
    meta: TraceMeta,
    provenance: Mapping[str, Any],
    pictures: Mapping[str, Image.Image],
) -> None:
    """Check and write an imported lens; its folder is replaced as a whole, or not at all.

    Args:
        folder: the lens's folder. Whatever it held before is gone afterwards.
        tables: `samples`, `patches`, `words` and `vocabulary`, rows in any order.
        meta: what the lens says about itself.
        provenance: written beside the tables as provenance.json.
        pictures: by the names of the PNG files to write beside them.

    Raises:
        TraceError: naming table, column and row, if anything is not as the schema says.
        LensbenchError: if the disk is full or the folder can't be written.
    """
    wanted = [table.name for table in IMPORT_TABLES]
    if sorted(tables) != sorted(wanted):
        raise TraceError(f"An import needs the tables {wanted}, but {sorted(tables)} were given.")
    ready = {name: _prepared(name, tables[name], meta) for name in wanted}
    check_import(ready, meta.n_layers)
    with atomic_path(folder) as path:
        path.mkdir()
        for name, table in ready.items():
            _write(path / f"{name}.parquet", table)
        for name, picture in pictures.items():
            picture.save(path / name, format="PNG")
        _note(path, provenance)


def write_model_table(
    folder: str | Path, name: str, frame: pd.DataFrame | pa.Table, meta: TraceMeta
) -> None:
    """Check and write `vocabulary` or `forms` into a model's folder.

    Args:
        folder: the model's folder.
        name: "vocabulary" or "forms".
        frame: its rows, in any order.
        meta: as for the model's shards; its dataset and shard numbers are not kept.

    Raises:
        TraceError: naming table, column and row, if anything is not as the schema says.
    """
    neutral = replace(meta, dataset="", shard=0, n_shards=1)
    table = _prepared(name, frame, neutral)
    with atomic_path(Path(folder) / f"{name}.parquet") as path:
        _write(path, table)


def read_table(
    folders: str | Path | Sequence[str | Path],
    name: str,
    columns: Sequence[str] | None = None,
    step: int | None = None,
) -> pd.DataFrame:
    """Read one table of one or more folders, sorted by its keys.

    Args:
        folders: a shard's (or model's) folder, or several of the same model and dataset.
        name: name of the table, as in `trace_schema.TABLES`.
        columns: which columns; all by default.
        step: only the rows of that step, for tables that have steps.

    Returns:
        One row a row of the files; list columns hold one numpy array a row (see `stack`). The order
        does not depend on the order of the folders.

    Raises:
        TraceError: if a file is missing, damaged or of another schema, or two are of two runs.
    """
    schema, paths = TABLES[name], _as_list(folders)
    metas = [meta_of(path / f"{name}.parquet") for path in paths]
    if len({replace(meta, shard=0) for meta in metas}) > 1:
        raise TraceError(
            f"{paths[0]} and {paths[-1]} are not shards of one run: their metadata differ, so "
            "delete the stale one and rerun."
        )
    wanted = list(columns) if columns is not None else [c.name for c in schema.columns]
    extra = [key for key in schema.keys if key not in wanted]
    kinds = {key: schema.column(key).arrow(metas[0].widths) for key in wanted + extra}
    filters = None if step is None else pc.field("step") == step
    within = None if step is None else ("step", step, step)
    parts = [_read(path / f"{name}.parquet", kinds, filters, within) for path in paths]
    table = in_order(pa.concat_tables(parts), schema.keys)
    try:
        check_columns(name, table)
    except TraceError as error:
        raise TraceError(f"{paths[0]} can't be read on: {error} Delete it and rerun.") from error
    return table.select(wanted).to_pandas()


def read_rows(
    folder: str | Path,
    name: str,
    columns: Sequence[str] | None = None,
    filters: pc.Expression | None = None,
    within: tuple[str, Any, Any] | None = None,
) -> pa.Table:
    """Read rows of one table of one folder as they lie there, their values checked.

    Args:
        folder: a shard's (or model's) folder.
        name: name of the table, as in `trace_schema.TABLES`.
        columns: which columns; all by default.
        filters: which rows; all by default.
        within: a column, the least and the most of its values that `filters` lets through.

    Raises:
        TraceError: if the file is missing, damaged or of another schema.
    """
    schema, path = TABLES[name], Path(folder) / f"{name}.parquet"
    widths = meta_of(path).widths
    wanted = columns if columns is not None else [c.name for c in schema.columns]
    found = _read(path, {key: schema.column(key).arrow(widths) for key in wanted}, filters, within)
    try:
        check_values(name, found)
    except TraceError as error:
        raise TraceError(f"{path.parent} can't be read on: {error} Delete it and rerun.") from error
    return found


def read_meta(folder: str | Path, table: str | None = None) -> TraceMeta:
    """Return what a shard's (or model's) folder says about itself.

    Args:
        folder: the folder.
        table: which of its tables is asked; its first by default.

    Raises:
        TraceError: if that table is missing, damaged or of another schema.
    """
    path = Path(folder)
    names = ("samples", "vocabulary", "forms")
    name = table or next((n for n in names if (path / f"{n}.parquet").exists()), "samples")
    return meta_of(path / f"{name}.parquet")


def read_meta_of_all(folder: str | Path, tables: Iterable[str]) -> TraceMeta:
    """Return what a shard says about itself, once all of some tables say the same.

    Args:
        folder: the shard's folder.
        tables: names of its tables, beside `samples`.

    Raises:
        TraceError: if a table is missing, damaged, of another schema or of another run.
    """
    path = Path(folder)
    meta = read_meta(path, "samples")
    for name in tables:
        if read_meta(path, name) != meta:
            raise TraceError(
                f"{path / name}.parquet is not of the same run as samples.parquet: delete the "
                f"folder {path} and rerun."
            )
    return meta


def check_folder(folder: str | Path) -> None:
    """Check that a shard that somebody handed on is complete, as it was checked when written.

    Raises:
        TraceError: if a table is missing, damaged, incomplete or doesn't fit the others.
    """
    path, meta = Path(folder), read_meta(folder)
    asked = [table for table in ASKED_TABLES if (path / f"{table.name}.parquet").exists()]
    ready = {}
    for table in (*SHARD_TABLES, *asked):
        file = path / f"{table.name}.parquet"
        if replace(meta_of(file), shard=0) != replace(meta, shard=0):
            raise TraceError(f"{file} is of another run than its folder: delete it and rerun.")
        kinds = {column.name: column.arrow(meta.widths) for column in table.columns}
        ready[table.name] = in_order(_read(file, kinds), table.keys)
    try:
        for name, table in ready.items():
            check_table(name, table)
        check_shard(ready, meta.n_layers, meta.n_heads, meta.head_layers)
    except TraceError as error:
        raise TraceError(f"{path} can't be read on: {error} Delete it and rerun.") from error


def in_order(table: pa.Table, keys: Sequence[str]) -> pa.Table:
    """Return a table's rows in the order of their keys, in which shards are written."""
    order = pc.sort_indices(table, sort_keys=[(key, "ascending") for key in keys])
    if np.array_equal(order, np.arange(len(order))):
        return table  # Lists of great length would take their size twice.
    return table.take(order)


def stack(frame: pd.DataFrame, name: str) -> np.ndarray:
    """Return a list column as one array of shape [rows, length] ([0, 0] for no rows)."""
    if frame.empty:
        return np.zeros((0, 0))
    return np.stack(list(frame[name]))


def _as_list(folders: str | Path | Sequence[str | Path]) -> list[Path]:
    one = isinstance(folders, (str, Path))
    paths = [Path(folders)] if one else [Path(folder) for folder in folders]  # type: ignore
    if not paths:
        raise TraceError("No trace folder was given: name at least one shard.")
    return paths


def _prepared(name: str, given: pd.DataFrame | pa.Table, meta: TraceMeta) -> pa.Table:
    """Return the checked Arrow table with the schema's types, order of rows and metadata."""
    schema = TABLES[name]
    missing = [c.name for c in schema.columns if c.name not in list(_names(given))]
    unknown = [n for n in _names(given) if n not in [c.name for c in schema.columns]]
    if missing or unknown:
        what = f"lacks {missing}" if missing else f"has unknown columns {unknown}"
        raise TraceError(
            f"Table {name} {what}: the columns are those of trace_schema.{name.upper()}."
        )
    arrays = []
    for column in schema.columns:
        kind = column.arrow(meta.widths)
        try:
            arrays.append(_array(given, column.name, kind))
        except (pa.ArrowException, ValueError, TypeError, OverflowError, UnicodeError) as error:
            detail = " ".join(str(error).split())[:160]
            raise TraceError(
                f"Table {name}, column {column.name}, can't be stored as {kind}: {detail}."
            ) from error
    # Nullability is checked below with a sentence of our own, so it is left open here.
    table = pa.table(arrays, names=[c.name for c in schema.columns])
    table = in_order(table, schema.keys).combine_chunks()
    check_table(name, table)
    return table.cast(schema.arrow(meta.widths)).replace_schema_metadata({KEY: meta.to_json()})


def _names(given: pd.DataFrame | pa.Table) -> list[str]:
    return list(given.column_names if isinstance(given, pa.Table) else given.columns)


def _array(given: pd.DataFrame | pa.Table, name: str, kind: pa.DataType) -> pa.Array:
    """Return one column as an Arrow array of that type."""
    if isinstance(given, pa.Table):
        return given.column(name).cast(kind).combine_chunks()
    if not pa.types.is_fixed_size_list(kind):
        return pa.Array.from_pandas(given[name], type=kind)
    values = given[name].to_numpy()
    if not len(values):
        return pa.array([], type=kind)
    block = np.stack([np.asarray(value) for value in values])
    if block.ndim != 2 or block.shape[1] != kind.list_size:
        raise ValueError(f"lists of shape {block.shape[1:]}, wanted ({kind.list_size},)")
    flat = pa.array(block.reshape(-1)).cast(kind.value_type)
    return pa.FixedSizeListArray.from_arrays(flat, type=kind)


def _note(path: Path, provenance: Mapping[str, Any]) -> None:
    text = json.dumps(provenance, indent=2, sort_keys=True, ensure_ascii=False)
    (path / "provenance.json").write_text(text + "\n", encoding="utf-8", newline="\n")


def _write(path: Path, table: pa.Table) -> None:
    # No pandas metadata and fixed settings: the bytes depend on the rows alone.
    pq.write_table(table, path, compression="zstd", row_group_size=_ROWS_A_GROUP)


def _read(
    path: Path,
    kinds: Mapping[str, pa.DataType],
    filters: pc.Expression | None = None,
    within: tuple[str, Any, Any] | None = None,
) -> pa.Table:
    try:
        return read_columns(path, kinds, filters, within)
    except DamagedError as error:
        raise TraceError(f"{path} {error}: delete it and rerun.") from error
