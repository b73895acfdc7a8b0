"""The tables of a run's heads: each head, the stages of the model, and all of them in a summary."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from lensbench.metrics import heads
from lensbench.metrics.intervals import Estimate
from lensbench.metrics.options import MetricOptions
from lensbench.metrics.rundata import Block, Run
from lensbench.metrics.tables import RUN_TABLES
from lensbench.metrics.tally import Key, Tally

_KINDS = ("image", "mixed", "text")
_VALUES = (
    "image_mass", "image_mass_no_sink", "sink_mass", "image_sink_mass", "text_mass", "spread",
    "image_max", "overview_mass", "tiles_mass",
)  # fmt: skip
_VIEWS = ("overview", "tiles")


@dataclass(frozen=True)
class HeadKinds:
    """What the masses of all samples say of a run's heads, before they are read again.

    Args:
        layers: numbers of the blocks, [m].
        kinds: "image", "text" or "mixed" by the odds ratio, [m, heads]; "none" where no sample has
            a picture among its positions.
        stages: first and last place in `layers` of each stage of the model.
        tally: the sums that they were made from.
    """

    layers: np.ndarray
    kinds: np.ndarray
    stages: list[tuple[int, int]]
    tally: Tally


#: Of each head: mass and share, the sink left out, and whether it leaves anything, [3, m, heads].
_ODDS = ("heads", "odds")


def head_kinds(
    run: Run,
    masses: Callable[[], Iterable[tuple[pd.DataFrame, dict[str, np.ndarray]]]],
    options: MetricOptions,
) -> HeadKinds | None:
    """Return the kinds and stages of a run, None if no attention was read.

    Args:
        run: what is known of it.
        masses: gives blocks of samples, as `Shards.head_masses` does.
        options: of the intervals.
    """
    layers = np.asarray(run.meta.head_layers, dtype=int)
    if not len(layers):
        return None
    tally = Tally(options.seed, options.resamples, options.confidence, run.groups.of_picture)
    shown: set[str] = set()
    for samples, of in masses():
        tally.begin(samples["picture"].to_numpy(dtype=object))
        tally.mean(("heads", "image_mass"), of["image_mass"])
        values, pictured = _with_shares(samples, of)
        tally.mean(_ODDS, values, pictured)
        tally.end()
        if len(shown) < 2:
            shown.update(samples["picture"][pictured])
    mean = tally.estimate(("heads", "image_mass")).value
    stages = [(start - 1, end - 1) for start, end in heads.stages(mean.mean(axis=1))]
    kinds = np.full(mean.shape, "none", dtype=object)
    if tally.n(_ODDS):
        even = tally.of_means(_ODDS, _balanced)
        kinds = heads.kind(heads.odds(even.low), heads.odds(even.high)).reshape(mean.shape)
        if len(shown) < 2:  # One picture gives no interval to go by.
            kinds[:] = "mixed"
    return HeadKinds(layers, kinds, stages, tally)


def _with_shares(samples: pd.DataFrame, of: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return what `_ODDS` is made of, [n, 3, m, heads], and which samples have a picture, [n]."""
    sink = of["image_sink_mass"].any(axis=(1, 2))
    on_image = of["image_mass"].astype(np.float64) - of["image_sink_mass"]
    n_image = samples["n_image_tokens"].to_numpy() - sink
    share = n_image / np.maximum(samples["n_tokens"].to_numpy() - 1, 1)
    left = heads.leaves(on_image, of["text_mass"])
    mass = heads.without_sink(on_image, of["text_mass"])
    # An encoder's positions are none of the decoder's own.
    pictured = (n_image > 0) & of["image_mass"].any(axis=(1, 2))
    return np.stack([mass, share[:, None, None] * left, left], axis=1), pictured


