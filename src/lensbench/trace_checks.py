"""What a trace must hold to be written: a wrong number is worse than no number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
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
    for column in TABLES[name].columns:
        _check_column(name, table, column)
    _check_keys(name, table)
    if "script_mass" in table.column_names:
        off = np.asarray(np.abs(_block(table, "script_mass").sum(axis=1) - 1) > SLACK)
        _refuse(name, "script_mass", table, off, "does not sum to 1")
    if name == "trajectory":
        rises = np.asarray((np.diff(_block(table, "top_logprob"), axis=1) > SLACK).any(axis=1))
        _refuse(name, "top_logprob", table, rises, "is not sorted from likeliest down")
    if name == "heads":
        parts = sum(_values(table, part) for part in ("image_mass", "sink_mass", "text_mass"))
        off = np.abs(np.asarray(parts) - 1) > _ATTENTION_SLACK
        _refuse(name, "image_mass + sink_mass + text_mass", table, off, "does not sum to 1")


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
    if "patches" in tables:
        _check_patches(tables["patches"], samples, n_layers)
    layers = _values(tables["floors"], "layer")
    if read and not np.array_equal(layers, np.arange(n_layers + 1)):
        raise TraceError(f"Table floors must have one row for each layer 0 … {n_layers}.")
    last = _values(trajectory, "layer") == n_layers
    top = _block(trajectory, "top_id")[:, 0] != _values(trajectory, "final_id")
    _refuse("trajectory", "final_id", trajectory, last & top, "is not top_id[0] at the last layer")
    ranked = _values(trajectory, "final_rank") != 0
    _refuse("trajectory", "final_rank", trajectory, last & ranked, "is not 0 at the last layer")
    _check_steps(trajectory, heads if len(head_layers) else trajectory)


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


def _check_patches(patches: pa.Table, samples: pa.Table, n_layers: int) -> None:
    """Every image position of every sample must be there at every layer."""
    frame = samples.filter(pc.is_null(samples["rejected"])).to_pandas()
    wanted = frame.set_index("sample_id")["n_image_tokens"].astype("int64") * (n_layers + 1)
    found = patches["sample_id"].to_pandas().value_counts()
    found = found.reindex(wanted.index, fill_value=0)
    for sample in wanted.index[(found != wanted).to_numpy()][:1]:
        raise TraceError(
            f"Table patches has {found[sample]} rows of {sample}, where its image positions and "
            f"layers make {wanted[sample]}."
        )


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
