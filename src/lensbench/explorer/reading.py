"""From trace folders to samples: close-ups of a run, and lenses that were imported."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lensbench.datasets.manifest import read_manifest
from lensbench.errors import TraceError
from lensbench.explorer.sample import Attention, Sample, Step, Vocabulary, views_of
from lensbench.parquets import DamagedError, read_own
from lensbench.steps import content_step
from lensbench.trace import read_meta, read_table, stack
from lensbench.trace_meta import TraceMeta

_TEXTS = ("sample_id", "prompt", "asked", "generated", "gold", "language", "family")


def read_vocabulary(folder: str | Path) -> Vocabulary:
    """Return what the token ids of a model's (or imported lens's) folder say."""
    return Vocabulary(read_table(folder, "vocabulary").set_index("token_id"))


def read_closeup(
    folder: str | Path, manifest: str | Path, convergence: str | Path | None, limit: int
) -> Iterator[Sample]:
    """Yield the samples of a close-up that were read, by sample_id.

    Args:
        folder: results/closeups/{model}/{dataset}.
        manifest: folder of the dataset, with its pictures.
        convergence: the run's metric table `convergence`, or None.
        limit: how many at most.

    Raises:
        TraceError: if a table is missing, damaged or incomplete.
    """
    images = read_manifest(manifest).set_index("sample_id")["image"]
    layers = _convergence(convergence)
    trajectory = _by_sample(read_table(folder, "trajectory"))
    # A text model has no image positions, and its heads no picture to look at.
    attention = _by_sample(_optional(folder, "attention"))
    for sample, meta in _read(Path(folder), limit, trajectory):
        name = sample.about["sample_id"]
        if name not in images.index:
            raise TraceError(f"{folder} has a sample {name} that {manifest} lacks: make it again.")
        image = images[name]
        verdict = layers.get((name, sample.content_step), (None, None))[1]
        yield _with(
            sample,
            picture=None if image is None else Path(manifest) / image,
            steps=_steps(trajectory[name], name, layers, meta) if name in trajectory else (),
            attention=_attention(attention.get(name), int((sample.patch >= 0).sum())),
            correct=verdict,
        )


def read_imported(folder: str | Path, limit: int) -> Iterator[Sample]:
    """Yield the samples of an imported lens: positions and picture, but no answer.

    Args:
        folder: results/imported/{name}.
        limit: how many at most.

    Raises:
        TraceError: if a table is missing, damaged or incomplete.
    """
    picture = Path(folder) / "picture.png"
    for sample, _ in _read(Path(folder), limit, {}):
        yield _with(sample, picture=picture if picture.is_file() else None)


def _with(sample: Sample, **more: object) -> Sample:
    values: dict[str, Any] = {**sample.__dict__, **more}
    return Sample(**values)


def _optional(folder: str | Path, name: str) -> pd.DataFrame:
    there = (Path(folder) / f"{name}.parquet").exists()
    return read_table(folder, name) if there else pd.DataFrame({"sample_id": []})


def _by_sample(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    return {str(name): part for name, part in frame.groupby("sample_id", sort=True)}


def _read(
    folder: Path, limit: int, trajectory: dict[str, pd.DataFrame]
) -> Iterator[tuple[Sample, TraceMeta]]:
    meta = read_meta(folder)
    samples = read_table(folder, "samples")
    patches, words = (_by_sample(_optional(folder, name)) for name in ("patches", "words"))
    row: Any
    for row in samples[samples["rejected"].isna()].head(limit).itertuples(index=False):
        where = f"{folder}, sample {row.sample_id},"
        parts = [
            _positions(patches.get(row.sample_id), "patch", meta, where),
            _positions(words.get(row.sample_id), "position", meta, where),
            _generated(trajectory.get(row.sample_id), row, meta),
        ]
        # Of the prompt first, in its order; a generated step lies behind it by its number.
        joined = {
            name: np.concatenate([part[name] for part in parts if part], axis=axis)
            for name, axis in _AXES.items()
        }
        order = np.argsort(joined.pop("position"), kind="stable")
        cut: dict[str, Any] = {
            name: values.take(order, axis=_AXES[name]) for name, values in joined.items()
        }
        about = {name: str(getattr(row, name) or "") for name in _TEXTS}
        about |= {"model": meta.model, "dataset": meta.dataset, "lens": meta.lens}
        yield (
            Sample(
                about=about,
                views=views_of(row.views, where),
                picture=None,
                content_step=content_step(row.generated, row.generated_ends) or 0,
                **cut,
            ),
            meta,
        )


#: Which axis of each array counts positions.
_AXES = {
    "position": 0, "top_id": 1, "top_logprob": 1, "entropy": 1,
    "token_id": 0, "patch": 0, "place": 0, "step": 0,
}  # fmt: skip


def _positions(
    frame: pd.DataFrame | None, key: str, meta: TraceMeta, where: str
) -> dict[str, np.ndarray]:
    """Return what `patches` or `words` say of a sample, by the names of `_AXES`."""
    if frame is None or frame.empty:
        return {}
    layers, table = meta.n_layers + 1, "patches" if key == "patch" else "words"
    frame = frame.sort_values(["layer", key], kind="stable")
    n = len(frame) // layers
    numbers = frame["layer"].to_numpy()
    if len(frame) % layers or (numbers != np.repeat(np.arange(layers), n)).any():
        raise TraceError(f"{where} has a layer missing in {table}: make it again.")
    keys = frame[key].to_numpy().reshape(layers, n)
    if (keys != keys[0]).any():
        raise TraceError(f"{where} has other positions at one layer of {table}: make it again.")
    first = frame.iloc[:n]
    image = key == "patch"
    nowhere = np.full(n, -1)
    return {
        **_tops(frame, layers),
        "position": first["position"].to_numpy(),
        "token_id": nowhere if image else first["token_id"].to_numpy(),
        "patch": first["patch"].to_numpy() if image else nowhere,
        "place": first[["view", "row", "col"]].to_numpy() if image else np.full((n, 3), -1),
        "step": nowhere,
    }


def _tops(frame: pd.DataFrame, layers: int) -> dict[str, np.ndarray]:
    """Return the top tokens of rows sorted by layer as arrays [layers, n, k]."""
    n = len(frame) // layers
    return {
        "top_id": stack(frame, "top_id").reshape(layers, n, -1),
        "top_logprob": stack(frame, "top_logprob").reshape(layers, n, -1),
        "entropy": frame["entropy_nats"].to_numpy(dtype=np.float64).reshape(layers, n),
    }


def _generated(frame: pd.DataFrame | None, row: Any, meta: TraceMeta) -> dict[str, np.ndarray]:
    """Return the generated steps from 1 on as positions; step 0 is read at the prompt's last."""
    if frame is None:
        return {}
    later = frame[frame["step"] > 0].sort_values(["layer", "step"], kind="stable")
    if later.empty:
        return {}
    layers = meta.n_layers + 1
    n = len(later) // layers
    steps = later["step"].to_numpy()[:n]
    ids = np.asarray(row.generated_ids)
    # What stands at step s is the token that step s - 1 gave.
    there = np.array([ids[step - 1] if step <= len(ids) else -1 for step in steps], dtype=int)
    return {
        **_tops(later, layers),
        "position": row.n_tokens + steps - 1,
        "token_id": there,
        "patch": np.full(n, -1),
        "place": np.full((n, 3), -1),
        "step": steps,
    }