def _mass_share(means: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return each head's mass and share, [r, heads] each, given means of `_ODDS`, [r, 3 · heads].

    They are means over the samples in which the sink leaves something, NaN where there are none.
    """
    mass, share, left = np.moveaxis(means.reshape(len(means), 3, -1), 1, 0)
    with np.errstate(invalid="ignore"):
        return mass / left, share / left


def _balanced(means: np.ndarray) -> np.ndarray:
    return heads.balanced(*_mass_share(means))


def measure(block: Block, tally: Tally, kinds: HeadKinds) -> None:
    """Note what the tables of heads report of a block.

    The image heads are those by the mean over all samples. The overview's and the tiles' shares are
    of the image mass of all heads concerned, sample by sample.
    """
    values = _by_sample(block)
    mass = values["image_mass"]
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
        "head_summary": [_summary(tally, kinds.tally)] if seen else [],
    }


def _by_sample(block: Block) -> dict[str, np.ndarray]:
    """Return what is averaged over samples, each [n, head layers, heads]."""
    of = {name: values.astype(np.float64) for name, values in block.heads.items()}
    mass, overview = of["image_mass"], of["overview_mass"]
    n_image = block.samples["n_image_tokens"].to_numpy()
    return {
        "image_mass": mass,
        "image_mass_no_sink": heads.without_sink(mass - of["image_sink_mass"], of["text_mass"]),
        "sink_mass": of["sink_mass"],
        "image_sink_mass": of["image_sink_mass"],
        "text_mass": of["text_mass"],
        "spread": heads.spread(of["image_entropy_nats"], n_image),
        "image_max": of["image_max"],
        "overview_mass": overview,
        "tiles_mass": heads.tiles(mass, overview),
    }


def _heads(run: Run, tally: Tally, kinds: HeadKinds) -> pd.DataFrame:
    depth, width = kinds.kinds.shape
    mass = kinds.tally.estimate(("heads", "image_mass"))
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
            **_odds(kinds.tally, depth * width),
            "kind": kinds.kinds.ravel(),
            "kind_by_mass": heads.kind_by_mass(mass.value).ravel(),
        }
    )


def _odds(tally: Tally, n_heads: int) -> dict[str, object]:
    """Return the picture's share of each head's positions and the odds ratio, NaN without any."""
    names = ("picture_share", "odds_ratio", "odds_low", "odds_high")
    if not tally.n(_ODDS):
        return {**dict.fromkeys(names, np.full(n_heads, np.nan)), "odds_n": 0}
    share = tally.of_means(_ODDS, lambda means: _mass_share(means)[1]).value
    even = tally.of_means(_ODDS, _balanced)
    found = (share, *(heads.odds(of) for of in (even.value, even.low, even.high)))
    return {**dict(zip(names, found, strict=True)), "odds_n": even.n}


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


def _summary(tally: Tally, masses: Tally) -> pd.DataFrame:
    """Return what all heads and the image heads do on average.

    The share of heads of each kind is a function of means over samples, and computed anew for each
    resample; so is nothing else. How far a head's interval reaches is that of the samples.
    """
    rows: list[tuple[object, ...]] = []
    even = masses.of_means(_ODDS, _balanced) if masses.n(_ODDS) else None
    for kind in _KINDS:
        if even is not None:
            e = masses.of_means(_ODDS, partial(_share, kind, even))
            rows.append(("all", f"share_{kind}", *_row(e)))
        e = masses.of_means(("heads", "image_mass"), partial(_share_by_mass, kind))
        rows.append(("all", f"share_{kind}_by_mass", *_row(e)))
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


def _share(kind: str, even: Estimate, means: np.ndarray) -> np.ndarray:
    """Return the share of heads of a kind, [r], given means of `_ODDS` and what was made of them.

    Each resample's odds ratios have intervals that reach as far as those of the samples.
    """
    found = _balanced(means)
    low, high = found - (even.value - even.low), found + (even.high - even.value)
    # A shift may go beyond 0 and 1, where there is no odds ratio.
    kinds = heads.kind(*(heads.odds(np.clip(end, 0, 1)) for end in (low, high)))
    share: np.ndarray = (kinds == kind).mean(axis=1)
    return share


def _share_by_mass(kind: str, means: np.ndarray) -> np.ndarray:
    """Return the share of heads of a kind, [r], given their mean image mass, [r, heads]."""
    share: np.ndarray = (heads.kind_by_mass(means) == kind).mean(axis=1)
    return share


def _overview_positions(samples: pd.DataFrame) -> np.ndarray:
    """Return the first view's share of the image positions, [n]: what even attention would give."""
    first = (samples["grid_h"] * samples["grid_w"]).to_numpy(dtype=np.float64)
    share = first / samples["n_image_tokens"].to_numpy()
    # Where no grid is known, all of the picture counts as the first view.
    whole: np.ndarray = np.where(first > 0, share, 1.0)
    return whole
