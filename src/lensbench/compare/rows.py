"""The rows of two runs held against each other, block by block: what is counted, and of what.

Only what had the same context is compared: a step after one whose token differs continues another
text, and is left out.
"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pandas as pd

from lensbench.compare.measures import MEASURES, Found, of_changes, of_differences
from lensbench.compare.pairs import Block, rows_of, samples_of
from lensbench.compare.tally import Changes, Differences
from lensbench.errors import DataError, TraceError
from lensbench.metrics.convergence import convergence_layer, hits

#: What of a sample must be the same for its numbers to be worth comparing, and what it is called.
_SAME = {
    "prompt": "prompt", "asked": "question", "gold": "gold answer", "language": "language",
    "family": "kind of question", "image": "picture", "n_tokens": "number of positions",
    "n_image_tokens": "number of image positions", "views": "grid of image positions",
}  # fmt: skip
#: Columns of `trajectory` that are compared as they are.
_PLAIN = {
    "entropy_nats": "entropy", "kl_to_final_nats": "kl", "js_to_final_nats": "js",
    "script_mass": "script_mass", "concept_mass": "concept_mass",
}  # fmt: skip
_MASSES = (
    "image_mass", "overview_mass", "sink_mass", "text_mass", "image_sink_mass", "image_max",
)  # fmt: skip


class Tallies:
    """Everything that is counted while blocks stream by."""

    def __init__(self) -> None:
        self.n_shared = self.n_samples = self.rejected = 0
        kinds = {name: measure.kind for name, measure in MEASURES.items()}
        self._differences = {n: Differences() for n, kind in kinds.items() if kind == "difference"}
        self._changes = {n: Changes() for n, kind in kinds.items() if kind == "share"}
        self._layers = Differences()
        # What rounding moves where nothing flips, and how far apart the tokens are that do.
        self._quiet = Differences()
        self._gaps = Differences()

    def found(self) -> dict[str, Found]:
        """Return what was found of every measure of traces."""
        found = {name: of_differences(tally) for name, tally in self._differences.items()}
        found |= {name: of_changes(tally) for name, tally in self._changes.items()}
        found["convergence_layers"] = Found(
            self._layers.largest if self._layers.n else math.nan, self._layers.n
        )
        # Both tokens may move, each by as much.
        near = self._gaps.at_most(2 * self._quiet.largest)
        flips = self._gaps.n
        found["unexplained"] = Found((flips - near) / flips if flips else math.nan, flips)
        return found

    def take(self, block: Block, name: str) -> None:
        """Compare the samples of a block."""
        left = samples_of(block.left, block.ids)
        right = samples_of(block.right, block.ids)
        self.n_shared += len(block.ids)
        _refuse_other_samples(name, left, right)
        rejected = left["rejected"].notna().to_numpy(), right["rejected"].notna().to_numpy()
        self.rejected += int((rejected[0] != rejected[1]).sum())
        read = ~(rejected[0] | rejected[1])
        if not read.any():
            return
        left, right, ids = left[read], right[read], block.ids[read]
        self.n_samples += len(ids)
        texts = left["generated"].to_numpy() != right["generated"].to_numpy()
        self._changes["text"].add(texts)
        steps = _common_steps(left["generated_ids"], right["generated_ids"])
        self._trajectory(block, ids, steps, name)
        self._heads(block, ids, steps, name)
        self._lenses(block, ids, name)

    def _trajectory(self, block: Block, ids: np.ndarray, steps: np.ndarray, name: str) -> None:
        columns = [
            "step", "layer", "top_id", "top_logprob", "final_id", "final_logprob", "gold_rank",
            "gold_logprob", *_PLAIN,
        ]  # fmt: skip
        a, b = _aligned(block, "trajectory", columns, ("step", "layer"), ids, steps, name)
        _check_layers(a, len(ids), name)
        apart = self._differences
        for column, measure in _PLAIN.items():
            apart[measure].add(a[column], b[column])
        known = (a["gold_rank"] >= 0) & (b["gold_rank"] >= 0)
        apart["gold_logprob"].add(a["gold_logprob"][known], b["gold_logprob"][known])
        same = a["final_id"] == b["final_id"]
        apart["final_logprob"].add(a["final_logprob"][same], b["final_logprob"][same])
        # Which place of b's list each token of a's has, [rows, k].
        match = a["top_id"][:, :, None] == b["top_id"][:, None, :]
        row, here, there = np.nonzero(match)
        both = np.abs(a["top_logprob"][row, here].astype(np.float64) - b["top_logprob"][row, there])
        apart["top_logprob"].put(both)
        first = a["step"] == 0
        flips = (a["top_id"][:, 0] != b["top_id"][:, 0]) & first
        self._changes["top1"].add(flips[first])
        self._quiet.put(both[(first & ~flips)[row]])
        self._gaps.put(_gaps(a, b, np.flatnonzero(flips)))
        self._answers(a, b, first)

    def _answers(self, a: dict[str, Any], b: dict[str, Any], first: np.ndarray) -> None:
        """Compare y and the convergence layer of samples, whose layers follow each other."""
        layers = int(a["layer"].max()) + 1
        finals, converged = [], []
        for rows in (a, b):
            top = rows["top_id"][first, 0].reshape(-1, layers)
            y = rows["final_id"][first].reshape(-1, layers)[:, -1]
            finals.append(y)
            converged.append(convergence_layer(hits(top, y)))
        self._changes["answer"].add(finals[0] != finals[1])
        self._changes["convergence"].add(converged[0] != converged[1])
        self._layers.add(*converged)

    def _heads(self, block: Block, ids: np.ndarray, steps: np.ndarray, name: str) -> None:
        columns = ["step", "layer", "head", "image_entropy_nats", *_MASSES]
        a, b = _aligned(block, "heads", columns, ("step", "layer", "head"), ids, steps, name)
        for column in _MASSES:
            self._differences["head_mass"].add(a[column], b[column])
        self._differences["head_entropy"].add(a["image_entropy_nats"], b["image_entropy_nats"])

    def _lenses(self, block: Block, ids: np.ndarray, name: str) -> None:
        keys = ["sample", "lens", "layer"]
        frames = []
        for folders in (block.left, block.right):
            found = rows_of(folders, "lenses", ["lens", "layer", "final_logprob"], block.ids)
            frames.append(_kept(pd.DataFrame(found), block.ids, ids))
        for frame in frames:
            if frame.duplicated(keys).any():
                raise _twice("lenses", name)
        # A lens that only one was read with has nothing to be held against; y may have changed.
        both = frames[0].merge(frames[1], on=keys, suffixes=("_a", "_b"), validate="1:1")
        self._differences["lens_logprob"].add(
            both["final_logprob_a"].to_numpy(), both["final_logprob_b"].to_numpy()
        )


def _kept(frame: pd.DataFrame, all_ids: np.ndarray, ids: np.ndarray) -> pd.DataFrame:
    return frame[np.isin(frame["sample"], np.searchsorted(all_ids, ids))]


def _gaps(a: dict[str, Any], b: dict[str, Any], flips: np.ndarray) -> np.ndarray:
    """Return how far apart the two tokens were that changed places, in the run where they were
    nearer; infinitely far where neither list has both."""
    sides = []
    for rows, other in ((a, b), (b, a)):
        taken = rows["top_id"][flips] == other["top_id"][flips, :1]
        logprob = rows["top_logprob"][flips].astype(np.float64)
        there = np.where(taken, logprob, -np.inf).max(axis=1)
        sides.append(logprob[:, 0] - there)
    return np.minimum(*sides)


def _common_steps(left: pd.Series, right: pd.Series) -> np.ndarray:
    """Return of each sample how many steps have the same context in both runs, [n]."""
    steps = []
    for one, other in zip(left, right, strict=True):
        n = min(len(one), len(other))
        apart = np.flatnonzero(np.asarray(one[:n]) != np.asarray(other[:n]))
        steps.append(min(n, apart[0] + 1) if len(apart) else n)
    return np.asarray(steps)


def _aligned(
    block: Block,
    table: str,
    columns: list[str],
    keys: tuple[str, ...],
    ids: np.ndarray,
    steps: np.ndarray,
    name: str,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return the rows of both runs that have the same context, in one order."""
    sides = []
    for folders in (block.left, block.right):
        rows = rows_of(folders, table, columns, ids)
        order = np.lexsort([rows[key] for key in (*reversed(keys), "sample")])
        kept = order[rows["step"][order] < steps[rows["sample"][order]]]
        sides.append({column: values[kept] for column, values in rows.items()})
    if any(not np.array_equal(sides[0][key], sides[1][key]) for key in ("sample", *keys)):
        raise TraceError(
            f"{table} of {name} has other layers, steps or heads for the same samples in the two: "
            "one of them is damaged, so delete it and rerun."
        )
    named = [sides[0][key] for key in ("sample", *keys)]
    if np.all([values[1:] == values[:-1] for values in named], axis=0).any():
        raise _twice(table, name)
    return sides[0], sides[1]


