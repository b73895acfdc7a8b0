"""What a trace must hold to be written: a wrong number is worse than no number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from lensbench.errors import TraceError
from lensbench.trace_schema import SLACK, TABLES, Column

#: Attention rows of a bfloat16 model, summed, may be off by this much.
_ATTENTION_SLACK = 1e-2


def check_table(name: str, table: pa.Table) -> None:
    """Check nulls, ranges and sums of one table, its columns already of the schema's types.

    Args:
        name: name of the table.
        table: its rows, sorted by its keys.

    Raises:
        TraceError: naming table, column and row of the first thing that is wrong.
    """
    check_columns(name, table)
    if "script_mass" in table.column_names:
        off = np.asarray(np.abs(_block(table, "script_mass").sum(axis=1) - 1) > SLACK)
        _refuse(name, "script_mass", table, off, "does not sum to 1")
    if name in ("trajectory", "patches", "words"):
        rises = np.asarray((np.diff(_block(table, "top_logprob"), axis=1) > SLACK).any(axis=1))
        _refuse(name, "top_logprob", table, rises, "is not sorted from likeliest down")
    if name == "heads":
        parts = sum(_values(table, part) for part in ("image_mass", "sink_mass", "text_mass"))
        both, sink = _values(table, "image_sink_mass"), _values(table, "sink_mass")
        off = np.abs(np.asarray(parts) - both - 1) > _ATTENTION_SLACK
        sum_of = "image_mass + sink_mass + text_mass - image_sink_mass"
        _refuse(name, sum_of, table, off, "is not 1")
        _refuse(name, "image_sink_mass", table, both * (sink - both) != 0, "is not 0 or sink_mass")
        over = _values(table, "overview_mass") > _values(table, "image_mass") + SLACK
        _refuse(name, "overview_mass", table, over, "is more than image_mass")


def check_columns(name: str, table: pa.Table) -> None:
    """Check nulls, ranges and keys of the columns that were read of one table.

    Args:
        name: name of the table.
        table: its rows, sorted by its keys, which are among the columns.

    Raises:
        TraceError: naming table, column and row of the first thing that is wrong.
    """
    check_values(name, table)
    _check_keys(name, table)


def check_values(name: str, table: pa.Table) -> None:
    """Check nulls and ranges of some rows and columns of one table, as `check_columns` does."""
    for column in TABLES[name].columns:
        if column.name in table.column_names:
            _check_column(name, table, column)


def check_shard(
    tables: Mapping[str, pa.Table], n_layers: int, n_heads: int, head_layers: Sequence[int]
) -> None:
    """Check that the tables of a shard fit together and are complete.

    Args:
        tables: `samples`, `trajectory`, `heads` and `floors`, each already checked and sorted.
        n_layers: number of blocks L.
        n_heads: query heads a block.
        head_layers: the blocks that `heads` has rows of.

    Raises:
        TraceError: naming the table and what does not fit.
    """
    samples, trajectory, heads = tables["samples"], tables["trajectory"], tables["heads"]
    read = samples.filter(pc.is_null(samples["rejected"]))["sample_id"].to_pylist()
    covering = ["trajectory", "heads"] if len(head_layers) else ["trajectory"]
    for name in covering:
        found = tables[name]["sample_id"].unique().to_pylist()
        for sample in sorted(set(found) - set(read)):
            raise TraceError(f"Table {name} has rows of {sample}, which samples rejects or lacks.")
        for sample in sorted(set(read) - set(found)):
            raise TraceError(f"Table {name} has no row of {sample}, which samples does not reject.")
    _check_grid("trajectory", trajectory, np.arange(n_layers + 1), None)
    if len(head_layers):
        _check_grid("heads", heads, np.asarray(head_layers), np.arange(n_heads))
    elif heads.num_rows:
        raise TraceError("Table heads has rows, but the model has no layer whose heads are read.")
    positions = samples.filter(pc.is_null(samples["rejected"])).to_pandas().set_index("sample_id")
    image, depth = positions["n_image_tokens"].astype("int64"), n_layers + 1
    if "patches" in tables:
        _check_count("patches", tables["patches"], image * depth)
    for name in {"patches", "words"} & set(tables):
        unknown = np.asarray(tables[name]["entropy_nats"].is_null())
        _refuse(name, "entropy_nats", tables[name], unknown, "is not known")
    if "words" in tables:
        _check_count("words", tables["words"], (positions["n_tokens"] - image) * depth)
    if "attention" in tables:
        _check_count("attention", tables["attention"], 0 * image + len(head_layers) * n_heads)
        _check_weights(tables["attention"], image)
    layers = _values(tables["floors"], "layer")
    if read and not np.array_equal(layers, np.arange(n_layers + 1)):
        raise TraceError(f"Table floors must have one row for each layer 0 … {n_layers}.")
    last = _values(trajectory, "layer") == n_layers
    top = _block(trajectory, "top_id")[:, 0] != _values(trajectory, "final_id")
    _refuse("trajectory", "final_id", trajectory, last & top, "is not top_id[0] at the last layer")
    ranked = _values(trajectory, "final_rank") != 0
    _refuse("trajectory", "final_rank", trajectory, last & ranked, "is not 0 at the last layer")
    _check_steps(trajectory, heads if len(head_layers) else trajectory)


def check_import(tables: Mapping[str, pa.Table], n_layers: int) -> None:
    """Check that the tables of an imported lens fit together and are complete.

    Args:
        tables: `samples`, `patches`, `words` and `vocabulary`, each already checked and sorted.
        n_layers: number of blocks L.

    Raises:
        TraceError: naming the table and what does not fit.
    """
    samples, layers = tables["samples"].to_pandas().set_index("sample_id"), n_layers + 1
    image = samples["n_image_tokens"].astype("int64")
    _check_count("patches", tables["patches"], image * layers)
    _check_count("words", tables["words"], (samples["n_tokens"] - image) * layers)
    known = pa.array(_values(tables["vocabulary"], "token_id"))
    for name in ("patches", "words"):
        found = pc.is_in(tables[name]["top_id"].combine_chunks().flatten(), value_set=known)
        if not pc.all(found, min_count=0).as_py():
            raise TraceError(f"Table {name}, column top_id, has a token that vocabulary lacks.")


def _check_column(name: str, table: pa.Table, column: Column) -> None:
    array = table[column.name]
    if array.null_count and not column.nullable:
        _refuse(name, column.name, table, np.asarray(array.is_null()), "is null")
    kind = column.type
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
        return
    if column.width == "any":
        flat = array.combine_chunks().flatten()
        owner = pc.list_parent_indices(array.combine_chunks()).to_numpy(zero_copy_only=False)
        values = np.asarray(flat)
    else:
        values = _block(table, column.name) if column.width else _values(table, column.name)
        if array.null_count:  # Allowed, or it had been refused: what is unknown is in no range.
            values = np.where(array.is_null(), 0.0, values)
        owner = None
    with np.errstate(invalid="ignore"):
        bad = ~np.isfinite(values)
        low = np.zeros_like(bad) if column.low is None else values < column.low
        high = np.zeros_like(bad) if column.high is None else values > column.high
    for mask, text in (
        (bad, "is not a finite number"),
        (low, f"is below {column.low}"),
        (high, f"is above {column.high}"),
    ):
        rows = np.asarray(mask.any(axis=1) if mask.ndim == 2 else mask)
        if owner is not None and rows.any():
            rows = np.isin(np.arange(table.num_rows), owner[rows])
        _refuse(name, column.name, table, rows, text)


def _check_keys(name: str, table: pa.Table) -> None:
    """The rows are sorted by their keys, so equal ones are neighbours."""
    if table.num_rows < 2:
        return
    same = np.ones(table.num_rows - 1, dtype=bool)
    for key in TABLES[name].keys:
        values = table[key].combine_chunks()
        same &= np.asarray(pc.equal(values[1:], values[:-1]))
    if same.any():
        keys = " ".join(TABLES[name].keys)
        _refuse(name, keys, table, np.append(False, same), "is there twice")


def _check_grid(name: str, table: pa.Table, layers: np.ndarray, heads: np.ndarray | None) -> None:
    """Every sample × step must have every layer (and head) once, and no others."""
    per_step = len(layers) * (1 if heads is None else len(heads))
    rows = table.num_rows
    if rows % per_step:
        raise TraceError(
            f"Table {name} has {rows} rows, no multiple of the {per_step} of one sample and step: "
            "a layer or head is missing."
        )
    times = rows // per_step
    width = 1 if heads is None else len(heads)
    off = _values(table, "layer") != np.tile(np.repeat(layers, width), times)
    _refuse(name, "layer", table, off, "is out of turn: a layer is missing or of no block")
    if heads is not None:
        off = _values(table, "head") != np.tile(heads, times * len(layers))
        _refuse(name, "head", table, off, "is out of turn: a head is missing or too many")


def _check_count(name: str, table: pa.Table, wanted: pd.Series) -> None:
    """Every sample must have as many rows as its positions (or heads) and layers make."""
    found = table["sample_id"].to_pandas().value_counts().reindex(wanted.index, fill_value=0)
    for sample in wanted.index[(found != wanted).to_numpy()][:1]:
        raise TraceError(
            f"Table {name} has {found[sample]} rows of {sample}, where its positions and layers "
            f"make {wanted[sample]}."
        )
    for sample in table["sample_id"].unique().to_pylist():
        if sample not in wanted.index:
            raise TraceError(f"Table {name} has rows of {sample}, which samples rejects or lacks.")


def _check_weights(attention: pa.Table, n_image: pd.Series) -> None:
    """Every row must have one weight an image position."""
    lengths = pc.list_value_length(attention["weights"]).to_numpy()
    wanted = n_image.reindex(attention["sample_id"].to_pandas()).to_numpy()
    off = np.asarray(lengths != wanted)
    _refuse("attention", "weights", attention, off, "is not one weight an image position")


def _check_steps(trajectory: pa.Table, heads: pa.Table) -> None:
    """`heads` must cover the same samples and steps as `trajectory`, each sample from step 0."""
    keys = [
        table.group_by(["sample_id", "step"])
        .aggregate([])
        .sort_by([("sample_id", "ascending"), ("step", "ascending")])
        for table in (trajectory, heads)
    ]
    if not keys[0].equals(keys[1]):
        raise TraceError("Tables trajectory and heads do not hold the same samples and steps.")
    ids, steps = keys[0]["sample_id"].combine_chunks(), _values(keys[0], "step")
    if not len(steps):
        return
    fresh = np.append(True, np.asarray(pc.not_equal(ids[1:], ids[:-1])))
    wanted = np.append(0, steps[:-1] + 1)
    off = np.where(fresh, steps != 0, steps != wanted)
    _refuse("trajectory", "step", keys[0], off, "leaves a step out")


def _refuse(name: str, column: str, table: pa.Table, rows: np.ndarray, what: str) -> None:
    """Raise for the first row marked, if any is."""
    if not np.any(rows):
        return
    row = int(np.argmax(rows))
    keys = [key for key in TABLES[name].keys if key in table.column_names]
    where = ", ".join(f"{key} {table[key][row].as_py()}" for key in keys)
    shown = ""
    if column in table.column_names:
        value = repr(table[column][row].as_py())
        shown = f" {value[:80]}" + ("…" if len(value) > 80 else "")
    raise TraceError(f"Table {name}, column {column}, row {row} ({where}):{shown} {what}.")


def _values(table: pa.Table, name: str) -> np.ndarray:
    return table[name].to_numpy()


def _block(table: pa.Table, name: str) -> np.ndarray:
    """Return a fixed-size list column as an array [rows, length]."""
    array = table[name].combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # no rows at all
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    width = array.type.list_size
    # flatten() drops null rows, which are refused before this is reached.
    return np.asarray(array.flatten()).reshape(-1, width)
