"""What the workflow asks Python: which models and runs there are, and which code made a file."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

from snakemake.exceptions import WorkflowError
from snakemake.settings.types import SharedFSUsage

from lensbench.datasets import DATASETS
from lensbench.errors import ConfigError, LensbenchError
from lensbench.figures import FIGURES, RUN_FIGURES, FigureSpec
from lensbench.models.rules import read_rule
from lensbench.shards import PARTS, n_parts_of, n_shards_of
from lensbench.tables import TABLES, TableSpec

PACKAGE = Path(__file__).resolve().parent

#: What kind of samples a model can be given, by its task.
TASKS = {"text": "text", "image-text": "image"}

# The rooms whose code a stage's files depend on: its own, and those it imports. How files are
# fetched, how far a job is and what a killed one left (downloads, progress, leftovers) changes
# nothing in what is made.
_BASE = ("files.py", "errors.py")
_WORDS = ("scripts.py", "lexicon.py", "yamls.py", "data/lexicon.yaml")
_TRACE = (
    *("trace.py", "trace_schema.py", "trace_checks.py", "trace_stream.py", "shards.py"),
    "parquets.py",
)
_MODEL = (
    *(*_BASE, *_WORDS, *_TRACE, "models/*.py", "lens"),
    *("inspection.py", "pixels.py", "limits.py"),
)
_EXTRACT = (
    *_MODEL,
    *("datasets/manifest.py", "extract.py", "part.py", "feed.py", "tracing.py", "variants.py"),
    "provenance.py",
)
_METRICS = (*_BASE, *_WORDS, *_TRACE, "pixels.py", "metrics")
_METRIC_TABLES = tuple(
    f"metrics/{name}.py" for name in ("bootstrap", "convergence", "study_tables", "tables")
)
_TOLERANCES = tuple(f"compare/{name}.py" for name in ("tolerances", "measures", "tally"))
_SHOW = (
    *(*_BASE, "scripts.py", "pixels.py", "figures", "fontfiles.py", "tables"),
    *("numbers.py", "data/reference"),
)
_PAGE = ("fontfiles.py", "webfonts.py")
_TOLD = (
    *("*prose.py", "peers.py", "raw_normed.py", "compared.py", "published*.py"),
    *("mining.py", "mined_files.py", "request.py", "look*.py", "notebook.py", "terminal.py"),
)
ROOMS = {
    "dataset": (
        *(*_BASE, *_WORDS, "parquets.py", "data/facts.yaml", "data/sources.csv"),
        *("datasets", "downloads", "pixels.py"),
    ),
    "model": _MODEL,
    "extract": _EXTRACT,
    "import": (
        *(*_BASE, *_WORDS, *_TRACE, "imported.py", "imported_file.py", "pixels.py"),
        *("models/prompt.py", "models/pictures.py", "models/probe.py"),
        *("models/views.py", "models/layouts.py", "models/tiles.py", "limits.py"),
    ),
    "ablate": (*_EXTRACT, "ablation.py", "head_groups.py", "metrics/heads.py"),
    "metrics": _METRICS,
    "numerics": (*_EXTRACT, "numerics.py", "compare", *_METRIC_TABLES),
    "show": _SHOW,
    "explorer": (
        *(*_BASE, *_WORDS, *_TRACE, *_PAGE, "datasets/manifest.py", "pixels.py", "explorer"),
    ),
    "notebook": (
        *(*_MODEL, *_METRICS, *_SHOW, *_PAGE, *_TOLD, "data", "config.py"),
        *("notebooks.py", "notebook_page.py"),
        *("notebook_page.html.jinja", "notebook_cells.html.jinja"),
    ),
    "paper": (
        *(*_SHOW, "paper.py", "config.py", "yamls.py"),
        *("downloads/sources.py", "data/sources.csv", "numeric_prose.py", *_TOLERANCES),
    ),
}


# Endings of the files that a digest of code takes in.
_CODE = {".py", ".yaml", ".csv", ".json", ".jinja", ".js", ".css"}


@dataclass(frozen=True)
class Run:
    """One model on one dataset."""

    model: str
    dataset: str


class Catalog:
    """The models of a folder of rules, seen through the rules themselves.

    A model is a file `<name>.smk` with one rule, `extract_<name>`, that inherits from `extract`;
    its params say where the weights come from, so no other list of models exists.

    Args:
        folder: the folder of model rules.
        rules: snakemake's `rules`, where the rules appear once their files are included.
        revisions: commits of models whose rule pins none, from the configuration.
    """

    def __init__(
        self, folder: str | Path, rules: Any, revisions: Mapping[str, str] | None = None
    ) -> None:
        self._rules = rules
        self._revisions = dict(revisions or {})
        self.files = {path.stem: path for path in sorted(Path(folder).glob("*.smk"))}

    def source(self, wildcards: Any) -> str:
        """Return the source of the model in the wildcards, such as "packaged:lensbench-llava"."""
        return str(self._params(wildcards.model, "source"))

    def revision(self, wildcards: Any) -> str:
        """Return the revision of the model in the wildcards: its rule's, else the configuration's.

        Raises:
            ConfigError: if neither gives one; the sentence says how to find it.
        """
        model = wildcards.model
        found = self._pinned(model) or self._revisions.get(model, "")
        if not found:
            repository = self._repository(model)
            raise ConfigError(
                f"{model} has no confirmed revision: look up the commit of {repository} (the "
                f"repository's page, Files → History, or `lensbench commit {repository}`) and set "
                f"revisions.{model} in the configuration."
            )
        return found

    def repository(self, wildcards: Any) -> str:
        """Return the hub's repository of the model in the wildcards, ORG/NAME."""
        return self._repository(wildcards.model)

    def of_hub(self) -> str:
        """Return a pattern of the names of the models that come from a hub, read from the files."""
        found = [re.escape(name) for name, path in self.files.items() if _reads_hub(path)]
        return "|".join(found) or "(?!)"

    def options(self, *groups: Mapping[str, Any], **more: Any) -> Any:
        """Return a function that gives `options` with what the model's own rule says of loading it.

        These are `device_map`, `quantization` and `chat_template` among the rule's params, if it
        has them.
        """

        def value(wildcards: Any) -> str:
            params = self._rule(wildcards.model).params
            keys = ("device_map", "quantization", "chat_template")
            loading = {key: getattr(params, key, "") for key in keys}
            return options(*groups, more, {key: text for key, text in loading.items() if text})

        return value

    def task(self, model: str) -> str:
        """Return the task of a model, "text" or "image-text".

        Raises:
            ConfigError: if its rule names another.
        """
        task = str(self._params(model, "task"))
        if task not in TASKS:
            raise ConfigError(
                f"{self.files[model]} gives the task {task!r}: "
                f"it must be one of {', '.join(TASKS)}."
            )
        return task

    def weights(self, wildcards: Any) -> list[str]:
        """Return the files the model in the wildcards is loaded from; of a hub's, the note that
        they were fetched."""
        kind, _, place = self.source(wildcards).partition(":")
        if kind == "hub":
            return [f"resources/models/{wildcards.model}/fetched.json"]
        if kind == "gguf":
            return [place]
        folder = PACKAGE / "models" / "packaged" / place if kind == "packaged" else Path(place)
        # An empty folder is told as a missing file by snakemake, which then names it.
        return _files_below(folder) or [str(folder / "config.json")]

    def text_weights(self, runs: Iterable[Run]) -> list[str]:
        """Return the files of all models among the runs that take text alone."""
        names = sorted({run.model for run in runs if self.task(run.model) == "text"})
        return [file for name in names for file in self.weights(SimpleNamespace(model=name))]

    def resource(self, name: str) -> Any:
        """Return a function that gives a resource its value from the model's own rule."""

        def value(wildcards: Any) -> Any:
            given = self._rule(wildcards.model).rule.resources.get(name)
            # A text from the command line or a profile, such as the name of a GPU, is evaluated
            # by snakemake only for its own rule.
            found = given.raw if given.is_evaluable() else given.value
            return 0 if found is None else found

        return value

    def select(self, wanted: Iterable[str], hub: bool) -> list[str]:
        """Return the names of the models to run, sorted.

        Args:
            wanted: names from the configuration; none means all that `hub` allows and whose
                revision is known.
            hub: whether models from a hub may run.

        Raises:
            ConfigError: for a name that no file has, a hub's model where `hub` is false, or one
                without a revision; or if the configuration pins what needs no pin.
        """
        for name in self._revisions:
            if name not in self.files or not self._is_hub(name) or self._pinned(name):
                why = "its own rule pins it" if name in self.files else "no such model is known"
                raise ConfigError(
                    f"revisions in the configuration names {name}, but {why}: leave it out."
                )
        names = list(wanted)
        for name in names:
            if name not in self.files:
                known = ", ".join(self.files)
                raise ConfigError(
                    f"models in the configuration names {name}, which is not known: "
                    f"the models are {known}."
                )
            if self._is_hub(name) and not hub:
                raise ConfigError(
                    f"models in the configuration names {name}, which comes from a model hub: "
                    "set hub to true to fetch it."
                )
            self.revision(SimpleNamespace(model=name))
        return sorted(names) or [
            name
            for name in self.files
            if not self._is_hub(name) or (hub and (self._pinned(name) or name in self._revisions))
        ]

    def runs(self, config: Mapping[str, Any]) -> list[Run]:
        """Return every model × dataset of a validated configuration, in order.

        Raises:
            ConfigError: if nothing is left to run.
        """
        datasets = [name for name in DATASETS if config["datasets"][name]["n"] > 0]
        runs = [
            Run(model, dataset)
            for model in self.select(config["models"], config["hub"])
            for dataset in datasets
            if DATASETS[dataset][0] == TASKS[self.task(model)]
        ]
        if not runs:
            raise ConfigError(
                "Nothing to run: models and datasets in the configuration leave no model with a "
                "dataset it can read; give a dataset an n above 0."
            )
        return runs

    def _is_hub(self, model: str) -> bool:
        return str(self._params(model, "source")).startswith("hub:")

    def _pinned(self, model: str) -> str:
        """Return the revision that a model's rule names; "" if a hub's model has none yet."""
        if self._is_hub(model) and getattr(self._rule(model).params, "revision", None) == "":
            return ""
        return str(self._params(model, "revision"))

    def _repository(self, model: str) -> str:
        return str(self._params(model, "source")).removeprefix("hub:")

    def _rule(self, model: str) -> Any:
        name = rule_name(model)
        try:
            return getattr(self._rules, name)
        # What snakemake raises for a rule that isn't there.
        except (AttributeError, WorkflowError):
            file = self.files.get(model, f"{model}.smk")
            raise ConfigError(
                f"{file} must hold the rule {name}, inheriting from extract."
            ) from None

    def _params(self, model: str, key: str) -> Any:
        value = getattr(self._rule(model).params, key, None)
        if not isinstance(value, str) or not value:
            raise ConfigError(f"{self.files[model]} must give {key} as a text among its params.")
        return value


