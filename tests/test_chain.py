"""Planted truth through the whole chain: model → shards on disk → metric tables give it back."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import jupytext
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tests.planted import (
    image_model,
    looking_model,
    text_model,
    token_id,
    written_manifest,
    written_model,
)

from lensbench.compare.numeric_table import COLUMNS as NUMERICS
from lensbench.config import ROOT, validate
from lensbench.datasets.own import make as make_own
from lensbench.extract import ExtractOptions, extract_shard
from lensbench.figures import FIGURES, RUN_FIGURES, make_figure, make_run_figure
from lensbench.inspection import inspect_model
from lensbench.metrics.collect import collect, collect_studies, write_csv, write_long_csv
from lensbench.metrics.run import MetricOptions, make_run
from lensbench.models.load import LoadedModel
from lensbench.numbers import write_numbers
from lensbench.paper import write_parts
from lensbench.tables import TABLES, make_table

OPTIONS = ExtractOptions(
    shard_samples=2, batch_size=2, max_new_tokens=2, top_k=5, floor_directions=4
)
METRICS = MetricOptions(resamples=50)
PROMPTS = ("How many stars are there ?", "Why ?", "How many sky ?")


def chain(loaded: LoadedModel, folder: Path, pictures: bool = False) -> dict[str, pd.DataFrame]:
    """Run everything from a manifest to the tables, in two shards, and leave all files behind."""
    data = folder / "data"
    if not data.is_dir():
        written_data(data, pictures)
    inspect_model(loaded, folder / "model")
    shards = [folder / "traces" / str(shard) for shard in range(2)]
    for shard, out in enumerate(shards):
        extract_shard(loaded, data, shard, len(shards), OPTIONS, out, folder / "model")
    make_run(folder / "run", shards, folder / "model", METRICS)
    tables = collect([folder / "run"], [folder / "model"])
    write_csv(folder / "csv", tables)
    write_long_csv(folder / "csv", [folder / "run"])
    return {**tables, "convergence": pd.read_parquet(folder / "run" / "convergence.parquet")}


def written_data(data: Path, pictures: bool) -> None:
    """Write a manifest of the prompts, with a plain picture for each if they shall have one."""
    data.mkdir(parents=True)
    for index in range(len(PROMPTS)):
        Image.new("RGB", (32, 32), ("red", "green", "blue")[index]).save(data / f"{index}.png")
    images = [f"{index}.png" for index in range(len(PROMPTS))] if pictures else None
    written_manifest(data, PROMPTS, images=images, style="chat" if pictures else "completion")


def along(table: pd.DataFrame, **where: object) -> list[float]:
    """Return a table's values by layer where some columns have some values."""
    for column, value in where.items():
        table = table[table[column] == value]
    assert table["layer"].tolist() == list(range(len(table)))
    # Of none of three, or of three of three: z² = 3.8415, 1 ÷ (1 + z² ÷ 3) = 0.4385.
    ends = {0.0: (0.0, 0.561497), 1.0: (0.438503, 1.0)}
    for row in table.itertuples():
        assert (row.low, row.high) == pytest.approx(ends[row.value], abs=1e-6)
    assert (table["n"] == len(PROMPTS)).all()
    return table["value"].tolist()


def along_mean(table: pd.DataFrame, metric: str) -> list[float]:
    """Return a metric's values by layer, whatever their intervals."""
    return table[table["metric"] == metric]["value"].tolist()


def step0(tables: dict[str, pd.DataFrame], column: str) -> list[int]:
    """Return a column of `convergence` at step 0."""
    frame = tables["convergence"]
    return frame[frame["step"] == 0][column].tolist()


