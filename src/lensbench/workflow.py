"""What the workflow's rules ask Python: shards, lenses of others, figures, files and settings."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from snakemake.settings.types import SharedFSUsage

from lensbench.errors import ConfigError, LensbenchError
from lensbench.figures import FIGURES, RUN_FIGURES, FigureSpec
from lensbench.files import digest_of
from lensbench.shards import PARTS, n_parts_of, n_shards_of
from lensbench.tables import TABLES, TableSpec


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
        # A question is a line at least, whatever ends it.
        data = Path(dataset["questions"]).read_bytes()
        return max(data.count(b"\n"), data.count(b"\r")) + 1
    if dataset.get("folder"):
        return max(1, sum(len(files) for _, _, files in os.walk(dataset["folder"])))
    return int(dataset["n"])


class Imports:
    """Lenses that others made, as the configuration names them.

    Args:
        files: paths of JSON files, packed or not; a PNG of the same name may stand beside each.

    Raises:
        ConfigError: if one isn't there, two have one name, or a name can't be a folder's.
    """

    def __init__(self, files: Iterable[str]) -> None:
        self._files: dict[str, str] = {}
        for file in files:
            if not os.path.isfile(file):
                raise ConfigError(
                    f"imports in the configuration names {file}, but there is no such file: "
                    "correct its path."
                )
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

    def option(self, wildcards: Any) -> str:
        """Return the option that names the picture beside it, quoted; "" if there is none."""
        return " ".join(f"--picture {shlex.quote(path)}" for path in self._picture(wildcards))

    def digests(self, wildcards: Any) -> str:
        """Return the digests of that file and its picture."""
        return str(digests_of(self.file(wildcards), *self._picture(wildcards))(wildcards))

    def _picture(self, wildcards: Any) -> list[str]:
        beside = re.sub(r"\.json(\.gz)?$", ".png", self.file(wildcards))
        return [beside] if os.path.isfile(beside) else []


def manifest_of(datasets: Mapping[str, str]) -> Any:
    """Return a function that gives the manifest of the dataset of the model in the wildcards.

    Args:
        datasets: model → dataset.
    """

    def value(wildcards: Any) -> str:
        return f"results/datasets/{datasets[wildcards.model]}/manifest.parquet"

    return value


def digests_of(*paths: str | None) -> Any:
    """Return a function that gives the digests of somebody's own files and folders, as a param.

    As inputs they would be compared by time alone, which `cp -p`, `unzip` and `rsync -a` set back,
    and a brace in a name would be taken for a wildcard.

    Args:
        paths: None for what the configuration doesn't name.
    """
    return lambda wildcards: " ".join(digest_of(path) for path in paths if path)


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
