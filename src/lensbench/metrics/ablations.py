"""What switching heads off does to the answer: by group, and image heads against random others.

A change is the value with a group switched off less the value without, sample by sample. Attention
mass says where a head looks; this says whether the answer depends on it, as far as a head taken
away tells: the rest of the model may make up for it, or be upset by a state it was never trained
on, which is what the random groups are for.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lensbench.errors import DataError
from lensbench.metrics.bootstrap import Bootstrap
from lensbench.metrics.run import MetricOptions
from lensbench.metrics.study_tables import finished_study
from lensbench.parquets import DamagedError, read_own, schema_of

#: measure → its sign where a group matters: log-probabilities fall, the top token changes.
MEASURES = {"final_logprob": -1, "gold_logprob": -1, "top1_changed": 1}
#: Between what a share lies, that of samples with another top token.
BOUNDS = (0.0, 1.0)
#: The mean over the random groups, sample by sample, has this name and kind.
MEAN_OF_RANDOM = "random-mean"
#: A run's primary contrast, which alone has a p that is corrected for the number of runs.
PRIMARY = {"where": "all", "measure": "final_logprob", "against": "random"}
_LABELS = ("sample_id", "picture", "group", "group_kind", "where", "n_heads", "rule")


def compute_ablations(
    path: str | Path, options: MetricOptions | None = None
) -> dict[str, pd.DataFrame]:
    """Compute `ablation` and `ablation_contrast` of one model on one dataset.

    Args:
        path: the Parquet file of `lensbench ablate`.
        options: defaults if None.

    Returns:
        The two tables, columns as in `STUDY_TABLES`. `measure` is "final_logprob" or
        "gold_logprob" (change of a log-probability, nats) or "top1_changed" (share of samples). A
        contrast is the image group less the mean of the random groups (`against` "random") or less
        the heads that look least ("least"), paired by sample; its interval is over samples and
        takes the groups as given. Against random groups there is a two-sided `p`: twice the smaller
        of (1 + groups at least as strong) ÷ (1 + groups) and (1 + groups at most as strong) ÷
        (1 + groups), by their mean change, and at most 1; `n_random` is the number of groups, all
        different, and `p_floor` the smallest that p can be. The run's one primary contrast,
        `PRIMARY`, has `p_holm` too: here p itself, of one run (`holm_runs`), in the joined table
        corrected for the number of runs (`with_holm`). `random_median` is the median over random
        groups of their mean changes.

    Raises:
        DataError: if the file is missing, damaged, or lacks a group for one of its samples.

    Source: each share is (1 + r) ÷ (1 + R) as in Phipson and Smyth 2010, Permutation p-values
        should never be zero.
    """
    options = options or MetricOptions()
    boot = Bootstrap(options.seed, options.resamples, options.confidence)
    frame, about = _read(Path(path))
    mode = about["options"]["mode"]
    picture_of = frame.drop_duplicates("sample_id").set_index("sample_id")["picture"]
    by_group, contrasts = [], []
    for where in frame["where"].unique():
        for measure, sign in MEASURES.items():
            changes, labels = _changes(frame[frame["where"] == where], measure, path)
            if changes.empty:
                continue
            random = [name for name, of in labels.items() if of["group_kind"] == "random"]
            if random:
                changes[MEAN_OF_RANDOM] = changes[random].mean(axis=1)
                labels[MEAN_OF_RANDOM] = {**labels[random[0]], "group_kind": MEAN_OF_RANDOM}
            pictures = picture_of[changes.index].to_numpy(dtype=object)
            bounds = BOUNDS if measure == "top1_changed" else None
            same = {"mode": mode, "where": where, "measure": measure}
            for name, of in labels.items():
                each = changes[name].to_numpy()
                if bounds is None or name == MEAN_OF_RANDOM:
                    e = boot.mean(each, pictures, bounds)
                else:
                    e = boot.share(each, pictures)
                by_group.append({**same, "group": name, **of, **_interval(e)})
            if "image" in labels and random:
                more = (changes["image"] - changes[MEAN_OF_RANDOM]).to_numpy()
                e = boot.mean(more, pictures, None if bounds is None else (-1.0, 1.0))
                strength = sign * changes.mean()
                of_random = strength[random].to_numpy()
                p, floor = p_two_sided(of_random, float(strength["image"]))
                contrasts.append(
                    {
                        **same,
                        "against": "random",
                        "n_heads": labels["image"]["n_heads"],
                        **_interval(e),
                        "p": p,
                        "p_floor": floor,
                        "random_median": float(changes[random].mean().median()),
                        "n_random": len(random),
                    }
                )
            if "image" in labels and "least" in labels:
                more = (changes["image"] - changes["least"]).to_numpy()
                e = boot.mean(more, pictures, None if bounds is None else (-1.0, 1.0))
                contrasts.append(
                    {
                        **same,
                        "against": "least",
                        "n_heads": labels["image"]["n_heads"],
                        **_interval(e),
                        **dict.fromkeys(("p", "p_floor", "random_median"), np.nan),
                        "n_random": 0,
                    }
                )
    run = (about["model"]["model"], about["dataset"])
    contrast = with_holm(pd.DataFrame(contrasts).assign(model=run[0], dataset=run[1]))
    parts = {"ablation": pd.DataFrame(by_group), "ablation_contrast": contrast}
    return {name: finished_study(name, [rows], *run) for name, rows in parts.items()}


def with_holm(contrasts: pd.DataFrame) -> pd.DataFrame:
    """Return `ablation_contrast` with the p of the primary contrasts corrected over its runs.

    Args:
        contrasts: of one run or more; `p_holm` and `holm_runs` are made anew, NaN and 0 where a
            contrast is not the primary one.

    Source: Holm 1979, A simple sequentially rejective multiple test procedure.
    """
    found = contrasts.assign(p_holm=np.nan, holm_runs=0)
    if found.empty:
        return found
    primary = np.logical_and.reduce([found[name] == value for name, value in PRIMARY.items()])
    p = found.loc[primary, "p"].astype(np.float64).sort_values(kind="stable")
    steps = p * np.arange(len(p), 0, -1)
    found.loc[steps.index, "p_holm"] = steps.cummax().clip(upper=1.0)
    found.loc[primary, "holm_runs"] = len(p)
    return found


def p_two_sided(others: np.ndarray, one: float) -> tuple[float, float]:
    """Return the p of one group among others, and the smallest that it could be.

    Args:
        others: [R] changes under the random groups.
        one: the change under the group in question, which counts among its like on either side.
    """
    above = (1 + int((others >= one).sum())) / (1 + len(others))
    below = (1 + int((others <= one).sum())) / (1 + len(others))
    return min(1.0, 2 * min(above, below)), min(1.0, 2 / (1 + len(others)))


def _interval(e: Any) -> dict[str, Any]:
    return {"value": float(e.value), "low": float(e.low), "high": float(e.high), "n": e.n}


def _read(path: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return an ablation's rows, and what it was made with."""
    try:
        frame = read_own(path)
        about = json.loads((schema_of(path).metadata or {})[b"lensbench"])
        frame[[*_LABELS, *(f"{m}_before" for m in MEASURES if m != "top1_changed"), *MEASURES]]
        about["model"]["model"], about["dataset"], about["options"]["mode"]
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing: run lensbench ablate for that run.") from error
    except (DamagedError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise DataError(f"{path} is damaged or out of date: delete it and rerun.") from error
    return frame, about


def _changes(
    rows: pd.DataFrame, measure: str, path: str | Path
) -> tuple[pd.DataFrame, dict[str, dict[str, Any]]]:
    """Return the change of every sample (sorted) under every group, and each group's labels."""
    value = rows[measure].astype(np.float64)
    if f"{measure}_before" in rows:
        value = value - rows[f"{measure}_before"].astype(np.float64)
    if rows.duplicated(["sample_id", "group"]).any():
        raise DataError(f"{path} has two rows for one sample and group: delete it and rerun.")
    first = rows.drop_duplicates("group")
    labels = {
        str(row["group"]): {key: row[key] for key in ("group_kind", "n_heads", "rule")}
        for row in first.to_dict("records")
    }
    changes = rows.assign(value=value).pivot(index="sample_id", columns="group", values="value")
    # A gold answer without a form in the vocabulary has no log-probability under any group.
    changes = changes[list(labels)].dropna(how="all").sort_index()
    if changes.isna().any(axis=None):
        raise DataError(f"{path} lacks some groups of some samples: delete it and rerun.")
    return changes, labels
