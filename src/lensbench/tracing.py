"""One batch of samples through a model: the rows that it adds to a trace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from lensbench.errors import LensbenchError, ModelError
from lensbench.feed import Batch
from lensbench.lens.generate import Traced, trace_batch
from lensbench.lens.groups import TokenGroups
from lensbench.lens.parts import LENSES, lens_states
from lensbench.lens.patches import PositionReader
from lensbench.lens.readout import read_out
from lensbench.lens.rows import (
    attention_rows,
    head_rows,
    lens_rows,
    patch_rows,
    sample_rows,
    trajectory_rows,
    word_rows,
)
from lensbench.models.load import LoadedModel
from lensbench.steps import content_step
from lensbench.variants import NATIVE, check_variant


@dataclass(frozen=True)
class ExtractOptions:
    """How an extraction is run; the keys of the config's `extraction`, and some from outside it.

    Args:
        shard_samples: samples a shard at most; None for all in one.
        batch_size: samples a batch at most.
        batch_positions: positions a batch at most, padding counted; None for no limit.
        workers: processes that decode and encode pictures; None for what suits the device.
        patches: whether every image position is read out too.
        words: whether every other position of the prompt is read out too.
        attention: whether each head's weight on every image position is kept.
        samples: how many samples of the dataset are run, from its first; None for all.
        picture: what of a picture is shown: "native", "blank", or its longer side in pixels.
        max_new_tokens: steps at most a sample.
        top_k: top tokens kept a layer.
        lenses: further lenses that the content step is read out with, keys of `LENSES`.
        lens: "normed" (final norm at every layer) or "raw" (at none but the last).
        floor_directions: random directions a layer for the floors.
        seed: of the random directions.
        config_hash: digest of the configuration, noted in the provenance.
    """

    shard_samples: int | None = None
    batch_size: int = 8
    batch_positions: int | None = None
    workers: int | None = None
    patches: bool = False
    words: bool = False
    attention: bool = False
    samples: int | None = None
    picture: str = NATIVE
    max_new_tokens: int = 4
    top_k: int = 10
    lens: str = "normed"
    lenses: Sequence[str] = ("raw", "attention", "mlp")
    floor_directions: int = 64
    seed: int = 0
    config_hash: str = ""

    def __post_init__(self) -> None:
        for key in ("batch_size", "max_new_tokens", "top_k", "floor_directions"):
            if getattr(self, key) < 1:
                raise LensbenchError(f"extraction.{key} is {getattr(self, key)}: use 1 or more.")
        for key in ("samples", "shard_samples"):
            given = getattr(self, key)
            if given is not None and given < 1:
                raise LensbenchError(f"extraction.{key} is {given}: use 1 or more.")
        check_variant(self.picture)
        for lens in self.lenses:
            if lens not in LENSES:
                known = ", ".join(LENSES)
                raise LensbenchError(f'extraction.lenses has "{lens}": there are {known}.')
        if self.lens not in ("normed", "raw"):
            raise LensbenchError(f'extraction.lens is "{self.lens}": use "normed" or "raw".')


@dataclass(frozen=True)
class Found:
    """What one batch leaves behind: rows of the tables, and each sample's norms [L + 1]."""

    tables: dict[str, pd.DataFrame]
    samples: list[dict[str, Any]]
    norms: dict[str, Tensor]


def trace_rows(
    loaded: LoadedModel, batch: Batch, groups: TokenGroups, options: ExtractOptions
) -> Found:
    """Run a batch through the model and read it out."""
    encoded, kept = batch.encoded.to(loaded.model.device, loaded.model.dtype), batch.rows
    names = [row["sample_id"] for row in kept]
    reader = None
    if options.patches or options.words:
        wanted = encoded.inputs["attention_mask"].bool() if options.words else encoded.image
        reader = PositionReader(loaded, wanted, options.top_k, options.lens)
    parts = bool(loaded.anatomy.writes) and any(lens != "raw" for lens in options.lenses)
    traced = trace_batch(
        loaded,
        encoded,
        options.max_new_tokens,
        keep_rows=options.attention,
        writes=parts,
        reader=reader,
    )
    sample, step = (index.to(traced.residuals.device) for index in traced.steps())
    _require_numbers(traced.residuals[sample, step], [names[i] for i in sample.tolist()], step)
    gold = groups.of([kept[index]["gold"] for index in sample.tolist()])
    readout = read_out(
        traced.residuals[sample, step],
        lambda hidden: loaded.anatomy.logits(hidden, options.lens),
        loaded.anatomy.logits,
        options.top_k,
        groups.scripts,
        *gold,
        groups.n_languages,
    )
    ids = [names[index] for index in sample.tolist()]
    tables = {
        "trajectory": trajectory_rows(ids, step, readout),
        "heads": head_rows(ids, step, traced.heads[sample, step], traced.head_layers),
    }
    samples = sample_rows(loaded, kept, encoded, traced.ids)
    answered = [content_step(row["generated"], row["generated_ends"]) or 0 for row in samples]
    lenses = _lenses(loaded, traced, kept, answered, groups, options, parts)
    if lenses:
        tables["lenses"] = pd.concat(lenses, ignore_index=True)
    read = [] if reader is None else reader.patches(encoded)
    if options.patches:
        tables["patches"] = patch_rows(names, read, encoded)
    if options.words:
        tables["words"] = word_rows(names, read, encoded)
    if options.attention:
        tables["attention"] = attention_rows(names, traced.capture.rows[0], encoded)
    norms = traced.residuals[:, 0].float().norm(dim=-1)
    return Found(
        tables,
        samples,
        dict(zip(names, norms, strict=True)),
    )


def _require_numbers(states: Tensor, names: Sequence[str], steps: Tensor) -> None:
    """Refuse hidden states that hold no numbers, and name the sample: nothing of it is kept.

    Args:
        states: [rows, L + 1, width].
        names: the sample of each row.
        steps: the step of each row.

    Raises:
        ModelError: naming the first such sample, step and layer.
    """
    wrong = ~torch.isfinite(states).all(dim=-1)
    if not bool(wrong.any()):
        return
    row, layer = (int(index) for index in wrong.nonzero()[0])
    raise ModelError(
        f"Sample {names[row]}: the model's hidden states at step {int(steps[row])}, layer {layer}, "
        "are no finite numbers: leave the sample out, or use another dtype (float32)."
    )


def _lenses(
    loaded: LoadedModel,
    traced: Traced,
    kept: list[dict[str, Any]],
    steps: list[int],
    groups: TokenGroups,
    options: ExtractOptions,
    parts: bool,
) -> list[pd.DataFrame]:
    """Return what the further lenses say of each sample of a batch at its step of `steps`."""
    residuals = traced.residuals[range(len(steps)), steps]
    written = None
    if parts:
        each = {step: traced.capture.written(step) for step in set(steps)}
        written = torch.stack([each[step][index] for index, step in enumerate(steps)])
    gold = groups.of([row["gold"] for row in kept])
    frames = []
    for lens in options.lenses:
        states, first, kind = lens_states(residuals, written, lens)
        if not states.shape[1]:
            continue
        # The model's own last layer comes last: what every lens is compared with.
        readout = read_out(
            torch.cat([states, residuals[:, -1:]], dim=1),
            partial(loaded.anatomy.logits, lens=kind),
            loaded.anatomy.logits,
            1,
            groups.scripts,
            *gold,
            groups.n_languages,
        )
        names = [row["sample_id"] for row in kept]
        frame = lens_rows(names, lens, first, readout)
        frames.append(frame[frame["layer"] < first + states.shape[1]])
    return frames
