"""The command that runs a notebook into a page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from lensbench.errors import ConfigError


def register(stage: Callable[..., Any], settings: Callable[[str], dict[str, Any]]) -> None:
    """Put the command on the command line.

    Args:
        stage: what makes a command of the workflow's stages.
        settings: what reads --options.
    """

    def notebook(
        notebook: Annotated[Path, typer.Argument(help="A notebook in jupytext's percent format.")],
        out: Annotated[Path, typer.Option("--out", help="The .html file to write.")],
        results: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("results"),
        options: Annotated[
            str, typer.Option("--options", help="Settings as one line of JSON.")
        ] = "{}",
        time_limit: Annotated[
            float, typer.Option(min=1, help="Seconds that all cells may take together.")
        ] = 600,
    ) -> None:
        """Run a notebook on the results and write it, outputs and all, as one HTML file."""
        from lensbench.notebooks import run_notebook

        if out.suffix != ".html":
            raise ConfigError(f"--out {out} must end in .html.")
        run_notebook(notebook, results, out, settings(options), time_limit)

    stage()(notebook)
