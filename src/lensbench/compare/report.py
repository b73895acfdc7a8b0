"""Two folders of results compared, and how that is shown: for a terminal, as CSV, JSON, LaTeX."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from lensbench.compare.folders import runs_in
from lensbench.compare.measures import MEASURES, Found
from lensbench.compare.runs import RunDifference, compare_run
from lensbench.compare.tolerances import Tolerance
from lensbench.errors import DataError
from lensbench.files import atomic_path

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

#: Columns of the tidy table of all measures.
COLUMNS = ["model", "dataset", "measure", "value", "p999", "n"]
_HEADS = (
    "model", "dataset", "files", "log p", "99.9 %", "n", "top-1", "answer", "text", "layers",
)  # fmt: skip
_NONE = "–"


@dataclass(frozen=True)
class Comparison:
    """Two folders held against each other.

    Args:
        left: the first folder, as it was named.
        right: the second.
        runs: how each run that both have differs.
        only_left: runs that only the first has, in words.
        only_right: runs that only the second has.
    """

    left: str
    right: str
    runs: tuple[RunDifference, ...]
    only_left: tuple[str, ...] = ()
    only_right: tuple[str, ...] = ()

    def frame(self) -> pd.DataFrame:
        """Return every number, a row a run and measure."""
        rows: list[tuple[str, str, str, float, float, int]] = []
        for run in self.runs:
            counts = {
                "samples": run.n_samples,
                "only_in_a": run.only_left,
                "only_in_b": run.only_right,
                "rejected_in_one": run.rejected,
            }
            total = run.n_samples + run.only_left + run.only_right + run.rejected
            rows += [(run.model, run.dataset, k, v, math.nan, total) for k, v in counts.items()]
            if run.files is not None:
                same, everything = run.files
                rows.append((run.model, run.dataset, "identical_files", same, math.nan, everything))
            rows += [
                (run.model, run.dataset, name, found.value, found.percentile, found.n)
                for name, found in run.found.items()
            ]
        return pd.DataFrame(rows, columns=COLUMNS)

    def to_json(self) -> str:
        """Return all of it as JSON with sorted keys."""
        content: dict[str, Any] = {
            "a": self.left,
            "b": self.right,
            "only_in_a": list(self.only_left),
            "only_in_b": list(self.only_right),
            "runs": [run.to_json() for run in self.runs],
        }
        return json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n"

    def faults(self, allowed: Tolerance) -> list[str]:
        """Return what a class of tolerances doesn't allow, each with its run."""
        alone = [*self.only_left, *self.only_right]
        found = [f"{name} is in one of the two only" for name in alone]
        for run in self.runs:
            found += [f"{run.name}: {fault}" for fault in exceeded(run, allowed)]
        return found


def compare(left: str | Path, right: str | Path) -> Comparison:
    """Compare two folders of results, or two runs.

    Args:
        left: a folder of results, of one run or of one shard.
        right: another.

    Raises:
        DataError: if they share no run, or a comparison would mean nothing.
        TraceError: if a trace is missing or damaged.
    """
    one, other = runs_in(left), runs_in(right)
    shared = [key for key in one if key in other]
    if not shared:
        names = [", ".join(run.name for run in runs.values()) for runs in (one, other)]
        raise DataError(
            f"{left} has {_cut(names[0])} and {right} has {_cut(names[1])}: they share no run, so "
            "there is nothing to compare."
        )
    return Comparison(
        str(left),
        str(right),
        tuple(compare_run(one[key], other[key]) for key in shared),
        tuple(run.name for key, run in one.items() if key not in other),
        tuple(run.name for key, run in other.items() if key not in one),
    )


def exceeded(difference: RunDifference, allowed: Tolerance) -> list[str]:
    """Return in words what of a run's difference a class doesn't allow; nothing if it is within."""
    faults = []
    apart = difference.only_left + difference.only_right
    if apart:
        faults.append(f"{apart} samples are in one of the two only")
    if difference.rejected:
        faults.append(f"{difference.rejected} samples are rejected in one of the two only")
    if allowed.name == "same" and difference.files and difference.files[0] < difference.files[1]:
        same, everything = difference.files
        faults.append(f"{everything - same} of {everything} files differ")
    for name, found in difference.found.items():
        if not allowed.allows(name, found):
            faults.append(_fault(name, found, allowed.limit(name)))
    return faults


def _fault(name: str, found: Found, limit: float) -> str:
    words = MEASURES[name].words.removeprefix("… ")
    if MEASURES[name].kind == "share":
        of = f"{found.changed} of {found.n}"
        return f"{words}: {of}, where {100 * limit:g} % are allowed"
    return f"{words}: {found.value:.2g} (n = {found.n}), where {limit:.2g} is allowed"


def _cut(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}…"


def small(value: float) -> str:
    """Return a difference as a terminal shows it: "0", "1.9e-06", "0.13", "–"."""
    if math.isnan(value):
        return _NONE
    if value == 0:
        return "0"
    return f"{value:.2g}" if 1e-3 <= value < 1000 else f"{value:.1e}"


