"""The workflow: its plan, its mistakes told in one sentence, and a model added by one file."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jupytext
import pandas as pd
import pytest
from matplotlib.text import Text
from nbclient import NotebookClient
from PIL import Image
from snakemake.resources import Resource

from lensbench import rooms, workflow
from lensbench.catalog import Catalog, Run, rule_name, with_pictures
from lensbench.config import ROOT
from lensbench.datasets import DATASETS
from lensbench.errors import ConfigError
from lensbench.figures import FIGURES, RUN_FIGURES
from lensbench.metrics.tables import RUN_TABLES
from lensbench.tables import TABLES
from lensbench.verify import verify

COMMIT = "0123456789abcdef0123456789abcdef01234567"
Snakemake = Callable[..., subprocess.CompletedProcess[str]]

FIFTH = """\
use rule extract as extract_tiny_fifth with:
    wildcard_constraints:
        model="tiny-fifth",
    params:
        source="folder:{folder}",
        task="text",
    resources:
        mem_mb=500,
"""


RULE = "use rule extract as extract_{} with:\n    params:\n        task='text',\n"


@dataclass(frozen=True)
class Planned:
    """One output of the plan and the rule that makes it."""

    output: str
    rule: str


def plan(snakemake: Snakemake, *arguments: str) -> list[Planned]:
    """Return every output of the default target, by snakemake's summary."""
    done = snakemake("--summary", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = list(csv.DictReader(io.StringIO(done.stdout), delimiter="\t"))
    return [Planned(row["output_file"], row["rule"]) for row in rows]


def test_default_plan_has_every_output_and_no_training_or_hub(snakemake: Snakemake) -> None:
    jobs = plan(snakemake)
    outputs = {job.output for job in jobs}
    for name in FIGURES:
        assert {f"results/figures/{name}.pdf", f"results/figures/{name}.png"} <= outputs
    for name in TABLES:
        assert {f"results/tables/{name}.csv", f"results/tables/{name}.tex"} <= outputs
    for name in RUN_FIGURES:
        assert f"results/figures/smollm2-135m/facts/{name}.png" in outputs
    assert "results/paper/numbers.tex" in outputs
    rules = {job.rule for job in jobs}
    assert not [rule for rule in rules if rule.startswith("train_")]
    assert "extract_gpt2" not in rules
    # Counted by hand: 120 facts, shards of 32, two a job.
    facts = {name for name in outputs if name.startswith("results/traces/smollm2-135m/facts/")}
    assert facts == {f"results/traces/smollm2-135m/facts/parts/{part}.json" for part in (0, 1)}


def test_paper_plan_has_the_published_models(snakemake: Snakemake) -> None:
    outputs = {job.output for job in plan(snakemake, "--configfile", "config/paper.yaml")}
    assert "results/traces/gpt2/facts/parts/0.json" in outputs
    for model in ("qwen2-vl-2b", "llava-onevision-0.5b", "llava-1.5-7b"):
        # 5000 questions, shards of 500, three a job.
        assert f"results/traces/{model}/tallyqa/parts/3.json" in outputs
        assert f"results/traces/{model}/tallyqa/parts/4.json" not in outputs
        assert f"results/metrics/{model}/flowers/summary.parquet" in outputs


def test_resources_of_a_models_rule_are_those_of_all_its_jobs() -> None:
    resources = {
        "gpu": Resource("gpu", 2),
        # As the command line gives it: a text that may be an expression.
        "gpu_model": Resource.from_cli_expression("gpu_model", "a100", with_threads_arg=False),
        "constraint": Resource("constraint", None),
    }
    rule = SimpleNamespace(rule=SimpleNamespace(resources=resources))
    catalog = Catalog(ROOT / "workflow/rules/models", SimpleNamespace(extract_gpt2=rule))
    job = SimpleNamespace(model="gpt2")
    assert catalog.resource("gpu")(job) == 2
    assert catalog.resource("gpu_model")(job) == "a100"
    assert catalog.resource("constraint")(job) == 0


def test_published_models_name_a_commit_and_what_they_need() -> None:
    for path in sorted((ROOT / "workflow/rules/models").glob("*.smk")):
        text = path.read_text(encoding="utf-8")
        assert re.search(r"mem_mb=\d+,\n        runtime=\d+,", text), path.name
        if 'source="hub:' in text:
            assert re.search(r'revision="([0-9a-f]{40})?",\n', text), path.name
            assert "gpu=1," in text, path.name
            pinned = 'revision="",' not in text
            assert pinned != ("the configuration gives it (revisions)" in text), path.name


def test_comparison_plan_fetches_each_model_once_before_it_is_inspected(
    snakemake: Snakemake,
) -> None:
    settings = ["--configfile", "config/comparison.yaml"]
    jobs = plan(snakemake, *settings)
    fetched = {job.output for job in jobs if job.rule == "fetch_hub"}
    known = (ROOT / "workflow/rules/models").glob("*.smk")
    texts = {path.stem: path.read_text(encoding="utf-8") for path in known}
    pinned = {
        name
        for name, text in texts.items()
        if 'source="hub:' in text and 'revision="",' not in text and 'task="image-text"' in text
    }
    assert fetched == {f"resources/models/{name}/fetched.json" for name in pinned}
    assert len(pinned) >= 8
    for name in pinned:
        assert f"results/traces/{name}/scenes/parts/0.json" in {job.output for job in jobs}
    commands = snakemake("-n", "--printshellcmds", *settings).stdout
    assert re.search(
        r"lensbench fetch-hub Qwen/Qwen2\.5-VL-3B-Instruct --revision=66285546d2b8\w{28}"
        r" --out resources/models/qwen2\.5-vl-3b/fetched\.json",
        commands,
    )


def test_model_without_a_revision_needs_one_from_the_configuration(
    tree: Path, snakemake: Snakemake
) -> None:
    (tree / "mine.yaml").write_text("hub: true\nmodels: [gemma-3-4b]\n")
    done = snakemake("-n", "--configfile", "mine.yaml")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert (
        "lensbench: gemma-3-4b has no confirmed revision: look up the commit of "
        "google/gemma-3-4b-it (the repository's page, Files → History, or `lensbench commit "
        "google/gemma-3-4b-it`) and set revisions.gemma-3-4b in the configuration."
    ) in done.stderr
    with (tree / "mine.yaml").open("a") as stream:
        stream.write(f"revisions: {{gemma-3-4b: {COMMIT}}}\n")
    done = snakemake("-n", "--printshellcmds", "--configfile", "mine.yaml")
    assert done.returncode == 0, done.stderr
    asked = re.findall(r"lensbench (fetch-hub|inspect|extract) .*--revision=(\w+)", done.stdout)
    assert {command for command, _ in asked} == {"fetch-hub", "inspect", "extract"}
    assert {commit for _, commit in asked} == {COMMIT}


def test_rule_says_how_a_large_model_is_loaded(tree: Path, snakemake: Snakemake) -> None:
    rule = tree / "workflow/rules/models/lensbench-llava.smk"
    text = rule.read_text(encoding="utf-8")
    large = 'task="image-text",\n        device_map="auto",\n        quantization="8bit",'
    text = text.replace('task="image-text",', large)
    rule.write_text(text.replace("mem_mb=2000,", "mem_mb=2000,\n        gpu=2,"), encoding="utf-8")
    done = snakemake(
        *("-n", "--printshellcmds", "--resources", "gpu=4"),
        *("--config", "models=['lensbench-llava','smollm2-135m']"),
        "extraction={'date': '2025-12-01'}",
    )
    assert done.returncode == 0, done.stderr
    loaded = re.findall(
        r"lensbench (inspect|extract|closeup|variants|ablate|numerics) .*?--options '(.*?)'",
        done.stdout,
    )
    assert len({command for command, _ in loaded}) == 6
    assert {json.loads(given)["date"] for _, given in loaded} == {"2025-12-01"}
    commands = re.findall(r"lensbench (?:inspect|extract) (\S+) .*?--options '(.*?)'", done.stdout)
    assert {name for name, _ in commands} == {"lensbench-llava", "smollm2-135m"}
    for name, given in commands:
        found = json.loads(given)
        loading = [found.get(key) for key in ("device_map", "quantization")]
        assert loading == (["auto", "8bit"] if name == "lensbench-llava" else [None, None])
    # Each job takes as many GPUs for itself as it is counted for.
    gpus = re.findall(
        r"lensbench (inspect|extract|closeup|variants|ablate) (\S+) .*--gpus (\d)", done.stdout
    )
    assert {(name, number) for _, name, number in gpus} == {
        ("lensbench-llava", "2"),
        ("smollm2-135m", "0"),
    }
    assert {command for command, name, _ in gpus if name == "lensbench-llava"} == {
        "inspect", "extract", "closeup", "variants", "ablate",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("sed=1", "lensbench: Unknown key sed in the command line (--config): did you mean seed?"),
        ("models=['gpt2']", "lensbench: models in the configuration names gpt2, which comes from "
                            "a model hub: set hub to true to fetch it."),
    ],
)  # fmt: skip
def test_mistake_in_the_configuration_is_one_sentence(
    tree: Path, snakemake: Snakemake, setting: str, sentence: str
) -> None:
    done = snakemake("-n", "--config", setting)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    told = [line for line in done.stderr.splitlines() if "lensbench: " in line]
    assert len(told) == 1
    assert sentence in told[0]
    assert not (tree / "results").exists()


