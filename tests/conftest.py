"""What many tests share: the command, a copy of the project's tree, one Chromium."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright
from tests.commands import Done

from lensbench import cli
from lensbench.config import ROOT

# Tests must never reach a hub, and must give the same numbers on every machine.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the file of the longest tests first, so that no worker is left alone with one."""
    items.sort(key=lambda item: item.path.name != "test_workflow.py")


Snakemake = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def lensbench(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Done]:
    """Return the command, run in this process with an empty folder as its place."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str, columns: int = 80) -> Done:
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setattr(sys, "argv", ["lensbench", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        return Done(int(ended.value.code or 0), out, err)

    return call


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a copy of what the workflow is made of, in an empty folder."""
    copy = tmp_path / "copy"
    for name in ("workflow", "config", "paper", "notebooks"):
        shutil.copytree(ROOT / name, copy / name)
    for name in ("Snakefile", "environment.yml"):
        shutil.copy(ROOT / name, copy / name)
    return copy


@pytest.fixture
def snakemake(tree: Path) -> Snakemake:
    """Return snakemake in the copied tree: snakemake("-n", "--config", "seed=1")."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "snakemake", "--cores", "2", *arguments],
            cwd=tree,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Return the system's Chromium, one for all tests of pages."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.fail(
            "Pages are tested in Chromium, which is not there: apt-get install chromium.",
            pytrace=False,
        )
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started
        started.close()
