"""Tables: each as CSV with every digit, and as LaTeX for the paper."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lensbench.errors import LensbenchError
from lensbench.figures.frames import read_tables
from lensbench.files import atomic_path
from lensbench.tables import build, numerics, render
from lensbench.tables.latex import latex_escape, tabular

__all__ = ["TABLES", "TableSpec", "latex_escape", "make_table", "tabular"]


@dataclass(frozen=True)
class TableSpec:
    """A table's name, its inputs, what makes its rows and its LaTeX, its title and caption."""

    name: str
    inputs: tuple[str, ...]
    build: Callable[[Mapping[str, pd.DataFrame]], pd.DataFrame]
    render: Callable[[pd.DataFrame], str]
    title: str
    caption: str


TABLES: dict[str, TableSpec] = {
    spec.name: spec
    for spec in (
        TableSpec(
            "summary", ("summary",), build.summary, render.summary, "Summary",
            "Every run: accuracy of the last layer's tokens at the content step (lenient: at the "
            "only number or color of the text) and of the text written (lenient: the same), "
            "convergence depth (layer ÷ number of layers), first layer where the final token is "
            "top-1, changes of mind after it, and the share of samples whose top-1 token the last "
            "block changes; n is the number of samples, rejected the share of all that could not "
            "be read (a damaged picture, a prompt too long), not understood the share of samples "
            "whose given answer is no number, color or other word of the lexicon. In brackets: "
            "95 % intervals.",
        ),
        TableSpec(
            "language", ("han_in_topk", "script_mass", "concept_mass"), build.language,
            render.language, "Language of intermediate tokens",
            "Largest values over the layers between embeddings and last block, with the layer in "
            "parentheses where they peak, that is, where the interval there lies above that of the "
            "layer with least and above the floors: "
            "share of samples with a Han token as top-1 and among the top five; mass on Han "
            "tokens, with its floors (Han's share of the vocabulary, its mass for a random "
            "direction); mass on the gold answer's forms in the two languages with most.",
        ),
        TableSpec(
            "heads", ("heads", "stages"), build.heads, render.heads, "Attention heads",
            "Shares of heads by the odds ratio of their attention mass on the picture and the "
            "picture's share of the positions, the sink left out of both (image: interval above 2, "
            "text: below a half), the highest mass (layer.head), and the stages of layers with the "
            "mean mass in each. Attention mass is not causal importance.",
        ),
        TableSpec(
            "accuracy_by_answer", ("accuracy_by_answer",), build.accuracy_by_answer,
            render.accuracy_by_answer, "Accuracy by answer",
            "Accuracy at the last layer by gold answer, for answers asked "
            f"{build.FEWEST_SAMPLES} times or more; all languages asked in are taken together.",
        ),
        TableSpec(
            "accuracy_by_family", ("accuracy_by_family",), build.accuracy_by_family,
            render.accuracy_by_family, "Accuracy by kind of question",
            "Accuracy of the last layer's tokens and of the text written, strict and lenient. In "
            "brackets: 95 % intervals. Counts are of 0 to 5, large counts beyond.",
        ),
        TableSpec(
            "gates", ("gates",), build.gates, render.gates, "Gate",
            "What every model passed before its first sample.",
        ),
        TableSpec("models", ("models",), build.models, render.models, "Models", "The models run."),
        TableSpec(
            "numerics", ("numerics",), numerics.build, numerics.render, "Numbers elsewhere",
            "The same samples read under other conditions, against the first reading: the largest "
            "difference of a log-probability among the top tokens of both, in nats, and its 99.9 "
            "percentile; shares of samples × layers with another top-1 token, and of samples with "
            "another final answer, generated text or convergence layer (in parentheses: by how "
            "many layers at most); whether all of it is within what is promised.",
        ),
    )
}  # fmt: skip


def make_table(
    name: str, metrics: str | Path | Mapping[str, pd.DataFrame], out_stem: str | Path
) -> list[Path]:
    """Write one table as CSV and LaTeX.

    Args:
        name: a key of `TABLES`.
        metrics: the folder of the metric tables (CSV), or the tables by name.
        out_stem: the path to write, without its ending.

    Returns:
        The CSV's and the LaTeX file's path.

    Raises:
        LensbenchError: if there is no such table, or a metric table is missing.
    """
    if name not in TABLES:
        raise LensbenchError(f"There is no table {name!r}: take one of {', '.join(TABLES)}.")
    spec = TABLES[name]
    frames = metrics if isinstance(metrics, Mapping) else read_tables(metrics, spec.inputs)
    table = spec.build(frames)
    stem = Path(out_stem)
    csv, tex = (stem.with_name(f"{stem.name}.{ending}") for ending in ("csv", "tex"))
    with atomic_path(csv) as temporary:
        table.to_csv(
            temporary, index=False, float_format="%.6g", lineterminator="\n", encoding="utf-8"
        )
    with atomic_path(tex) as temporary:
        temporary.write_text(spec.render(table), encoding="utf-8", newline="\n")
    return [csv, tex]
