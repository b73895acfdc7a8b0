"""Traces read again: ledger → provenance → files, and every sample of the manifest once."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lensbench.datasets.manifest import FILE_NAME, read_manifest
from lensbench.errors import DataError
from lensbench.files import sha256_of
from lensbench.parquets import UNREADABLE
from lensbench.verify.problems import Problem
from lensbench.verify.shard import PROVENANCE, Shard, of_one_run, read_shard

#: More shards than any run has.
_MOST = 10**9


def check_traces(root: Path, promised: set[Path]) -> Iterator[Problem]:
    """Yield what is wrong with runs, close-ups and other pictures; note what they promise."""
    for run in _folders(root, "traces/*/*"):
        yield from _check_run(root, run, promised)
    for folder in [*_folders(root, "closeups/*/*"), *_folders(root, "variants/*/*/*")]:
        shard, problems = read_shard(root, folder, promised)
        yield from problems
        if shard is not None:
            model, dataset = folder.relative_to(root).parts[1:3]
            yield from _check_place(root, folder, model, dataset, shard)
            yield from _check_samples(root, folder, dataset, [shard])


def _folders(root: Path, pattern: str) -> list[Path]:
    return sorted(
        path for path in root.glob(pattern) if path.is_dir() and not path.name.startswith(".")
    )


def _check_run(root: Path, run: Path, promised: set[Path]) -> Iterator[Problem]:
    """Yield what is wrong with all shards of a model on a dataset."""
    model, dataset = run.relative_to(root).parts[1:3]
    ledgers = sorted((run / "parts").glob("*.json"))
    if not ledgers:
        yield Problem(root, run, "has no ledger, so that nobody says which shards belong to it")
        return
    found: dict[int, Shard] = {}
    owner: dict[int, Path] = {}
    whole = True
    for path in ledgers:
        promised.add(path)
        for entry in _entries(path, model, dataset):
            number = entry.get("shard")
            if type(number) is not int or not 0 <= number < _MOST:
                yield Problem(root, path, f"is no ledger of {model} on {dataset}")
                whole = False
                continue
            folder = run / str(number)
            if number in owner:
                yield Problem(root, path, f"names shard {number}, as {owner[number].name} does")
                continue
            owner[number] = path
            shard, problems = read_shard(root, folder, promised)
            if not problems and sha256_of(folder / PROVENANCE) != entry["provenance_sha256"]:
                problems = [Problem(root, folder, f"is not the shard that {path.name} is of")]
            yield from problems
            if problems or shard is None:
                whole = False
                continue
            found[number] = shard
            counts = (len(shard.samples), shard.n_rejected)
            if counts != (entry["n_samples"], entry["n_rejected"]):
                yield Problem(root, path, f"counts the samples of shard {number} wrongly")
            # Of all its shards at once, since what they were made from is one.
            yield from _check_place(root, run, model, dataset, shard)
            if number != shard.meta.shard:
                yield Problem(root, folder, f"is shard {shard.meta.shard} by what it says")
    if not whole or not found:
        return
    if not of_one_run([shard.meta for shard in found.values()]):
        yield Problem(root, run, "has shards of different runs")
        return
    n_shards = next(iter(found.values())).meta.n_shards
    for number in sorted(set(range(n_shards)) - set(found)):
        yield Problem(root, run / str(number), "is missing: no ledger names it")
        whole = False
    for number in sorted(set(found) - set(range(n_shards))):
        yield Problem(root, run / str(number), f"is too many: the run has {n_shards} shards")
    if whole:
        yield from _check_samples(root, run, dataset, list(found.values()))


def _entries(path: Path, model: str, dataset: str) -> list[dict[str, Any]]:
    """Return the shards that a ledger names; one empty entry if it is no ledger of this run."""
    try:
        ledger = json.loads(path.read_text(encoding="utf-8"))
        entries = [
            {key: entry[key] for key in ("shard", "n_samples", "n_rejected", "provenance_sha256")}
            for entry in ledger["shards"]
        ]
        if (ledger["model"], ledger["dataset"], f"{ledger['part']}") != (model, dataset, path.stem):
            return [{}]
    except UNREADABLE:
        return [{}]
    return entries


def _check_place(
    root: Path, folder: Path, model: str, dataset: str, shard: Shard
) -> Iterator[Problem]:
    """Yield what a shard says of its model and dataset that is not so, or not any more.

    Args:
        root: the folder of results.
        folder: what has to be made again: the shard, or its run.
        model: the model that it must be of.
        dataset: the dataset that it must be of.
        shard: the shard.
    """
    meta, noted = shard.meta, shard.provenance
    if (meta.model, meta.dataset) != (model, dataset):
        yield Problem(root, folder, f"is of {meta.model} on {meta.dataset} by what it says")
    manifest = root / "datasets" / dataset / FILE_NAME
    if manifest.is_file() and noted.get("manifest_sha256") != sha256_of(manifest):
        yield Problem(root, folder, f"was made from another manifest than {manifest} is now")
    about = root / "models" / model / "model.json"
    try:
        weights = json.loads(about.read_text(encoding="utf-8"))["weights_sha256"]
    except UNREADABLE:
        return  # Told where models are read.
    model_noted = noted.get("model")
    if not isinstance(model_noted, dict) or model_noted.get("weights_sha256") != weights:
        yield Problem(root, folder, f"was made with other weights than {about} is of")


def _check_samples(
    root: Path, folder: Path, dataset: str, shards: list[Shard]
) -> Iterator[Problem]:
    """Yield if the samples of the manifest are not there exactly once each."""
    try:
        wanted = read_manifest(root / "datasets" / dataset)["sample_id"].tolist()
    except DataError:
        return  # Told where datasets are read.
    options = shards[0].provenance.get("options")
    limit = options.get("samples") if isinstance(options, dict) else None
    wanted = wanted[: limit if isinstance(limit, int) else None]
    times = Counter(name for shard in shards for name in shard.samples)
    for what, names in (
        ("lacks", [name for name in wanted if not times[name]]),
        ("has twice", [name for name in wanted if times[name] > 1]),
        ("has, though the manifest doesn't,", sorted(set(times) - set(wanted))),
    ):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            yield Problem(root, folder, f"{what} the sample {names[0]}{more}")
