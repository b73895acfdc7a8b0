"""Glue: a dataset's manifest × a model → one shard of traces, and what is noted of a model once."""

from __future__ import annotations

import json
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from lensbench import __version__
from lensbench.datasets.manifest import FILE_NAME, read_manifest
from lensbench.errors import DataError, LensbenchError, ModelError
from lensbench.files import atomic_path, sha256_of
from lensbench.lens.floors import random_floors
from lensbench.lens.generate import trace_batch
from lensbench.lens.groups import TokenGroups, token_groups
from lensbench.lens.readout import read_out
from lensbench.lens.rows import (
    HEAD_COLUMNS,
    SAMPLE_COLUMNS,
    head_rows,
    rejected_row,
    sample_rows,
    trajectory_rows,
)
from lensbench.lexicon import LANGUAGES, load_lexicon
from lensbench.models.gate import GateReport, run_gate
from lensbench.models.load import LoadedModel
from lensbench.models.prompt import Encoded, encode, open_picture
from lensbench.models.vocabulary import forms_table, vocabulary_table
from lensbench.scripts import SCRIPTS
from lensbench.trace import TraceMeta, read_meta, read_table, write_model_table, write_shard

_PACKAGES = (
    "lensbench",
    "numpy",
    "pandas",
    "pyarrow",
    "safetensors",
    "tokenizers",
    "torch",
    "transformers",
)


@dataclass(frozen=True)
class ExtractOptions:
    """How an extraction is run; the keys of the config's `extraction`, and two from outside it.

    Args:
        batch_size: samples a batch.
        max_new_tokens: steps at most a sample.
        top_k: top tokens kept a layer.
        lens: "normed" (final norm at every layer) or "raw" (at none but the last).
        floor_directions: random directions a layer for the floors.
        seed: of the random directions.
        config_hash: digest of the configuration, noted in the provenance.
    """

    batch_size: int = 8
    max_new_tokens: int = 4
    top_k: int = 10
    lens: str = "normed"
    floor_directions: int = 64
    seed: int = 0
    config_hash: str = ""

    def __post_init__(self) -> None:
        for key in ("batch_size", "max_new_tokens", "top_k", "floor_directions"):
            if getattr(self, key) < 1:
                raise LensbenchError(f"extraction.{key} is {getattr(self, key)}: use 1 or more.")
        if self.lens not in ("normed", "raw"):
            raise LensbenchError(f'extraction.lens is "{self.lens}": use "normed" or "raw".')


def inspect_model(loaded: LoadedModel, folder: str | Path) -> GateReport:
    """Run the gate and note what a model is: gate.json, model.json, vocabulary and forms.

    The gate's report is written whether it passed or not; nothing else is if it failed.

    Args:
        loaded: the model, loaded with `verify=False`.
        folder: where the four files go.

    Returns:
        The gate's report.

    Raises:
        GateError: if a check failed.
    """
    report = run_gate(loaded)
    _write_text(Path(folder) / "gate.json", report.to_json())
    report.require()
    vocabulary = vocabulary_table(loaded.tokenizer, loaded.anatomy.vocab_size)
    meta = _meta(loaded, "", 0, 1, ExtractOptions())
    write_model_table(folder, "vocabulary", vocabulary, meta)
    forms = forms_table(loaded.tokenizer, vocabulary, load_lexicon())
    write_model_table(folder, "forms", forms, meta)
    text = json.dumps(describe(loaded), indent=2, sort_keys=True) + "\n"
    _write_text(Path(folder) / "model.json", text)
    return report


