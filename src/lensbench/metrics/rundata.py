"""One run, read into arrays [rows, layers]: what every metric file starts from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from lensbench.errors import DataError, TraceError
from lensbench.trace import TraceMeta, read_meta, read_table, stack


@dataclass(frozen=True)
class Trajectory:
    """Rows of `trajectory` as arrays: n samples (or samples × steps) by L + 1 layers.

    Args:
        sample_id: [n] strings, sorted.
        step: [n] integers.
        top_id: [n, L+1, k] integers, likeliest first.
        top_probability: [n, L+1] probability of the likeliest.
        columns: the columns of one value a row, each [n, L+1].
        script_mass: [n, L+1, S].
        concept_mass: [n, L+1, C].
    """

    sample_id: np.ndarray
    step: np.ndarray
    top_id: np.ndarray
    top_probability: np.ndarray
    columns: dict[str, np.ndarray]
    script_mass: np.ndarray
    concept_mass: np.ndarray

    @property
    def top1(self) -> np.ndarray:
        """The likeliest token at every layer, [n, L+1]."""
        return self.top_id[:, :, 0]

    @property
    def final(self) -> np.ndarray:
        """y = argmax p_L, [n]."""
        return self.columns["final_id"][:, -1]

    def at(self, rows: np.ndarray) -> Trajectory:
        """Return some rows, by a mask or by indices."""
        return Trajectory(
            self.sample_id[rows],
            self.step[rows],
            self.top_id[rows],
            self.top_probability[rows],
            {name: values[rows] for name, values in self.columns.items()},
            self.script_mass[rows],
            self.concept_mass[rows],
        )


class Vocabulary:
    """What each token id is; an id that the table does not have is an error, not a blank."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self._ids = frame["token_id"].to_numpy()
        self._text = frame["text"].to_numpy(dtype=object)
        self._script = frame["script"].to_numpy(dtype=object)

    def __len__(self) -> int:
        return len(self._ids)

    def text(self, ids: np.ndarray) -> np.ndarray:
        """Return the tokens' texts, an object array of the shape of `ids`."""
        return self._text[self._rows(ids)]

    def script(self, ids: np.ndarray) -> np.ndarray:
        """Return the tokens' scripts, an object array of the shape of `ids`."""
        return self._script[self._rows(ids)]

    def is_script(self, ids: np.ndarray, script: str) -> np.ndarray:
        """Return whether the tokens are of that script, a mask of the shape of `ids`."""
        return (self._script == script)[self._rows(ids)]

    def entries(self) -> Iterator[tuple[int, str]]:
        """Yield every token id with its text."""
        return zip(self._ids.tolist(), self._text.tolist(), strict=True)

    def share(self, script: str) -> float:
        """Return the script's share of the vocabulary."""
        return float((self._script == script).mean())

    def _rows(self, ids: np.ndarray) -> np.ndarray:
        rows = np.searchsorted(self._ids, ids)
        found = self._ids[np.minimum(rows, len(self._ids) - 1)] == ids
        if not found.all():
            raise TraceError(
                f"vocabulary.parquet lacks token id {np.asarray(ids)[~found].flat[0]}, which the "
                "trace has: delete the model's folder of results and rerun."
            )
        return rows


@dataclass(frozen=True)
class RunData:
    """One model on one dataset.

    Args:
        meta: of the first shard.
        samples: `samples` less the rejected, sorted by sample_id.
        n_rejected: how many were rejected.
        steps: every step of every sample.
        forms: the model's `forms`.
        vocabulary: the model's tokens.
        floor: mean script mass of random directions, [L+1, S].
        folders: of the shards.
    """

    meta: TraceMeta
    samples: pd.DataFrame
    n_rejected: int
    steps: Trajectory
    forms: pd.DataFrame
    vocabulary: Vocabulary
    floor: np.ndarray
    folders: list[Path]

    @cached_property
    def first(self) -> Trajectory:
        """Step 0 alone, one row a row of `samples`."""
        return self.steps.at(self.steps.step == 0)

    @cached_property
    def has_gold(self) -> np.ndarray:
        """Whether the sample's gold concept has a usable form in this vocabulary, [n samples]."""
        return self.first.columns["gold_rank"][:, 0] >= 0

    @property
    def layers(self) -> np.ndarray:
        """0 … L."""
        return np.arange(self.meta.n_layers + 1)