def test_nothing_to_run_is_said(tree: Path, snakemake: Snakemake) -> None:
    (tree / "mine.yaml").write_text("models: [smollm2-135m]\ndatasets: {facts: {n: 0}}\n")
    done = snakemake("-n", "--configfile", "mine.yaml")
    assert done.returncode == 1
    assert "lensbench: Nothing to run" in done.stderr


def test_model_without_its_rule_is_said(tree: Path, snakemake: Snakemake) -> None:
    (tree / "workflow/rules/models/other.smk").write_text("X = 1\n", encoding="utf-8")
    done = snakemake("-n")
    assert done.returncode == 1
    assert "other.smk must hold the rule extract_other" in done.stderr


def test_changed_setting_reruns_only_what_depends_on_it(tree: Path) -> None:
    """The options of a job hold its own settings, no others."""
    text = {path.name: path.read_text() for path in (tree / "workflow/rules").glob("*.smk")}
    assert 'config["metrics"]' not in text["extract.smk"]
    assert 'config["extraction"]' not in text["figures.smk"]
    for name in ("datasets", "models", "extract", "metrics", "figures", "tables", "paper"):
        assert "code=code_version(" in text[f"{name}.smk"], name


def test_code_version_follows_the_stage_s_own_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "metrics").mkdir()
    (tmp_path / "figures").mkdir()
    (tmp_path / "metrics/a.py").write_text("1\n")
    monkeypatch.setattr(rooms, "PACKAGE", tmp_path)

    def versions() -> tuple[str, str]:
        rooms.code_version.cache_clear()
        return rooms.code_version("metrics"), rooms.code_version("show")

    before = versions()
    assert versions() == before
    (tmp_path / "metrics/a.py").write_text("2\n")
    metrics, show = versions()
    assert metrics != before[0]
    assert show == before[1]
    rooms.code_version.cache_clear()