def describe(loaded: LoadedModel) -> dict[str, Any]:
    """Return what a model is, as it stands in model.json."""
    anatomy = loaded.anatomy
    return {
        "model": loaded.name,
        "architecture": type(loaded.model).__name__,
        "task": loaded.task,
        "n_layers": anatomy.n_layers,
        "n_heads": anatomy.n_heads,
        "hidden_size": anatomy.hidden_size,
        "n_parameters": loaded.n_parameters,
        "vocabulary_size": anatomy.vocab_size,
        "final_norm": type(anatomy.final_norm).__name__ if anatomy.final_norm is not None else "",
        "logit_scale": anatomy.logit_scale,
        "softcap": anatomy.softcap,
        "dtype": loaded.dtype,
        "source": loaded.source,
        "revision": loaded.revision,
        "weights_sha256": loaded.weights_sha256,
    }


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
) -> None:
    """Trace one shard of a dataset through a model, and write it.

    Args:
        loaded: the model.
        manifest_folder: the dataset, with manifest.parquet and its pictures.
        shard: which contiguous block of the samples, from 0.
        n_shards: number of blocks.
        options: how it is run.
        out_folder: the shard's folder, replaced as a whole.
        model_folder: what `inspect_model` wrote for the same model.
        dataset: name of the dataset; the manifest folder's name by default.
        log: a file that progress is written to, beside the bar on stderr.

    Raises:
        LensbenchError: if the manifest, the model's folder or the options can't be used.
    """
    if not 0 <= shard < n_shards:
        raise LensbenchError(f"Shard {shard} of {n_shards} does not exist: count from 0.")
    manifest = read_manifest(manifest_folder)
    if loaded.task == "text" and (manifest["kind"] == "image").any():
        raise DataError(
            f"{loaded.name} takes no picture, but {manifest_folder} has some: run it on a text "
            "dataset."
        )
    noted = read_meta(model_folder).model
    if noted != loaded.name:
        raise ModelError(
            f"{model_folder} was written for {noted}, not {loaded.name}: run inspect for it."
        )
    edges = np.linspace(0, len(manifest), n_shards + 1).round().astype(int)
    block = manifest.iloc[edges[shard] : edges[shard + 1]]
    rows = [{str(key): value for key, value in row.items()} for row in block.to_dict("records")]
    groups = token_groups(
        read_table(model_folder, "vocabulary"),
        read_table(model_folder, "forms"),
        SCRIPTS,
        LANGUAGES,
        loaded.anatomy.vocab_size,
        loaded.device,
    )
    name = Path(manifest_folder).name if dataset is None else dataset
    meta = _meta(loaded, name, shard, n_shards, options)
    tables = _trace(loaded, rows, Path(manifest_folder), groups, options, log)
    provenance = _provenance(loaded, meta, options, len(rows), Path(manifest_folder) / FILE_NAME)
    write_shard(out_folder, tables, meta, provenance)


def _trace(
    loaded: LoadedModel,
    rows: Sequence[dict[str, Any]],
    folder: Path,
    groups: TokenGroups,
    options: ExtractOptions,
    log: str | Path | None,
) -> dict[str, pd.DataFrame]:
    """Return the four tables of a shard."""
    samples: list[dict[str, Any]] = []
    trajectories, heads, norms = [], [], []
    with _Progress(len(rows), loaded.name, log) as progress:
        for batch in _batches(rows, options.batch_size):
            kept, encoded, rejected = _encoded(loaded, batch, folder)
            samples += rejected
            if encoded is not None:
                traced = trace_batch(loaded, encoded, options.max_new_tokens)
                sample, step = (index.to(traced.residuals.device) for index in traced.steps())
                states = traced.residuals[sample, step]
                gold = groups.of([kept[index]["gold"] for index in sample.tolist()])
                readout = read_out(
                    states,
                    lambda hidden: loaded.anatomy.logits(hidden, options.lens),
                    loaded.anatomy.logits,
                    options.top_k,
                    groups.scripts,
                    *gold,
                    groups.n_languages,
                )
                ids = [kept[index]["sample_id"] for index in sample.tolist()]
                trajectories.append(trajectory_rows(ids, step, readout))
                heads.append(head_rows(ids, step, traced.heads[sample, step]))
                norms.append(traced.residuals[:, 0].float().norm(dim=-1))
                samples += sample_rows(loaded, kept, encoded, traced.ids)
            progress.advance(len(batch))
    floors = _floors(loaded, norms, groups, options)
    return {
        "samples": pd.DataFrame(samples, columns=SAMPLE_COLUMNS),
        "trajectory": _concat(trajectories, trajectory_rows([], torch.zeros(0), None)),
        "heads": _concat(
            heads, pd.DataFrame(columns=["sample_id", "step", "layer", "head", *HEAD_COLUMNS])
        ),
        "floors": floors,
    }


