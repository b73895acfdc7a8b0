"""Commands of the studies: other pictures, heads switched off, patches, and their tables joined."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from lensbench.cli_options import (
    STAGES,
    Code,
    Dataset,
    Gpus,
    ModelFolder,
    Options,
    Out,
    Revision,
    Source,
    before_a_model,
    extraction_of,
    fitting,
    loading_of,
    settings_of,
)
from lensbench.errors import ConfigError
from lensbench.made import staged


def closeup(
    model: str,
    source: Source,
    dataset: Dataset,
    model_folder: ModelFolder,
    out: Out,
    revision: Revision = "",
    options: Options = "{}",
    gpus: Gpus = 0,
    code: Code = "",
) -> None:
    """Run a model on a dataset, or its first samples, and write the trace as a single shard."""
    before_a_model(options, gpus)
    from lensbench.extract import checked_request, extract_shard
    from lensbench.models.load import load_model

    chosen, _, place = extraction_of(options)
    whole = replace(chosen, shard_samples=None)
    # Before the model is loaded, which may take minutes.
    checked_request(model, dataset, model_folder)
    loaded = load_model(model, source, revision, **place)
    extract_shard(loaded, dataset, 0, 1, whole, out, model_folder, code=code)


def variants(
    model: str,
    source: Source,
    dataset: Dataset,
    model_folder: ModelFolder,
    picture: Annotated[
        list[str],
        typer.Option(help='What is shown: "native", "blank" or pixels of the longer side.'),
    ],
    out: Out,
    revision: Revision = "",
    options: Options = "{}",
    gpus: Gpus = 0,
    code: Code = "",
) -> None:
    """Run a model on the same samples with their pictures in several sizes; a trace each."""
    before_a_model(options, gpus)
    from lensbench.extract import checked_request, extract_shard
    from lensbench.models.load import load_model
    from lensbench.variants import check_variant

    chosen, _, place = extraction_of(options)
    for name in picture:
        check_variant(name)
    checked_request(model, dataset, model_folder)
    loaded = load_model(model, source, revision, **place)
    for name in picture:
        shown = replace(chosen, picture=name, shard_samples=None)
        extract_shard(loaded, dataset, 0, 1, shown, out / name, model_folder, code=code)


def ablate(
    model: str,
    source: Source,
    dataset: Dataset,
    model_folder: ModelFolder,
    heads: Annotated[Path, typer.Option(help="The run's table of heads (Parquet).")],
    out: Out,
    stages: Annotated[
        Path | None, typer.Option(help="Its table of stages (Parquet), for groups by stage.")
    ] = None,
    revision: Revision = "",
    options: Options = "{}",
    gpus: Gpus = 0,
) -> None:
    """Switch image heads and random others off, and write what it does to the answer."""
    before_a_model(options, gpus)
    from lensbench.ablation import AblationOptions
    from lensbench.ablation import ablate as switch_off
    from lensbench.extract import checked_request
    from lensbench.models.load import load_model

    settings = settings_of(options)
    place = loading_of(settings)
    chosen = AblationOptions(**fitting("The command ablate", settings, AblationOptions))
    # Before the model is loaded, which may take minutes.
    checked_request(model, dataset, model_folder)
    loaded = load_model(model, source, revision, **place)
    switch_off(loaded, dataset, model_folder, heads, out, chosen, stages)


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

    settings = fitting("The command patch-metrics", settings_of(options), PatchOptions)
    write_run(out, compute_patches(closeups, model_folder, manifest, PatchOptions(**settings)))


def variant_metrics(
    variants: Annotated[
        list[Path], typer.Argument(help="One folder a variant, named as it; native among them.")
    ],
    model_folder: ModelFolder,
    out: Out,
    options: Options = "{}",
) -> None:
    """Compare one model on changed pictures with the native ones."""
    from lensbench.metrics.run import MetricOptions, write_run
    from lensbench.metrics.variants import compute_variants

    settings = fitting("The command variant-metrics", settings_of(options), MetricOptions)
    folders: dict[str, Path] = {}
    for folder in variants:
        name = folder.absolute().name
        if name in folders:
            raise ConfigError(f"The variant {name} is given twice: leave one out.")
        folders[name] = folder
    write_run(out, compute_variants(folders, model_folder, MetricOptions(**settings)))


def ablation_metrics(
    ablation: Annotated[Path, typer.Argument(help="The file written by ablate.")],
    out: Out,
    options: Options = "{}",
) -> None:
    """Compare image heads that are switched off with random others."""
    from lensbench.metrics.ablations import compute_ablations
    from lensbench.metrics.run import MetricOptions, write_run

    settings = fitting("The command ablation-metrics", settings_of(options), MetricOptions)
    write_run(out, compute_ablations(ablation, MetricOptions(**settings)))


def collect_studies(
    out: Out,
    runs: Annotated[
        list[Path] | None, typer.Argument(help="Folders with the tables of studies.")
    ] = None,
) -> None:
    """Join the tables of the studies of all runs."""
    from lensbench.metrics import collect as joining

    joining.write_csv(out, joining.collect_studies(runs or []))


def register(app: typer.Typer) -> None:
    """Put these commands on the command line."""
    for command in (
        closeup, variants, ablate, patch_metrics, variant_metrics, ablation_metrics,
        collect_studies,
    ):  # fmt: skip
        app.command(rich_help_panel=STAGES)(staged(command))
