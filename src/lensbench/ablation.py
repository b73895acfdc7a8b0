"""Glue: a dataset's pictures × a model with groups of heads switched off → one table."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from lensbench import __version__
from lensbench.datasets.manifest import FILE_NAME, read_manifest
from lensbench.errors import DataError, LensbenchError
from lensbench.extract import check_weights, checked_request, groups_of
from lensbench.feed import Batch, Prepared, batches, default_workers, memory_ran_out, prepared
from lensbench.files import atomic_path, sha256_of
from lensbench.head_groups import HeadGroup, head_groups
from lensbench.inspection import describe
from lensbench.lens.ablation import WHERE, MeanOutput, Replay, switched_off
from lensbench.lens.generate import generate
from lensbench.lens.groups import TokenGroups
from lensbench.models.load import LoadedModel
from lensbench.models.prompt import Encoded
from lensbench.models.vocabulary import text_ends
from lensbench.parquets import DamagedError, read_own
from lensbench.progress import Progress
from lensbench.provenance import machine, package_versions
from lensbench.shards import MACHINE
from lensbench.steps import content_step

MODES = ("zero", "mean")
#: What a replay's log-probability of the answer may be off by from the whole model's.
_OFF, _OFF_HALF = 1e-3, 1e-1
#: Tokens among which an answer's first word is looked for.
_AHEAD = 4
_NOTHING = HeadGroup("nothing", "none", (), "")
#: One row is a sample × group × place.
COLUMNS = {
    "sample_id": pa.string(),
    "picture": pa.string(),
    "group": pa.string(),
    "group_kind": pa.string(),
    "where": pa.string(),
    "n_heads": pa.int32(),
    "heads": pa.string(),
    "rule": pa.string(),
    "final_logprob_before": pa.float32(),
    "final_logprob": pa.float32(),
    "gold_logprob_before": pa.float32(),
    "gold_logprob": pa.float32(),
    "top1_changed": pa.int32(),
}


@dataclass(frozen=True)
class AblationOptions:
    """How heads are switched off.

    Args:
        samples: how many samples with a picture, from the dataset's first.
        randoms: how many groups of random other heads; all that there are, where they are fewer.
        least: heads of kind "image" that are a group; a tenth of all heads, those with the largest
            odds ratio, where there are fewer.
        most: share of all heads that the image group may have.
        where: "all" positions, the "last", or both.
        mode: "zero", or "mean": over the samples and the positions that are switched off.
        batch_size: samples that an extraction has in a pass; here a pass has one sample, and twice
            as many groups, each with a copy of its prompt.
        batch_positions: positions of these copies at most; None for no limit.
        workers: processes that decode and encode pictures; None for what suits the device.
        seed: of the random groups.
    """

    samples: int = 24
    randoms: int = 250
    least: int = 3
    most: float = 0.25
    where: Sequence[str] = WHERE
    mode: str = "zero"
    batch_size: int = 8
    batch_positions: int | None = None
    workers: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for key in ("samples", "randoms", "least", "batch_size"):
            if getattr(self, key) < 1:
                raise LensbenchError(f"ablation.{key} is {getattr(self, key)}: use 1 or more.")
        if not 0 < self.most <= 0.5:
            raise LensbenchError(f"ablation.most is {self.most}: use more than 0, at most 0.5.")
        for place in self.where:
            if place not in WHERE:
                raise LensbenchError(f'ablation.where has "{place}": there are {", ".join(WHERE)}.')
        if self.mode not in MODES:
            raise LensbenchError(f'ablation.mode is "{self.mode}": use {" or ".join(MODES)}.')


def ablate(
    loaded: LoadedModel,
    manifest_folder: str | Path,
    model_folder: str | Path,
    heads: str | Path,
    out: str | Path,
    options: AblationOptions | None = None,
    stages: str | Path | None = None,
    dataset: str | None = None,
) -> None:
    """Switch groups of heads off, one at a time, and write what it does to the answer's step.

    The row of a sample × group × place holds log-probabilities at step 0 without and with the
    group switched off: of the token that the untouched model answers with, and of the likeliest
    form of the gold answer (empty where it has none in this vocabulary).

    Args:
        loaded: the model.
        manifest_folder: the dataset, with manifest.parquet and its pictures.
        model_folder: what `inspect_model` wrote for the same model.
        heads: the run's table of heads (Parquet).
        out: the Parquet file; what it was made with is in its metadata.
        options: defaults if None.
        stages: the run's table of stages (Parquet), if groups by stage are wanted.
        dataset: name of the dataset; the manifest folder's name by default.

    Raises:
        LensbenchError: if the dataset has no picture, the model no heads that can be switched off,
            or a file can't be used.
    """
    options = options or AblationOptions()
    rows = _rows(loaded, manifest_folder, model_folder, options)
    name = Path(manifest_folder).name if dataset is None else dataset
    columns = ["layer", "head", "image_mass", "odds_ratio", "kind"]
    table = _of_run(heads, columns, loaded.name, name)
    parts = None
    if stages is not None:
        parts = _of_run(stages, ["stage", "first_layer", "last_layer"], loaded.name, name)
    groups = head_groups(table, parts, options.seed, options.randoms, options.least, options.most)
    forms = groups_of(loaded, model_folder, read_manifest(manifest_folder)["gold"])
    found, rejected = _run(loaded, rows, Path(manifest_folder), groups, forms, options)
    if not found:
        raise DataError(f"None of {len(rows)} pictures of {manifest_folder} can be read.")
    provenance = {
        "lensbench": __version__,
        "python": platform.python_version(),
        "packages": package_versions(),
        "model": describe(loaded),
        "device": loaded.device,
        MACHINE: machine(loaded.device),
        "dataset": name,
        "manifest_sha256": sha256_of(Path(manifest_folder) / FILE_NAME),
        "heads_sha256": sha256_of(heads),
        "n_samples": len({row["sample_id"] for row in found}),
        "rejected": rejected,
        "options": asdict(options),
    }
    _write(out, found, provenance)


def _rows(
    loaded: LoadedModel,
    manifest_folder: str | Path,
    model_folder: str | Path,
    options: AblationOptions,
) -> list[dict[str, Any]]:
    """Return the manifest's rows that are run, once model and dataset are what they must be."""
    checked_request(loaded.name, manifest_folder, model_folder)
    check_weights(loaded, model_folder)
    manifest = read_manifest(manifest_folder)
    pictured = manifest[(manifest["kind"] == "image") & (manifest["rejected"] == "")]
    if pictured.empty or loaded.task == "text":
        which = "has no picture" if pictured.empty else f"has pictures, {loaded.name} takes none"
        raise DataError(
            f"{manifest_folder} {which}, so no head looks at one: switch heads off where an "
            "image-text model answers about pictures."
        )
    if not loaded.anatomy.heads.layers:
        raise DataError(
            f"No head of {loaded.name} can be switched off: {loaded.anatomy.heads.reason}."
        )
    records = pictured.iloc[: options.samples].to_dict("records")
    return [{str(key): value for key, value in row.items()} for row in records]


