"""Commands on numbers elsewhere: compare two folders of results, and measure what changes them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lensbench.errors import LensbenchError


def compare(
    results_a: Annotated[Path, typer.Argument(help="Folder of results, of a run or of a shard.")],
    results_b: Annotated[Path, typer.Argument(help="The same runs, made elsewhere.")],
    within: Annotated[
        str,
        typer.Option(
            help="End with status 1 if something is further apart than this class allows: same, "
            "threads, batch, cpu, device or dtype."
        ),
    ] = "",
    full: Annotated[bool, typer.Option("--full", help="Show every measure of every run.")] = False,
    csv: Annotated[
        Path | None, typer.Option(help="Write every number, a row a run and measure.")
    ] = None,
    tex: Annotated[Path | None, typer.Option(help="Write the table of runs as LaTeX.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write everything as JSON.")] = None,
) -> None:
    """Compare the numbers of two folders of results, sample by sample."""
    from lensbench.compare.report import compare as hold
    from lensbench.compare.report import terminal, write
    from lensbench.compare.tolerances import tolerance
    from lensbench.terminal import show

    # A name that is none is told before anything is read.
    allowed = tolerance(within) if within else None
    comparison = hold(results_a, results_b)
    show(*terminal(comparison, full))
    write(comparison, csv, tex, json)
    faults = [] if allowed is None else comparison.faults(allowed)
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise LensbenchError(f"Not within {within}: {faults[0]}{more}.")


def register(app: typer.Typer) -> None:
    """Put these commands on the command line."""
    app.command()(compare)