def test_every_room_names_code_that_is_there() -> None:
    for stage, entries in rooms.ROOMS.items():
        for entry in entries:
            assert list(rooms.PACKAGE.glob(entry)), f"{stage}: {entry}"


def catalog(
    tmp_path: Path,
    revisions: dict[str, str] | None = None,
    unpinned: str = "",
    **models: tuple[str, str],
) -> Catalog:
    """Return a catalog of models given as name=(source, task), of which one may have no pin."""
    rules = {}
    for name, (source, task) in models.items():
        (tmp_path / f"{name}.smk").touch()
        revision = "" if name == unpinned else "1"
        params = SimpleNamespace(source=source, revision=revision, task=task)
        rules[rule_name(name)] = SimpleNamespace(params=params)
    return Catalog(tmp_path, SimpleNamespace(**rules), revisions)


def test_revisions_are_the_rule_s_or_the_configuration_s(tmp_path: Path) -> None:
    given = {"b": ("hub:x/b", "text"), "a": ("hub:x/a", "text"), "c": ("folder:c", "text")}
    bare = catalog(tmp_path, unpinned="a", **given)
    assert bare.select([], hub=True) == ["b", "c"]
    with pytest.raises(
        ConfigError, match=r"a has no confirmed revision: look up .* of x/a .*\.a in"
    ):
        bare.select(["a"], hub=True)
    told = catalog(tmp_path, {"a": COMMIT}, unpinned="a", **given)
    assert told.select([], hub=True) == ["a", "b", "c"]
    found = {name: told.revision(SimpleNamespace(model=name)) for name in "abc"}
    assert found == {"a": COMMIT, "b": "1", "c": "1"}
    for name, why in (("b", "its own rule pins it"), ("c", "its own"), ("d", "no such model")):
        with pytest.raises(ConfigError, match=f"revisions .* names {name}, but {why}"):
            catalog(tmp_path, {name: COMMIT}, **given).select([], hub=True)


