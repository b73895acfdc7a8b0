"""What holds the project together: equal versions, no hosts, a README that tells the truth."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import lensbench
from lensbench.config import ROOT

sys.path.insert(0, str(ROOT / "scripts"))
import check_outputs
import lock
import readme_tree

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
TRACKED = readme_tree.tracked()


def pins(lines: list[str]) -> dict[str, str]:
    """Return name → version of pinned requirements; anything but one == is an error."""
    found = {}
    for line in lines:
        requirement = Requirement(line)
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", line
        assert "*" not in specifier.version, line
        found[canonicalize_name(requirement.name)] = specifier.version
    return found


def locked() -> dict[str, str]:
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    return pins([line for line in text.splitlines() if line and not line.startswith("#")])


def test_environment_pyproject_and_lock_have_the_same_versions() -> None:
    declared = pins(lock.declared())
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    (by_pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    assert pins(by_pip) == declared
    in_lock = locked()
    assert {name: in_lock.get(name) for name in declared} == declared


def test_lock_is_the_closure_of_what_is_declared() -> None:
    assert lock.closure(lock.declared()) == locked()


def test_torch_is_pinned_without_a_build() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", locked()["torch"])
    assert "torchvision" not in locked()


def test_python_of_conda_is_one_the_project_takes() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    (python,) = [e for e in environment["dependencies"] if str(e).startswith("python=")]
    assert Requirement(f"python{PROJECT['requires-python']}").specifier.contains(python[7:] + ".0")


def test_every_third_party_import_is_declared() -> None:
    owners = packages_distributions()
    declared = set(pins([*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["heic"]]))
    for path in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                roots = {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                roots = {str(node.module).partition(".")[0]}
            else:
                continue
            for root in roots - set(sys.stdlib_module_names) - {"lensbench", "__future__"}:
                names = {canonicalize_name(name) for name in owners.get(root, [root])}
                assert names & declared, f"{path.name} imports {root}, which pyproject.toml lacks"


@pytest.mark.parametrize(
    "name", ["requirements.lock", "pyproject.toml", "environment.yml", "Makefile"]
)
def test_no_host_index_or_place_is_named(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert not re.search(r"https?://|file://|--(extra-)?index-url|--find-links| @ |--hash", text)


def test_no_path_of_this_machine_is_in_the_repository() -> None:
    here = re.compile(re.escape(str(ROOT)) + r"\b|/home/\w+/|/Users/\w+/")
    for name in TRACKED:
        path = ROOT / name
        if path.suffix in {".safetensors", ".png", ".parquet", ".gz"}:
            continue
        text = path.read_text(encoding="utf-8")
        assert not here.search(text), name


def test_versions_and_licence_agree() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == lensbench.__version__
    assert citation["license"] == PROJECT["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")


def test_readme_tree_is_the_tree() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (told,) = re.findall(r"```tree\n(.*?)\n```", text, re.DOTALL)
    assert told == readme_tree.tree(), "run make readme"
    for line in told.splitlines():
        assert re.fullmatch(r" *\S+ +\S.*", line), f"says nothing: {line}"


def test_ci_promises_every_figure_table_and_metric() -> None:
    from lensbench.compare.numeric_table import NAME as NUMERICS
    from lensbench.config import load_config
    from lensbench.datasets import DATASETS
    from lensbench.figures import FIGURES, RUN_FIGURES
    from lensbench.metrics.study_tables import STUDY_TABLES
    from lensbench.metrics.tables import MODEL_TABLES, RUN_TABLES
    from lensbench.tables import TABLES

    assert list(FIGURES) == check_outputs.FIGURES
    assert list(RUN_FIGURES) == check_outputs.RUN_FIGURES
    assert sorted(check_outputs.TABLES) == sorted(TABLES)
    metrics = [*RUN_TABLES, *STUDY_TABLES, *MODEL_TABLES, NUMERICS]
    assert sorted(check_outputs.METRICS) == sorted(metrics)
    assert sorted(check_outputs.NOTEBOOKS) == sorted(
        path.stem for path in (ROOT / "notebooks").glob("*.py")
    )
    named = [name for names in check_outputs.DATASETS.values() for name in names]
    default = load_config(ROOT / "config/config.yaml")["datasets"]
    assert set(default) == set(DATASETS)
    assert sorted(named) == sorted(name for name in default if default[name]["n"])


def test_ci_promises_every_model_that_needs_no_hub() -> None:
    embedded = [
        path.stem
        for path in (ROOT / "workflow/rules/models").glob("*.smk")
        if "hub:" not in path.read_text(encoding="utf-8")
    ]
    assert sorted(check_outputs.MODELS) == sorted(embedded)


def test_output_check_names_what_is_missing(tmp_path: Path) -> None:
    for name in check_outputs.promised():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x", encoding="utf-8")
    assert check_outputs.missing(tmp_path) == []
    (tmp_path / "results/metrics/heads.csv").write_text("", encoding="utf-8")
    (tmp_path / "results/figures/heads.png").unlink()
    assert check_outputs.missing(tmp_path) == [
        "results/metrics/heads.csv",
        "results/figures/heads.png",
    ]


@pytest.mark.parametrize(
    "name",
    [
        ".ci/run",
        "scripts/environment.sh",
        "scripts/latex.sh",
        "scripts/slurm.sh",
        "deploy/install.sh",
    ],
)
def test_shell_scripts_are_whole_and_strict(name: str) -> None:
    script = ROOT / name
    assert "set -euo pipefail" in script.read_text(encoding="utf-8")
    subprocess.run(["bash", "-n", script], check=True)
    assert os.access(script, os.X_OK)


def test_ci_runs_the_commands_of_the_readme() -> None:
    ci = (ROOT / ".ci/run").read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for command in ("make test", "make reproduce"):
        assert re.search(rf"^    {command}\b", readme, re.MULTILINE), command
    assert "make test" in ci
    assert "reproduce" in ci
    assert "check_outputs.py" in ci


def test_old_python_is_met_with_one_sentence(tmp_path: Path) -> None:
    fake = tmp_path / "python"
    fake.write_text(
        '#!/bin/sh\ncase "$2" in *exit*) exit 1;; *) echo 3.9;; esac\n', encoding="utf-8"
    )
    fake.chmod(0o755)
    done = subprocess.run(
        ["bash", ROOT / "scripts/environment.sh"],
        env={**os.environ, "PYTHON": str(fake)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"lensbench: {fake} is Python 3.9, but 3.11 or newer is needed: "
        "name another with make PYTHON=/path/to/python."
    ]
