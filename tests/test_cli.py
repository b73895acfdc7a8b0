"""The command line: thin, quick to start, and one sentence for bad input."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.commands import Done

from lensbench.datasets.manifest import read_manifest


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["dataset", "nope", "--out", "x"], "No dataset is called nope: there are scenes,"),
        (["dataset", "facts", "--out", "x", "--options", "{"], "--options is no valid JSON"),
        (["dataset", "facts", "--out", "x", "--options", "3"], "--options must be a JSON object"),
        (
            ["dataset", "facts", "--out", "x", "--options", '{"m": 1}'],
            "The dataset facts takes no setting m",
        ),
        (["dataset", "facts", "--out", "x"], "The dataset facts needs the setting n"),
        (
            ["inspect", "m", "--source", "folder:x", "--out", "x", "--options", '{"dtipe": 1}'],
            "takes no setting dtipe: there are dtype, device, device_map, ",
        ),
        (
            ["dataset", "scenes", "--out", "x", "--options", '{"n": 4, "seed": "a"}'],
            "The dataset scenes takes a whole number for seed, not 'a'",
        ),
        (
            ["dataset", "scenes", "--out", "x", "--options", '{"n": 4, "seed": -1}'],
            "The dataset scenes takes a seed of 0 or more, not -1.",
        ),
        (
            ["dataset", "own", "--out", "x", "--options", '{"n": 4, "seed": 1, "folder": 5}'],
            "The dataset own takes a text or null for folder, not 5",
        ),
        (
            ["dataset", "tf_flowers", "--out", "x", "--options",
             '{"n": 4, "seed": 1, "max_rejected": 1.5}'],
            "The dataset tf_flowers takes a max_rejected of between 0 and 1, not 1.5.",
        ),
        (
            ["dataset", "tf_flowers", "--out", "x", "--options",
             '{"n": 4, "seed": 1, "max_rejected": NaN}'],
            "--options has NaN, which is no number",
        ),
        (["fetch-model", "gpt9", "--out", "x"], "gpt9 can't be fetched here"),
        (["figure", "nope", "--metrics", ".", "--out", "x"], "There is no figure 'nope'"),
        (
            ["figure", "accuracy_by_layer", "--metrics", ".", "--out", "x"],
            "by_layer.csv is missing",
        ),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence_and_leaves_nothing(
    tmp_path: Path, lensbench: Callable[..., Done], arguments: list[str], words: str
) -> None:
    done = lensbench(*arguments)
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("lensbench: ")
    assert words in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_dataset_command_writes_what_was_asked_for(
    tmp_path: Path, lensbench: Callable[..., Done]
) -> None:
    done = lensbench("dataset", "facts", "--out", "facts", "--options", '{"n": 7, "seed": 1}')
    assert done.returncode == 0, done.stderr
    assert len(read_manifest(tmp_path / "facts")) == 7


def test_help_needs_neither_torch_nor_matplotlib() -> None:
    code = (
        "import sys, lensbench.cli; "
        "print(sorted({'torch', 'transformers', 'matplotlib', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_metrics_and_figures_never_load_torch() -> None:
    code = (
        "import sys, lensbench.metrics.run, lensbench.metrics.collect, lensbench.figures, "
        "lensbench.datasets, lensbench.workflow; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_last_lines_tell_what_is_there_and_what_is_missing(
    tmp_path: Path, lensbench: Callable[..., Done]
) -> None:
    run = tmp_path / "results/metrics/a-model/facts"
    run.mkdir(parents=True)
    (run / "summary.parquet").touch()
    (tmp_path / "results/metrics/summary.csv").touch()
    (tmp_path / "results/explorer/a-model/facts").mkdir(parents=True)
    for page in ("index.html", "a-model/facts/facts-00000.html"):
        (tmp_path / "results/explorer" / page).touch()
    told = lensbench("made").stdout
    assert "from 1 models (a-model) in 1 runs" in told
    assert "results/metrics/" in told
    (explored,) = [line for line in told.splitlines() if "results/explorer/" in line]
    assert explored.split(maxsplit=1)[1] == "1 pages of samples; index.html leads to them"
    assert "Missing: results/paper/lensbench.pdf" in told
    assert told.splitlines()[-1].split()[0] in {"sudo", "conda"}
    (tmp_path / "results/paper").mkdir()
    (tmp_path / "results/paper/lensbench.pdf").touch()
    assert "Missing" not in lensbench("made").stdout
