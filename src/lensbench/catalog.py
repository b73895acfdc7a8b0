"""Which models and runs there are: the models' rules, seen through the workflow itself."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from snakemake.exceptions import WorkflowError

from lensbench.datasets import kinds_of
from lensbench.errors import ConfigError
from lensbench.files import digest_of
from lensbench.models.rules import read_rule, rules_in
from lensbench.models.source import SMOLLM2_MEMBER, SMOLLM2_SHA256
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

    Raises:
        ConfigError: if a file's name can't be a model's, or isn't that of the rule in it.
    """

    def __init__(
        self, folder: str | Path, rules: Any, revisions: Mapping[str, str] | None = None
    ) -> None:
        self._rules = rules
        self._revisions = dict(revisions or {})
        self.files = {path.stem: path for path in sorted(Path(folder).glob("*.smk"))}
        owners: dict[str, Path] = {}
        for name, path in self.files.items():
            if not re.fullmatch(r"[a-z0-9._-]+", name):
                raise ConfigError(
                    f"{path} can't name a model: use small letters, digits, ., _ and - before .smk."
                )
            for rule in rules_in(path):
                if rule != rule_name(name):
                    raise ConfigError(
                        f"{path} holds the rule {rule}, but the model {name} needs "
                        f"{rule_name(name)}: rename the rule or the file."
                    )
                if owners.setdefault(rule, path) != path:
                    raise ConfigError(
                        f"{path} and {owners[rule]} both hold the rule {rule}: rename one."
                    )

    def source(self, wildcards: Any) -> str:
        """Return the source of the model in the wildcards, such as "packaged:lensbench-llava"."""
        return str(self._params(wildcards.model, "source"))

    def revision(self, wildcards: Any) -> str:
        """Return the revision of the model in the wildcards: its rule's, else the configuration's.

        Only a hub's model has to have one.

        Raises:
            ConfigError: if neither gives a hub's model one; the sentence says how to find it.
        """
        model = wildcards.model
        found = self._pinned(model) or self._revisions.get(model, "")
        if not found and self._is_hub(model):
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
        """Return a function that gives `_line` with what the model's own rule says of loading it.

        These are `device_map`, `quantization` and `chat_template` among the rule's params, if it
        has them.
        """

        def value(wildcards: Any) -> str:
            params = self._rule(wildcards.model).params
            keys = ("device_map", "quantization", "chat_template")
            loading = {key: getattr(params, key, "") for key in keys}
            return _line(*groups, more, {key: text for key, text in loading.items() if text})

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
        """Return what another rule may have to fetch before the model in the wildcards is loaded:
        a GGUF file, or of a hub's model the note that it was fetched."""
        kind, _, place = self.source(wildcards).partition(":")
        if kind == "hub":
            return [f"resources/models/{wildcards.model}/fetched.json"]
        # A brace in the name of an input would be taken for a wildcard.
        return [place] if kind == "gguf" and "{" not in place else []

    def digest(self, wildcards: Any) -> str:
        """Return the digest of the files the model in the wildcards is loaded from; "" of a hub's,
        whose commit says what they are."""
        kind, _, place = self.source(wildcards).partition(":")
        if kind == "hub":
            return ""
        # What is fetched only later is what it will be.
        fetched = SMOLLM2_SHA256 if Path(place).name == Path(SMOLLM2_MEMBER).name else ""
        return digest_of(_place_of(kind, place)) or fetched

    def text_models(self, runs: Iterable[Run]) -> list[Any]:
        """Return wildcards of each model among the runs that takes text alone."""
        names = sorted({run.model for run in runs if self.task(run.model) == "text"})
        return [SimpleNamespace(model=name) for name in names]

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
        kinds = kinds_of(config["datasets"])
        datasets = [name for name in kinds if config["datasets"][name]["n"] > 0]
        runs = [
            Run(model, dataset)
            for model in self.select(config["models"], config["hub"])
            for dataset in datasets
            if kinds[dataset] == TASKS[self.task(model)]
        ]
        if not runs:
            raise ConfigError(
                "Nothing to run: models and datasets in the configuration leave no model with a "
                "dataset it can read; give a dataset an n above 0."
            )
        for model in sorted({run.model for run in runs}):
            self.require(model)
        return runs

    def take_literally(self) -> None:
        """Let no param of a model's rule be searched for wildcards: braces belong to its texts."""
        for name in self.files:
            proxy = self._rule(name)
            # Snakemake has copied the texts for whoever reads them, as this class does.
            for key, value in proxy.params.items():
                if isinstance(value, str):
                    setattr(proxy.rule.params, key, lambda wildcards, text=value: text)

    def require(self, model: str) -> None:
        """Refuse a model that can't be run.

        Raises:
            ConfigError: if its rule is for another name, or its folder isn't there.
        """
        rule = getattr(self._rule(model), "rule", None)
        pattern = rule.wildcard_constraints.get("model", "") if rule else model
        if not re.fullmatch(pattern, model):
            raise ConfigError(
                f"{self.files[model]} has the wildcard constraint model={pattern!r}, which its own "
                f"name, {model}, doesn't match: correct it."
            )
        kind, _, place = str(self._params(model, "source")).partition(":")
        found = _place_of(kind, place)
        if kind in ("folder", "packaged") and not (found / "config.json").is_file():
            raise ConfigError(
                f"{self.files[model]} names the folder {found}, which has no config.json: correct "
                "its source."
            )
        # Another may be what a rule fetches.
        if kind == "gguf" and "{" in place and not found.is_file():
            raise ConfigError(
                f"{self.files[model]} names {place}, but there is no such file: correct its source."
            )

    def _is_hub(self, model: str) -> bool:
        return str(self._params(model, "source")).startswith("hub:")

    def _pinned(self, model: str) -> str:
        """Return the revision that a model's rule names; "" if it names none."""
        if not getattr(self._rule(model).params, "revision", ""):
            return ""
        return self._params(model, "revision")

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

    def _params(self, model: str, key: str) -> str:
        value = getattr(self._rule(model).params, key, None)
        if not isinstance(value, str) or not value:
            raise ConfigError(f"{self.files[model]} must give {key} as a text among its params.")
        return value