def _of_run(path: str | Path, columns: list[str], model: str, dataset: str) -> pd.DataFrame:
    """Return a metric table of one run; one of another run would name other heads."""
    try:
        frame = read_own(path, ["model", "dataset", *columns])
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing: run the metrics of that run first.") from error
    except DamagedError as error:
        raise DataError(f"{path} {error}: delete it and rerun.") from error
    for run in frame[["model", "dataset"]].drop_duplicates().itertuples(index=False):
        if tuple(run) != (model, dataset):
            raise DataError(
                f"{path} is of {run[0]} on {run[1]}, not of {model} on {dataset}: give that "
                "run's own table."
            )
    return frame


def _run(
    loaded: LoadedModel,
    rows: Sequence[dict[str, Any]],
    folder: Path,
    groups: Sequence[HeadGroup],
    forms: TokenGroups,
    options: AblationOptions,
) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the table's rows in the samples' order, and the ids of samples that can't be read."""
    workers = default_workers(loaded.device) if options.workers is None else options.workers
    # One sample at a time: what a pass has many of is groups.
    given = list(
        batches(
            prepared(loaded.prompter, folder, rows, _AHEAD, min(workers, len(rows))),
            1,
            None,
            loaded.tokenizer.pad_token_id,
        )
    )
    rejected = [sample.row["sample_id"] for sample in given if isinstance(sample, Prepared)]
    whole = [batch for batch in given if isinstance(batch, Batch)]
    fills: dict[str, dict[int, Tensor] | None] = dict.fromkeys(options.where)
    if options.mode == "mean":
        fills = {where: _means(loaded, whole, where) for where in options.where}
    found: list[dict[str, Any]] = []
    # A model that can be replayed at all gives the same for every group that has a name.
    named = [group for group in groups if group.kind != "random"]
    replays = True
    with Progress(len(rows), f"{loaded.name}, heads off", None) as progress:
        progress.advance(len(rejected))
        for batch in whole:
            encoded = _up_to_content(loaded, batch)
            replay = _replay(loaded, encoded, named, fills, options) if replays else None
            if named:
                replays, named = replay is not None, []
            found += _rows_of(loaded, batch.rows[0], encoded, groups, forms, fills, replay, options)
            progress.advance(1)
    place = {row["sample_id"]: index for index, row in enumerate(rows)}
    rank = {group.name: index for index, group in enumerate(groups)}
    order = list(options.where)
    found.sort(key=lambda r: (place[r["sample_id"]], rank[r["group"]], order.index(r["where"])))
    return found, rejected


