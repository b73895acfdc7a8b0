"""Glue: a dataset's manifest × a model → shards of traces."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lensbench import __version__
from lensbench.datasets.manifest import FILE_NAME, read_manifest
from lensbench.errors import DataError, LensbenchError, ModelError
from lensbench.feed import Batch, Prepared, batches, default_workers, memory_ran_out, prepared
from lensbench.files import sha256_of
from lensbench.inspection import describe, model_meta
from lensbench.lens.floors import random_floors
from lensbench.lens.groups import TokenGroups, token_groups
from lensbench.lens.rows import (
    ATTENTION_COLUMNS,
    HEAD_COLUMNS,
    LENS_COLUMNS,
    PATCH_COLUMNS,
    SAMPLE_COLUMNS,
    WORD_COLUMNS,
    rejected_row,
    trajectory_rows,
)
from lensbench.lexicon import LANGUAGES
from lensbench.models.load import LoadedModel
from lensbench.models.vocabulary import without_shared
from lensbench.progress import Progress
from lensbench.provenance import machine, package_versions
from lensbench.scripts import SCRIPTS
from lensbench.shards import MACHINE, check_shard_number, n_shards_of
from lensbench.trace import read_meta, read_table, write_shard
from lensbench.trace_schema import SCHEMA_VERSION, SHARD_TABLES
from lensbench.tracing import ExtractOptions, trace_rows


class Extraction:
    """A model and a dataset made ready for each other: any shard of the run can be asked of it.

    Args:
        loaded: the model.
        manifest_folder: the dataset, with manifest.parquet and its pictures.
        n_shards: number of shards, each of `options.shard_samples` samples at most, in the
            manifest's order; the last ones may be left without any.
        options: how it is run.
        model_folder: what `inspect_model` wrote for the same model.
        dataset: name of the dataset; the manifest folder's name by default.
        code: digest of the code that runs, noted in the provenance.
        log: a file that progress is written to, beside the bar on stderr.

    Raises:
        LensbenchError: if the manifest, the model's folder or the options can't be used.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        manifest_folder: str | Path,
        n_shards: int,
        options: ExtractOptions,
        model_folder: str | Path,
        dataset: str | None = None,
        code: str = "",
        log: str | Path | None = None,
    ) -> None:
        manifest = checked_request(
            loaded.name, manifest_folder, model_folder, n_shards, options.shard_samples
        )
        if loaded.task == "text" and (manifest["kind"] == "image").any():
            raise DataError(
                f"{loaded.name} takes no picture, but {manifest_folder} has some: run it on a text "
                "dataset."
            )
        check_weights(loaded, model_folder)
        self.code, self.n_shards = code, n_shards
        self.model = loaded.name
        self.dataset = Path(manifest_folder).name if dataset is None else dataset
        self._loaded, self._options, self._log = loaded, options, log
        self._folder = Path(manifest_folder)
        self._manifest = manifest.iloc[: options.samples]
        self._manifest_sha256 = sha256_of(self._folder / FILE_NAME)
        self._groups = groups_of(loaded, model_folder, self._manifest["gold"])

    @property
    def files(self) -> list[str]:
        """Names of the tables' files that every shard has."""
        asked = [name for name, (wanted, _) in _asked(self._options).items() if wanted]
        return [f"{name}.parquet" for name in [*(table.name for table in SHARD_TABLES), *asked]]

    def bounds(self, shard: int) -> tuple[int, int]:
        """Return the place of a shard's first sample in the manifest, and the one after its last.

        Raises:
            LensbenchError: if the run has no such shard.
        """
        check_shard_number(shard, self.n_shards)
        n = len(self._manifest)
        size = self._options.shard_samples or n
        return min(shard * size, n), min((shard + 1) * size, n)

    def provenance(self, shard: int) -> dict[str, Any]:
        """Return what a shard is made with and from; the same inputs give the same text."""
        start, stop = self.bounds(shard)
        options = asdict(self._options)
        # How many processes decode pictures changes nothing in what is read.
        del options["workers"]
        return {
            "lensbench": __version__,
            "code": self.code,
            "python": platform.python_version(),
            "packages": package_versions(),
            "model": describe(self._loaded),
            "device": self._loaded.device,
            "dataset": self.dataset,
            "manifest_sha256": self._manifest_sha256,
            "shard": shard,
            "n_shards": self.n_shards,
            "first_sample": start,
            "n_samples": stop - start,
            "options": options,
            "schema_version": SCHEMA_VERSION,
        }

    def write(self, shard: int, folder: str | Path) -> None:
        """Trace one shard, and write it.

        Args:
            shard: which one, from 0.
            folder: the shard's folder, replaced as a whole.
        """
        start, stop = self.bounds(shard)
        block = self._manifest.iloc[start:stop].to_dict("records")
        rows = [{str(key): value for key, value in row.items()} for row in block]
        loaded, options = self._loaded, self._options
        meta = replace(
            model_meta(loaded),
            dataset=self.dataset,
            shard=shard,
            n_shards=self.n_shards,
            k=options.top_k,
            lens=options.lens,
        )
        title = loaded.name if self.n_shards == 1 else f"{loaded.name}, shard {shard}"
        with Progress(len(rows), title, self._log) as progress:
            tables = _trace(loaded, rows, self._folder, self._groups, options, progress)
        # Beside what it is made from: a shard of another machine is as good, and kept.
        about = {**self.provenance(shard), MACHINE: machine(loaded.device)}
        write_shard(folder, tables, meta, about)