def test_only_a_hub_s_model_needs_a_revision(tmp_path: Path) -> None:
    for source in ("folder:a", "gguf:a.gguf", "packaged:a"):
        given = catalog(tmp_path, unpinned="a", a=(source, "text"))
        assert given.select([], hub=False) == given.select(["a"], hub=False) == ["a"]
        assert given.revision(SimpleNamespace(model="a")) == ""


def test_selection_of_models(tmp_path: Path) -> None:
    models = catalog(tmp_path, b=("hub:x/b", "text"), a=("folder:a", "text"))
    assert models.select([], hub=False) == ["a"]
    assert models.select([], hub=True) == ["a", "b"]
    assert models.select(["b"], hub=True) == ["b"]
    with pytest.raises(ConfigError, match="set hub to true"):
        models.select(["b"], hub=False)


def test_runs_pair_models_with_datasets_they_can_read(tmp_path: Path) -> None:
    models = catalog(tmp_path, words=("gguf:w", "text"), eyes=("gguf:e", "image-text"))
    sizes = {name: {"n": 0} for name in DATASETS}
    sizes |= {"scenes": {"n": 3}, "flowers": {"n": 1}, "facts": {"n": 2}}
    runs = models.runs({"datasets": sizes, "models": [], "hub": False})
    assert [(run.model, run.dataset) for run in runs] == [
        ("eyes", "scenes"), ("eyes", "flowers"), ("words", "facts"),
    ]  # fmt: skip


def test_unknown_task_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="gives the task 'audio'"):
        catalog(tmp_path, a=("folder:a", "audio")).task("a")


def test_weights_are_what_is_fetched_and_what_they_are(tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    smollm2 = "gguf:resources/SmolLM2-135M-Instruct.Q4_1.gguf"
    models = catalog(
        tmp_path, a=(f"folder:{folder}", "text"), b=("gguf:c/d.gguf", "text"),
        c=("hub:x/y", "text"), d=(smollm2, "text"),
    )  # fmt: skip
    jobs = {name: SimpleNamespace(model=name) for name in "abcd"}
    assert {name: models.weights(job) for name, job in jobs.items()} == {
        "a": [],
        "b": ["c/d.gguf"],
        "c": ["resources/models/c/fetched.json"],
        "d": ["resources/SmolLM2-135M-Instruct.Q4_1.gguf"],
    }
    line = f"{hashlib.sha256(b'{}').hexdigest()}  config.json\n"
    assert {name: models.digest(job) for name, job in jobs.items()} == {
        "a": hashlib.sha256(line.encode()).hexdigest(),
        "b": "",
        "c": "",
        # What is not fetched yet is what it will be: the next plan must not begin anew.
        "d": "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    }


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("mine.smk", RULE.format("gpt2"),
         r"mine\.smk holds the rule extract_gpt2, but the model mine needs extract_mine: rename"),
        ("Mine.smk", "", r"Mine\.smk can't name a model: use small letters"),
        ("a_b.smk", RULE.format("a_b"), r"a_b\.smk and \S+a-b\.smk both hold the rule extract_a_b"),
    ],
)  # fmt: skip
def test_a_rule_s_file_and_name_must_agree(tmp_path: Path, file: str, text: str, said: str) -> None:
    (tmp_path / "a-b.smk").write_text(RULE.format("a_b"))
    (tmp_path / file).write_text(text)
    with pytest.raises(ConfigError, match=said):
        Catalog(tmp_path, SimpleNamespace())