def of(found: Found) -> str:
    """Return a share as counts, such as "1/24"."""
    return f"{found.changed}/{found.n}" if found.n else _NONE


def overview(run: RunDifference) -> list[str]:
    """Return the cells of a run's line: its largest differences and what changed, each of how many.

    The cells are those of the table's columns: model, dataset, files, log p, 99.9 %, n, top-1,
    answer, text and layers.
    """
    logprob, moved = run.found["top_logprob"], run.found["convergence_layers"]
    layers = of(run.found["convergence"])
    if moved.n and moved.value:
        layers += f" (≤ {moved.value:.0f})"
    return [
        run.model,
        run.dataset,
        _NONE if run.files is None else "/".join(map(str, run.files)),
        small(logprob.value),
        small(logprob.percentile),
        str(logprob.n),
        *(of(run.found[name]) for name in ("top1", "answer", "text")),
        layers,
    ]


def terminal(comparison: Comparison, full: bool = False) -> list[Table | Text]:
    """Return what a terminal shows.

    Args:
        comparison: of two folders.
        full: whether every measure of every run follows.
    """
    from rich.text import Text

    from lensbench.figures.fonts import printable
    from lensbench.terminal import rows_table

    rows = [overview(run) for run in comparison.runs]
    parts: list[Table | Text] = [
        rows_table(_HEADS, [[printable(cell) for cell in row] for row in rows], range(2, 10)),
        Text(""),
    ]
    for run in comparison.runs if full else ():
        cells = [
            [
                MEASURES[name].words,
                of(found) if MEASURES[name].kind == "share" else small(found.value),
                small(found.percentile),
                str(found.n),
            ]
            for name, found in run.found.items()
        ]
        parts += [
            Text(printable(run.name), style="bold"),
            rows_table(("measure", "largest", "99.9 %", "n"), cells, (1, 2, 3)),
            Text(""),
        ]
    return parts + [Text(printable(line), style="dim") for line in remarks(comparison)]


def remarks(comparison: Comparison) -> list[str]:
    """Return what must be said beside the numbers: what differs in how the two were made."""
    lines = [
        f"Identical in every sample and number: {sum(run.identical for run in comparison.runs)} of "
        f"{len(comparison.runs)} runs."
    ]
    said: dict[str, list[str]] = {}
    for run in comparison.runs:
        for key, (left, right) in run.provenance.items():
            line = f"{key}: {_values(left)} → {_values(right)}"
            said.setdefault(line, []).append(run.name)
        for note in run.notes:
            said.setdefault(note, []).append(run.name)
        for count, where in ((run.only_left, comparison.left), (run.only_right, comparison.right)):
            if count:
                said.setdefault(f"{count} samples are in {where} only", []).append(run.name)
        if run.rejected:
            line = f"{run.rejected} samples are rejected in one of the two only"
            said.setdefault(line, []).append(run.name)
        if run.files is None:
            said.setdefault("the shards are cut differently", []).append(run.name)
    for line, names in said.items():
        everywhere = len(names) == len(comparison.runs) > 1
        lines.append(f"{line} ({'all runs' if everywhere else ', '.join(names)})")
    for missing, where in (
        (comparison.only_left, comparison.left),
        (comparison.only_right, comparison.right),
    ):
        if missing:
            lines.append(f"Only in {where}: {', '.join(missing)}.")
    return lines


def _values(values: Sequence[str]) -> str:
    return ", ".join(value or '""' for value in values) if values else "not noted"


def write(
    comparison: Comparison,
    csv: Path | None = None,
    tex: Path | None = None,
    to_json: Path | None = None,
) -> None:
    """Write a comparison to the files that are named.

    Args:
        comparison: of two folders.
        csv: for every number, a row a run and measure.
        tex: for the table of runs, as LaTeX.
        to_json: for everything.
    """
    if csv is not None:
        with atomic_path(csv) as path:
            comparison.frame().to_csv(
                path, index=False, float_format="%.6g", lineterminator="\n", encoding="utf-8"
            )
    if tex is not None:
        with atomic_path(tex) as path:
            path.write_text(latex(comparison), encoding="utf-8", newline="\n")
    if to_json is not None:
        with atomic_path(to_json) as path:
            path.write_text(comparison.to_json(), encoding="utf-8", newline="\n")


def latex(comparison: Comparison) -> str:
    """Return the table of runs as LaTeX."""
    from lensbench.tables.latex import tabular
    from lensbench.tables.render import scientific, text

    rows = []
    for run in comparison.runs:
        cells = overview(run)
        logprob = run.found["top_logprob"]
        cells[3:5] = [scientific(logprob.value), scientific(logprob.percentile)]
        rows.append([*map(text, cells[:3]), *cells[3:5], *map(text, cells[5:])])
    header = ["model", "dataset", "files", "$\\log p$", "99.9\\,\\%", "$n$", *_HEADS[6:]]
    return tabular(header, rows, "ll" + "r" * 8, note="No run was compared.")
