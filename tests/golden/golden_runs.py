"""What golden outputs hold: one default model on a few samples of one dataset, as small tables.

Golden files must agree with the same code on another processor, where float32 sums are rounded
otherwise, and disagree as soon as a layer is off by one. So only samples are chosen, once, when the
files are made, in which nothing that is counted hangs on a near-tie; and what is a real is compared
within tolerances far above rounding and far below the step from layer to layer.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lensbench.datasets import DATASETS
from lensbench.datasets.manifest import read_manifest, write_manifest
from lensbench.extract import ExtractOptions, extract_shard
from lensbench.inspection import inspect_model
from lensbench.metrics.run import MetricOptions, compute_run
from lensbench.models.load import LoadedModel
from lensbench.scripts import SCRIPTS
from lensbench.trace import read_table, stack

#: Samples of a run; they are chosen from every fifth of those that are drawn.
SAMPLES, EVERY, DRAWN = {"text": 4, "image-text": 6}, 5, 60
EXTRACTION = ExtractOptions(batch_size=4, max_new_tokens=3, floor_directions=8, seed=42)
METRICS = MetricOptions(seed=42, resamples=200)

#: How far apart, in nats, the two likeliest tokens must be at every layer of a chosen sample: far
#: above the rounding of float32 (1e-5 to 1e-4). The clearest samples are taken first.
CLEAR = 1e-3
#: Tolerances: reals as numpy.isclose has them, log10(1 + rank) because far-off ranks wobble.
REAL = {"atol": 1e-3, "rtol": 1e-3}
RANK = {"atol": 0.05, "rtol": 0.0}
LENS_REALS = ("top_logprob", "entropy_nats", "kl_to_final_nats", "final_logprob", "gold_logprob")
TOLERANCES = {
    "trajectory": {"final_rank_log10": RANK, "gold_rank_log10": RANK},
    "heads": {},
    "lenses": {},
    "convergence": {},
    "summary": {},
}


@dataclass(frozen=True)
class GoldenRun:
    """One model on a few samples of one dataset.

    Args:
        tables: "trajectory", "heads", "lenses", "convergence" and "summary", labels in the index.
        answers: sample id → what the model wrote.
    """

    tables: dict[str, pd.DataFrame]
    answers: dict[str, dict[str, object]]


def draw(dataset: str, folder: Path) -> None:
    """Draw a dataset as the default run does."""
    DATASETS[dataset][1](folder, n=DRAWN, seed=42)


def candidates(data: Path) -> list[str]:
    """Return the ids of the samples of a drawn dataset that golden ones are chosen from."""
    # Every so many, a number that no turn of families, answers or languages divides.
    return read_manifest(data)["sample_id"].tolist()[::EVERY]


def trace(loaded: LoadedModel, data: Path, ids: Sequence[str], folder: Path) -> Path:
    """Extract some samples of a dataset that `draw` made, and return the shard's folder."""
    if not (folder / "model" / "model.json").exists():
        inspect_model(loaded, folder / "model")
    frame = read_manifest(data)
    some = folder / data.name
    shutil.rmtree(some, ignore_errors=True)
    some.mkdir(parents=True)
    if (data / "images").exists():
        (some / "images").symlink_to(data / "images")
    write_manifest(some, frame[frame["sample_id"].isin(list(ids))].reset_index(drop=True))
    shard = folder / f"{data.name}-shard"
    extract_shard(loaded, some, 0, 1, EXTRACTION, shard, folder / "model")
    return shard