def test_a_model_whose_rule_or_folder_is_not_there_is_said(tmp_path: Path) -> None:
    models = catalog(tmp_path, a=(f"folder:{tmp_path}/none", "text"), b=("gguf:{x}.gguf", "text"))
    with pytest.raises(ConfigError, match=r"a\.smk names the folder \S+/none, which has no config"):
        models.require("a")
    with pytest.raises(ConfigError, match=r"b\.smk names \{x\}\.gguf, but there is no such file"):
        models.require("b")
    rule = SimpleNamespace(
        params=SimpleNamespace(source="folder:a", revision="1", task="text"),
        rule=SimpleNamespace(wildcard_constraints={"model": "b"}),
    )
    with pytest.raises(ConfigError, match="constraint model='b', which its own name, a, doesn't"):
        Catalog(tmp_path, SimpleNamespace(extract_a=rule)).require("a")


@pytest.fixture
def tiny_folder(tmp_path: Path) -> Path:
    """Return a folder with a random two-layer text model and its tokenizer, as a hub's would be."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = ["<s>", "</s>", "<unk>", *"abcdefghijklmnopqrstuvwxyz0123456789?.,"]
    words += ["one", "two", "three", "red", "blue", "green", "Paris", "Rome", "红", "三"]
    tokenizer = Tokenizer(
        models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>",
        pad_token="</s>",
    )  # fmt: skip
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(words), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
            num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=512,
            bos_token_id=0, eos_token_id=1, pad_token_id=1,
        )
    )  # fmt: skip
    folder = tmp_path / "tiny-model"
    model.save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


def test_one_file_adds_a_model_to_the_plan_of_every_table_and_figure(
    tree: Path, snakemake: Snakemake, tiny_folder: Path
) -> None:
    before = {job.output for job in plan(snakemake)}
    new = tree / "workflow/rules/models/tiny-fifth.smk"
    new.write_text(FIFTH.format(folder=tiny_folder), encoding="utf-8")
    jobs = plan(snakemake)
    added = {job.output for job in jobs} - before
    assert added
    assert all("/tiny-fifth" in output for output in added)
    commands = snakemake("-n", "--printshellcmds").stdout
    (collected,) = re.findall(r"python -m lensbench collect .*", commands)
    for table in RUN_TABLES:
        assert f"results/metrics/tiny-fifth/facts/{table}.parquet" in collected
    # Figures and tables are made from what was collected, all runs at once.
    shown = re.findall(r"python -m lensbench (?:figure|table) \w+ --metrics (.*?) --out", commands)
    assert len(shown) == len(FIGURES) + len(TABLES)
    assert all("results/metrics/" in place and "tiny" not in place for place in shown)
    for name in RUN_FIGURES:
        assert f"results/figures/tiny-fifth/facts/{name}.pdf" in added


def test_one_file_adds_a_model_end_to_end(
    tree: Path, snakemake: Snakemake, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two small models beside each other: both are in every table and figure that has facts."""
    models = tree / "workflow/rules/models"
    for name in ("tiny-fifth", "tiny-first"):
        rule = FIFTH.replace("tiny-fifth", name).replace("tiny_fifth", name.replace("-", "_"))
        (models / f"{name}.smk").write_text(rule.format(folder=tiny_folder), encoding="utf-8")
    (tree / "mine.yaml").write_text(
        "models: [tiny-fifth, tiny-first]\ndatasets: {facts: {n: 6}}\nmetrics: {resamples: 100}\n"
        "extraction: {shard_samples: 2, max_new_tokens: 2, floor_directions: 2}\n"
    )
    settings = ["--configfile", "mine.yaml"]
    targets = [f"results/tables/{name}.csv" for name in TABLES]
    targets += [
        "results/metrics/patch_best.csv",
        "results/explorer/index.html",
        "results/figures/accuracy_by_layer.pdf",
        "results/figures/tiny-fifth/facts/tokens.png",
    ]
    done = snakemake(*targets, *settings)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in RUN_TABLES:
        frame = pd.read_csv(tree / f"results/metrics/{name}.csv", keep_default_na=False)
        # Pictures, and questions that are simple or not, are what facts have none of.
        pictured = {"stages", "head_summary", "matched_kinds"}
        expected = set() if name in pictured else {"tiny-fifth", "tiny-first"}
        assert set(frame["model"]) == expected, name
    from lensbench.figures.frames import read_tables

    for name, spec in FIGURES.items():
        frames = read_tables(tree / "results/metrics", spec.inputs)
        texts = " ".join(text.get_text() for text in spec.draw({**frames}).findobj(Text))
        pictured = ("heads", "head_spread", "head_views", "ablation", "by_variant", "han_floor")
        drawn = not name.startswith("patch_") and name not in (*pictured, "matched_kinds")
        assert ("tiny-fifth" in texts) == drawn, name
    again = snakemake(*targets, *settings)
    assert "Nothing to be done" in again.stdout + again.stderr
    provenance = json.loads(
        (tree / "results/traces/tiny-fifth/facts/0/provenance.json").read_text()
    )
    assert provenance["model"]["model"] == "tiny-fifth"
    log = (tree / "logs/extract/tiny-fifth-facts-0.log").read_text(encoding="utf-8")
    assert re.search(r"tiny-fifth, shard 1: .*2/2 ", log), "the log has no progress"
    ledgers = [
        json.loads((tree / f"results/traces/tiny-fifth/facts/parts/{part}.json").read_text())
        for part in (0, 1)
    ]
    assert [[entry["shard"] for entry in ledger["shards"]] for ledger in ledgers] == [[0, 1], [2]]
    assert provenance["code"] == rooms.code_version("extract")
    # The notebook reads what was made, from its first cell to its last.
    notebook = jupytext.read(ROOT / "notebooks/first_look.py")
    monkeypatch.setenv("LENSBENCH_RESULTS", str(tree / "results"))
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("tiny-fifth" in str(output) for output in shown)


