"""Commands that make the explorer: the pages of a run, and the index of all runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lensbench.cli_options import STAGES, Out
from lensbench.made import staged


def explorer_pages(
    out: Out,
    closeup: Annotated[Path | None, typer.Option(help="Folder of the run's close-up.")] = None,
    imported: Annotated[Path | None, typer.Option(help="Or folder of an imported lens.")] = None,
    model_folder: Annotated[Path | None, typer.Option(help="Folder written by inspect.")] = None,
    manifest: Annotated[Path | None, typer.Option(help="Folder of the dataset.")] = None,
    convergence: Annotated[
        Path | None, typer.Option(help="The run's metric table convergence.parquet.")
    ] = None,
    samples: Annotated[int, typer.Option(help="Pages at most.")] = 12,
    k: Annotated[int, typer.Option(help="Top tokens a position and layer.")] = 5,
) -> None:
    """Write the pages of one run, one a sample, that open without a server."""
    from lensbench.explorer import write_pages

    write_pages(
        out,
        closeup=closeup,
        imported=imported,
        model_folder=model_folder,
        manifest=manifest,
        convergence=convergence,
        samples=samples,
        k=k,
    )


def explorer_index(
    runs: Annotated[list[Path], typer.Argument(help="Folders written by explorer-pages.")],
    out: Out,
) -> None:
    """Write the index of all runs' pages."""
    from lensbench.explorer import write_index

    write_index(runs, out)


def register(app: typer.Typer) -> None:
    """Put these commands on the command line."""
    for command in (explorer_pages, explorer_index):
        app.command(rich_help_panel=STAGES)(staged(command))