def _batches(rows: Sequence[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    """Yield runs of at most `size` samples of one kind and style, in order."""
    batch: list[dict[str, Any]] = []
    for row in rows:
        same = not batch or all(row[key] == batch[0][key] for key in ("kind", "style"))
        if not same or len(batch) == size:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _encoded(
    loaded: LoadedModel, batch: Sequence[dict[str, Any]], folder: Path
) -> tuple[list[dict[str, Any]], Encoded | None, list[dict[str, Any]]]:
    """Return the samples that could be read, as a batch, and rows of `samples` for the others."""
    kept: list[dict[str, Any]] = []
    pictures: list[Image.Image] = []
    rejected: list[dict[str, Any]] = []
    for row in batch:
        try:
            picture = [_picture(folder, row)] if row["image"] is not None else []
            # Alone first, where it is cheap to: one sample that fails must not take a batch along.
            if not picture:
                _check_length(loaded, encode(loaded, [row]))
        except DataError as error:
            rejected.append(rejected_row(row, str(error)))
            continue
        kept.append(row)
        pictures += picture
    if not kept:
        return kept, None, rejected
    try:
        return kept, encode(loaded, kept, pictures), rejected
    # Processors raise anything for pictures they can't take (a strip of 1 × 1000 pixels …).
    except Exception:
        good: list[int] = []
        for index, row in enumerate(kept):
            try:
                encode(loaded, [row], pictures[index : index + 1])
                good.append(index)
            except Exception as error:
                reason = " ".join(str(error).split())[:200] or type(error).__name__
                rejected.append(rejected_row(row, reason))
        if len(good) == len(kept):
            raise
    kept, pictures = [kept[i] for i in good], [pictures[i] for i in good if pictures]
    return kept, encode(loaded, kept, pictures) if kept else None, rejected


def _picture(folder: Path, row: dict[str, Any]) -> Image.Image:
    """Open a sample's picture; one that its dataset could not read is refused with its reason."""
    path = folder / str(row["image"])
    source = str(row["source"])
    if not path.exists() and source.endswith(")"):
        raise DataError(f"The picture can't be read: {source}.")
    return open_picture(path)


def _check_length(loaded: LoadedModel, encoded: Encoded) -> None:
    config = loaded.model.config.get_text_config(decoder=True)
    most = getattr(config, "max_position_embeddings", None)
    if most is not None and encoded.n_tokens[0] >= most:
        raise DataError(f"The prompt has {encoded.n_tokens[0]} tokens, the model takes {most}.")


def _floors(
    loaded: LoadedModel, norms: list[Tensor], groups: TokenGroups, options: ExtractOptions
) -> pd.DataFrame:
    columns = ["layer", "norm", "n_directions", "script_mass"]
    if not norms:
        return pd.DataFrame(columns=columns)
    norm = torch.cat(norms).mean(0)
    mass = random_floors(
        loaded.anatomy, norm, groups.scripts, options.floor_directions, options.seed, options.lens
    )
    frame = pd.DataFrame({"layer": np.arange(len(norm)), "norm": norm.cpu().numpy()})
    frame["n_directions"] = options.floor_directions
    frame["script_mass"] = list(mass.cpu().numpy())
    return frame


def _concat(parts: list[pd.DataFrame], empty: pd.DataFrame) -> pd.DataFrame:
    return pd.concat(parts, ignore_index=True) if parts else empty


def _meta(
    loaded: LoadedModel, dataset: str, shard: int, n_shards: int, options: ExtractOptions
) -> TraceMeta:
    return TraceMeta(
        model=loaded.name,
        dataset=dataset,
        shard=shard,
        n_shards=n_shards,
        k=options.top_k,
        scripts=tuple(SCRIPTS),
        languages=tuple(LANGUAGES),
        n_layers=loaded.anatomy.n_layers,
        n_heads=loaded.anatomy.n_heads,
        lens=options.lens,
    )


def _provenance(
    loaded: LoadedModel, meta: TraceMeta, options: ExtractOptions, n: int, manifest: Path
) -> dict[str, Any]:
    """Return what a shard was made with and from; the same inputs give the same text."""
    return {
        "lensbench": __version__,
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "model": describe(loaded),
        "device": loaded.device,
        "dataset": meta.dataset,
        "manifest_sha256": sha256_of(manifest),
        "shard": meta.shard,
        "n_shards": meta.n_shards,
        "n_samples": n,
        "options": asdict(options),
        "schema_version": meta.schema_version,
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return __version__ if name == "lensbench" else ""


def _write_text(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


# Always samples per second: tqdm by itself turns to seconds per sample where it is slow.
_BAR_FORMAT = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_noinv_fmt}]"


class _Progress:
    """A bar on stderr with samples per second and time left, and the same as lines in a log."""

    def __init__(self, total: int, name: str, log: str | Path | None) -> None:
        self._total, self._done, self._start = total, 0, time.monotonic()
        self._bar = tqdm(
            total=total, desc=name, unit=" samples", file=sys.stderr, bar_format=_BAR_FORMAT
        )
        self._path = None if log is None else Path(log)

    def __enter__(self) -> _Progress:
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.close()

    def advance(self, n: int) -> None:
        """Count n more samples."""
        self._done += n
        self._bar.update(n)
        if self._path is None:
            return
        speed = self._done / max(time.monotonic() - self._start, 1e-9)
        left = (self._total - self._done) / speed
        line = f"{self._done}/{self._total} samples, {speed:.2f} samples/s, {left:.0f} s left\n"
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(line)
