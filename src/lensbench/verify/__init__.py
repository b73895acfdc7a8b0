"""Everything in a folder of results read again: is it whole, and as the jobs made it?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lensbench.errors import LensbenchError
from lensbench.verify.datasets import check_datasets
from lensbench.verify.leftovers import check_leftovers
from lensbench.verify.models import check_models
from lensbench.verify.problems import Problem, printable
from lensbench.verify.seals import check_seals
from lensbench.verify.shown import check_shown
from lensbench.verify.tables import check_tables
from lensbench.verify.traces import check_traces


@dataclass
class Verified:
    """What was read, what is wrong with it, and whose own files are not there to compare."""

    problems: list[Problem] = field(default_factory=list)
    files: int = 0
    runs: int = 0
    absent: set[str] = field(default_factory=set)

    def lines(self) -> Iterator[str]:
        """Yield one line a problem, or the one that says there is none."""
        yield from (str(problem) for problem in self.problems)
        if self.absent:
            yield f"not there to compare with: {', '.join(sorted(map(printable, self.absent)))}"
        if not self.problems:
            yield f"{self.files:,} files, {self.runs} runs: all as they were made"


def verify(results: str | Path = "results") -> Verified:
    """Read everything in a folder of results again; no model is loaded.

    Files are held against the digests that were noted when they were made, their contents against
    the schemas and against each other. One shard is in memory at a time.

    Args:
        results: the folder.

    Raises:
        LensbenchError: if there is no such folder.
    """
    root = Path(results)
    if not root.is_dir():
        raise LensbenchError(f"There is no folder {root}: make it with `snakemake --cores all`.")
    found = Verified()
    promised: set[Path] = set()
    found.problems += check_seals(root, promised, found.absent)
    for check in (check_datasets, check_models, check_traces):
        found.problems += check(root, promised)
    found.problems += check_tables(root)
    found.problems += check_shown(root, promised)
    found.problems += check_leftovers(root, promised)
    # What a digest told already is not told again by what could not be read. What is made first
    # is told first, so that the lines can be followed one by one.
    found.problems = sorted(_first_of_each(found.problems), key=lambda problem: problem.stage)
    found.files = len(promised)
    found.runs = sum(path.is_dir() for path in root.glob("traces/*/*"))
    return found


def _first_of_each(problems: list[Problem]) -> Iterator[Problem]:
    seen = set()
    for problem in problems:
        if problem.path not in seen:
            seen.add(problem.path)
            yield problem
