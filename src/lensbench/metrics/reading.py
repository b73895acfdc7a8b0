"""A run opened from all its shards, and read block by block."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from lensbench.errors import DataError, TraceError
from lensbench.metrics.rundata import Block, Groups, Run, Trajectory, Vocabulary
from lensbench.models.vocabulary import without_shared
from lensbench.trace import read_meta, read_table, stack
from lensbench.trace_meta import TraceMeta
from lensbench.trace_stream import BLOCK, column, sample_ids, stream

SAMPLES = (
    "gold", "language", "family", "asked", "generated", "generated_ids", "generated_ends",
    "n_tokens", "n_image_tokens", "grid_h", "grid_w", "rejected", "picture",
)  # fmt: skip
_SINGLE = (
    "entropy_nats", "kl_to_final_nats", "js_to_final_nats", "final_id", "final_rank", "gold_rank",
)  # fmt: skip
_TRAJECTORY = ("step", *_SINGLE, "top_id", "top_logprob", "script_mass", "concept_mass")
#: Columns of `lenses` that are read.
LENSES = (
    "top_id", "top_logprob", "entropy_nats", "kl_to_final_nats", "final_rank", "gold_rank",
)  # fmt: skip
HEADS = (
    "image_mass", "sink_mass", "text_mass", "image_entropy_nats", "image_max", "overview_mass",
    "image_sink_mass",
)  # fmt: skip


@dataclass(frozen=True)
class Shards:
    """One model on one dataset, on disk.

    Args:
        run: what is known of it as a whole.
        folders: its shards, in order.
    """

    run: Run
    folders: list[Path]

    def blocks(self, size: int = BLOCK, heads: Sequence[str] = ()) -> Iterator[Block]:
        """Yield the samples that could be read, block by block, in the order of their ids.

        Args:
            size: samples a block at most.
            heads: columns of `heads` to read too.

        Raises:
            TraceError: if a file is damaged, lacks rows, or a sample is in two shards.
        """
        tables = {
            "samples": SAMPLES,
            "trajectory": _TRAJECTORY,
            "lenses": ("lens", "layer", *LENSES),
        }
        if heads:
            tables["heads"] = ("step", *heads)
        last, before = "", None
        for folder in self.folders:
            for found in stream(folder, tables, size):
                ids = sample_ids(found["samples"])
                if ids[0] <= last:
                    raise TraceError(
                        f"{ids[0]} of {folder} doesn't come after {last}, the last sample of "
                        f"{before}: the shards overlap, so delete the folder {folder.parent} and "
                        "rerun."
                    )
                last, before = str(ids[-1]), folder
                yield from _block(self.run, folder, found)

    def head_masses(self) -> Iterator[tuple[pd.DataFrame, dict[str, np.ndarray]]]:
        """Yield the samples in blocks, with their masses at step 0, [n, head layers, heads] each.

        The samples have their picture and their numbers of positions; the masses are on picture,
        text and a sink that is the picture's.
        """
        masses = ("image_mass", "text_mass", "image_sink_mass")
        samples = ("n_tokens", "n_image_tokens", "rejected", "picture")
        for folder in self.folders:
            for found in stream(folder, {"samples": samples, "heads": ("step", *masses)}):
                frame = found["samples"].select(["sample_id", *samples]).to_pandas()
                kept = frame[frame["rejected"].isna()].reset_index(drop=True)
                if len(kept):
                    of = _heads(self.run.meta, folder, found["heads"], masses, len(kept))
                    yield kept, of

    def whole(self) -> Block:
        """Return all samples as one block: of a run that is known to be small."""
        return joined(self.blocks())


def open_run(
    trace_folders: Sequence[str | Path], model_folder: str | Path, max_rejected: float = 1.0
) -> Shards:
    """Open a run's shards and read its model's vocabulary and forms.

    Args:
        trace_folders: all shards of the run, in any order.
        model_folder: where the model's vocabulary and forms are.
        max_rejected: share of the samples that may be rejected.

    Raises:
        TraceError: if a shard or table is missing, damaged, of another schema or of another run.
        DataError: if no sample could be read, or more of them are rejected than may be.
    """
    if not trace_folders:
        raise TraceError("No trace folder was given: name at least one shard.")
    metas = {Path(folder): read_meta(folder) for folder in trace_folders}
    folders = sorted(metas, key=lambda folder: (metas[folder].shard, str(folder)))
    meta = metas[folders[0]]
    for folder in folders:
        if replace(metas[folder], shard=meta.shard) != meta:
            raise TraceError(
                f"{folders[0]} and {folder} are not shards of one run: their metadata differ, so "
                "delete the stale one and rerun."
            )
    noted = read_meta(model_folder)
    if (noted.model, noted.scripts, noted.languages) != (meta.model, meta.scripts, meta.languages):
        raise TraceError(
            f"{model_folder} holds the vocabulary and forms of {noted.model}, but the traces are "
            f"of {meta.model}: give the folder that inspect wrote for it."
        )
    missing = sorted(set(range(meta.n_shards)) - {m.shard for m in metas.values()})
    if missing or len(metas) != meta.n_shards:
        raise TraceError(
            f"{meta.model} on {meta.dataset} has {meta.n_shards} shards, but {len(metas)} were "
            f"given (missing: {missing}): run the extraction of all of them."
        )
    groups, golds, read = _groups(folders, meta, max_rejected)
    forms = without_shared(read_table(model_folder, "forms"), golds)
    vocabulary = Vocabulary(read_table(model_folder, "vocabulary"))
    return Shards(Run(meta, groups, forms, vocabulary, _floor(read, meta)), folders)


def joined(blocks: Iterable[Block]) -> Block:
    """Return blocks of one run, at least one, as one block without its heads."""
    parts = list(blocks)

    steps = [part.steps for part in parts]

    def together(name: str) -> np.ndarray:
        return np.concatenate([getattr(one, name) for one in steps])

    return Block(
        parts[0].run,
        pd.concat([part.samples for part in parts], ignore_index=True),
        Trajectory(
            sample_id=together("sample_id"),
            step=together("step"),
            top_id=together("top_id"),
            top_probability=together("top_probability"),
            columns={
                name: np.concatenate([one.columns[name] for one in steps]) for name in _SINGLE
            },
            script_mass=together("script_mass"),
            concept_mass=together("concept_mass"),
        ),
        {
            lens: (
                layers,
                {
                    name: np.concatenate([part.lenses[lens][1][name] for part in parts])
                    for name in of
                },
            )
            for lens, (layers, of) in parts[0].lenses.items()
        },
    )


def _groups(
    folders: Sequence[Path], meta: TraceMeta, max_rejected: float
) -> tuple[Groups, set[str], dict[Path, int]]:
    """Count a run's samples, and return all its golds and how many of each shard could be read.

    A run of which too many could not is refused.
    """
    read, golds = dict.fromkeys(folders, 0), set()
    counts: Counter[tuple[str, str, str]] = Counter()
    pictures: Counter[str] = Counter()
    n_rejected, why, seen = 0, "", True
    for folder in folders:
        wanted = ("gold", "language", "family", "n_image_tokens", "rejected", "picture")
        for found in stream(folder, {"samples": wanted}):
            frame = found["samples"].select(list(wanted)).to_pandas()
            golds.update(frame["gold"])
            out = frame["rejected"].notna()
            if out.any():
                n_rejected += int(out.sum())
                why = why or str(frame.loc[out, "rejected"].iloc[0])
            kept = frame[~out]
            read[folder] += len(kept)
            seen &= bool((kept["n_image_tokens"] > 0).all())
            pictures.update(kept["picture"])
            counts.update(zip(kept["gold"], kept["language"], kept["family"], strict=True))
    shared = {picture: often for picture, often in pictures.items() if often > 1}
    groups = Groups(dict(counts), n_rejected, seen, shared)
    n = groups.n + n_rejected
    if not groups.n:
        because = f", the first because {why}" if n else ""
        raise DataError(
            f"{meta.model} on {meta.dataset}: none of {n} samples could be read{because}, "
            "so there is nothing to measure: check the dataset."
        )
    if n_rejected / n > max_rejected:
        raise DataError(
            f"{meta.model} on {meta.dataset}: {n_rejected} of {n} samples are "
            f"rejected, the first because {why}, more than max_rejected ({max_rejected:g}) "
            "allows: check the dataset, or allow more."
        )
    return groups, golds, read


def _floor(read: Mapping[Path, int], meta: TraceMeta) -> np.ndarray:
    """Return the random-direction floor of all shards, each weighing as its samples do."""
    total = np.zeros((meta.n_layers + 1, len(meta.scripts)))
    for folder, n in read.items():
        if n:
            total = total + n * stack(read_table(folder, "floors"), "script_mass")
    return total / sum(read.values())


def _block(run: Run, folder: Path, found: dict[str, pa.Table]) -> Iterator[Block]:
    """Yield what was streamed as a block, nothing if all of its samples were rejected."""
    samples = found["samples"].select(["sample_id", *SAMPLES]).to_pandas()
    kept = samples[samples["rejected"].isna()].reset_index(drop=True)
    if kept.empty:
        return
    ids = kept["sample_id"].to_numpy(dtype=object)
    kept["sample_id"] = ids
    steps = _trajectory(run.meta, folder, found["trajectory"])
    block = Block(
        run,
        kept,
        steps,
        _lenses(run.meta, folder, found["lenses"], ids),
        _heads(run.meta, folder, found["heads"], found["heads"].column_names[2:], len(ids))
        if "heads" in found
        else {},
    )
    if not np.array_equal(steps.sample_id[steps.step == 0], ids):
        raise _ragged(folder, "trajectory", "step 0 of every sample")
    if not np.array_equal(block.has_gold, np.isin(block.gold, sorted(run.usable))):
        raise TraceError(
            f"{folder / 'trajectory.parquet'} was made with other forms of the answers than the "
            "model's folder has: run the extraction again."
        )
    yield block


def _ragged(folder: Path, table: str, what: str) -> TraceError:
    return TraceError(
        f"{folder / table}.parquet has not {what}: delete the folder {folder} and rerun."
    )


def _trajectory(meta: TraceMeta, folder: Path, table: pa.Table) -> Trajectory:
    """Fold rows into arrays: written shards have every layer of every step of a sample."""
    layers = meta.n_layers + 1
    if table.num_rows % layers:
        raise _ragged(folder, "trajectory", "every layer of every step")
    fold = {name: column(table, name).reshape(-1, layers) for name in ("step", *_SINGLE)}
    lists = {
        name: column(table, name).reshape(len(fold["step"]), layers, -1)
        for name in ("top_id", "top_logprob", "script_mass", "concept_mass")
    }
    return Trajectory(
        sample_id=sample_ids(table)[::layers],
        step=fold.pop("step")[:, 0],
        top_id=lists["top_id"],
        top_probability=np.exp(lists["top_logprob"][:, :, 0].astype(np.float64)),
        columns=fold,
        script_mass=lists["script_mass"],
        concept_mass=lists["concept_mass"],
    )


def _heads(
    meta: TraceMeta, folder: Path, table: pa.Table, names: Sequence[str], n: int
) -> dict[str, np.ndarray]:
    """Fold the rows of step 0 into arrays [n, head layers, heads]."""
    shape = (n, len(meta.head_layers), meta.n_heads)
    at_first = column(table, "step") == 0
    if at_first.sum() != np.prod(shape):
        raise _ragged(folder, "heads", "every head of every sample")
    return {name: column(table, name)[at_first].reshape(shape) for name in names}


def _lenses(
    meta: TraceMeta, folder: Path, table: pa.Table, ids: np.ndarray
) -> dict[str, tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Fold each lens' rows into arrays [n, its layers], which are the same of every sample."""
    lens = column(table, "lens")
    names = sample_ids(table)
    found = {}
    for one in dict.fromkeys(sorted(set(lens))):
        rows = lens == one
        of = column(table, "layer")[rows]
        layers = np.unique(of)
        whole = np.array_equal(of, np.tile(layers, len(ids))) and np.array_equal(
            names[rows], np.repeat(ids, len(layers))
        )
        # The raw lens is held against the main one layer by layer.
        if not whole or (one == "raw" and len(layers) != meta.n_layers + 1):
            raise TraceError(
                f"Table lenses of {meta.model} on {meta.dataset} has not the same layers of "
                f"every sample for the lens {one}: run the extraction again."
            )
        values = {name: column(table, name)[rows].reshape(len(ids), -1) for name in LENSES}
        found[str(one)] = (layers, values)
    return found