def extract_shard(
    loaded: LoadedModel,
    manifest_folder: str | Path,
    shard: int,
    n_shards: int,
    options: ExtractOptions,
    out_folder: str | Path,
    model_folder: str | Path,
    dataset: str | None = None,
    log: str | Path | None = None,
    code: str = "",
) -> None:
    """Trace one shard of a dataset through a model, and write it.

    Args:
        loaded: the model.
        manifest_folder: the dataset, with manifest.parquet and its pictures.
        shard: which one, from 0.
        n_shards: number of shards.
        options: how it is run.
        out_folder: the shard's folder, replaced as a whole.
        model_folder: what `inspect_model` wrote for the same model.
        dataset: name of the dataset; the manifest folder's name by default.
        log: a file that progress is written to, beside the bar on stderr.
        code: digest of the code that runs, noted in the provenance.

    Raises:
        LensbenchError: if the manifest, the model's folder or the options can't be used.
    """
    check_shard_number(shard, n_shards)
    run = Extraction(
        loaded, manifest_folder, n_shards, options, model_folder, dataset, code=code, log=log
    )
    run.write(shard, out_folder)


def checked_request(
    model: str,
    manifest_folder: str | Path,
    model_folder: str | Path,
    n_shards: int | None = 1,
    shard_samples: int | None = None,
) -> pd.DataFrame:
    """Return the manifest of an extraction, once all that can be known before a model is loaded
    is as it must be.

    Args:
        model: the model's name.
        manifest_folder: the dataset.
        model_folder: what `inspect_model` wrote for the same model.
        n_shards: number of shards; None for as many as are needed.
        shard_samples: samples a shard at most; None for all in one.

    Raises:
        LensbenchError: if it is not.
    """
    manifest = read_manifest(manifest_folder)
    needed = n_shards_of(len(manifest), shard_samples)
    if n_shards is not None and n_shards < needed:
        raise LensbenchError(
            f"{manifest_folder} has {len(manifest)} samples, too many for {n_shards} shards of "
            f"{shard_samples}: {needed} are needed."
        )
    noted = read_meta(model_folder).model
    if noted != model:
        raise ModelError(
            f"{model_folder} was written for {noted}, not {model}: run inspect for it."
        )
    return manifest


def groups_of(loaded: LoadedModel, model_folder: str | Path, golds: Iterable[str]) -> TokenGroups:
    """Return the groups of tokens that the folder of a model tells of, for these gold concepts."""
    return token_groups(
        read_table(model_folder, "vocabulary"),
        without_shared(read_table(model_folder, "forms"), golds),
        SCRIPTS,
        LANGUAGES,
        loaded.anatomy.vocab_size,
        loaded.device,
    )


def check_weights(loaded: LoadedModel, model_folder: str | Path) -> None:
    """Refuse a folder that was written for the same name, but other weights."""
    path = Path(model_folder) / "model.json"
    noted = json.loads(path.read_text(encoding="utf-8")).get("weights_sha256")
    if noted != loaded.weights_sha256:
        raise ModelError(
            f"{model_folder} was written for other weights of {loaded.name}: run inspect again."
        )


