"""The other lenses beside the main one: without the final norm, or of one part of a block alone.

Every lens is read at the content step and held against y, the token that the model itself puts on
top. The raw lens leaves the final norm out at every layer, the last one too: there its top token
need not be y, so for its convergence layer the last layer is the one the model reads.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from lensbench.errors import TraceError
from lensbench.metrics.accuracy import language_of_hit
from lensbench.metrics.convergence import convergence_layer, hits
from lensbench.metrics.rundata import Block, Run
from lensbench.metrics.tables import along_layers
from lensbench.metrics.tally import Tally

_COLUMNS = ("entropy_nats", "kl_to_final_nats", "final_rank")
#: Means over samples, in the order of the table; the median of the rank comes last.
METRICS = (
    "agreement",
    "same_top1_as_main",
    "first_token_accuracy",
    "entropy_nats",
    "kl_to_final_nats",
)


@dataclass(frozen=True)
class Reading:
    """The content step as one lens reads it: n samples by the m layers that it has.

    Args:
        layers: [m] their numbers, from 0 or from 1 on.
        top1: [n, m] likeliest token ids.
        columns: entropy_nats, kl_to_final_nats and final_rank, each [n, m].
    """

    layers: np.ndarray
    top1: np.ndarray
    columns: dict[str, np.ndarray]


def readings(block: Block) -> dict[str, Reading]:
    """Return what every lens reads at the content step, by its name; the main one is first."""
    columns = {name: block.content.columns[name] for name in _COLUMNS}
    found = {block.meta.lens: Reading(block.layers, block.content.top1, columns)}
    for lens, (layers, values) in block.lenses.items():
        # A main lens that is raw has all of this already, and the model's own last layer.
        if lens not in found:
            found[lens] = Reading(layers, values["top_id"], {c: values[c] for c in _COLUMNS})
    return found


def raw_convergence_layer(raw: Reading, final: np.ndarray) -> np.ndarray:
    """Return min l such that the raw lens has y on top at every l' ≥ l below L, [n].

    Args:
        raw: layers 0 … L.
        final: y, [n].
    """
    hit = hits(raw.top1, final)
    hit[:, -1] = True
    return convergence_layer(hit)


def blocks_on_final(part: Reading, final: np.ndarray) -> np.ndarray:
    """Return of how many blocks the write, read by itself, has y on top, [n].

    Args:
        part: what attention or MLP writes.
        final: y, [n].
    """
    return hits(part.top1, final).sum(axis=1)


def summary_metrics(main: str) -> tuple[str, ...]:
    """Return the names of what `summarised` returns, in the order of the table."""
    return (
        "raw_convergence_layer", f"raw_minus_{main}_convergence_layer", "raw_last_layer_agreement",
        "attention_blocks_on_final", "mlp_blocks_on_final",
    )  # fmt: skip


def summarised(found: dict[str, Reading], final: np.ndarray) -> dict[str, np.ndarray]:
    """Return what the summary says of the other lenses, each [n]; nothing of those not read.

    Args:
        found: what each lens reads, by its name, the main one first.
        final: y, [n].
    """
    values = {}
    if "raw" in list(found)[1:]:
        raw, main = found["raw"], next(iter(found))
        layer = raw_convergence_layer(raw, final)
        values["raw_convergence_layer"] = layer
        # Sample by sample, so that its interval is that of the difference.
        own = convergence_layer(hits(found[main].top1, final))
        values[f"raw_minus_{main}_convergence_layer"] = layer - own
        values["raw_last_layer_agreement"] = hits(raw.top1, final)[:, -1]
    for part in ("attention", "mlp"):
        if part in found:
            values[f"{part}_blocks_on_final"] = blocks_on_final(found[part], final)
    return values


def measure(block: Block, tally: Tally) -> None:
    """Note what `lenses` reports of a block."""
    final, gold = block.content.final, block.gold
    for lens, reading in readings(block).items():
        values = {"agreement": hits(reading.top1, final)}
        if lens == "raw" and lens != block.meta.lens:
            # Not the final token, but whatever the other lens has on top at the same layer.
            values["same_top1_as_main"] = reading.top1 == block.content.top1
        for metric, of_samples in values.items():
            tally.share(("lenses", lens, metric), of_samples)
        # By the token on top, not by its rank: a block that writes nothing ties all tokens.
        found = language_of_hit(reading.top1, gold, block.forms, block.meta.languages)
        tally.share(("lenses", lens, "first_token_accuracy"), found >= 0, block.has_gold)
        for metric in ("entropy_nats", "kl_to_final_nats"):
            tally.mean(("lenses", lens, metric), reading.columns[metric])
        tally.median(("lenses", lens), reading.columns["final_rank"])
        if not tally.same(("lenses", lens), reading.layers):
            raise _ragged(block.run, lens)


def lenses(run: Run, tally: Tally) -> list[pd.DataFrame]:
    """Return each lens' metrics by layer.

    first_token_accuracy is of the samples whose gold has a first token of its own: lenses are read
    at one step, where a form's later tokens can't be. The raw lens also has `same_top1_as_main`:
    the share of samples in which it has the same token on top as the main lens at that layer.

    Args:
        run: one model on one dataset.
        tally: of its blocks.
    """
    names = [str(key[1]) for key in tally.keys("lenses") if key[2] == "agreement"]
    parts = []
    for lens in (run.meta.lens, *sorted(set(names) - {run.meta.lens})):
        layers = tally.noted(("lenses", lens))
        estimates = {
            metric: tally.estimate(("lenses", lens, metric))
            for metric in METRICS
            if tally.n(("lenses", lens, metric))
        }
        if estimates["agreement"].n != run.groups.n:
            raise _ragged(run, lens)
        estimates["final_rank_median"] = tally.median_of(("lenses", lens))
        parts += [
            along_layers(estimate, layers, lens=lens, metric=metric)
            for metric, estimate in estimates.items()
        ]
    return [part.assign(depth=part["layer"] / run.meta.n_layers) for part in parts]


def _ragged(run: Run, lens: str) -> TraceError:
    return TraceError(
        f"Table lenses of {run.meta.model} on {run.meta.dataset} has not the same layers of "
        f"every sample for the lens {lens}: run the extraction again."
    )
