"""The other lenses beside the main one: without the final norm, or of one part of a block alone.

Every lens is read at step 0 and held against y, the token that the model itself puts on top. The
raw lens leaves the final norm out at every layer, the last one too: there its top token need not be
y, so for its convergence layer the last layer is the one the model reads.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from lensbench.errors import TraceError
from lensbench.metrics.accuracy import language_of_hit
from lensbench.metrics.bootstrap import Bootstrap, Estimate
from lensbench.metrics.convergence import convergence_layer, hits
from lensbench.metrics.rundata import RunData
from lensbench.metrics.tables import along_layers
from lensbench.trace import read_table

_COLUMNS = ("entropy_nats", "kl_to_final_nats", "final_rank")


@dataclass(frozen=True)
class Reading:
    """Step 0 as one lens reads it: n samples by the m layers that it has.

    Args:
        layers: [m] their numbers, from 0 or from 1 on.
        top1: [n, m] likeliest token ids.
        columns: entropy_nats, kl_to_final_nats and final_rank, each [n, m].
    """

    layers: np.ndarray
    top1: np.ndarray
    columns: dict[str, np.ndarray]


def readings(run: RunData) -> dict[str, Reading]:
    """Return what every lens of a run reads at step 0, by the lens' name; the main one is first.

    Raises:
        TraceError: if a lens has not the same layers of every sample.
    """
    columns = {name: run.first.columns[name] for name in _COLUMNS}
    found = {run.meta.lens: Reading(run.layers, run.first.top1, columns)}
    frame = read_table(run.folders, "lenses")
    for lens, rows in frame.groupby("lens"):
        # A main lens that is raw has all of this already, and the model's own last layer.
        if lens not in found:
            found[str(lens)] = _folded(run, str(lens), rows)
    return found


def _folded(run: RunData, lens: str, rows: pd.DataFrame) -> Reading:
    """Return the rows of one lens, sorted by sample and layer, as arrays [samples, layers]."""
    ids = run.samples["sample_id"].to_numpy(dtype=object)
    layers = np.unique(rows["layer"].to_numpy())
    whole = np.array_equal(rows["layer"], np.tile(layers, len(ids))) and np.array_equal(
        rows["sample_id"].to_numpy(dtype=object), np.repeat(ids, len(layers))
    )
    # The raw lens is held against the main one layer by layer.
    if not whole or (lens == "raw" and not np.array_equal(layers, run.layers)):
        raise TraceError(
            f"Table lenses of {run.meta.model} on {run.meta.dataset} has not the same layers of "
            f"every sample for the lens {lens}: run the extraction again."
        )

    def fold(name: str) -> np.ndarray:
        return rows[name].to_numpy().reshape(len(ids), len(layers))

    return Reading(layers, fold("top_id"), {name: fold(name) for name in _COLUMNS})


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


def lenses(run: RunData, boot: Bootstrap, found: dict[str, Reading]) -> list[pd.DataFrame]:
    """Return each lens' metrics by layer; accuracy over the samples that have a usable gold form.

    The raw lens also has `same_top1_as_main`: the share of samples in which it has the same token
    on top as the main lens at that layer.

    Args:
        run: one model on one dataset.
        boot: for the intervals.
        found: what each lens reads, by its name.
    """
    final, parts = run.first.final, []
    gold = run.samples["gold"].to_numpy(dtype=object)[run.has_gold]
    for lens, reading in found.items():
        columns = reading.columns
        estimates: dict[str, Estimate] = {"agreement": boot.mean(hits(reading.top1, final))}
        if lens == "raw" and lens != run.meta.lens:
            # Not the final token, but whatever the other lens has on top at the same layer.
            estimates["same_top1_as_main"] = boot.mean(reading.top1 == run.first.top1)
        if run.has_gold.any():
            top1 = reading.top1[run.has_gold]
            # By the token on top, not by its rank: a block that writes nothing ties all tokens.
            found_in = language_of_hit(top1, gold, run.forms, run.meta.languages)
            estimates["accuracy"] = boot.mean(found_in >= 0)
        for metric in ("entropy_nats", "kl_to_final_nats"):
            estimates[metric] = boot.mean(columns[metric])
        estimates["final_rank_median"] = boot.median(columns["final_rank"])
        parts += [
            along_layers(estimate, reading.layers, lens=lens, metric=metric)
            for metric, estimate in estimates.items()
        ]
    return [part.assign(depth=part["layer"] / run.meta.n_layers) for part in parts]
