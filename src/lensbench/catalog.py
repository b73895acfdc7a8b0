"""Which models and runs there are: the models' rules, seen through the workflow itself."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from snakemake.exceptions import WorkflowError

from lensbench.datasets import DATASETS
from lensbench.errors import ConfigError
from lensbench.models.rules import read_rule
from lensbench.rooms import PACKAGE

#: What kind of samples a model can be given, by its task.
TASKS = {"text": "text", "image-text": "image"}


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


def options(*groups: Mapping[str, Any], **more: Any) -> str:
    """Return settings as one line of JSON, keys sorted, as the command line takes them."""
    merged: dict[str, Any] = {}
    for group in groups:
        merged.update(group)
    return json.dumps(merged | more, sort_keys=True, ensure_ascii=False)
