"""Commands for a look at one model, and at which types of model can be looked into."""

from __future__ import annotations

import difflib
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from lensbench.errors import ConfigError, LensbenchError

_PANEL = "A look at one model"

Model = Annotated[
    str,
    typer.Argument(
        help="A known model (`lensbench models` lists them), a folder, a .gguf file, or a hub "
        "repository ORG/NAME."
    ),
]
Branch = Annotated[
    str, typer.Option("--revision", help="Branch, tag or commit of a hub repository.")
]
Dtype = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 …")]


def look(
    model: Model,
    text: Annotated[str, typer.Option(help="What the model is asked.")],
    image: Annotated[str | None, typer.Option(help="The picture it is asked about.")] = None,
    max_new_tokens: Annotated[
        int, typer.Option("--max-new-tokens", "-n", help="Tokens of the answer at most.")
    ] = 1,
    top: Annotated[int, typer.Option(help="Top tokens of each layer.")] = 5,
    lens: Annotated[
        str, typer.Option(help="normed (final norm at every layer) or raw (only at the last).")
    ] = "normed",
    style: Annotated[str, typer.Option(help="chat (the model's template) or plain.")] = "chat",
    positions: Annotated[
        str, typer.Option(help="Read the steps of the answer, the prompt or the image positions.")
    ] = "answer",
    parts: Annotated[
        bool, typer.Option("--parts", help="Also what attention and MLP of each block write.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    csv: Annotated[Path | None, typer.Option(help="Write the numbers to this file too.")] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw them into this file too: .png, .pdf or .svg.")
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify/--no-verify", help="Have the model pass the gate first.")
    ] = True,
    revision: Branch = "",
    dtype: Dtype = "auto",
    device: Device = "auto",
) -> None:
    """Ask a model something and print, layer by layer, what it was about to say.

    Each layer's state is read out as if it were the last one's: this is the logit lens.

    Printed are its top tokens, their probabilities, and the rank of what the model then writes.

    Example: lensbench look lensbench-llava --image cats.png --text "How many cats are there?"
    """
    _quiet()
    from lensbench.look import Lens
    from lensbench.request import check_request, read_picture
    from lensbench.terminal import show

    for name, file, endings in (("csv", csv, (".csv",)), ("plot", plot, (".png", ".pdf", ".svg"))):
        if file is not None and file.suffix not in endings:
            raise ConfigError(f"--{name} {file} must end in {' or '.join(endings)}.")
    # Whatever is wrong with the question is said before the model is loaded.
    check_request(text, max_new_tokens, top, lens, style, positions)
    picture = None if image is None else read_picture(image)
    opened = Lens.from_pretrained(model, revision or None, dtype, device, verify)
    found = opened(text, picture, max_new_tokens, top, lens, style, positions, parts)
    if csv is not None:
        from lensbench.metrics.collect import write_csv

        write_csv(csv.parent, {csv.stem: found.to_frame()})
    if plot is not None:
        from lensbench.figures.saving import save

        save(found.plot(), plot.with_suffix(""), [plot.suffix[1:]])
    if as_json:
        print(found.to_json())
        return
    show(*found.tables())


def check(
    model: Model,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    revision: Branch = "",
    dtype: Dtype = "auto",
    device: Device = "auto",
) -> None:
    """Put a model through the gate and print each check with its figure; exit status 1 if it fails.

    A model that passes can be believed: what is read of its last layer is its own output.
    """
    _quiet()
    from lensbench.look import Lens
    from lensbench.terminal import rows_table, show

    report = Lens.from_pretrained(model, revision or None, dtype, device, verify=False).check()
    if as_json:
        print(report.to_json(), end="")
    else:
        rows = [
            (c.name, f"{c.value:.3g}", f"{c.limit:.3g}", "yes" if c.passed else "NO", c.detail)
            for c in report.checks
        ]
        show(rows_table(("check", "value", "limit", "passed", "value is"), rows, right=(1, 2)))
    report.require()


def models() -> None:
    """List the models that are known by name.

    Any other model of transformers is named by its folder, .gguf file or hub repository ORG/NAME.
    """
    from lensbench.models.known import known_models
    from lensbench.terminal import rows_table, show

    rows = [(m.name, m.task, m.there, m.source) for m in known_models()]
    show(rows_table(("name", "takes", "where", "source"), rows))


def commit(
    repository: Annotated[str, typer.Argument(help="A repository of the hub, ORG/NAME.")],
    revision: Annotated[str, typer.Option(help="Branch or tag; its default branch if none.")] = "",
) -> None:
    """Print the commit that a hub repository's branch or tag stands for now.

    It is what `revisions` in the configuration and a model's rule pin.
    """
    from lensbench.models.known import resolve_commit

    print(resolve_commit(repository.removeprefix("hub:"), revision or None))


def _quiet() -> None:
    """Keep progress bars away from a command's own lines, and all of them out of files."""
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")
    from transformers.utils import logging

    logging.disable_progress_bar()


def coverage(
    types: Annotated[
        list[str] | None, typer.Argument(help="Types to judge; all if none is named.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of coverage.md and coverage.csv.")] = Path(
        "docs"
    ),
    jobs: Annotated[int, typer.Option(help="Processes that work side by side.")] = 1,
    list_types: Annotated[bool, typer.Option("--list", help="Print the types and stop.")] = False,
    check: Annotated[
        Path | None, typer.Option(help="Write nothing; fail if a verdict is not as in this CSV.")
    ] = None,
) -> None:
    """Judge every type of model that transformers has, on tiny random ones.

    Prints a line a type. With all types the tables in --out are written; with some, nothing is.

    Example: lensbench coverage qwen2_vl gpt2
    """
    from lensbench.coverage import table

    pairs = table.all_types()
    if types:
        known = {name for name, _ in pairs}
        for name in types:
            if name not in known:
                near = ", ".join(difflib.get_close_matches(name, known, n=3))
                hint = f"did you mean {near}?" if near else "lensbench coverage --list shows them."
                raise LensbenchError(f'transformers has no type "{name}": {hint}')
        pairs = [pair for pair in pairs if pair[0] in types]
    if list_types:
        for name, task in pairs:
            print(f"{name}\t{task}")
        return
    verdicts = []
    for verdict in table.judge_all(pairs, jobs):
        verdicts.append(verdict)
        line = (verdict.verdict, verdict.task, verdict.model_type, verdict.reason)
        print("\t".join(line).rstrip(), flush=True)
    if check is not None:
        others = table.differences(verdicts, table.read_coverage(check))
        if others:
            raise LensbenchError(f"Verdicts are not those of {check}: {'; '.join(others)}.")
        print(f"{len(verdicts)} verdicts are those of {check}.")
    elif not types:
        table.write_coverage(verdicts, out)
        print(f"Written: {out / 'coverage.md'} and {out / 'coverage.csv'}.")
    if any(verdict.verdict == "WRONG" for verdict in verdicts):
        raise SystemExit(1)


def register(app: typer.Typer) -> None:
    """Put these commands on the command line."""
    for command in (look, check, models, commit, coverage):
        app.command(rich_help_panel=_PANEL)(command)