def _parts(groups: Sequence[HeadGroup], work: Callable[[Sequence[HeadGroup]], Any]) -> list[Any]:
    """Return what `work` makes of some groups, or of their halves where memory runs out."""
    try:
        return [work(groups)]
    except (RuntimeError, MemoryError) as error:
        if not memory_ran_out(error) or len(groups) == 1:
            raise
    torch.cuda.empty_cache()
    middle = len(groups) // 2
    return [made for half in (groups[:middle], groups[middle:]) for made in _parts(half, work)]


def _means(loaded: LoadedModel, whole: Sequence[Batch], where: str) -> dict[int, Tensor]:
    """Return the mean output of every head over the samples, with nothing switched off."""
    mean = MeanOutput(loaded.anatomy, where)

    def gather(batch: Batch) -> None:
        encoded = _up_to_content(loaded, batch)
        with mean.gathering(encoded.first):
            _logprobs(loaded, encoded)

    for batch in whole:
        gather(batch)
    return mean.of()


def _up_to_content(loaded: LoadedModel, batch: Batch) -> Encoded:
    """Return a prompt with what is generated before the content step, such as "▁" before "3"."""
    encoded = batch.encoded.to(loaded.model.device, loaded.model.dtype)
    output = generate(loaded, encoded, _AHEAD, logits=True)
    # Some models give back the prompt too.
    ids = output.sequences[0, -len(output.logits) :].tolist()
    text = loaded.tokenizer.decode(ids, skip_special_tokens=True)
    step = content_step(text, text_ends(loaded.tokenizer, ids))
    return encoded.followed_by(ids[:step]) if step else encoded


def _logprobs(loaded: LoadedModel, encoded: Encoded) -> Tensor:
    """Return the model's own log-probabilities of what comes next, [batch, V], float32."""
    logits: Tensor = generate(loaded, encoded, 1, logits=True).logits[0]
    return logits.float().log_softmax(-1)


def _replay(
    loaded: LoadedModel,
    encoded: Encoded,
    groups: Sequence[HeadGroup],
    fills: dict[str, dict[int, Tensor] | None],
    options: AblationOptions,
) -> Replay | None:
    """Return a replay of a prompt if it gives what the whole model does, else None.

    It doesn't where a block takes more from those before it than the residual stream.

    Args:
        loaded: the model.
        encoded: the prompt.
        groups: those with which it is compared, beside nothing switched off.
        fills: by place, what takes the place of a head's part.
        options: of the passes.
    """
    limit = _OFF if loaded.model.dtype == torch.float32 else _OFF_HALF
    try:
        replay = Replay(loaded, encoded)
        before = replay.untouched.log_softmax(-1)
        answer = int(before.argmax())
        for where, fill in fills.items():
            some = [_NOTHING, *groups]
            for group, ours in _after(loaded, encoded, some, where, fill, replay, options):
                theirs = before
                if group.heads:
                    with switched_off(loaded.anatomy, group.by_layer, where, fill):
                        theirs = _logprobs(loaded, encoded)
                if not float((ours - theirs)[0, answer].abs()) <= limit:
                    return None
    # A block may refuse anything but the call it is used to; the whole model is right all the same.
    except Exception as error:
        if memory_ran_out(error):
            raise
        return None
    return replay


