"""Joining runs: rows of all, sorted, and CSV files that come back as they were."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from metric_runs import Made

from lensbench.errors import DataError
from lensbench.metrics import collect as collecting
from lensbench.metrics.collect import collect, write_csv, write_long_csv
from lensbench.metrics.run import write_run
from lensbench.metrics.tables import MODEL_TABLES, PER_SAMPLE, RUN_TABLES


@pytest.fixture
def runs(scenes: Made, facts: Made, tmp_path: Path) -> tuple[list[Path], list[Path]]:
    folders = []
    for number, made in enumerate((facts, scenes)):
        write_run(tmp_path / str(number), made.tables)
        folders.append(tmp_path / str(number))
    return folders, [facts.model_folder, scenes.model_folder]


def test_all_runs_joined_and_sorted(runs: tuple[list[Path], list[Path]]) -> None:
    folders, models = runs
    got = collect(folders, models)
    promised = {k: v for k, v in {**RUN_TABLES, **MODEL_TABLES}.items() if k != PER_SAMPLE}
    assert {k: list(v.columns) for k, v in got.items()} == promised
    assert list(dict.fromkeys(got["summary"]["model"])) == ["m_1", "t-2"]
    assert got["models"]["model"].tolist() == ["m_1", "t-2"]
    assert got["models"]["n_layers"].tolist() == [8, 12]
    assert got["gates"]["model"].tolist() == ["m_1"] * 3 + ["t-2"] * 3
    assert got["gates"]["check"].tolist()[0] == "readout equals logits"
    again = collect(folders[::-1], models[::-1])
    for name, table in got.items():
        pd.testing.assert_frame_equal(table, again[name])


def test_csv_is_deterministic_and_comes_back(
    runs: tuple[list[Path], list[Path]], tmp_path: Path
) -> None:
    tables = collect(*runs)
    write_csv(tmp_path / "a", tables)
    write_csv(tmp_path / "b", collect(*runs))
    for name, table in tables.items():
        content = (tmp_path / "a" / f"{name}.csv").read_bytes()
        assert content == (tmp_path / "b" / f"{name}.csv").read_bytes()
        assert b"\r" not in content
        # One line a row and one for the names, whatever the tokens hold.
        assert content.count(b"\n") == len(table) + 1
        back = pd.read_csv(tmp_path / "a" / f"{name}.csv", keep_default_na=False, na_values=[""])
        assert list(back.columns) == list(table.columns)
        assert len(back) == len(table)
    texts = tables["tokens"]["text"].tolist()
    assert {"\n", "\r", "NA", "\\_{%$#&~^"} <= set(texts)
    back = pd.read_csv(tmp_path / "a" / "tokens.csv", keep_default_na=False)
    shown = [text.replace("\n", "␊").replace("\r", "␍") for text in texts]
    assert back["text"].tolist() == shown


def test_reals_have_six_digits(tmp_path: Path) -> None:
    write_csv(tmp_path, {"t": pd.DataFrame({"a": [1 / 3, 1e-9, 2.0], "n": [1, 2, 3]})})
    assert (tmp_path / "t.csv").read_text() == "a,n\n0.333333,1\n1e-09,2\n2,3\n"


@pytest.mark.parametrize("rows", [1, 7, 65_536])
def test_the_long_table_is_that_of_all_runs_joined(
    scenes: Made, facts: Made, tmp_path: Path, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collecting, "_ROWS", rows)
    folders = []
    for number, made in enumerate((facts, scenes)):
        write_run(tmp_path / str(number), made.tables)
        folders.append(tmp_path / str(number))
    write_long_csv(tmp_path, folders)
    whole = pd.concat([made.tables[PER_SAMPLE] for made in (scenes, facts)], ignore_index=True)
    assert whole["correct_final"].isna().any()
    write_csv(tmp_path / "naive", {PER_SAMPLE: whole})
    name = f"{PER_SAMPLE}.csv"
    assert (tmp_path / name).read_bytes() == (tmp_path / "naive" / name).read_bytes()
    path = folders[0] / f"{PER_SAMPLE}.parquet"
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(DataError, match=r"convergence\.parquet is damaged"):
        write_long_csv(tmp_path, folders)
    assert (tmp_path / name).read_bytes() == (tmp_path / "naive" / name).read_bytes()
    path.unlink()
    with pytest.raises(DataError, match=r"convergence\.parquet is missing"):
        write_long_csv(tmp_path, folders)


def test_missing_and_damaged_are_named(runs: tuple[list[Path], list[Path]], tmp_path: Path) -> None:
    folders, models = runs
    with pytest.raises(DataError, match="no run to collect"):
        collect([])
    broken = tmp_path / "model"
    shutil.copytree(models[0], broken)
    check = {"name": "a", "value": 0.1, "limit": 0.2, "passed": True, "detail": ""}
    for gate in (
        {"model": "x"},
        {"model": "x", "checks": [[1]]},
        {"model": "x", "checks": [check | {"limit": {}}]},
        {"model": 1, "checks": [check]},
        {"model": "\ud800", "checks": [check]},
        {"model": "x", "checks": [check | {"value": "0.1"}]},
        {"model": "x", "checks": [check | {"limit": True}]},
        {"model": "x", "checks": [check | {"limit": 10**400}]},
        {"model": "x", "checks": [check | {"value": 10**400}]},
        {"model": "x", "checks": {"a": check}},
        [],
    ):
        (broken / "gate.json").write_text(json.dumps(gate))
        with pytest.raises(DataError, match=r"gate\.json is damaged or out of date"):
            collect(folders, [broken])
    about = json.loads((models[0] / "model.json").read_text())
    changes: list[dict[str, object]] = [
        *({"model": 1}, {"n_layers": "8"}, {"source": []}, {"dtype": "\ud800"}),
    ]
    for change in changes:
        (broken / "model.json").write_text(json.dumps(about | change))
        with pytest.raises(DataError, match=r"model\.json is damaged or out of date"):
            collect(folders, [broken])
    (broken / "model.json").unlink()
    with pytest.raises(DataError, match=r"model\.json is missing"):
        collect(folders, [broken])
    path = folders[0] / "heads.parquet"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=r"heads\.parquet is damaged"):
        collect(folders, models)
    path.unlink()
    with pytest.raises(DataError, match=r"heads\.parquet is missing"):
        collect(folders, models)
