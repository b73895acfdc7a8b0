"""The command that runs a notebook into a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lensbench.cli_options import STAGES, Options, settings_of
from lensbench.errors import ConfigError
from lensbench.made import staged


def notebook(
    notebook: Annotated[Path, typer.Argument(help="A notebook in jupytext's percent format.")],
    out: Annotated[Path, typer.Option("--out", help="The .html file to write.")],
    results: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("results"),
    options: Options = "{}",
    time_limit: Annotated[
        float, typer.Option(min=1, help="Seconds that all cells may take together.")
    ] = 600,
) -> None:
    """Run a notebook on the results and write it, outputs and all, as one HTML file."""
    from lensbench.notebooks import run_notebook

    if out.suffix != ".html":
        raise ConfigError(f"--out {out} must end in .html.")
    run_notebook(notebook, results, out, settings_of(options), time_limit)


def register(app: typer.Typer) -> None:
    """Put the command on the command line."""
    app.command(rich_help_panel=STAGES)(staged(notebook))