def _check_layers(rows: dict[str, np.ndarray], n: int, name: str) -> None:
    """Refuse rows, sorted, of n samples that have not every layer at each step, from step 0."""
    layers = int(rows["layer"].max(initial=0)) + 1
    whole = len(rows["layer"]) % layers == 0 and int((rows["step"] == 0).sum()) == n * layers
    if not whole or (rows["layer"].reshape(-1, layers) != np.arange(layers)).any():
        raise TraceError(
            f"trajectory of {name} lacks a layer of a step, or a sample: delete its traces and "
            "rerun."
        )


def _twice(table: str, name: str) -> TraceError:
    return TraceError(f"{table} of {name} has a row twice: delete its traces and rerun.")


def _refuse_other_samples(name: str, left: pd.DataFrame, right: pd.DataFrame) -> None:
    for column, words in _SAME.items():
        one, other = (frame[column].to_numpy(dtype=object) for frame in (left, right))
        differ = [
            place
            for place, (a, b) in enumerate(zip(one, other, strict=True))
            if not (a == b or (pd.isna(a) and pd.isna(b)))
        ]
        # A rejected sample has no prompt.
        rejected = (left["rejected"].notna() | right["rejected"].notna()).to_numpy()
        differ = [place for place in differ if not rejected[place]]
        if differ:
            at = differ[0]
            raise DataError(
                f"{name} can't be compared: the {words} of {left.index[at]} is "
                f"{_quoted(one[at])} in the one and {_quoted(other[at])} in the other, so that "
                "they are different samples: run both on the same dataset."
            )


def _quoted(value: Any) -> str:
    return json.dumps(short(str(value)), ensure_ascii=True)


def short(value: Any) -> str:
    """Return a value in words, cut to 60 characters."""
    text = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
