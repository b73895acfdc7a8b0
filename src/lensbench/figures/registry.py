"""Every figure by name: what it reads, who draws it, what its caption says."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pandas as pd
from matplotlib.figure import Figure

from lensbench.errors import LensbenchError
from lensbench.figures import (
    ablation,
    accuracy_by_answer,
    accuracy_by_layer,
    answer_way,
    by_variant,
    concept_mass,
    convergence,
    entropy_kl,
    examples,
    final_rank,
    han_floor,
    han_in_topk,
    head_spread,
    head_views,
    heads,
    language_lead,
    lenses,
    matched_kinds,
    patch_best_layer,
    patch_maps,
    patch_regions,
    saving,
    script_mass,
    style,
    tokens,
)
from lensbench.figures.frames import published, read_table, read_tables
from lensbench.parquets import DamagedError, read_own


@dataclass(frozen=True)
class FigureSpec:
    """A figure's name, the metric tables it reads, its drawing function, title and caption."""

    name: str
    inputs: tuple[str, ...]
    draw: Callable[..., Figure]
    title: str
    caption: str


def _spec(module: ModuleType, title: str) -> FigureSpec:
    name = module.__name__.rsplit(".", 1)[-1]
    return FigureSpec(name, module.INPUTS, module.draw, title, module.CAPTION)


def _by_name(*specs: FigureSpec) -> dict[str, FigureSpec]:
    return {spec.name: spec for spec in specs}


# All runs in one figure.
FIGURES: dict[str, FigureSpec] = _by_name(
    _spec(accuracy_by_layer, "Accuracy by layer"),
    _spec(accuracy_by_answer, "Accuracy by answer and layer"),
    _spec(han_in_topk, "Han in the top k by layer"),
    _spec(script_mass, "Script mass by layer"),
    _spec(concept_mass, "Concept mass by language and layer"),
    _spec(final_rank, "Rank of the final token by layer"),
    _spec(entropy_kl, "Entropy and divergence by layer"),
    _spec(lenses, "Other lenses by layer"),
    _spec(convergence, "Convergence layer"),
    _spec(language_lead, "Chinese before English"),
    _spec(matched_kinds, "Simple and complex questions at matched counts"),
    _spec(by_variant, "Accuracy and convergence by picture size"),
    _spec(han_floor, "Han by layer for any input"),
    _spec(heads, "Attention on the picture by head and layer"),
    _spec(head_spread, "How spread heads are over the picture"),
    _spec(head_views, "Attention on overview and tiles"),
    _spec(ablation, "Heads switched off"),
    _spec(patch_best_layer, "Best layer of a patch"),
    _spec(patch_regions, "Which patches name the object"),
    _spec(patch_maps, "Maps of patches"),
)
# One figure a run.
RUN_FIGURES: dict[str, FigureSpec] = _by_name(
    _spec(tokens, "Tokens by layer and step"),
    _spec(examples, "Examples"),
    _spec(answer_way, "The answer's way by layer and lens"),
)


def _found(name: str, specs: Mapping[str, FigureSpec]) -> FigureSpec:
    if name not in specs:
        raise LensbenchError(f"There is no figure {name!r}: take one of {', '.join(specs)}.")
    return specs[name]


def make_figure(
    name: str,
    metrics: str | Path | Mapping[str, pd.DataFrame],
    out_stem: str | Path,
    *,
    models: Collection[str] | None = None,
    datasets: Collection[str] | None = None,
    formats: Sequence[str] = ("pdf", "png"),
) -> list[Path]:
    """Draw one figure of all runs and save it.

    Args:
        name: a key of `FIGURES`.
        metrics: the folder of the metric tables (CSV), or the tables by name.
        out_stem: the path to write, without its ending.
        models: draw these models only; all by default.
        datasets: draw these datasets only; all by default.
        formats: endings of the files to write.

    Returns:
        The files written.

    Raises:
        LensbenchError: if there is no such figure, a table is missing or a glyph is.
    """
    spec = _found(name, FIGURES)
    frames = _loaded(metrics, spec.inputs)
    for table in spec.inputs:
        frame = frames[table]
        if models is not None:
            frame = frame[frame["model"].isin(list(models))]
        if datasets is not None:
            frame = frame[frame["dataset"].isin(list(datasets))]
        frames[table] = frame
    if "published" not in frames:
        frames["published"] = published(name)
    return saving.save(spec.draw(frames), out_stem, formats)


def _loaded(
    metrics: str | Path | Mapping[str, pd.DataFrame], inputs: Sequence[str]
) -> dict[str, pd.DataFrame]:
    if isinstance(metrics, Mapping):
        return dict(metrics)
    frames = read_tables(metrics, inputs)
    # `models` names every model, so that a model has one color in all figures.
    if (Path(metrics) / "models.csv").is_file():
        frames["models"] = read_table(Path(metrics) / "models.csv")
    return frames


def make_run_figure(
    name: str,
    metrics: str | Path | Mapping[str, pd.DataFrame],
    model: str,
    dataset: str,
    manifest_folder: str | Path,
    out_stem: str | Path,
    *,
    formats: Sequence[str] = ("pdf", "png"),
) -> list[Path]:
    """Draw one figure of one run and save it.

    Args:
        name: a key of `RUN_FIGURES`.
        metrics: the folder of the metric tables (its {model}/{dataset}/{table}.parquet is read, or
            else its {table}.csv), that run's own folder, or the tables by name.
        model: the run's model.
        dataset: the run's dataset.
        manifest_folder: the folder of the dataset's manifest and pictures.
        out_stem: the path to write, without its ending.
        formats: endings of the files to write.

    Returns:
        The files written.

    Raises:
        LensbenchError: if there is no such figure, or a table, picture or glyph is missing.
    """
    spec = _found(name, RUN_FIGURES)
    frames = dict(metrics) if isinstance(metrics, Mapping) else {}
    for table in spec.inputs:
        if not isinstance(metrics, Mapping):
            frames[table] = _of_run(Path(metrics), model, dataset, table)
        if "model" in frames[table]:
            frames[table] = style.of_run(frames[table], model, dataset)
    if name != "examples":
        return saving.save(spec.draw(frames), out_stem, formats)
    if "manifest" not in frames:
        frames["manifest"] = _parquet(Path(manifest_folder) / "manifest.parquet")
    return saving.save(spec.draw(frames, manifest_folder), out_stem, formats)


def _of_run(folder: Path, model: str, dataset: str, table: str) -> pd.DataFrame:
    name = f"{table}.parquet"
    for path in (folder / model / dataset / name, folder / name):
        if path.is_file():
            return _parquet(path)
    return read_table(folder / f"{table}.csv")


def _parquet(path: Path) -> pd.DataFrame:
    try:
        return read_own(path)
    except (FileNotFoundError, DamagedError) as error:
        raise LensbenchError(
            f"The table {path} is missing or can't be read: run the stage that makes it again."
        ) from error