@pytest.mark.parametrize("layer", [1, 3, 6])
def test_answer_written_at_layer_k_is_found_at_k(tmp_path, layer):
    tables = chain(written_model({layer: {" three": 3.0}}, n_layers=6), tmp_path)
    for column in ("convergence_layer", "first_hit_layer", "stable1_layer", "stable4_layer"):
        assert step0(tables, column) == [layer] * 3, column
    assert step0(tables, "changes_of_mind") == [0] * 3
    assert step0(tables, "last_block_change") == [int(layer == 6)] * 3
    assert step0(tables, "correct_final") == [1] * 3
    summary = tables["summary"].set_index("metric")
    for metric in ("accuracy", "accuracy_lenient", "accuracy_generated"):
        found = summary.loc[metric, ["value", "low", "high"]].tolist()
        assert found == pytest.approx([1, 0.438503, 1], abs=1e-6), metric
    for metric, value in (
        ("convergence_layer", layer),
        ("convergence_depth", layer / 6),
        ("early_exit_layer", 0),
    ):
        found = summary.loc[metric, ["value", "low", "high"]].tolist()
        assert found == pytest.approx([value] * 3), metric
    from_k = [0.0] * layer + [1.0] * (7 - layer)
    by_layer = tables["by_layer"]
    assert along(by_layer, metric="accuracy") == from_k
    assert along(by_layer, metric="top1_is_final") == from_k
    assert along(tables["accuracy_by_answer"], asked="all", answer="number:3") == from_k
    by_language = tables["accuracy_by_language"]
    assert along(by_language, asked="en", language="en") == from_k
    assert along(by_language, asked="en", language="zh") == [0.0] * 7
    # The model does nothing after the write, so nothing but rounding is left to its final layer.
    kl = np.array(along_mean(by_layer, "kl_to_final_nats"))
    assert (kl[:layer] > 1).all()
    assert (kl[layer:] < 1e-5).all()


def test_answer_found_and_lost_is_told_from_one_that_stays(tmp_path):
    # " three" at layers 2 and 3, " two" over it at 4, " three" alone from 5 on.
    writes = {2: {" three": 3.0}, 4: {" two": 6.0}, 5: {" two": -6.0}}
    tables = chain(written_model(writes, n_layers=7), tmp_path)
    for column, value in (
        ("first_hit_layer", 2),
        ("stable1_layer", 2),
        ("stable2_layer", 2),
        ("stable4_layer", 5),
        ("convergence_layer", 5),
        ("changes_of_mind", 2),
        ("found_and_lost", 1),
        ("last_block_change", 0),
    ):
        assert step0(tables, column) == [value] * 3, column


def test_final_norm_is_applied_exactly_once_at_every_layer(tmp_path):
    # The final norm halves the coordinate of " three", which grows from 1.5 (from layer 2 on) to 3
    # (from 4 on) beside the 1 of the prompt's last token. " three" is on top from 2 on without the
    # norm, from 4 on with it, and in no layer with it twice.
    loaded = written_model({2: {" three": 1.5}, 4: {" three": 1.5}}, n_layers=6)
    loaded.model.model.norm.weight[token_id(loaded.tokenizer, " three")] = 0.5
    tables = chain(loaded, tmp_path)
    assert step0(tables, "convergence_layer") == [4] * 3
    assert along(tables["by_layer"], metric="accuracy") == [0.0] * 4 + [1.0] * 3


@pytest.mark.parametrize(("first", "last"), [(1, 1), (2, 4), (3, 5)])
def test_han_token_written_at_layers_a_to_b_is_found_there_alone(tmp_path, first, last):
    writes = {first: {"三": 3.0}, last + 1: {"三": -3.0, " three": 4.0}}
    tables = chain(written_model(writes, n_layers=6), tmp_path)
    inside = [float(first <= layer <= last) for layer in range(7)]
    for k in range(1, 6):
        assert along(tables["han_in_topk"], asked="all", k=k) == inside, k
    han = tables["script_mass"].query("asked == 'all' and script == 'Han'")
    np.testing.assert_allclose(han["value"], inside, atol=1e-2)
    # 三 is a form of the gold answer in Chinese (and no other language before it).
    chinese = tables["concept_mass"].query("asked == 'en' and language == 'zh'")
    np.testing.assert_allclose(chinese["value"], inside, atol=1e-2)
    assert along(tables["accuracy_by_language"], asked="en", language="zh") == inside
    after = [float(layer > last) for layer in range(7)]
    assert along(tables["accuracy_by_language"], asked="en", language="en") == after
    assert step0(tables, "convergence_layer") == [last + 1] * 3
    # Heatmaps and example sheets say the same.
    shown = tables["tokens"].query("step == 0 and script == 'Han'")
    assert set(shown["text"]) == {"三"}
    assert sorted(shown["layer"]) == sorted(3 * list(range(first, last + 1)))