def _off(loaded: LoadedModel, groups: Sequence[HeadGroup]) -> np.ndarray:
    """Return which heads each group has, [groups, L, heads]."""
    off = np.zeros((len(groups), loaded.anatomy.n_layers, loaded.anatomy.n_heads), dtype=bool)
    for place, group in enumerate(groups):
        for layer, head in group.heads:
            off[place, layer - 1, head] = True
    return off


def _after(
    loaded: LoadedModel,
    encoded: Encoded,
    groups: Sequence[HeadGroup],
    where: str,
    fill: dict[int, Tensor] | None,
    replay: Replay | None,
    options: AblationOptions,
) -> Iterator[tuple[HeadGroup, Tensor]]:
    """Yield each group and the log-probabilities with it switched off, [1, V]."""
    if replay is None:
        for group in groups:
            with switched_off(loaded.anatomy, group.by_layer, where, fill):
                yield group, _logprobs(loaded, encoded)
        return
    # A replay holds less than the batch of an extraction: no picture, and one block at a time.
    size = options.batch_size * (2 if where == "all" else 16)
    if options.batch_positions is not None:
        size = max(1, min(size, options.batch_positions // encoded.image.shape[1]))
    # Neighbours share what they have off in the first blocks, so that it is computed once.
    ordered = sorted(groups, key=lambda group: group.heads)
    for start in range(0, len(ordered), size):
        some = ordered[start : start + size]
        logits = _parts(some, lambda part: replay.logits(_off(loaded, part), where, fill))
        for group, row in zip(some, torch.cat(logits), strict=True):
            yield group, row[None].log_softmax(-1)


def _rows_of(
    loaded: LoadedModel,
    row: dict[str, Any],
    encoded: Encoded,
    groups: Sequence[HeadGroup],
    forms: TokenGroups,
    fills: dict[str, dict[int, Tensor] | None],
    replay: Replay | None,
    options: AblationOptions,
) -> list[dict[str, Any]]:
    """Return the rows of one sample."""
    gold, _ = forms.of([row["gold"]])
    before = _logprobs(loaded, encoded) if replay is None else replay.untouched.log_softmax(-1)
    answer = before.argmax(-1)
    [was] = _said(before, answer, gold)
    found = []
    for where, fill in fills.items():
        for group, after in _after(loaded, encoded, groups, where, fill, replay, options):
            [now] = _said(after, answer, gold)
            found.append(
                {
                    "sample_id": row["sample_id"],
                    "picture": row["picture"],
                    "group": group.name,
                    "group_kind": group.kind,
                    "where": where,
                    "n_heads": len(group.heads),
                    "heads": group.text,
                    "rule": group.rule,
                    "final_logprob_before": was[0],
                    "final_logprob": now[0],
                    "gold_logprob_before": was[1],
                    "gold_logprob": now[1],
                    "top1_changed": int(after.argmax() != answer),
                }
            )
    return found


def _said(logprobs: Tensor, answer: Tensor, gold: Tensor) -> list[tuple[float, float | None]]:
    """Return the log-probability of each sample's answer, and of its likeliest gold form."""
    final = logprobs.gather(1, answer[:, None])[:, 0].tolist()
    forms = logprobs.gather(1, gold.clamp_min(0)).masked_fill(gold < 0, float("-inf")).amax(1)
    known = (gold >= 0).any(1).tolist()
    best = [value if there else None for value, there in zip(forms.tolist(), known, strict=True)]
    return list(zip(final, best, strict=True))


def _write(out: str | Path, rows: list[dict[str, Any]], provenance: dict[str, Any]) -> None:
    text = json.dumps(provenance, sort_keys=True, ensure_ascii=False)
    schema = pa.schema(list(COLUMNS.items()), metadata={b"lensbench": text.encode()})
    with atomic_path(out) as path:
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), path, compression="zstd")