def clearest(shard: Path, n: int) -> list[str]:
    """Return the ids of the n samples in which nothing that is counted hangs on a near-tie."""
    frame = read_table(shard, "trajectory")
    depth = frame["layer"].max()
    top = stack(frame, "top_logprob")
    margin = top[:, 0] - top[:, 1]
    sure = np.abs(top[:, 0] - np.log(METRICS.early_exit))
    # How far the final and the gold token are from the others at the top: a rank hangs on it.
    near = np.full(len(frame), np.inf)
    for name in ("final_logprob", "gold_logprob"):
        apart = np.sort(np.abs(top - frame[name].to_numpy()[:, None]), axis=1)
        near = np.minimum(near, apart[:, 1])
    # After step 0 nothing but what is written is pinned.
    last = frame["layer"] == depth
    clear = np.where(frame["step"] == 0, np.minimum(np.minimum(margin, sure), 10 * near), np.inf)
    clear = np.where(last, np.minimum(clear, margin), clear)
    worst = pd.Series(clear).groupby(frame["sample_id"]).min().sort_values(ascending=False)
    assert worst.iloc[n - 1] > CLEAR, f"too many near-ties in {shard}: raise DRAWN\n{worst}"
    return sorted(worst.index[:n])


def golden_run(shard: Path) -> GoldenRun:
    """Return what is pinned of a shard."""
    frame = read_table(shard, "trajectory", step=0)
    top = stack(frame, "top_logprob")
    mass = stack(frame, "script_mass")
    samples = read_table(shard, "samples")
    assert samples["rejected"].isna().all()
    keys = pd.MultiIndex.from_frame(frame[["sample_id", "layer"]])
    trajectory = pd.DataFrame(
        {
            "top1_id": stack(frame, "top_id")[:, 0],
            "top1_logprob": top[:, 0],
            "margin": top[:, 0] - top[:, 1],
            "entropy": frame["entropy_nats"].to_numpy(),
            "kl": frame["kl_to_final_nats"].to_numpy(),
            "final_rank_log10": log_rank(frame["final_rank"].to_numpy()),
            "gold_rank_log10": log_rank(frame["gold_rank"].to_numpy()),
            **{name.lower(): mass[:, SCRIPTS.index(name)] for name in ("Han", "Latin", "Digit")},
        },
        index=keys,
    )
    heads = read_table(shard, "heads", step=0).pivot(
        index=["sample_id", "layer"], columns="head", values=["image_mass", "sink_mass"]
    )
    heads.columns = [f"{name.split('_')[0]}_h{head}" for name, head in heads.columns]
    lenses = read_table(shard, "lenses").set_index(["sample_id", "lens", "layer"])
    tables = compute_run([shard], shard.parent / "model", METRICS)
    # Samples are clear of near-ties in the main lens alone: of the others only reals are pinned.
    counted = tables["summary"]["metric"].str.match("raw_|attention_|mlp_")
    convergence = tables["convergence"].query("step == 0").set_index("sample_id")
    answers = samples.set_index("sample_id")
    return GoldenRun(
        {
            "trajectory": tidy(trajectory),
            "heads": tidy(heads),
            "lenses": tidy(lenses[list(LENS_REALS)]),
            "convergence": tidy(convergence.drop(columns=["model", "dataset", "step", "n_layers"])),
            "summary": tidy(
                tables["summary"][~counted].set_index("metric").drop(columns=["model", "dataset"])
            ),
        },
        {
            str(key): {
                "asked": row["asked"],
                "generated": row["generated"],
                "generated_ids": [int(token) for token in row["generated_ids"]],
                "n_tokens": int(row["n_tokens"]),
                "n_image_tokens": int(row["n_image_tokens"]),
            }
            for key, row in answers.iterrows()
        },
    )


def log_rank(rank: np.ndarray) -> np.ndarray:
    """Return log10(1 + rank); -1 for a gold concept without a form."""
    return np.where(rank < 0, -1.0, np.log10(1.0 + np.maximum(rank, 0)))


def tidy(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with reals rounded, well below the tolerances, so that files are small."""
    return frame.round(5) + 0.0  # -0.0 becomes 0.0.


def shifted(frame: pd.DataFrame, sample: str) -> pd.DataFrame:
    """Return the frame with the layers of one sample off by one, layer l having those of l - 1."""
    made = frame.copy()
    rows = made.index.get_level_values("sample_id") == sample
    made.loc[rows] = np.roll(made.loc[rows].to_numpy(), 1, axis=0)
    return made.astype(frame.dtypes)