class Cut:
    """How the runs of a configuration are cut into shards and parts.

    Args:
        config: the validated configuration.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._shards_per_job: int = config["extraction"]["shards_per_job"]
        size = config["extraction"]["shard_samples"]
        self._n_shards = {
            name: n_shards_of(min(given["n"], _most_samples(given)), size)
            for name, given in config["datasets"].items()
            if given["n"] > 0
        }

    def n_shards(self, wildcards: Any) -> int:
        """Return how many shards a run on the dataset in the wildcards has.

        The dataset may turn out to have fewer samples than the configuration asks for; the last
        shards are empty then.
        """
        return self._n_shards[wildcards.dataset]

    def ledgers(self, wildcards: Any) -> list[str]:
        """Return the ledgers of the run in the wildcards, one a part."""
        folder = f"results/traces/{wildcards.model}/{wildcards.dataset}"
        n_parts = n_parts_of(self.n_shards(wildcards), self._shards_per_job)
        return [f"{folder}/{PARTS}/{part}.json" for part in range(n_parts)]


def _most_samples(dataset: Mapping[str, Any]) -> int:
    """Return how many samples a dataset of a folder can have at most; n itself of another.

    Its n may be a large number that means all, and a shard for nothing costs a little, too.
    """
    if dataset.get("questions"):
        with open(dataset["questions"], "rb") as stream:
            # A question is a line at least.
            return max(1, sum(1 for _ in stream))
    if dataset.get("folder"):
        return max(1, sum(len(files) for _, _, files in os.walk(dataset["folder"])))
    return int(dataset["n"])


class Imports:
    """Lenses that others made, as the configuration names them.

    Args:
        files: paths of JSON files, packed or not; a PNG of the same name may stand beside each.

    Raises:
        ConfigError: if two have one name, or a name can't be a folder's.
    """

    def __init__(self, files: Iterable[str]) -> None:
        self._files: dict[str, str] = {}
        for file in files:
            name = re.sub(r"\.json(\.gz)?$", "", os.path.basename(file))
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
                raise ConfigError(
                    f"imports in the configuration names {file}: the file's name must be letters, "
                    "digits, - and _ before its .json or .json.gz."
                )
            if name in self._files:
                raise ConfigError(
                    f"imports in the configuration names {self._files[name]} and {file}, which "
                    f"would both be {name}: rename one."
                )
            self._files[name] = file

    @property
    def names(self) -> list[str]:
        """The names, in the order of the configuration."""
        return list(self._files)

    def file(self, wildcards: Any) -> str:
        """Return the file of the lens in the wildcards."""
        return self._files[wildcards.lens]

    def picture(self, wildcards: Any) -> list[str]:
        """Return the picture beside that file, if there is one."""
        beside = re.sub(r"\.json(\.gz)?$", ".png", self.file(wildcards))
        return [beside] if os.path.isfile(beside) else []

    def option(self, wildcards: Any) -> str:
        """Return the option that names that picture, quoted for a shell; "" if there is none."""
        return " ".join(f"--picture {shlex.quote(path)}" for path in self.picture(wildcards))


def with_pictures(runs: Iterable[Run], datasets: Iterable[str] | None = None) -> list[Run]:
    """Return the runs on datasets that have pictures.

    Args:
        runs: all runs.
        datasets: names of the datasets that are wanted; all by default.

    Raises:
        ConfigError: for a dataset that there is none of.
    """
    pictured = [name for name, (kind, _) in DATASETS.items() if kind == "image"]
    wanted = pictured if datasets is None else list(datasets)
    for name in wanted:
        if name not in pictured:
            raise ConfigError(
                f"The configuration names the dataset {name} where one with pictures belongs: "
                f"there are {', '.join(pictured)}."
            )
    return [run for run in runs if run.dataset in wanted]


def manifest_of(datasets: Mapping[str, str]) -> Any:
    """Return a function that gives the manifest of the dataset of the model in the wildcards.

    Args:
        datasets: model → dataset.
    """

    def value(wildcards: Any) -> str:
        return f"results/datasets/{datasets[wildcards.model]}/manifest.parquet"

    return value


@cache
def _files_below(folder: Path) -> list[str]:
    """Return all files below a folder of weights: once, as every job asks."""
    return sorted(str(path) for path in folder.rglob("*") if path.is_file())


def _reads_hub(path: Path) -> bool:
    try:
        return read_rule(path).source.startswith("hub:")
    except ConfigError:
        return False


def rule_name(model: str) -> str:
    """Return the name of a model's rule: "smollm2-135m" has extract_smollm2_135m."""
    return "extract_" + re.sub(r"\W", "_", model)