def test_a_replaced_picture_of_one_s_own_is_noticed_whatever_its_time(
    tree: Path, snakemake: Snakemake, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    (photos / "cats").mkdir(parents=True)
    Image.new("RGB", (8, 8), "red").save(photos / "cats/a.png")
    settings = {"n": 5, "folder": str(photos), "question": "How many?"}
    (tree / "mine.yaml").write_text(json.dumps({"datasets": {"own": settings}}), encoding="utf-8")
    manifest = "results/datasets/own/manifest.parquet"
    asked = (manifest, "--configfile", "mine.yaml")
    assert snakemake(*asked).returncode == 0
    before = (tree / manifest).read_bytes()
    again = snakemake(*asked)
    assert "Nothing to be done" in again.stdout + again.stderr
    # In place and in a subfolder: no folder's time changes. As `cp -p` and `unzip` leave it: older.
    long_ago = (photos / "cats/a.png").stat().st_mtime - 10_000
    Image.new("RGB", (8, 8), "blue").save(photos / "cats/a.png")
    os.utime(photos / "cats/a.png", (long_ago, long_ago))
    found = verify(tree / "results")
    assert [(str(p.path), p.what) for p in found.problems] == [
        (
            str(tree / "results/datasets/own/images/cats-a.png"),
            f"was made from {photos}, which is another now",
        )
    ]
    assert snakemake(*asked).returncode == 0
    assert "all as they were made" in "".join(verify(tree / "results").lines())
    assert (tree / manifest).read_bytes() != before, "traces of the old picture would be kept"


BRACED = """\
use rule extract as extract_braced with:
    wildcard_constraints:
        model="braced",
    params:
        source="folder:{w}/{{0}}",
        revision="local",
        task="image-text",
        chat_template="{{bos}}{% for m in messages %}{{m['content']}}{% endfor %}",
"""


def test_braces_in_names_and_texts_are_no_wildcards(tree: Path, tmp_path: Path) -> None:
    """In the project's folder, in what the configuration names, in its texts and a model's rule."""
    place = shutil.move(tree, tmp_path / "a-{seed}")
    photos = place / "{p}" / "{model}"
    photos.mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(photos / "{x} {{y}}.png")
    (place / "{w}" / "{{0}}").mkdir(parents=True)
    (place / "{w}" / "{{0}}" / "config.json").touch()
    (place / "{p}" / "{q}.csv").write_text("file,question\n{x} {{y}}.png,How {many}?\n")
    (place / "{p}" / "lens.json").touch()
    (place / "workflow/rules/models/braced.smk").write_text(BRACED)
    own = {"n": 1, "folder": "{p}/{model}", "questions": "{p}/{q}.csv"}
    flowers = {"folder": str(photos)}
    settings = {
        "datasets": {"own": own, "flowers": flowers},
        "models": ["braced"],
        "imports": ["{p}/lens.json"],
        "paper": {"title": "On {braces} and {{more}}"},
    }
    (place / "mine.yaml").write_text(json.dumps(settings))
    asked = ["-n", "-p", "--cores", "1", "--configfile", "mine.yaml"]
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", *asked],
        cwd=place, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    commands = [shlex.split(line.partition("python -m lensbench ")[2])
                for line in done.stdout.splitlines() if "python -m lensbench " in line]  # fmt: skip

    def of(*start: str) -> list[str]:
        return next(words for words in commands if words[: len(start)] == list(start))

    def told(words: list[str]) -> dict[str, Any]:
        return dict(json.loads(words[words.index("--options") + 1]))

    assert told(of("dataset", "own")) == own | {"question": None, "seed": 42, "max_rejected": 0.1}
    assert told(of("dataset", "flowers"))["folder"] == str(photos)
    assert told(of("paper-parts"))["paper"]["title"] == "On {braces} and {{more}}"
    assert of("import-patch-lens")[1] == "{p}/lens.json"
    for stage in ("inspect", "extract", "closeup", "variants", "ablate"):
        words = of(stage, "braced")
        assert words[words.index("--source") + 1] == "folder:{w}/{{0}}"
        assert told(words)["chat_template"].startswith("{{bos}}{% for m in messages %}{{m['c")


def test_runs_are_cut_by_what_they_can_have_at_most(tmp_path: Path) -> None:
    """An n that means all makes no shards for nothing, where the folder says what there can be."""
    for number in range(5):
        (tmp_path / "photos" / "deep").mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / "deep" / f"{number}.png").touch()
    (tmp_path / "asked.csv").write_text("file,question\n" + "0.png,How many?\n" * 8)
    photos = str(tmp_path / "photos")
    given = {name: {"n": 0} for name in DATASETS} | {
        "facts": {"n": 7},
        "flowers": {"n": 10**9, "folder": photos},
        "own": {"n": 10**9, "folder": photos, "questions": str(tmp_path / "asked.csv")},
    }
    cut = workflow.Cut({"datasets": given, "extraction": {"shard_samples": 2, "shards_per_job": 3}})
    runs = {name: SimpleNamespace(model="m", dataset=name) for name in ("facts", "flowers", "own")}
    # 7, 5 and 9 samples at most (a file's first line may be a question, too), two a shard.
    assert [cut.n_shards(run) for run in runs.values()] == [4, 3, 5]
    assert cut.ledgers(runs["facts"]) == [f"results/traces/m/facts/parts/{n}.json" for n in (0, 1)]
    assert cut.ledgers(runs["flowers"]) == ["results/traces/m/flowers/parts/0.json"]


