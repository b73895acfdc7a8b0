"""The table of numbers elsewhere: a line a model and condition, and what could not be measured."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd

from lensbench.tables.latex import tabular
from lensbench.tables.render import NONE, number, percent, scientific, text

#: Conditions in the order of the table, and what it calls them.
CONDITIONS = {
    "same": "again",
    "threads": "threads",
    "batch": "batch size",
    "cpu": "CPU type",
    "device": "CPU, CUDA",
    "dtype": "dtype",
}
#: Column → the measure it is of.
_MEASURES = {
    "top_logprob": "top_logprob", "top1": "top1", "unexplained": "unexplained", "answer": "answer",
    "text": "text", "convergence": "convergence", "convergence_layers": "convergence_layers",
    "identical_files": "identical_files",
}  # fmt: skip
COLUMNS = [
    "model", "dataset", "condition", "detail", "identical_files", "top_logprob",
    "top_logprob_p999", "n_logprob", "top1", "n_top1", "unexplained", "answer", "text",
    "convergence", "convergence_layers", "n_samples", "within",
]  # fmt: skip


def build(frames: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return a row a model and condition; one that was not measured has a detail and no number."""
    table = frames["numerics"]
    rows = []
    keys = ["model", "dataset", "condition"]
    for (model, dataset, condition), here in table.groupby(keys, sort=True):
        found = here.set_index("measure")
        row: dict[str, object] = {"model": model, "dataset": dataset, "condition": condition}
        row["detail"] = here["detail"].iloc[0]
        for column, measure in _MEASURES.items():
            row[column] = found["value"].get(measure, math.nan)
        row["top_logprob_p999"] = found["p999"].get("top_logprob", math.nan)
        row["n_logprob"] = found["n"].get("top_logprob", 0)
        row["n_top1"] = found["n"].get("top1", 0)
        row["n_samples"] = found["n"].get("answer", 0)
        row["within"] = int(here["within"].min())
        rows.append(row)
    built = pd.DataFrame(rows, columns=COLUMNS)
    order = built["condition"].map(list(CONDITIONS).index)
    place = built.assign(order=order).sort_values(["model", "dataset", "order"]).index
    return built.loc[place].reset_index(drop=True)


def render(frame: pd.DataFrame) -> str:
    """Return the table as LaTeX: only what was measured."""
    shown = frame[frame["n_samples"] > 0].reset_index(drop=True)
    names = [str(name) for name in shown["model"]]
    rows = []
    for place, (_, row) in enumerate(shown.iterrows()):
        layers = share(row["convergence"], row["n_samples"])
        if row["convergence_layers"] > 0:
            layers += f" {{\\footnotesize($\\leq$\\,{number(row['convergence_layers'], 0)})}}"
        rows.append([
            text(row["model"]) if not place or names[place - 1] != row["model"] else "",
            text(CONDITIONS[row["condition"]]), text(row["detail"], None),
            scientific(rounded(row["top_logprob"])), scientific(rounded(row["top_logprob_p999"])),
            number(row["n_logprob"], 0), share(row["top1"], row["n_top1"]),
            *(share(row[name], row["n_samples"]) for name in ("answer", "text")), layers,
            "yes" if row["within"] else "\\textbf{no}",
        ])  # fmt: skip
    header = [
        "model", "another", "", "$\\log p$", "99.9\\,\\%", "$n$", "top-1", "answer", "text",
        "layers", "within",
    ]  # fmt: skip
    return tabular(header, rows, "lllrrrrrrrl", note="No run was read under other conditions.")


def rounded(value: float) -> float:
    """Return a number with two significant digits."""
    return value if math.isnan(value) or value == 0 else float(f"{value:.2g}")


def share(value: object, n: object) -> str:
    """Return a share in percent, with how many it is of, as LaTeX."""
    if not isinstance(value, int | float) or math.isnan(value):
        return NONE
    return f"{percent(value)} {{\\footnotesize of {number(n, 0)}}}"
