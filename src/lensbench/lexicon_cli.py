"""Commands for the lexicon: mine candidates from traces, and check a curated file."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

lexicon = typer.Typer(
    help="The lexicon of answers: mine candidates, check a curated file.", no_args_is_help=True
)


@lexicon.command()
def mine(
    traces: Annotated[list[Path], typer.Argument(help="Folders of runs, or of their shards.")],
    model_folder: Annotated[
        list[Path], typer.Option(help="Folder written by inspect, one for each model.")
    ],
    out: Annotated[Path, typer.Option("--out", help="CSV file of the candidates.")],
    draft: Annotated[
        Path | None, typer.Option(help="Write lines for a lexicon, to be reviewed, here too.")
    ] = None,
    family: Annotated[str, typer.Option(help="Family of the answers, as in number:3.")] = "number",
    layers: Annotated[
        str, typer.Option(help="Layers: shares of the depth (0.3:0.9) or numbers (8:24).")
    ] = "0.3:0.9",
    top: Annotated[int, typer.Option(help="A token counts among the first so many.")] = 10,
    level: Annotated[float, typer.Option(help="Largest q (false discoveries) to keep.")] = 0.05,
    min_samples: Annotated[int, typer.Option(help="Samples a token must be in.")] = 3,
    smoothing: Annotated[float, typer.Option(help="Added to each cell for log odds.")] = 0.5,
    file: Annotated[
        Path | None, typer.Option("--lexicon", help="Look tokens up in this file.")
    ] = None,
) -> None:
    """Find the tokens of the middle layers that go with each answer more than chance.

    One-sided Fisher exact tests over samples, corrected for all token × answer pairs.
    """
    from lensbench.lexicon import load_lexicon
    from lensbench.mined_files import new_forms, write_candidates, write_draft
    from lensbench.mining import MiningOptions, runs_of_folders
    from lensbench.mining import mine as candidates_of

    options = MiningOptions(family, layers, top, smoothing, min_samples, level)
    known = load_lexicon(file)
    found = candidates_of(runs_of_folders(traces, model_folder), known, options)
    write_candidates(out, found)
    if draft is not None:
        write_draft(draft, found)
    n_conflicts = int((found["conflict"] != "").sum())
    print(
        f"{len(found)} candidates in {out}: {int((found['in_lexicon'] != '').sum())} are in the "
        f"lexicon ({n_conflicts} for another concept), {len(new_forms(found))} new words are to be "
        "reviewed."
    )


@lexicon.command()
def check(
    file: Annotated[Path, typer.Argument(help="The curated lexicon, in YAML.")],
) -> None:
    """Check a curated lexicon; one sentence says what is wrong, or what it holds."""
    from lensbench.lexicon import load_lexicon

    known = load_lexicon(file)
    forms = sum(len(known.forms(concept)) for concept in known.concepts)
    families = {concept.split(":")[0] for concept in known.concepts}
    told = (
        (forms, "form", "forms"),
        (len(known.concepts), "concept", "concepts"),
        (len(families), "family", "families"),
        (len(known.left_out), "word left out", "words left out"),
    )
    parts = ", ".join(f"{n} {one if n == 1 else many}" for n, one, many in told)
    print(f"{file} is a lexicon: {parts} on purpose.")


class Kind(StrEnum):
    """What is asked for."""

    COUNT = "count"
    COLOR = "color"


# A text may begin with a hyphen, as -3 does.
@lexicon.command(context_settings={"ignore_unknown_options": True})
def read(
    text: Annotated[str, typer.Argument(help="A written answer.")],
    kind: Annotated[Kind, typer.Option(help="What is asked for.")],
    strict: Annotated[
        bool, typer.Option("--strict", help="The text as a whole must be the answer.")
    ] = False,
) -> None:
    """Print the concept that a written answer names, such as number:3, or "none".

    It is the only number or color in the text, by the rules that score generated texts.
    """
    from lensbench.answers import find_answer, read_answer

    reading = (read_answer if strict else find_answer)(text, kind.value)
    print(reading.concept if reading else "none")