def _trace(
    loaded: LoadedModel,
    rows: Sequence[dict[str, Any]],
    folder: Path,
    groups: TokenGroups,
    options: ExtractOptions,
    progress: Progress,
) -> dict[str, pd.DataFrame]:
    """Return the tables of a shard."""
    empty = {
        "trajectory": trajectory_rows([], torch.zeros(0), None),
        "heads": pd.DataFrame(columns=["sample_id", "step", "layer", "head", *HEAD_COLUMNS]),
        "lenses": pd.DataFrame(columns=LENS_COLUMNS),
    }
    asked = _asked(options).items()
    empty |= {
        name: pd.DataFrame(columns=list(columns)) for name, (wanted, columns) in asked if wanted
    }
    tables: dict[str, list[pd.DataFrame]] = {name: [] for name in empty}
    samples: list[dict[str, Any]] = []
    norms: dict[str, Tensor] = {}
    workers = default_workers(loaded.device) if options.workers is None else options.workers
    feed = batches(
        prepared(
            loaded.prompter,
            folder,
            rows,
            options.max_new_tokens,
            min(workers, len(rows)),
            options.picture,
        ),
        options.batch_size,
        options.batch_positions,
        loaded.tokenizer.pad_token_id,
        loaded.pads,
        loaded.joins,
    )
    limit = options.batch_size
    waiting: list[Batch | Prepared] = []
    for given in feed:
        waiting.append(given)
        while waiting:
            batch = waiting.pop()
            if isinstance(batch, Prepared):
                samples.append(rejected_row(batch.row, batch.reason))
                progress.advance(1)
                continue
            if len(batch.samples) > limit:
                waiting += reversed(batch.halves())
                continue
            try:
                found = trace_rows(loaded, batch, groups, options)
            except (RuntimeError, MemoryError) as error:
                if not memory_ran_out(error):
                    raise
                limit = _smaller(loaded, batch, progress)
                waiting += reversed(batch.halves())
                continue
            for name, frame in found.tables.items():
                tables[name].append(frame)
            samples += found.samples
            norms |= found.norms
            progress.advance(len(batch.samples))
    in_order = [norms[key] for key in sorted(norms)]
    made = {name: _concat(parts, empty[name]) for name, parts in tables.items()}
    return {
        "samples": pd.DataFrame(samples, columns=SAMPLE_COLUMNS),
        "floors": _floors(loaded, in_order, groups, options),
        **made,
    }


def _smaller(loaded: LoadedModel, batch: Batch, progress: Progress) -> int:
    """Return the size of batches to go on with after memory ran out, and say so.

    Raises:
        ModelError: if it ran out on a single sample.
    """
    if loaded.device.startswith("cuda"):
        torch.cuda.empty_cache()
    n = len(batch.samples)
    if n == 1:
        row = batch.rows[0]
        raise ModelError(
            f"Sample {row['sample_id']} alone doesn't fit into the memory of {loaded.device}: use "
            "a device with more, or leave it out."
        )
    progress.say(
        f"Memory ran out at a batch of {n}: going on with batches of {n // 2} (set "
        f"extraction.batch_size to {n // 2} to begin there)."
    )
    return n // 2


def _floors(
    loaded: LoadedModel, norms: list[Tensor], groups: TokenGroups, options: ExtractOptions
) -> pd.DataFrame:
    columns = ["layer", "norm", "n_directions", "script_mass"]
    if not norms:
        return pd.DataFrame(columns=columns)
    norm = torch.stack(norms).mean(0)
    mass = random_floors(
        loaded.anatomy, norm, groups.scripts, options.floor_directions, options.seed, options.lens
    )
    frame = pd.DataFrame({"layer": np.arange(len(norm)), "norm": norm.cpu().numpy()})
    frame["n_directions"] = options.floor_directions
    frame["script_mass"] = list(mass.cpu().numpy())
    return frame


def _concat(parts: list[pd.DataFrame], empty: pd.DataFrame) -> pd.DataFrame:
    return pd.concat(parts, ignore_index=True) if parts else empty


def _asked(options: ExtractOptions) -> dict[str, tuple[bool, tuple[str, ...]]]:
    """Return the tables that a shard may have besides, whether it has, and their columns."""
    return {
        "patches": (options.patches, PATCH_COLUMNS),
        "words": (options.words, WORD_COLUMNS),
        "attention": (options.attention, ATTENTION_COLUMNS),
    }