@cache
def code_version(stage: str) -> str:
    """Return a digest of the code that a stage's files depend on, so that a change reruns it.

    Args:
        stage: a key of ROOMS.
    """
    digest = hashlib.sha256()
    for entry in ROOMS[stage]:
        for path in sorted(PACKAGE.glob(entry)):
            inside = sorted(path.rglob("*")) if path.is_dir() else [path]
            for file in inside:
                if file.is_file() and file.suffix in _CODE:
                    digest.update(file.relative_to(PACKAGE).as_posix().encode())
                    digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def files_in(folder: str | None) -> list[str]:
    """Return every file in a folder of somebody's pictures, as inputs whose changes are noticed.

    A folder's own time says nothing of what was replaced in it, or below it.

    Args:
        folder: none for none.
    """
    if folder is None:
        return []
    found = [
        os.path.join(parent, name)
        for parent, folders, names in os.walk(folder)
        for name in names
        if not name.startswith(".") and "/." not in os.path.relpath(parent, folder)
    ]
    # Names that are no text can't be an input; what they hold is read all the same.
    return [folder, *sorted(name for name in found if name.isprintable())]


def options(*groups: Mapping[str, Any], **more: Any) -> str:
    """Return settings as one line of JSON, keys sorted, as the command line takes them."""
    merged: dict[str, Any] = {}
    for group in groups:
        merged.update(group)
    return json.dumps(merged | more, sort_keys=True, ensure_ascii=False)