@pytest.mark.parametrize(("layer", "head"), [(1, 0), (2, 3), (3, 1)])
def test_head_that_attends_to_image_positions_alone_is_found(tmp_path, layer, head):
    heads = chain(looking_model(layer, head), tmp_path, pictures=True)["heads"]
    assert len(heads) == 3 * 4
    looks = (heads["layer"] == layer) & (heads["head"] == head)
    found = heads[heads["kind"] == "image"]
    assert found[["layer", "head"]].to_numpy().tolist() == [[layer, head]]
    for column, value in (
        ("image_mass", 1.0),
        ("low", 1.0),
        ("image_mass_no_sink", 1.0),
        ("sink_mass", 0.0),
        ("text_mass", 0.0),
        # Alike to each of the 16 image positions, and to nothing else.
        ("spread", 1.0),
        ("image_max", 1 / 16),
        ("separation", 1.0),
    ):
        np.testing.assert_allclose(found[column], value, atol=1e-5, err_msg=column)
    others = heads[~looks]
    # Every other head attends to all positions alike: no preference, no more than their share.
    np.testing.assert_allclose(others["enrichment"], 1.0, atol=1e-5)
    assert (others["image_mass"] < 0.8).all()
    assert found["enrichment"].item() > 1.2


def everything(folder: Path) -> None:
    """Run the chain with a text model and an image-text model; the files are what counts."""
    chain(text_model("llama", seed=1), folder / "text")
    chain(image_model("llava", seed=1), folder / "image", pictures=True)


def test_two_runs_leave_the_same_bytes(tmp_path):
    everything(tmp_path / "here")
    # A process of its own, with other hashes: no order may come from a set.
    subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from pathlib import Path; from tests.test_chain import everything; "
            "everything(Path(sys.argv[1]))",
            str(tmp_path / "there"),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "7"},
        check=True,
        capture_output=True,
    )
    files = [
        sorted(path.relative_to(tmp_path / side) for path in (tmp_path / side).rglob("*.*"))
        for side in ("here", "there")
    ]
    assert files[0] == files[1]
    assert {path.suffix for path in files[0]} == {".parquet", ".csv", ".json", ".png"}
    for path in files[0]:
        assert (tmp_path / "here" / path).read_bytes() == (
            tmp_path / "there" / path
        ).read_bytes(), path


@pytest.mark.parametrize("pictures", [False, True])
def test_a_run_without_any_right_answer_goes_through_to_the_paper(
    tmp_path: Path, pictures: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Own questions in words alone and about pictures, none of whose answers is known."""
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.new("RGB", (32, 32), "red").save(photos / "a.png")
    lines = [f"a.png,{words}" if pictures else words for words in PROMPTS]
    header = "file,question" if pictures else "question"
    (tmp_path / "asked.csv").write_text("\n".join([header, *lines, ""]))
    asked = {"n": 9, "seed": 0, "questions": tmp_path / "asked.csv"}
    make_own(tmp_path / "data", **asked, folder=photos if pictures else None)
    model = image_model("llava") if pictures else text_model("llama")
    tables = chain(model, tmp_path, pictures)
    assert tables["summary"].set_index("metric").loc["convergence_layer", "n"] == len(PROMPTS)
    assert "accuracy" not in set(tables["summary"]["metric"])
    csv = tmp_path / "csv"
    studies = collect_studies([])
    write_csv(csv, {**studies, "numerics": pd.DataFrame(columns=NUMERICS)})
    for name in FIGURES:
        assert all(path.is_file() for path in make_figure(name, csv, tmp_path / "figures" / name))
    for name in RUN_FIGURES:
        out = tmp_path / "figures" / f"run-{name}"
        make_run_figure(name, tmp_path / "run", model.name, "data", tmp_path / "data", out)
    for name in TABLES:
        make_table(name, csv, tmp_path / "tables" / name)
    write_numbers(csv, tmp_path / "numbers.tex")
    write_parts(tmp_path / "parts", csv, [(model.name, "data")], validate({}))
    csv.rename(tmp_path / "metrics")
    monkeypatch.setenv("LENSBENCH_RESULTS", str(tmp_path))
    notebook: dict[str, object] = {}
    for cell in jupytext.read(ROOT / "notebooks/first_look.py").cells:
        if cell.cell_type == "code":
            exec(cell.source, notebook)