def test_runs_with_pictures_are_those_of_datasets_that_have_some() -> None:
    runs = [Run("a", "scenes"), Run("a", "fills"), Run("b", "facts")]
    own = {"datasets": {"own": {"folder": "photos"}}}
    assert with_pictures([*runs, Run("b", "own")], own) == [*runs[:2], Run("b", "own")]
    words = {"datasets": {"own": {"folder": None}}}
    assert with_pictures([*runs, Run("b", "own")], words) == runs[:2]
    assert with_pictures(runs, own, ["fills", "tallyqa"]) == [runs[1]]
    for name in ("facts", "nowhere"):
        with pytest.raises(ConfigError, match=f"the dataset {name} where one with pictures"):
            with_pictures(runs, own, [name])


def test_closeups_and_other_pictures_follow_the_configuration(
    tree: Path, snakemake: Snakemake
) -> None:
    (tree / "mine.yaml").write_text("variants: {n: 5, sizes: [40]}\n", encoding="utf-8")
    target = "results/variants/lensbench-qwen2vl/scenes/40/samples.parquet"
    done = snakemake("-n", "-p", target, "--configfile", "mine.yaml")
    assert done.returncode == 0, done.stderr
    assert "'--picture %s ' native 40 blank)" in done.stdout
    assert '"samples": 5' in done.stdout
    done = snakemake("-n", "-p", "results/closeups/smollm2-135m/facts/words.parquet")
    assert all(f'"{key}": true' in done.stdout for key in ("patches", "words", "attention"))
