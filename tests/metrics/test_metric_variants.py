"""Changed pictures against native ones: paired differences, Han and its floors."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lensbench.errors import DataError
from lensbench.metrics.options import MetricOptions
from lensbench.metrics.study_tables import STUDY_TABLES
from lensbench.metrics.variants import compute_variants, order
from lensbench.trace import read_table, stack
from synthetic import SCRIPTS, VOCABULARY, make_run

FEW = MetricOptions(resamples=100)
VARIANTS = ("native", "blank", "112")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Path], Path]:
    """Three runs on the same samples that differ in chance and, for blank, in how often right."""
    folders = {}
    for seed, variant in enumerate(VARIANTS):
        root = tmp_path_factory.mktemp(variant)
        make_run(root, "m", "scenes", n_samples=30, n_steps=1, seed=seed,
                 accuracy=0.2 if variant == "blank" else 0.9)  # fmt: skip
        folders[variant] = root / "traces/m/scenes/0"
        model = root / "models/m"
    return folders, model


@pytest.fixture(scope="module")
def tables(made: tuple[dict[str, Path], Path]) -> dict[str, pd.DataFrame]:
    return compute_variants(*made, FEW)


def right_at_last(folder: Path) -> pd.Series:
    """Return whether each sample's last top token is a form of its gold, read naively."""
    from synthetic import CONCEPTS, TOKEN_ID

    rows = read_table(folder, "trajectory", ["sample_id", "layer", "final_id"], step=0)
    last = rows[rows["layer"] == rows["layer"].max()].set_index("sample_id")["final_id"]
    gold = read_table(folder, "samples").set_index("sample_id")["gold"]
    ids = {c: {TOKEN_ID[t] for texts in f.values() for t in texts} for c, f in CONCEPTS.items()}
    usable = [sample for sample in last.index if ids[gold[sample]]]
    return pd.Series({sample: last[sample] in ids[gold[sample]] for sample in usable}, dtype=float)


def test_columns_and_order_of_variants(tables: dict[str, pd.DataFrame]) -> None:
    wanted = {name: STUDY_TABLES[name] for name in ("by_variant", "han_floor")}
    assert {name: list(table.columns) for name, table in tables.items()} == wanted
    assert tables["by_variant"]["variant"].drop_duplicates().tolist() == ["blank", "112", "native"]
    names = ["native", "other", "1024", "blank", "256"]
    assert sorted(names, key=order) == ["blank", "256", "1024", "native", "other"]


def test_accuracy_and_its_paired_difference_against_a_naive_reading(
    made: tuple[dict[str, Path], Path], tables: dict[str, pd.DataFrame]
) -> None:
    folders, _ = made
    table = tables["by_variant"]
    got = table.query("family == 'all' and asked == 'all'").set_index(["variant", "metric"])
    native = right_at_last(folders["native"])
    for variant in ("blank", "112"):
        there = right_at_last(folders[variant])
        assert got.loc[(variant, "accuracy"), "value"] == pytest.approx(there.mean())
        both = (there - native).dropna()
        row = got.loc[(variant, "accuracy_minus_native")]
        assert row["value"] == pytest.approx(both.mean())
        assert row["n"] == len(both) == len(native)
        assert row["low"] <= row["value"] <= row["high"]
    assert got.loc[("blank", "accuracy_minus_native"), "high"] < 0
    assert ("native", "accuracy_minus_native") not in got.index
    assert got.loc[("native", "n_image_tokens"), "value"] == 36
    assert got.loc[("112", "n_image_tokens_minus_native"), "value"] == 0


def test_han_by_layer_its_excess_and_floors(
    made: tuple[dict[str, Path], Path], tables: dict[str, pd.DataFrame]
) -> None:
    folders, _ = made
    whole = tables["han_floor"].query("family == 'all' and asked == 'all'")
    table = whole.set_index(["metric", "variant", "layer"])
    mass = {}
    for variant in ("native", "blank"):
        rows = read_table(folders[variant], "trajectory", step=0)
        han = stack(rows, "script_mass")[:, SCRIPTS.index("Han")]
        mass[variant] = rows.assign(han=han).groupby("layer")["han"].mean()
        for layer, value in mass[variant].items():
            assert table.loc[("han_mass", variant, layer), "value"] == pytest.approx(value)
    excess = whole.query("metric == 'han_mass' and variant == 'excess'")["value"]
    wanted = (mass["native"] - mass["blank"]).to_numpy()
    assert excess.to_numpy() == pytest.approx(wanted, abs=1e-6)  # float32 means
    share = np.mean([script == "Han" for _, script in VOCABULARY])
    assert table.loc[("han_top1", "native", 0), "floor_vocabulary"] == pytest.approx(share)
    assert table.loc[("han_top5", "native", 0), "floor_vocabulary"] == pytest.approx(
        1 - (1 - share) ** 5
    )
    assert table.loc[("han_mass", "native", 0), "floor_random"] == pytest.approx(share)
    assert np.isnan(table.loc[("han_top1", "native", 0), "floor_random"])
    assert "112" not in set(tables["han_floor"]["variant"])


def test_the_highest_layer_is_the_highest_of_the_means(tables: dict[str, pd.DataFrame]) -> None:
    table = tables["han_floor"].query("family == 'all' and asked == 'not zh'")
    changed = tables["by_variant"].query("family == 'all' and asked == 'all'")
    changed = changed.set_index(["variant", "metric"])
    got = changed["value"]
    peaks = {
        variant: table.query("metric == 'han_top1' and variant == @variant")["value"].max()
        for variant in ("native", "blank")
    }
    for variant, peak in peaks.items():
        assert got[variant, "han_top1_max_not_zh"] == pytest.approx(peak)
    assert got["blank", "han_top1_max_not_zh_minus_native"] == pytest.approx(
        peaks["blank"] - peaks["native"]
    )


