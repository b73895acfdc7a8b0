"""The tables of a run's heads: each head, the stages of the model, and all of them in a summary."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd

from lensbench.metrics import heads
from lensbench.metrics.bootstrap import Bootstrap, Estimate
from lensbench.metrics.rundata import RunData
from lensbench.metrics.tables import RUN_TABLES
from lensbench.trace import read_table

_COLUMNS = [
    "image_mass", "sink_mass", "text_mass", "image_entropy_nats", "image_max", "overview_mass",
]  # fmt: skip
_KINDS = ("image", "mixed", "text")


def head_tables(run: RunData, boot: Bootstrap) -> dict[str, list[pd.DataFrame]]:
    """Return the parts of `heads`, `stages` and `head_summary`, none if no attention was read.

    Stages and summary are there only where every sample has an image.
    """
    frame = read_table(run.folders, "heads", _COLUMNS, step=0)
    shape = (-1, len(run.meta.head_layers), run.meta.n_heads)
    if not shape[1]:
        return {"heads": [], "stages": [], "head_summary": []}
    block = {name: frame[name].to_numpy().reshape(shape) for name in _COLUMNS}
    seen = bool((run.samples["n_image_tokens"] > 0).all())
    values = _by_sample(run, block)
    return {
        "heads": [_heads(run, boot, values, seen)],
        "stages": [_stages(run, boot, block["image_mass"])] if seen else [],
        "head_summary": [_summary(run, boot, values)] if seen else [],
    }


def _by_sample(run: RunData, block: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return what is averaged over samples, each [n, head layers, heads]."""
    n_image = run.samples["n_image_tokens"].to_numpy()
    mass, overview = block["image_mass"], block["overview_mass"]
    return {
        "image_mass": mass,
        "image_mass_no_sink": heads.without_sink(mass, block["sink_mass"]),
        "sink_mass": block["sink_mass"],
        "text_mass": block["text_mass"],
        "concentration": heads.concentration(block["image_entropy_nats"], n_image),
        "image_max": block["image_max"],
        "overview_mass": overview,
        "tiles_mass": heads.tiles(mass, overview),
    }


def _heads(
    run: RunData, boot: Bootstrap, values: dict[str, np.ndarray], seen: bool
) -> pd.DataFrame:
    layers, width = np.asarray(run.meta.head_layers, dtype=int), run.meta.n_heads
    depth, image_mass = len(layers), values["image_mass"]
    mass = boot.mean(image_mass)
    rich = np.full((depth, width), np.nan)
    if seen:
        n_image, n_tokens = (run.samples[f"n_{of}tokens"].to_numpy() for of in ("image_", ""))
        rich = heads.enrichment(image_mass, n_image, n_tokens).mean(axis=0)
    return pd.DataFrame(
        {
            "layer": np.repeat(layers, width),
            "head": np.tile(np.arange(width), depth),
            "image_mass": mass.value.ravel(),
            "low": mass.low.ravel(),
            "high": mass.high.ravel(),
            "n": mass.n,
            "enrichment": rich.ravel(),
            **{name: _mean(of) for name, of in values.items() if name != "image_mass"},
            "separation": heads.separation(image_mass).ravel(),
            "kind": heads.kind(mass.value).ravel(),
        }
    )


def _mean(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float64).mean(axis=0).ravel()


def _stages(run: RunData, boot: Bootstrap, image_mass: np.ndarray) -> pd.DataFrame:
    layers = np.asarray(run.meta.head_layers, dtype=int)
    by_sample = image_mass.astype(np.float64).mean(axis=2)
    rows = []
    for stage, (start, end) in enumerate(heads.stages(by_sample.mean(axis=0)), 1):
        e = boot.mean(by_sample[:, start - 1 : end].mean(axis=1))
        rows.append((stage, layers[start - 1], layers[end - 1], *_interval(e)))
    return pd.DataFrame(rows, columns=RUN_TABLES["stages"][2:])


def _interval(e: Estimate) -> tuple[float, float, float, int]:
    return float(e.value), float(e.low), float(e.high), e.n


def _summary(run: RunData, boot: Bootstrap, values: dict[str, np.ndarray]) -> pd.DataFrame:
    """Return what all heads and the image heads do on average.

    The image heads are those by the mean over all samples. The share of heads of each kind is a
    function of such means, and computed anew for each resample; so is nothing else. The overview's
    and the tiles' shares are of the image mass of all heads concerned, sample by sample.
    """
    mass = values["image_mass"].astype(np.float64)
    n = len(mass)
    flat = mass.reshape(n, -1)
    kinds = heads.kind(flat.mean(axis=0))
    found: dict[tuple[str, str], Estimate] = {}
    for kind in _KINDS:
        found["all", f"share_{kind}"] = boot.of_means(flat, partial(_share, kind))
    found["all", "separation"] = boot.mean(np.abs(2 * flat - 1).mean(axis=1))
    found["all", "overview_positions"] = boot.mean(_overview_positions(run))
    for among, chosen in (("all", kinds != ""), ("image", kinds == "image")):
        if not chosen.any():
            continue
        of = {name: v.astype(np.float64).reshape(n, -1)[:, chosen] for name, v in values.items()}
        for name, each in of.items():
            found[among, name] = boot.mean(each.mean(axis=1))
        total = of["image_mass"].sum(axis=1)
        for view in ("overview", "tiles"):
            part = of[f"{view}_mass"].sum(axis=1)
            share = np.divide(part, total, out=np.zeros(n), where=total > 0)
            found[among, f"{view}_share"] = boot.mean(share)
    rows = [(*key, *_interval(e)) for key, e in found.items()]
    return pd.DataFrame(rows, columns=RUN_TABLES["head_summary"][2:])


def _share(kind: str, means: np.ndarray) -> np.ndarray:
    """Return the share of heads of a kind, [r], given their mean image mass, [r, heads]."""
    share: np.ndarray = (heads.kind(means) == kind).mean(axis=1)
    return share


def _overview_positions(run: RunData) -> np.ndarray:
    """Return the first view's share of the image positions, [n]: what even attention would give."""
    samples = run.samples
    first = (samples["grid_h"] * samples["grid_w"]).to_numpy(dtype=np.float64)
    share = first / samples["n_image_tokens"].to_numpy()
    # Where no grid is known, all of the picture counts as the first view.
    whole: np.ndarray = np.where(first > 0, share, 1.0)
    return whole
