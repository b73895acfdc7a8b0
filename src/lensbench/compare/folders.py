"""Which runs a folder of results holds: every model × dataset with the folders of its shards."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lensbench import parquets
from lensbench.errors import DataError, TraceError
from lensbench.parquets import DamagedError
from lensbench.trace import read_meta_of_all
from lensbench.trace_meta import TraceMeta

#: Tables of a shard that are read beside `samples`.
COMPARED = ("trajectory", "heads", "lenses")
#: What of a shard's provenance says where its samples lie and not how they were read.
_PLACE = {
    "shard", "n_shards", "first_sample", "n_samples", "n_rejected", "files",
    "options.config_hash", "options.samples", "options.shard_samples",
}  # fmt: skip


@dataclass(frozen=True)
class Run:
    """One model on one dataset, as it lies on disk.

    Args:
        model: the model's name.
        dataset: the dataset's name.
        shards: the folders of its shards, sorted by number.
        metas: what each of them says about itself.
        results: the folder of results that they are part of, with models/ and metrics/; None if it
            isn't known.
    """

    model: str
    dataset: str
    shards: tuple[Path, ...]
    metas: tuple[TraceMeta, ...]
    results: Path | None

    @property
    def name(self) -> str:
        """The run in words."""
        return f"{self.model} on {self.dataset}"

    def provenance(self) -> dict[str, tuple[str, ...]]:
        """Return key → its values in all shards as sorted texts, keys of groups joined by points.

        Raises:
            TraceError: if a shard's provenance can't be read.
        """
        found: dict[str, set[str]] = {}
        for shard in self.shards:
            path = shard / "provenance.json"
            if not path.exists():
                continue
            try:
                content = json.loads(path.read_text(encoding="utf-8"))
                pairs = dict(_flat(content))
            except (OSError, ValueError, RecursionError, AttributeError) as error:
                raise TraceError(f"{path} is damaged: delete its folder and rerun.") from error
            for key, value in pairs.items():
                found.setdefault(key, set()).add(value)
        return {key: tuple(sorted(values)) for key, values in found.items() if not _place(key)}


def _place(key: str) -> bool:
    return key in _PLACE or key.startswith("files.")


def _flat(content: dict[str, Any], before: str = "") -> list[tuple[str, str]]:
    pairs = []
    for key, value in content.items():
        if isinstance(value, dict):
            pairs += _flat(value, f"{before}{key}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
            pairs.append((f"{before}{key}", text))
    return pairs


def runs_in(folder: str | Path) -> dict[tuple[str, str], Run]:
    """Return (model, dataset) → run of a folder of results, or of one run alone.

    Args:
        folder: with traces/ in it, or the folder of one run's shards, or one shard.

    Raises:
        DataError: if it isn't there or holds no trace.
        TraceError: if a shard is damaged or of another schema.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"{root} is no folder: name a folder of results.")
    if _is_shard(root):
        # A close-up or another picture of a run, or a shard of it.
        return _as_runs([root], None)
    own = _shards(root)
    if own:
        return _as_runs(own, _results_above(root))
    traces = root / "traces" if (root / "traces").is_dir() else root
    results = root if traces != root else (root.parent if root.name == "traces" else None)
    found: dict[tuple[str, str], Run] = {}
    for place in sorted(path for path in traces.glob("*/*") if path.is_dir()):
        shards = _shards(place)
        if shards:
            found |= _as_runs(shards, results)
    if not found:
        raise DataError(
            f"{root} holds no trace: name a folder of results (with traces/ in it) or of one run."
        )
    return found


def _is_shard(folder: Path) -> bool:
    return (folder / "samples.parquet").is_file()


def _shards(folder: Path) -> list[Path]:
    """Return the shards below a run's folder; what lies beside them is none."""
    numbered = [path for path in folder.iterdir() if path.name.isdecimal() and _is_shard(path)]
    return sorted(numbered, key=lambda path: (int(path.name), path.name))


def _results_above(run: Path) -> Path | None:
    place = run.resolve()
    return (
        place.parents[2] if len(place.parents) > 2 and place.parents[1].name == "traces" else None
    )


def _as_runs(shards: list[Path], results: Path | None) -> dict[tuple[str, str], Run]:
    metas = [read_meta_of_all(shard, COMPARED) for shard in shards]
    first = metas[0]
    for shard, meta in zip(shards, metas, strict=True):
        if _shape(meta) != _shape(first):
            raise TraceError(
                f"{shards[0]} and {shard} are not shards of one run: their metadata differ, so "
                "delete the stale one and rerun."
            )
    run = Run(first.model, first.dataset, tuple(shards), tuple(metas), results)
    return {(run.model, run.dataset): run}


def _shape(meta: TraceMeta) -> tuple[Any, ...]:
    return (
        meta.model, meta.dataset, meta.n_shards, meta.k, meta.scripts, meta.languages,
        meta.n_layers, meta.n_heads, meta.lens, meta.head_layers,
    )  # fmt: skip


def count_rows(path: Path) -> int:
    """Return how many rows a Parquet file has, from its end alone.

    Raises:
        TraceError: if it is missing or damaged.
    """
    if not path.exists():
        raise TraceError(f"{path} is missing: run the rule that makes it again.")
    try:
        return parquets.count_rows(path)
    except DamagedError as error:
        raise TraceError(f"{path} {error}: delete it and rerun.") from error