def load_run(
    trace_folders: Sequence[str | Path], model_folder: str | Path, max_rejected: float = 1.0
) -> RunData:
    """Read a run's shards and its model's vocabulary and forms.

    Args:
        trace_folders: all shards of the run, in any order.
        model_folder: where the model's vocabulary and forms are.
        max_rejected: share of the samples that may be rejected.

    Raises:
        TraceError: if a shard or table is missing, damaged, of another schema or of another run.
        DataError: if no sample could be read, or more of them are rejected than may be.
    """
    folders = sorted((Path(folder) for folder in trace_folders), key=str)
    samples = read_table(folders, "samples")
    metas = [read_meta(folder) for folder in folders]
    meta = metas[0]
    noted = read_meta(model_folder)
    if (noted.model, noted.scripts, noted.languages) != (meta.model, meta.scripts, meta.languages):
        raise TraceError(
            f"{model_folder} holds the vocabulary and forms of {noted.model}, but the traces are "
            f"of {meta.model}: give the folder that inspect wrote for it."
        )
    missing = sorted(set(range(meta.n_shards)) - {m.shard for m in metas})
    if missing or len(metas) != meta.n_shards:
        raise TraceError(
            f"{meta.model} on {meta.dataset} has {meta.n_shards} shards, but {len(metas)} were "
            f"given (missing: {missing}): run the extraction of all of them."
        )
    rejected = samples["rejected"].notna()
    if samples.empty or rejected.all():
        why = f", the first because {samples['rejected'].iloc[0]}" if len(samples) else ""
        raise DataError(
            f"{meta.model} on {meta.dataset}: none of {len(samples)} samples could be read{why}, "
            "so there is nothing to measure: check the dataset."
        )
    if rejected.mean() > max_rejected:
        first = samples.loc[rejected, "rejected"].iloc[0]
        raise DataError(
            f"{meta.model} on {meta.dataset}: {int(rejected.sum())} of {len(samples)} samples are "
            f"rejected, the first because {first}, more than max_rejected ({max_rejected:g}) "
            "allows: check the dataset, or allow more."
        )
    kept = samples[~rejected].reset_index(drop=True)
    twice = kept["sample_id"].duplicated()
    if twice.any():
        raise TraceError(
            f"{kept['sample_id'][twice].iloc[0]} is in two shards of {meta.model} on "
            f"{meta.dataset}: delete the folder {folders[0].parent} and rerun."
        )
    return RunData(
        meta=meta,
        samples=kept,
        n_rejected=int(rejected.sum()),
        steps=_trajectory(folders, meta),
        forms=read_table(model_folder, "forms"),
        vocabulary=Vocabulary(read_table(model_folder, "vocabulary")),
        floor=_floor(folders, meta),
        folders=folders,
    )


def _trajectory(folders: list[Path], meta: TraceMeta) -> Trajectory:
    """Read `trajectory`; written shards have every layer of every row, so it folds into arrays."""
    frame = read_table(folders, "trajectory")
    layers = meta.n_layers + 1

    def fold(name: str) -> np.ndarray:
        return frame[name].to_numpy().reshape(-1, layers)

    def fold_lists(name: str) -> np.ndarray:
        block = stack(frame, name)
        return block.reshape(-1, layers, block.shape[1])

    single = [
        "entropy_nats",
        "kl_to_final_nats",
        "js_to_final_nats",
        "final_id",
        "final_rank",
        "gold_rank",
    ]
    return Trajectory(
        sample_id=frame["sample_id"].to_numpy(dtype=object)[::layers],
        step=fold("step")[:, 0],
        top_id=fold_lists("top_id"),
        top_probability=np.exp(fold_lists("top_logprob")[:, :, 0].astype(np.float64)),
        columns={name: fold(name) for name in single},
        script_mass=fold_lists("script_mass"),
        concept_mass=fold_lists("concept_mass"),
    )


def _floor(folders: list[Path], meta: TraceMeta) -> np.ndarray:
    """Return the random-direction floor of all shards, each weighing as its samples do."""
    total, weight = np.zeros((meta.n_layers + 1, len(meta.scripts))), 0
    for folder in folders:
        frame = read_table(folder, "floors")
        n = int(read_table(folder, "samples", ["rejected"])["rejected"].isna().sum())
        if n:
            total, weight = total + n * stack(frame, "script_mass"), weight + n
    return total / weight
