"""The command that imports a patch lens somebody else made."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from lensbench.errors import ConfigError
from lensbench.made import staged


def import_patch_lens(
    file: Annotated[
        Path,
        typer.Argument(
            help="JSON, packed with gzip or not: image, prompt, token_labels (T texts) and top5 "
            "([states][T][k] pairs of token and probability)."
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", help="The folder to make, such as results/imported/sweater.")
    ],
    picture: Annotated[
        Path | None, typer.Option(help="The picture that the model was given.")
    ] = None,
    model: Annotated[str, typer.Option(help="The model that the lens is of.")] = "llava-1.5-7b",
    grid: Annotated[
        str, typer.Option(help="Rows and columns of the image positions, such as 24x36.")
    ] = "",
    box: Annotated[
        str,
        typer.Option(
            help="What the model saw of the picture: left,top,right,bottom as fractions of it."
        ),
    ] = "",
) -> None:
    """Import a patch lens that somebody else made, as tables of the project's own.

    Nothing the file says is believed unchecked. Its last layer is not the model's own output where
    the lens normed every state.

    Example: lensbench import-patch-lens sweater.json.gz --picture sweater.png
    --out results/imported/sweater
    """
    shape, sides = _grid(grid), _box(box)
    from lensbench import imported

    imported.import_patch_lens(file, out, model, picture, shape, sides)


def _grid(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    match = re.fullmatch(r"(\d{1,6})[x×](\d{1,6})", text, re.ASCII)
    if match is None:
        raise ConfigError(f"--grid {text!r} is no grid: write rows x columns, such as 24x36.")
    return int(match[1]), int(match[2])


def _box(text: str) -> list[float] | None:
    if not text:
        return None
    try:
        return [float(side) for side in text.split(",")]
    except ValueError:
        raise ConfigError(
            f"--box {text!r} is no box: write left,top,right,bottom, such as 0,0,1,1."
        ) from None


def register(app: typer.Typer) -> None:
    """Put the command on the command line."""
    app.command(rich_help_panel="Lenses that others made")(staged(import_patch_lens))