def with_pictures(
    runs: Iterable[Run], config: Mapping[str, Any], datasets: Iterable[str] | None = None
) -> list[Run]:
    """Return the runs on datasets that have pictures.

    Args:
        runs: all runs.
        config: the validated configuration.
        datasets: names of the datasets that are wanted; all by default.

    Raises:
        ConfigError: for a dataset that there is none of.
    """
    kinds = kinds_of(config["datasets"])
    pictured = [name for name, kind in kinds.items() if kind == "image"]
    wanted = pictured if datasets is None else list(datasets)
    for name in wanted:
        if name not in pictured:
            raise ConfigError(
                f"The configuration names the dataset {name} where one with pictures belongs: "
                f"there are {', '.join(pictured)}."
            )
    return [run for run in runs if run.dataset in wanted]


def _place_of(kind: str, place: str) -> Path:
    """Return the file or folder of a source that isn't a hub's."""
    return PACKAGE / "models" / "packaged" / place if kind == "packaged" else Path(place)


def _reads_hub(path: Path) -> bool:
    try:
        return read_rule(path).source.startswith("hub:")
    except ConfigError:
        return False


def rule_name(model: str) -> str:
    """Return the name of a model's rule: "smollm2-135m" has extract_smollm2_135m."""
    return "extract_" + re.sub(r"\W", "_", model)


def options(*groups: Mapping[str, Any], **more: Any) -> Any:
    """Return a function that gives settings as one line of JSON, as the command line takes them.

    As a function, since snakemake takes braces in other params for wildcards.
    """
    line = _line(*groups, more)
    return lambda wildcards: line


def _line(*groups: Mapping[str, Any]) -> str:
    merged: dict[str, Any] = {}
    for group in groups:
        merged.update(group)
    return json.dumps(merged, sort_keys=True, ensure_ascii=False)
