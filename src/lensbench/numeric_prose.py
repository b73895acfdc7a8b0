"""What the paper says of numbers elsewhere: what moves them, how far, and of how many."""

from __future__ import annotations

from typing import Any

import pandas as pd

from lensbench.compare.tolerances import TOLERANCES
from lensbench.tables.latex import latex_escape
from lensbench.tables.numerics import CONDITIONS, build, rounded
from lensbench.tables.render import percent, scientific

_SENTENCE = {
    "same": "Read again on the same machine",
    "threads": "With another number of threads",
    "batch": "With another batch size",
    "cpu": "With the plainest instructions of the CPU",
    "device": "On CUDA and on the CPU, both in float32",
    "dtype": "In bfloat16 and in float32",
}


def numeric_prose(table: pd.DataFrame) -> dict[str, Any]:
    """Return what the template of the appendix needs, every number already LaTeX.

    Args:
        table: numerics, as collected.

    Returns:
        conditions: of each that was measured the sentence it begins with, the largest difference
        and whose it is, shares with what they are of, and the class's limit; missing: (condition,
        reason, models) of what was not; outside: (model, condition) of what exceeds its class.
    """
    rows = build({"numerics": table})
    measured = rows[rows["n_samples"] > 0]
    conditions, missing = [], []
    for condition in CONDITIONS:
        here = measured[measured["condition"] == condition]
        if len(here):
            conditions.append(_told(condition, here))
        lacking = rows[(rows["condition"] == condition) & (rows["n_samples"] == 0)]
        for reason, models in lacking.groupby("detail", sort=True)["model"]:
            missing.append(
                {
                    "condition": latex_escape(TOLERANCES[condition].change),
                    "reason": latex_escape(str(reason)),
                    "models": len(set(models)),
                }
            )
    outside = measured[measured["within"] == 0]
    return {
        "conditions": conditions,
        "missing": missing,
        "models": len(set(measured["model"])),
        "samples": int(measured.groupby("model")["n_samples"].max().sum()) if len(measured) else 0,
        "outside": [
            (latex_escape(row["model"]), latex_escape(CONDITIONS[row["condition"]]))
            for row in outside.to_dict("records")
        ],
    }


def _told(condition: str, rows: pd.DataFrame) -> dict[str, Any]:
    worst = rows.sort_values("top_logprob", ascending=False, kind="stable").iloc[0]
    top1, layers = rows["n_top1"].sum(), rows["n_samples"].sum()
    changed = (rows["top1"] * rows["n_top1"]).sum()
    moved = (rows["convergence"] * rows["n_samples"]).sum()
    answers = round((rows["answer"] * rows["n_samples"]).sum())
    unexplained = (rows["unexplained"].fillna(0) * rows["top1"] * rows["n_top1"]).sum()
    return {
        "name": condition,
        "begin": _SENTENCE[condition],
        "identical": bool((rows["identical_files"] == 1).all()),
        "largest": scientific(rounded(float(worst["top_logprob"]))),
        "of": f"{rows['n_logprob'].sum():,}".replace(",", "\\,"),
        "model": latex_escape(str(worst["model"])),
        "top1": percent(float(changed / top1)),
        "n_top1": f"{top1:,}".replace(",", "\\,"),
        "unexplained": round(unexplained),
        "layers": percent(float(moved / layers)),
        "n_layers": int(layers),
        "by": int(rows["convergence_layers"].max()),
        "answers": answers,
        "limit": scientific(rounded(TOLERANCES[condition].nats)),
    }
