"""Commands on numbers elsewhere: compare two folders of results, and measure what changes them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from lensbench.cli_options import (
    STAGES,
    Dataset,
    Gpus,
    ModelFolder,
    Options,
    Out,
    Revision,
    Source,
    before_a_model,
    extraction_of,
)
from lensbench.errors import LensbenchError
from lensbench.made import staged


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
    from lensbench.compare.folders import runs_in
    from lensbench.compare.report import compare as hold
    from lensbench.compare.report import terminal, write
    from lensbench.compare.tolerances import tolerance
    from lensbench.terminal import show
    from lensbench.trace import check_folder

    # A name that is none is told before anything is read.
    allowed = tolerance(within) if within else None
    try:
        comparison = hold(results_a, results_b)
    except LensbenchError:
        raise
    except Exception:
        # Both may come from anywhere: if a shard is not as it must be, that is told.
        for run in [run for folder in (results_a, results_b) for run in runs_in(folder).values()]:
            for shard in run.shards:
                check_folder(shard)
        raise
    show(*terminal(comparison, full))
    write(comparison, csv, tex, json)
    faults = [] if allowed is None else comparison.faults(allowed)
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise LensbenchError(f"Not within {within}: {faults[0]}{more}.")


def numerics(
    model: str,
    source: Source,
    dataset: Dataset,
    model_folder: ModelFolder,
    out: Out,
    on_cpu: Annotated[
        bool, typer.Option("--on-cpu", help="Read on the CPU too what runs on a GPU.")
    ] = False,
    revision: Revision = "",
    options: Options = "{}",
    gpus: Gpus = 0,
) -> None:
    """Read a few samples under other conditions, and write how far their numbers move."""
    before_a_model(options, gpus)
    # Threads that wait for each other must not keep a core busy that others need.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from lensbench.extract import checked_request
    from lensbench.numerics import Request, measure

    chosen, _, place = extraction_of(options)
    checked_request(model, dataset, model_folder)
    request = Request(model, source, revision, str(dataset), str(model_folder), place, chosen)
    # A model that asks for no GPU is small enough for the CPU.
    measure(request, out, on_cpu or not gpus)


def collect_numerics(
    out: Out,
    runs: Annotated[list[Path] | None, typer.Argument(help="Files written by numerics.")] = None,
) -> None:
    """Join what numerics found of all models."""
    from lensbench.compare.numeric_table import NAME, joined
    from lensbench.metrics.collect import write_csv

    write_csv(out, {NAME: joined(runs or [])})


def tolerance_table() -> None:
    """Print the table of tolerances for docs/numbers.md."""
    from lensbench.compare.tolerances import markdown

    print(markdown(), end="")


def register(app: typer.Typer) -> None:
    """Put these commands on the command line."""
    app.command()(compare)
    for stage in (numerics, collect_numerics, tolerance_table):
        app.command(rich_help_panel=STAGES)(staged(stage))
