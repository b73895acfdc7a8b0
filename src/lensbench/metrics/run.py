"""All metrics of one run, from its traces alone, read a block of samples at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from lensbench.files import atomic_path
from lensbench.metrics import (
    answer_path,
    counting,
    depths,
    head_tables,
    language_lead,
    layer_tables,
    lenses,
)
from lensbench.metrics.answer_way import answer_way
from lensbench.metrics.options import MetricOptions
from lensbench.metrics.reading import HEADS, Shards, joined, open_run
from lensbench.metrics.rundata import Block, Run
from lensbench.metrics.tables import PER_SAMPLE, RUN_TABLES, finished
from lensbench.metrics.tally import Tally
from lensbench.metrics.tokens import tokens

#: table → what makes it of a run and the sums over its samples.
_MAKERS: dict[str, Callable[[Run, Tally], list[pd.DataFrame]]] = {
    "summary": depths.summary,
    "by_layer": layer_tables.by_layers,
    "accuracy_by_answer": layer_tables.accuracy_by_answer,
    "accuracy_by_family": depths.accuracy_by_family,
    "accuracy_by_language": lambda run, tally: layer_tables.by_language(
        run, tally, "accuracy_by_language"
    ),
    "han_in_topk": layer_tables.han_in_topk,
    "script_mass": layer_tables.script_mass,
    "concept_mass": lambda run, tally: layer_tables.by_language(run, tally, "concept_mass"),
    "lenses": lenses.lenses,
    "language_lead": language_lead.language_lead,
    "answer_path": answer_path.answer_path,
    "by_count": counting.by_count,
    "matched_kinds": counting.matched_kinds,
}


def compute_run(
    trace_folders: Sequence[str | Path],
    model_folder: str | Path,
    options: MetricOptions | None = None,
) -> dict[str, pd.DataFrame]:
    """Compute every metric table of one model on one dataset.

    Args:
        trace_folders: all shards of the run, in any order.
        model_folder: where the model's vocabulary and forms are.
        options: defaults if None.

    Returns:
        One frame for each of `tables.RUN_TABLES`, columns in that order. Statistics over no sample
        at all (accuracy where no gold concept has a usable form) have no row.

    Raises:
        DataError: if no sample could be read, or more of them are rejected than may be.
        TraceError: if a shard or table is missing, damaged, or of another schema or run.
    """
    parts: list[pd.DataFrame] = []
    found = _reduced(open_run_for(trace_folders, model_folder, options), options, parts.append)
    found[PER_SAMPLE] = pd.concat(parts, ignore_index=True)
    return {name: found[name] for name in RUN_TABLES}


def open_run_for(
    trace_folders: Sequence[str | Path],
    model_folder: str | Path,
    options: MetricOptions | None = None,
) -> Shards:
    """Return the shards of a run that holds enough samples for its metrics, as `open_run` does."""
    return open_run(trace_folders, model_folder, (options or MetricOptions()).max_rejected)


def make_run(
    folder: str | Path,
    trace_folders: Sequence[str | Path],
    model_folder: str | Path,
    options: MetricOptions | None = None,
) -> None:
    """Compute a run's tables and write them as {table}.parquet, in memory that no run exceeds.

    Args:
        folder: where the tables go, each whole or not at all.
        trace_folders: as for `compute_run`, which says what is raised.
        model_folder: as for `compute_run`.
        options: as for `compute_run`.
    """
    shards = open_run_for(trace_folders, model_folder, options)
    with ExitStack() as stack:
        path = stack.enter_context(atomic_path(Path(folder) / f"{PER_SAMPLE}.parquet"))
        writer = stack.enter_context(_Writer(path))
        found = _reduced(shards, options, writer.write)
    write_run(folder, found)


def write_run(folder: str | Path, frames: Mapping[str, pd.DataFrame]) -> None:
    """Write a run's tables as {table}.parquet into its folder, each whole or not at all."""
    for name, frame in frames.items():
        with atomic_path(Path(folder) / f"{name}.parquet") as path:
            pq.write_table(_arrow(frame), path, compression="zstd")


def _arrow(frame: pd.DataFrame) -> pa.Table:
    return pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)


class _Writer:
    """One table written frame by frame; the types are those of the first."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def write(self, frame: pd.DataFrame) -> None:
        """Write some rows."""
        table = _arrow(frame)
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._path, table.schema, compression="zstd")
        self._writer.write_table(table.cast(self._writer.schema))


@dataclass
class _Examples:
    """The first samples of a run, kept for the tables that show them."""

    wanted: int
    kept: list[Block] = field(default_factory=list)

    def take(self, block: Block) -> None:
        """Keep those samples of a block that are still wanted."""
        n = min(self.wanted - sum(len(one.samples) for one in self.kept), len(block.samples))
        if n > 0:
            self.kept.append(block.at(block.samples.index < n))


def _reduced(
    shards: Shards, options: MetricOptions | None, write: Callable[[pd.DataFrame], None]
) -> dict[str, pd.DataFrame]:
    """Return the tables of a run but the one that is as long as it, whose rows are given away."""
    options = options or MetricOptions()
    run, meta = shards.run, shards.run.meta
    tally = Tally(options.seed, options.resamples, options.confidence, run.groups.of_picture)
    kinds = head_tables.head_kinds(run, shards.head_masses, options)
    examples = _Examples(options.examples)
    for block in shards.blocks(heads=HEADS if kinds else ()):
        table = depths.depths(block)
        write(finished(PER_SAMPLE, [table], meta.model, meta.dataset))
        examples.take(block)
        tally.begin(block.pictures)
        depths.measure(block, tally, table, options.early_exit)
        layer_tables.measure(block, tally, options.early_exit)
        for measure in (lenses, language_lead, answer_path, counting):
            measure.measure(block, tally)
        if kinds:
            head_tables.measure(block, tally, kinds)
        tally.end()
    parts = {name: make(run, tally) for name, make in _MAKERS.items()}
    shown = [joined(examples.kept)] if examples.kept else []
    parts["tokens"] = [tokens(block) for block in shown]
    parts["answer_way"] = [answer_way(block) for block in shown]
    parts |= head_tables.head_tables(run, tally, kinds)
    return {name: finished(name, parts[name], meta.model, meta.dataset) for name in parts}
