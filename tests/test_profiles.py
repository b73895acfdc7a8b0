"""Profiles: keys snakemake knows, groups of rules that are there, partitions that jobs fit."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from snakemake.cli import get_argument_parser
from snakemake.profiles import ProfileConfigFileParser
from snakemake.settings.types import SharedFSUsage
from snakemake_executor_plugin_slurm import ExecutorSettings
from snakemake_executor_plugin_slurm.partitions import get_best_partition, read_partition_file

from lensbench.config import ROOT
from lensbench.errors import ConfigError
from lensbench.workflow import shares_files

PROFILES = ROOT / "workflow/profiles"
PARTITIONS = PROFILES / "slurm/partitions.yaml"
#: Rules that load a model: each a job of its own, asking for what the model's rule says.
ALONE = {"inspect", "closeup", "variants", "ablate", "numerics"}
#: Rules that no default or study target runs in numbers.
SELDOM = {"all", "import_lens", "patch_metrics_imported", "explorer_pages_imported"}


def profile(name: str) -> dict[str, object]:
    """Return a profile's settings, as snakemake reads them."""
    with (PROFILES / name / "config.yaml").open(encoding="utf-8") as stream:
        return dict(ProfileConfigFileParser().parse(stream))


def groups(settings: dict[str, object]) -> dict[str, str]:
    """Return the group of each rule that is in one."""
    return dict(entry.split("=") for entry in settings["groups"])  # type: ignore[attr-defined]


def rules() -> dict[str, str]:
    """Return the text of every rule of the workflow but the models' own, by its name."""
    found = {}
    for file in [ROOT / "Snakefile", *(ROOT / "workflow/rules").glob("*.smk")]:
        parts = re.split(
            r"^(?:use rule \w+ as|rule) (\w+)", file.read_text(encoding="utf-8"), flags=re.M
        )
        found |= dict(zip(parts[1::2], parts[2::2], strict=True))
    return found


def local_rules() -> set[str]:
    """Return the rules that stay where the run was started."""
    listed = re.search(
        r"^localrules:\n((?:    \w+,\n)+)",
        (ROOT / "workflow/rules/datasets.smk").read_text(encoding="utf-8"),
        re.M,
    )
    assert listed
    marked = {name for name, text in rules().items() if "localrule: True" in text}
    return marked | set(re.findall(r"\w+", listed[1]))


@pytest.fixture(autouse=True)
def in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("SNAKEMAKE_SLURM_PARTITIONS", raising=False)


@pytest.mark.parametrize("name", ["slurm", "generic"])
def test_every_key_of_a_profile_is_an_option(name: str) -> None:
    known = {
        option.removeprefix("--")
        for action in get_argument_parser()._actions
        for option in action.option_strings
    }
    known |= {f"slurm-{key.replace('_', '-')}" for key in ExecutorSettings.__dataclass_fields__}
    assert set(profile(name)) <= known


def test_every_rule_is_grouped_local_or_a_models_own() -> None:
    grouped, local = set(groups(profile("slurm"))), local_rules()
    named = {name for name in rules() if not name.startswith("train_")} - {"extract"}
    assert grouped <= named
    assert local <= named
    # A local rule in a group would draw the whole group to the login node.
    assert not grouped & local
    assert grouped | local | ALONE | SELDOM == named


def test_what_fetches_stays_where_the_run_was_started() -> None:
    fetching = {name for name, text in rules().items() if "lensbench fetch-" in text}
    assert fetching == {"fetch_hub", "fetch_smollm2_135m"}
    mirrored = {name for name, text in rules().items() if "mirror=" in text}
    assert mirrored == {"dataset_tallyqa", "dataset_oxford_flowers", "dataset_tf_flowers"}
    assert fetching | mirrored <= local_rules()


def test_profiles_group_alike_and_say_how_many() -> None:
    slurm, generic = profile("slurm"), profile("generic")
    assert groups(slurm) == groups(generic)
    assert slurm["group-components"] == generic["group-components"]
    components = dict(entry.split("=") for entry in slurm["group-components"])  # type: ignore
    assert set(components) <= set(groups(slurm).values())
    assert all(int(number) > 1 for number in components.values())


def test_name_of_the_gpus_goes_to_the_models_that_need_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "set-resources" not in profile("slurm")
    own = yaml.safe_load(PARTITIONS.read_text(encoding="utf-8")) | {"gpu_model": "a100"}
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(own), encoding="utf-8")
    monkeypatch.setenv("SNAKEMAKE_SLURM_PARTITIONS", str(file))
    given = profile("slurm")["set-resources"]
    assert "extract_qwen2_5_vl_3b:gpu_model=a100" in given
    assert not [entry for entry in given if "lensbench" in entry or "smollm2_135m" in entry]


def test_account_and_gpus_come_from_the_file_of_partitions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not [entry for entry in profile("slurm")["default-resources"] if "account" in entry]
    own = yaml.safe_load(PARTITIONS.read_text(encoding="utf-8"))
    own |= {"account": "project42", "qos": "long", "gpus_at_once": 3}
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(own), encoding="utf-8")
    monkeypatch.setenv("SNAKEMAKE_SLURM_PARTITIONS", str(file))
    settings = profile("slurm")
    assert {"slurm_account=project42", "qos=long"} <= set(settings["default-resources"])
    assert "gpu=3" in settings["resources"]
    assert settings["slurm-partition-config"] == str(file)


@pytest.mark.parametrize("file", sorted((ROOT / "workflow/rules/models").glob("*.smk")))
def test_every_model_fits_into_a_partition_and_only_its_gpu_leads_it_to_gpus(file: Path) -> None:
    asked = dict(re.findall(r"(gpu|mem_mb|runtime)=(\d+),", file.read_text(encoding="utf-8")))
    resources = {name: int(number) for name, number in asked.items()}
    job = SimpleNamespace(resources=resources, threads=1, name=file.stem)
    found = get_best_partition(read_partition_file(PARTITIONS), job, logging.getLogger())
    assert found == ("gpu" if resources.get("gpu") else "cpu")


def storage(usage: frozenset[SharedFSUsage], provider: str | None = None) -> SimpleNamespace:
    return SimpleNamespace(shared_fs_usage=usage, default_storage_provider=provider)


def test_an_executor_that_copies_files_is_refused() -> None:
    everything = SharedFSUsage.all()
    shares_files(storage(everything))
    shares_files(storage(frozenset({SharedFSUsage.INPUT_OUTPUT})))
    for refused in (
        storage(frozenset()),
        storage(everything - {SharedFSUsage.INPUT_OUTPUT}),
        storage(everything, provider="s3"),
    ):
        with pytest.raises(ConfigError, match="jobs must see the project's folder as one file"):
            shares_files(refused)


def test_generic_profile_shares_what_the_workflow_needs() -> None:
    usage = frozenset(SharedFSUsage.parse_choices_set(profile("generic")["shared-fs-usage"]))
    shares_files(storage(usage))
    assert usage == SharedFSUsage.all()