def as_one_shard(extraction: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of an extraction that isn't cut, so that how others are cut is no matter.

    Args:
        extraction: the configuration's group of that name.
    """
    cuts = ("shard_samples", "shards_per_job")
    return {key: value for key, value in extraction.items() if key not in cuts}


def use_this_python(root: str | Path) -> None:
    """Let jobs run this very Python, whether or not its environment was activated.

    Where snakemake deploys another (--sdm conda), that comes first and finds the package in src.

    Args:
        root: the project's folder.
    """
    before = {"PATH": Path(sys.executable).parent, "PYTHONPATH": Path(root) / "src"}
    for name, folder in before.items():
        os.environ[name] = os.pathsep.join(filter(None, [str(folder), os.environ.get(name)]))


def shares_files(storage: Any) -> None:
    """Refuse an executor that copies declared files to and fro instead of sharing a folder.

    Shards that a lost job left whole are declared by no rule, nor are the pictures beside a
    manifest an input: such an executor would lose the ones and not find the others.

    Args:
        storage: snakemake's settings of storage.

    Raises:
        ConfigError: if inputs and outputs are not shared through the file system.
    """
    shared = SharedFSUsage.INPUT_OUTPUT in storage.shared_fs_usage
    if not shared or storage.default_storage_provider:
        raise ConfigError(
            "Files would be copied to and from a storage, but jobs must see the project's folder "
            "as one file system: use an executor that shares it, without a default storage "
            "provider, or run everything in one job (docs/cluster.md)."
        )


def stop(error: LensbenchError) -> NoReturn:
    """End the workflow with one sentence on stderr and no traceback."""
    print(f"lensbench: {error}", file=sys.stderr)
    raise SystemExit(1)


def gpus_of_job(wildcards: Any, resources: Any) -> int:
    """Return how many GPUs a job is counted for.

    As a function of the resources, which snakemake reruns nothing for.
    """
    return int(resources.get("gpu") or 0)


def folders_of(wildcards: Any, input: Any) -> list[str]:
    """Return the folders that a job's inputs lie in."""
    return sorted({os.path.dirname(str(path)) for path in input})


def stem(wildcards: Any, output: Any) -> str:
    """Return the path of a job's first output without its ending."""
    return str(output[0]).rsplit(".", 1)[0]


def shown(wildcards: Any) -> FigureSpec | TableSpec:
    """Return the figure or table in the wildcards."""
    if hasattr(wildcards, "table"):
        return TABLES[wildcards.table]
    return (FIGURES | RUN_FIGURES)[wildcards.figure]


def shown_inputs(wildcards: Any) -> list[str]:
    """Return the metric tables that the figure or table in the wildcards is made from."""
    return [f"results/metrics/{table}.csv" for table in shown(wildcards).inputs]


def run_shown_inputs(wildcards: Any) -> list[str]:
    """Return the tables of one run that the figure in the wildcards is made from."""
    folder = f"results/metrics/{wildcards.model}/{wildcards.dataset}"
    return [f"{folder}/{table}.parquet" for table in shown(wildcards).inputs]


def shown_title(wildcards: Any) -> str:
    """Return the title of the figure or table in the wildcards."""
    return shown(wildcards).title


def shown_caption(wildcards: Any) -> str:
    """Return the caption of the figure or table in the wildcards."""
    return shown(wildcards).caption
