"""The environment elsewhere: what conda, Apptainer and Docker are given is what is locked."""

from __future__ import annotations

import os
import re
import subprocess

import yaml

from lensbench.config import ROOT

DEFINITION = (ROOT / "deploy/lensbench.def").read_text(encoding="utf-8")
DOCKERFILE = (ROOT / "deploy/Dockerfile").read_text(encoding="utf-8")
INSTALL = ROOT / "deploy/install.sh"


def test_both_images_start_from_the_python_of_conda() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    (version,) = [e[7:] for e in environment["dependencies"] if str(e).startswith("python=")]
    (base,) = re.findall(r"^From: (.+)$", DEFINITION, re.M)
    assert re.findall(r"^ARG BASE=(.+)$", DOCKERFILE, re.M) == [base]
    assert base == f"python:{version}-slim-bookworm"


def test_both_images_run_one_script_beside_the_lock() -> None:
    files = dict(re.findall(r"^    (\S+/\S+|\S+\.lock) (/opt/\S+)$", DEFINITION, re.M))
    assert files == {
        "requirements.lock": "/opt/lensbench/requirements.lock",
        "deploy/install.sh": "/opt/lensbench/install.sh",
    }
    assert all((ROOT / name).is_file() for name in files)
    assert "COPY requirements.lock deploy/install.sh /opt/lensbench/" in DOCKERFILE
    allowed = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert allowed == ["*", *(f"!{name}" for name in files)]
    for recipe in (DEFINITION, DOCKERFILE):
        assert len(re.findall(r"bash /opt/lensbench/install\.sh$", recipe, re.M)) == 1


def test_the_script_installs_the_lock_and_the_latex_of_the_report() -> None:
    text = INSTALL.read_text(encoding="utf-8")
    subprocess.run(["bash", "-n", INSTALL], check=True)
    assert os.access(INSTALL, os.X_OK)
    assert "set -euo pipefail" in text
    assert "pip install --no-cache-dir --disable-pip-version-check -r requirements.lock" in text
    (latex,) = re.findall(
        r'^packages="(.+)"$', (ROOT / "scripts/latex.sh").read_text(encoding="utf-8"), re.M
    )
    assert set(latex.split()) <= set(re.findall(r"[\w-]+", text))


def test_the_workflow_names_the_image_that_the_definition_builds() -> None:
    snakefile = (ROOT / "Snakefile").read_text(encoding="utf-8")
    assert 'os.path.join(workflow.basedir, "deploy", "lensbench.sif")' in snakefile
    assert "apptainer build deploy/lensbench.sif deploy/lensbench.def" in DEFINITION