def chosen(folder: Path, family: str, asked: str) -> list[str]:
    """Return ids of a trace's samples of a family of answers and a group by language, naively."""
    samples = read_table(folder, "samples")
    samples = samples[samples["rejected"].isna()]
    if family != "all":
        samples = samples[samples["gold"].str.startswith(f"{family}:")]
    if asked == "not zh":
        samples = samples[samples["language"] != "zh"]
    elif asked != "all":
        samples = samples[samples["language"] == asked]
    return sorted(samples["sample_id"])


def test_families_and_languages_asked_for_are_told_apart(
    made: tuple[dict[str, Path], Path], tables: dict[str, pd.DataFrame]
) -> None:
    folders, _ = made
    han = {}
    for variant in ("native", "blank"):
        rows = read_table(folders[variant], "trajectory", step=0)
        own = stack(rows, "script_mass")[:, SCRIPTS.index("Han")]
        han[variant] = rows.assign(han=own).pivot(
            index="sample_id", columns="layer", values="han"
        )  # fmt: skip
    table = tables["han_floor"].query("metric == 'han_mass'")
    groups = table[["family", "asked"]].drop_duplicates().to_numpy().tolist()
    for family in ("all", "color", "number"):
        assert [a for f, a in groups if f == family][:2] == ["all", "not zh"]
    assert ["number", "zh"] in groups
    for family, asked in groups:
        ids = chosen(folders["native"], family, asked)
        rows = table.query("family == @family and asked == @asked")
        wanted = {name: frame.loc[ids].mean() for name, frame in han.items()}
        wanted["excess"] = wanted["native"] - wanted["blank"]
        for variant, values in wanted.items():
            got = rows[rows["variant"] == variant]
            assert got["value"].to_numpy() == pytest.approx(values.to_numpy(), abs=1e-6)
            assert set(got["n"]) == {len(ids)}
    # What is planted: forms of the answer asked for, Chinese ones where Chinese is.
    native = table.query("family == 'all' and variant == 'native'").groupby("asked")["value"].max()
    assert native["zh"] > native["not zh"]
    by_variant = tables["by_variant"]
    right = right_at_last(folders["112"])
    for asked in by_variant["asked"].unique():
        ids = [key for key in chosen(folders["112"], "all", asked) if key in right.index]
        (row,) = by_variant.query(
            "family == 'all' and asked == @asked and variant == '112' and metric == 'accuracy'"
        ).itertuples()
        assert (row.value, row.n) == (pytest.approx(right.loc[ids].mean()), len(ids))
    assert {"all", "en", "zh"} <= set(by_variant["asked"])
    changed = by_variant.query("asked == 'all'").set_index(["family", "variant", "metric"])
    for family in ("all", "color", "number"):
        n = changed.loc[(family, "blank", "han_mass_max_not_zh_minus_native"), "n"]
        assert n == len(chosen(folders["native"], family, "not zh"))
        ids = [key for key in chosen(folders["112"], family, "all") if key in right.index]
        value = changed.loc[(family, "112", "accuracy"), "value"]
        assert value == pytest.approx(right.loc[ids].mean())


def test_without_native_or_of_another_run_there_is_one_sentence(
    made: tuple[dict[str, Path], Path], tmp_path: Path
) -> None:
    folders, model = made
    with pytest.raises(DataError, match="without native"):
        compute_variants({"blank": folders["blank"]}, model, FEW)
    make_run(tmp_path, "m", "flowers", n_samples=6, n_steps=1)
    other = tmp_path / "traces/m/flowers/0"
    with pytest.raises(DataError, match="several runs"):
        compute_variants({"native": folders["native"], "blank": other}, model, FEW)
    only = compute_variants({"native": folders["native"]}, model, FEW)
    assert set(only["han_floor"]["variant"]) == {"native"}


def test_the_command_takes_folders_named_as_their_variants(
    made: tuple[dict[str, Path], Path], tables: dict[str, pd.DataFrame], tmp_path: Path
) -> None:
    folders, model = made
    for variant, folder in folders.items():
        shutil.copytree(folder, tmp_path / variant)
    command = [sys.executable, "-m", "lensbench", "variant-metrics",
               *(str(tmp_path / variant) for variant in VARIANTS), "--model-folder", str(model),
               "--out", str(tmp_path / "out"), "--options", json.dumps({"resamples": 100}),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name, table in tables.items():
        pd.testing.assert_frame_equal(
            pd.read_parquet(tmp_path / f"out/{name}.parquet"), table, check_dtype=False
        )
    done = subprocess.run([*command[:4], *command[5:]], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1


def test_native_blank_and_excess_are_of_the_same_samples(
    made: tuple[dict[str, Path], Path], tmp_path: Path
) -> None:
    """The blank run has twenty of the thirty samples: native is told without the others too."""
    folders, model = made
    make_run(tmp_path, "m", "scenes", n_samples=20, n_steps=1, seed=1)
    blank = tmp_path / "traces/m/scenes/0"
    table = compute_variants({"native": folders["native"], "blank": blank}, model, FEW)["han_floor"]
    table = table.query("family == 'all' and asked == 'all' and metric == 'han_mass'")
    wide = table.pivot(index="layer", columns="variant", values="value")
    assert table["n"].nunique() == 1
    assert table["n"].iloc[0] < 30
    assert (wide["native"] - wide["blank"]).to_numpy() == pytest.approx(
        wide["excess"].to_numpy(), abs=1e-6
    )
