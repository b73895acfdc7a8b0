"""The tables as the paper prints them: which columns, how many digits, what stands above them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from lensbench.figures.concept_mass import NAMES
from lensbench.figures.fonts import printable
from lensbench.figures.style import answer_text
from lensbench.tables.build import FAMILY_METRICS, FEWEST_SAMPLES, SUMMARY_METRICS
from lensbench.tables.latex import latex_escape, tabular

NONE = "–"  # an en dash, for what a run doesn't have


def text(value: object, width: int | None = 40) -> str:
    """Return a name or token as LaTeX, made visible, cut and escaped."""
    return latex_escape(printable(str(value), width))


def number(value: object, digits: int = 2) -> str:
    """Return a number as LaTeX with a fixed number of digits, or a dash where there is none."""
    if not isinstance(value, int | float) or math.isnan(value):
        return NONE
    return f"{value:.{digits}f}" if value >= 0 else f"$-${-value:.{digits}f}"


def percent(value: object) -> str:
    """Return a share as LaTeX in percent, one digit after the point unless it is 0 or 1."""
    if not isinstance(value, int | float) or math.isnan(value):
        return NONE
    return f"{100 * value:.{0 if value in (0, 1) else 1}f}\\,\\%"


def scientific(value: object) -> str:
    """Return a small number as LaTeX with one digit and a power of ten, in text mode."""
    if not isinstance(value, int | float) or math.isnan(value):
        return NONE
    if value == 0 or 0.01 <= abs(value) < 1000:
        return f"{value:g}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"${mantissa}\\cdot10^{{{int(exponent)}}}$"


def with_interval(row: pd.Series, name: str, digits: int = 2) -> str:
    """Return a value with its interval in brackets, as LaTeX."""
    if math.isnan(row[name]):
        return NONE
    low, high = number(row[f"{name}_low"], digits), number(row[f"{name}_high"], digits)
    return f"{number(row[name], digits)} {{\\footnotesize[{low}, {high}]}}"


def _grouped(frame: pd.DataFrame) -> list[str]:
    """Return the dataset for the first row of each, and nothing below it."""
    names = [str(name) for name in frame["dataset"]]
    return [
        text(name) if not place or names[place - 1] != name else ""
        for place, name in enumerate(names)
    ]


def summary(frame: pd.DataFrame) -> str:
    """Return the summary as LaTeX."""
    heads = {
        "accuracy": "accuracy", "accuracy_lenient": "lenient", "accuracy_generated": "written",
        "accuracy_generated_lenient": "lenient",
        "convergence_depth": "convergence", "first_hit_layer": "first hit",
        "changes_of_mind": "changes", "last_block_change": "last block",
    }  # fmt: skip
    with_band = {"accuracy", "convergence_depth"}
    rows = [
        [
            dataset, text(row["model"]),
            *(with_interval(row, metric) if metric in with_band else
              number(row[metric], 1 if metric == "first_hit_layer" else 2)
              for metric in SUMMARY_METRICS),
            number(row["n"], 0), percent(row["not_understood"]), percent(row["rejected"]),
        ]
        for dataset, (_, row) in zip(_grouped(frame), frame.iterrows(), strict=True)
    ]  # fmt: skip
    header = [
        "dataset", "model", *(heads[metric] for metric in SUMMARY_METRICS), "$n$",
        "not understood", "rejected",
    ]  # fmt: skip
    columns = "ll" + "".join("l" if metric in with_band else "r" for metric in SUMMARY_METRICS)
    return tabular(header, rows, columns + "rrr", note="No run was summarized.")


def _at(row: pd.Series, value: str, layer: str) -> str:
    if not isinstance(row[value], int | float) or math.isnan(row[value]):
        return NONE
    at = "no peak" if math.isnan(row[layer]) else number(row[layer], 0)
    return f"{number(row[value])} {{\\footnotesize({at})}}"


def language(frame: pd.DataFrame) -> str:
    """Return the language of intermediate tokens as LaTeX; layers of peaks in parentheses."""
    rows = []
    for dataset, (_, row) in zip(_grouped(frame), frame.iterrows(), strict=True):
        concepts = [
            f"{_language(row[f'{prefix}_language'])} {_at(row, value, layer)}"
            if isinstance(row[f"{prefix}_language"], str)
            else NONE
            for prefix, value, layer in (
                ("concept", "concept_mass_peak", "concept_layer"),
                ("other", "other_mass_peak", "other_layer"),
            )
        ]
        rows.append([
            dataset, text(row["model"]),
            _at(row, "han_top1_peak", "han_top1_layer"),
            _at(row, "han_top5_peak", "han_top5_layer"),
            _at(row, "han_mass_peak", "han_mass_layer"),
            number(row["han_floor_vocabulary"]), number(row["han_floor_random"]),
            *concepts,
        ])  # fmt: skip
    header = [
        "dataset", "model", "Han top-1", "Han top-5", "Han mass", "vocab.", "random",
        "gold, first", "gold, second",
    ]  # fmt: skip
    return tabular(header, rows, "lllllrrll", note="No run has a mass by script.")


def _language(name: str) -> str:
    return text(NAMES.get(name, name))


def heads(frame: pd.DataFrame) -> str:
    """Return the heads as LaTeX."""
    rows = [
        [
            dataset, text(row["model"]), number(row["heads"], 0),
            *(number(row[f"{kind}_share"]) for kind in ("image", "mixed", "text")),
            f"{number(row['highest_mass'])} "
            f"{{\\footnotesize({row['highest_layer']}.{row['highest_head']})}}",
            # A dash of the bounds stays an en dash; the rest is escaped.
            latex_escape(str(row["stages"])), latex_escape(str(row["stage_masses"])),
        ]
        for dataset, (_, row) in zip(_grouped(frame), frame.iterrows(), strict=True)
    ]  # fmt: skip
    header = [
        "dataset", "model", "heads", "image", "mixed", "text", "highest", "stages", "stage means",
    ]  # fmt: skip
    return tabular(header, rows, "llrrrrlll", note="No run has pictures.")


def accuracy_by_answer(frame: pd.DataFrame) -> str:
    """Return accuracy at the last layer as LaTeX: runs as rows, a block of answers a family."""
    often = frame[frame["n"] >= FEWEST_SAMPLES]
    blocks = []
    families = sorted({str(answer).rpartition(":")[0] for answer in often["answer"]})
    for family in families:
        here = often[[str(answer).rpartition(":")[0] == family for answer in often["answer"]]]
        answers = list(dict.fromkeys(sorted(here["answer"], key=_answer_key)))
        for start in range(0, len(answers), 9):
            blocks.append(_answer_block(here, family, answers[start : start + 9]))
    note = f"No answer was asked {FEWEST_SAMPLES} times or more."
    return "\n\\par\\medskip\n".join(blocks) if blocks else tabular([], [], "", note=note)


def _answer_key(answer: str) -> tuple[float, str]:
    name = answer.rpartition(":")[2]
    return (float(name) if name.isdecimal() else math.inf, name)


def _answer_block(frame: pd.DataFrame, family: str, answers: Sequence[str]) -> str:
    here = frame[frame["answer"].isin(answers)]
    runs = here[["dataset", "model"]].drop_duplicates().reset_index(drop=True)
    rows = []
    for dataset, (_, run) in zip(_grouped(runs), runs.iterrows(), strict=True):
        mine = here[(here["dataset"] == run["dataset"]) & (here["model"] == run["model"])]
        values = mine.set_index("answer")["accuracy"]
        rows.append([
            dataset, text(run["model"]),
            *(number(values[answer]) if answer in values else NONE for answer in answers),
        ])  # fmt: skip
    header = ["dataset", f"model \\hfill {text(family)}", *(text(answer_text(a)) for a in answers)]
    return tabular(header, rows, "ll" + "r" * len(answers))


def accuracy_by_family(frame: pd.DataFrame) -> str:
    """Return accuracy by kind of question as LaTeX."""
    rows = [
        [
            dataset, text(row["model"]), text(row["family"]),
            *(with_interval(row, metric) for metric in FAMILY_METRICS), number(row["n"], 0),
        ]
        for dataset, (_, row) in zip(_grouped(frame), frame.iterrows(), strict=True)
    ]  # fmt: skip
    header = ["dataset", "model", "questions", "by token", "lenient", "written", "lenient", "$n$"]
    return tabular(header, rows, "lllllllr", note="No run has a gold answer.")


def gates(frame: pd.DataFrame) -> str:
    """Return the gate's checks as LaTeX."""
    names = [str(name) for name in frame["model"]]
    rows = [
        [
            text(row["model"]) if not place or names[place - 1] != row["model"] else "",
            text(row["check"], 60), scientific(row["value"]), scientific(row["limit"]),
            "yes" if str(row["passed"]).lower() in ("true", "1", "1.0") else "\\textbf{no}",
        ]
        for place, (_, row) in enumerate(frame.iterrows())
    ]  # fmt: skip
    header = ["model", "check", "value", "limit", "passed"]
    return tabular(header, rows, "llrrl", note="No model went through the gate.")


def models(frame: pd.DataFrame) -> str:
    """Return the models as LaTeX."""
    rows = [
        [
            text(row["model"]), text(row["architecture"], 44), number(row["n_layers"], 0),
            number(row["n_heads"], 0), number(row["n_parameters"] / 1e6, 1),
            number(row["vocabulary_size"], 0), text(row["dtype"]),
        ]
        for _, row in frame.iterrows()
    ]  # fmt: skip
    header = ["model", "class", "layers", "heads", "parameters (M)", "vocabulary", "dtype"]
    return tabular(header, rows, "llrrrrl", note="No model was run.")
