"""One run held against itself made elsewhere: what makes that worthless, and how they differ."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lensbench.compare.aggregates import compare_aggregates
from lensbench.compare.folders import Run, count_rows
from lensbench.compare.measures import MEASURES, Found
from lensbench.compare.pairs import blocks
from lensbench.compare.rows import Tallies, short
from lensbench.errors import DataError
from lensbench.files import sha256_of
from lensbench.trace_schema import SHARD_TABLES


@dataclass(frozen=True)
class RunDifference:
    """How one run differs from another.

    Args:
        model: the model's name.
        dataset: the dataset's name.
        n_samples: samples that both have and that neither rejected.
        only_left: samples that only the first has.
        only_right: samples that only the second has.
        rejected: samples that one rejected and the other didn't.
        files: (identical, all) Parquet files of the shards; None where the two are cut differently.
        found: measure → what was found.
        provenance: key → (values of the first, values of the second), of keys that differ.
        notes: sentences on what else a reader must know.
    """

    model: str
    dataset: str
    n_samples: int
    only_left: int
    only_right: int
    rejected: int
    files: tuple[int, int] | None
    found: dict[str, Found]
    provenance: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The run in words."""
        return f"{self.model} on {self.dataset}"

    @property
    def identical(self) -> bool:
        """Whether no sample, text or number differs."""
        alone = self.only_left or self.only_right or self.rejected
        return not alone and all(not found.value > 0 for found in self.found.values())

    def to_json(self) -> dict[str, Any]:
        """Return all of it as JSON can hold it."""
        return {
            "model": self.model,
            "dataset": self.dataset,
            "n_samples": self.n_samples,
            "only_in_a": self.only_left,
            "only_in_b": self.only_right,
            "rejected_in_one": self.rejected,
            "identical": self.identical,
            "files": None if self.files is None else list(self.files),
            "measures": {name: found.to_json() for name, found in self.found.items()},
            "provenance": {
                key: {"a": list(left), "b": list(right)}
                for key, (left, right) in self.provenance.items()
            },
            "notes": list(self.notes),
        }


def compare_run(left: Run, right: Run) -> RunDifference:
    """Compare one run with another of the same model on the same dataset.

    Args:
        left: the first; its intervals are what changes of aggregates are measured by.
        right: the second.

    Raises:
        DataError: if a comparison would mean nothing, saying why.
        TraceError: if a table is missing or damaged.
    """
    _refuse_unlike(left, right)
    before, after = left.provenance(), right.provenance()
    _refuse_other_sources(left.name, before, after)
    tallies = Tallies()
    for block in blocks(left, right):
        tallies.take(block, left.name)
    n_left, n_right = (_count(run) for run in (left, right))
    if not tallies.n_shared:
        raise DataError(
            f"{left.name}: no sample of {left.shards[0].parent} is in {right.shards[0].parent}, so "
            "there is nothing to compare: run both on the same dataset."
        )
    found = tallies.found()
    notes = [f"{run.name}: {_missing(run)}" for run in (left, right) if _missing(run)]
    if _value(before, "manifest_sha256") != _value(after, "manifest_sha256"):
        notes.append("the manifests differ: only samples that both have are compared")
    if not (before and after):
        notes.append("a shard has no provenance.json: what was run how is not known")
    found["metric"], metric_notes = compare_aggregates(left, right)
    return RunDifference(
        left.model,
        left.dataset,
        tallies.n_samples,
        n_left - tallies.n_shared,
        n_right - tallies.n_shared,
        tallies.rejected,
        _files(left, right),
        {name: found[name] for name in MEASURES},
        {
            key: (before.get(key, ()), after.get(key, ()))
            for key in sorted(before.keys() | after.keys())
            if before.get(key) != after.get(key)
        },
        (*notes, *metric_notes),
    )


def _value(provenance: dict[str, tuple[str, ...]], key: str) -> tuple[str, ...]:
    return provenance.get(key, ())


def _count(run: Run) -> int:
    return sum(count_rows(shard / "samples.parquet") for shard in run.shards)


def _missing(run: Run) -> str:
    there = {meta.shard for meta in run.metas}
    wanted = run.metas[0].n_shards
    if len(run.shards) == 1 or len(there) == wanted:
        return ""
    return f"{len(there)} of {wanted} shards are in {run.shards[0].parent}"


def _refuse_unlike(left: Run, right: Run) -> None:
    """Refuse runs that were read out differently: their numbers are of different things."""
    if (left.model, left.dataset) != (right.model, right.dataset):
        raise DataError(
            f"{left.shards[0]} is of {left.name} and {right.shards[0]} of {right.name}: compare "
            "two runs of one model on one dataset."
        )
    one, other = left.metas[0], right.metas[0]
    for key, words in (
        ("k", "list so many top tokens (extraction.top_k)"),
        ("lens", "were read with the lens (extraction.lens)"),
        ("n_layers", "have so many layers"),
        ("n_heads", "have so many heads a block"),
        ("head_layers", "have the heads of the blocks"),
        ("scripts", "count the scripts"),
        ("languages", "count the languages"),
    ):
        a, b = getattr(one, key), getattr(other, key)
        if a != b:
            raise DataError(
                f"{left.name} can't be compared: the two {words} {short(a)} and {short(b)}, so "
                "run them with the same settings and version."
            )
    for name, words in (
        ("forms", "the lexicon's forms"),
        ("vocabulary", "the tokens and their scripts"),
    ):
        digests = [_model_file(run, name) for run in (left, right)]
        if None not in digests and digests[0] != digests[1]:
            raise DataError(
                f"{left.name} can't be compared: {words} differ ({name}.parquet of the model), so "
                "that masses and gold ranks are of different words: inspect both with one version."
            )


def _model_file(run: Run, name: str) -> str | None:
    if run.results is None:
        return None
    path = run.results / "models" / run.model / f"{name}.parquet"
    return sha256_of(path) if path.is_file() else None


def _refuse_other_sources(
    name: str, left: dict[str, tuple[str, ...]], right: dict[str, tuple[str, ...]]
) -> None:
    """Refuse runs of other weights or of changed pictures."""
    for key, words in (
        ("model.weights_sha256", "were read from other weights"),
        ("options.picture", "were shown other pictures (native, blank or shrunk)"),
        ("options.lens", "were read with other lenses"),
    ):
        a, b = left.get(key), right.get(key)
        if a and b and a != b:
            raise DataError(
                f"{name} can't be compared: the two {words} ({key}: {short(a)} and {short(b)})."
            )


def _files(left: Run, right: Run) -> tuple[int, int] | None:
    """Return how many files of the shards are identical, or None where they are cut differently."""
    places = [[(m.shard, m.n_shards) for m in run.metas] for run in (left, right)]
    if places[0] != places[1]:
        return None
    same, everything = 0, 0
    for one, other in zip(left.shards, right.shards, strict=True):
        for table in SHARD_TABLES:
            pair = [folder / f"{table.name}.parquet" for folder in (one, other)]
            everything += 1
            same += all(path.is_file() for path in pair) and _digest_equal(*pair)
    return same, everything


def _digest_equal(left: Path, right: Path) -> bool:
    return left.stat().st_size == right.stat().st_size and sha256_of(left) == sha256_of(right)
