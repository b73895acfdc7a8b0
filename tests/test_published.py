"""The published study from the network to its PDF, with small stand-ins at loopback servers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
from tests.hub import Hub
from tests.server import Server
from tests.study import STAND_INS, write_data, write_models

from lensbench.config import ROOT
from lensbench.datasets.tallyqa_questions import published, read_records
from lensbench.paper import engine

MODELS = ("gpt2", "llava-1.5-7b", "llava-onevision-0.5b", "qwen2-vl-2b")
DATASETS = ("tallyqa", "oxford_flowers", "tf_flowers")
PDF = "results/paper/lensbench.pdf"
#: What the report is compiled from, where there is no LaTeX.
PARTS = ["results/paper/parts/data.tex", "results/paper/numbers.tex"]
#: Laid over config/paper.yaml: its models and published data, in small.
SMALL = """\
models: [{models}]
mirror: {mirror}
datasets:
  tallyqa: {{n: 14}}
  oxford_flowers: {{n: 6}}
  tf_flowers: {{n: 6}}
  facts: {{n: 6}}
  scenes: {{n: 0}}
  fills: {{n: 0}}
  flowers: {{n: 0}}
extraction: {{shard_samples: 10000}}
closeups: {{n: 2}}
variants: {{n: 4, sizes: [24]}}
ablation: {{n: 3, random_groups: 2, datasets: [oxford_flowers]}}
explorer: {{samples: 2}}
metrics: {{resamples: 100}}
"""


def pinned(model: str) -> tuple[str, str]:
    """Return the repository and the commit that a model's rule names."""
    text = (ROOT / f"workflow/rules/models/{model}.smk").read_text(encoding="utf-8")
    found = re.search(r'source="hub:(.+?)",\s+revision="([0-9a-f]{40})"', text)
    assert found is not None
    return found[1], found[2]


def test_published_study_from_the_network_to_its_pdf(tree: Path, tmp_path: Path) -> None:
    table = write_data(tmp_path / "served")
    folders = write_models(tmp_path / "repositories")
    hosted = {
        repository: (folders[repository], commit) for repository, commit in map(pinned, MODELS)
    }
    with Server(tmp_path / "served") as server, Hub(hosted) as hub:
        small = SMALL.format(models=", ".join(MODELS), mirror=server.url)
        (tree / "small.yaml").write_text(small, encoding="utf-8")
        command = [sys.executable, "-m", "snakemake", "--cores", "2"]
        # Pages and notebooks are no part of the report, and are made of the same tables elsewhere.
        command += [PDF] if engine() else PARTS
        command += ["--configfile", "config/paper.yaml", "small.yaml"]
        environment = {
            **os.environ,
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(tmp_path / "hf"),
            "HF_HUB_OFFLINE": "0",
            "LENSBENCH_SOURCES": str(table),
        }
        done = subprocess.run(
            command, cwd=tree, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]

    # The questions are the published study's: the plan's own reading of the served file.
    manifest = pd.read_parquet(tree / "results/datasets/tallyqa/manifest.parquet")
    asked = read_records(tree / "resources/downloads/tallyqa/tallyqa.zip", "test")
    wanted = [asked[place] for place in published(asked, 14)]
    gold = dict(zip(manifest["sample_id"], manifest["gold"], strict=True))
    assert gold == {f"tallyqa-{one.name}": f"number:{one.answer}" for one in wanted}
    # Every model was run on everything, by the class of the published one.
    summary = pd.read_csv(tree / "results/metrics/summary.csv")
    runs = {(row.model, row.dataset) for row in summary.itertuples()}
    images = {(model, dataset) for model in MODELS[1:] for dataset in DATASETS}
    assert runs == images | {("gpt2", "facts")}
    for model in MODELS:
        repository, commit = pinned(model)
        noted = json.loads((tree / f"results/models/{model}/model.json").read_text("utf-8"))
        assert (noted["source"], noted["revision"]) == (f"hub:{repository}", commit)
        stand_in = STAND_INS.get(repository)
        if stand_in:
            config = json.loads((folders[repository] / "config.json").read_text("utf-8"))
            assert noted["architecture"] == config["architectures"][0]
    # A stand-in that counts scenes answers as it does when it is loaded from its own folder.
    assert summary.query("metric == 'n_rejected'")["value"].eq(0).all()
    assert (tree / PDF).is_file() == (engine() is not None)
    parts = (tree / "results/paper/parts/data.tex").read_text(encoding="utf-8")
    assert "TallyQA" in parts
    assert "102flowers.tgz" in parts