def _convergence(path: str | Path | None) -> dict[tuple[str, int], tuple[int, bool | None]]:
    """Return (sample, step) → (convergence layer, whether the answer is right; None if unknown)."""
    if path is None:
        return {}
    columns = ["sample_id", "step", "convergence_layer", "correct_final"]
    try:
        frame = read_own(path, columns)
    except FileNotFoundError:
        raise TraceError(f"{path} is missing: run `lensbench metrics` for this run.") from None
    except DamagedError as error:
        raise TraceError(f"{path} is damaged or no convergence table: make it again.") from error
    found: dict[tuple[str, int], tuple[int, bool | None]] = {}
    row: Any
    for row in frame.itertuples(index=False):
        right = None if pd.isna(row.correct_final) else bool(row.correct_final)
        found[str(row.sample_id), int(row.step)] = (int(row.convergence_layer), right)
    return found


def _steps(
    frame: pd.DataFrame,
    name: str,
    layers: dict[tuple[str, int], tuple[int, bool | None]],
    meta: TraceMeta,
) -> tuple[Step, ...]:
    found = []
    step: Any
    for step, part in frame.groupby("step", sort=True):
        rows = part.sort_values("layer")
        gold = rows["gold_rank"].to_numpy()
        known = bool((gold >= 0).all())
        number = int(step)
        found.append(
            Step(
                number,
                int(rows["final_id"].iloc[0]),
                rows["final_logprob"].to_numpy(dtype=np.float64),
                rows["final_rank"].to_numpy(),
                rows["gold_logprob"].to_numpy(dtype=np.float64) if known else None,
                gold if known else None,
                stack(rows, "top_id")[:, 0],
                stack(rows, "top_logprob")[:, 0],
                layers.get((name, number), (None, None))[0],
            )
        )
    return tuple(found)


def _attention(frame: pd.DataFrame | None, n_image: int) -> Attention | None:
    if frame is None or frame.empty or not n_image:
        return None
    rows = frame.sort_values(["layer", "head"])
    layers = np.unique(rows["layer"].to_numpy())
    weights = stack(rows, "weights").reshape(len(layers), -1, n_image)
    return Attention(layers, weights)
