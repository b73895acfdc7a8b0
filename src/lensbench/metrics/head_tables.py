"""The tables of a run's heads: each head, the stages of the model, and all of them in a summary."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from lensbench.metrics import heads
from lensbench.metrics.intervals import Estimate
from lensbench.metrics.rundata import Block, Run
from lensbench.metrics.tables import RUN_TABLES
from lensbench.metrics.tally import Key, Tally
from lensbench.trace_meta import TraceMeta

_KINDS = ("image", "mixed", "text")
_VALUES = (
    "image_mass", "image_mass_no_sink", "sink_mass", "text_mass", "concentration", "image_max",
    "overview_mass", "tiles_mass",
)  # fmt: skip
_VIEWS = ("overview", "tiles")


@dataclass(frozen=True)
class HeadKinds:
    """What the mean image mass over all samples says of a run's heads, before they are read again.

    Args:
        layers: numbers of the blocks, [m].
        kinds: "image", "text" or "mixed", [m, heads].
        stages: first and last place in `layers` of each stage of the model.
    """

    layers: np.ndarray
    kinds: np.ndarray
    stages: list[tuple[int, int]]


def head_kinds(meta: TraceMeta, masses: Iterable[np.ndarray]) -> HeadKinds | None:
    """Return the kinds and stages of a run, None if no attention was read.

    Args:
        meta: of the run.
        masses: image mass at step 0 in blocks of samples, [n, m, heads] each.
    """
    layers = np.asarray(meta.head_layers, dtype=int)
    if not len(layers):
        return None
    total, n = np.zeros((len(layers), meta.n_heads)), 0
    for block in masses:
        total += block.sum(axis=0, dtype=np.float64)
        n += len(block)
    mean = total / n
    stages = [(start - 1, end - 1) for start, end in heads.stages(mean.mean(axis=1))]
    return HeadKinds(layers, heads.kind(mean), stages)


def measure(block: Block, tally: Tally, kinds: HeadKinds) -> None:
    """Note what the tables of heads report of a block.

    The image heads are those by the mean over all samples. The overview's and the tiles' shares are
    of the image mass of all heads concerned, sample by sample.
    """
    values = _by_sample(block)
    mass = values["image_mass"]
    tally.mean(("heads", "image_mass"), mass)
    for name in _VALUES[1:]:
        tally.plain_mean(("heads", name), values[name])
    apart = heads.separation(mass)
    tally.plain_mean(("heads", "separation"), apart)
    if not block.run.groups.all_seen:
        return
    n_image, n_tokens = (block.samples[f"n_{of}tokens"].to_numpy() for of in ("image_", ""))
    tally.plain_mean(("heads", "enrichment"), heads.enrichment(mass, n_image, n_tokens))
    by_layer = mass.mean(axis=2)
    for stage, (start, end) in enumerate(kinds.stages):
        tally.mean(("stages", stage), by_layer[:, start : end + 1].mean(axis=1))
    told = {("all", "separation"): apart.mean(axis=(1, 2))}
    told["all", "overview_positions"] = _overview_positions(block.samples)
    for among, chosen in (("all", kinds.kinds != ""), ("image", kinds.kinds == "image")):
        if not chosen.any():
            continue
        of = {name: each[:, chosen] for name, each in values.items()}
        told |= {(among, name): each.mean(axis=1) for name, each in of.items()}
        total = of["image_mass"].sum(axis=1)
        for view in _VIEWS:
            part = of[f"{view}_mass"].sum(axis=1)
            told[among, f"{view}_share"] = np.divide(
                part, total, out=np.zeros(len(mass)), where=total > 0
            )
    for key, each in told.items():
        tally.mean(("head_summary", *key), each)


def head_tables(run: Run, tally: Tally, kinds: HeadKinds | None) -> dict[str, list[pd.DataFrame]]:
    """Return the parts of `heads`, `stages` and `head_summary`, none if no attention was read.

    Stages and summary are there only where every sample has an image.
    """
    if kinds is None:
        return {"heads": [], "stages": [], "head_summary": []}
    seen = run.groups.all_seen
    return {
        "heads": [_heads(run, tally, kinds)],
        "stages": [_stages(tally, kinds)] if seen else [],
        "head_summary": [_summary(tally)] if seen else [],
    }


def _by_sample(block: Block) -> dict[str, np.ndarray]:
    """Return what is averaged over samples, each [n, head layers, heads]."""
    of = {name: values.astype(np.float64) for name, values in block.heads.items()}
    mass, overview = of["image_mass"], of["overview_mass"]
    n_image = block.samples["n_image_tokens"].to_numpy()
    return {
        "image_mass": mass,
        "image_mass_no_sink": heads.without_sink(mass, of["sink_mass"]),
        "sink_mass": of["sink_mass"],
        "text_mass": of["text_mass"],
        "concentration": heads.concentration(of["image_entropy_nats"], n_image),
        "image_max": of["image_max"],
        "overview_mass": overview,
        "tiles_mass": heads.tiles(mass, overview),
    }


def _heads(run: Run, tally: Tally, kinds: HeadKinds) -> pd.DataFrame:
    depth, width = kinds.kinds.shape
    mass = tally.estimate(("heads", "image_mass"))
    plain = {name: tally.plain(("heads", name)).ravel() for name in (*_VALUES[1:], "separation")}
    rich = np.full(depth * width, np.nan)
    if run.groups.all_seen:
        rich = tally.plain(("heads", "enrichment")).ravel()
    return pd.DataFrame(
        {
            "layer": np.repeat(kinds.layers, width),
            "head": np.tile(np.arange(width), depth),
            "image_mass": mass.value.ravel(),
            "low": mass.low.ravel(),
            "high": mass.high.ravel(),
            "n": mass.n,
            "enrichment": rich,
            **plain,
            "kind": kinds.kinds.ravel(),
        }
    )


def _stages(tally: Tally, kinds: HeadKinds) -> pd.DataFrame:
    rows = [
        (stage + 1, kinds.layers[start], kinds.layers[end], *_interval(tally, ("stages", stage)))
        for stage, (start, end) in enumerate(kinds.stages)
    ]
    return pd.DataFrame(rows, columns=RUN_TABLES["stages"][2:])


def _interval(tally: Tally, key: Key) -> tuple[float, float, float, int]:
    return _row(tally.estimate(key))


def _row(e: Estimate) -> tuple[float, float, float, int]:
    return float(e.value), float(e.low), float(e.high), e.n


def _summary(tally: Tally) -> pd.DataFrame:
    """Return what all heads and the image heads do on average.

    The share of heads of each kind is a function of means over samples, and computed anew for each
    resample; so is nothing else.
    """
    rows: list[tuple[object, ...]] = []
    for kind in _KINDS:
        e = tally.of_means(("heads", "image_mass"), partial(_share, kind))
        rows.append(("all", f"share_{kind}", *_row(e)))
    names = [*_VALUES, *(f"{view}_share" for view in _VIEWS)]
    for among, metrics in (
        ("all", ["separation", "overview_positions", *names]),
        ("image", names),
    ):
        rows += [
            (among, metric, *_interval(tally, key))
            for metric in metrics
            if tally.n(key := ("head_summary", among, metric))
        ]
    return pd.DataFrame(rows, columns=RUN_TABLES["head_summary"][2:])


def _share(kind: str, means: np.ndarray) -> np.ndarray:
    """Return the share of heads of a kind, [r], given their mean image mass, [r, heads]."""
    share: np.ndarray = (heads.kind(means) == kind).mean(axis=1)
    return share


def _overview_positions(samples: pd.DataFrame) -> np.ndarray:
    """Return the first view's share of the image positions, [n]: what even attention would give."""
    first = (samples["grid_h"] * samples["grid_w"]).to_numpy(dtype=np.float64)
    share = first / samples["n_image_tokens"].to_numpy()
    # Where no grid is known, all of the picture counts as the first view.
    whole: np.ndarray = np.where(first > 0, share, 1.0)
    return whole
