"""Heads switched off, measured: a small table worked by hand, and files that do not fit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lensbench.errors import DataError
from lensbench.metrics.ablations import compute_ablations, p_two_sided, with_holm
from lensbench.metrics.collect import collect_studies
from lensbench.metrics.run import MetricOptions, write_run
from lensbench.metrics.study_tables import STUDY_TABLES

ABOUT = {"model": {"model": "m"}, "dataset": "d", "options": {"mode": "zero"}}
# group → (kind, change of the final token's log-probability in samples a, b and c).
CHANGES = {
    "image": ("image", (-2.0, -1.0, -3.0)),
    "least": ("least", (0.0, 0.0, -6.0)),
    "random-0": ("random", (-1.0, 0.0, -0.5)),
    "random-1": ("random", (-4.0, -2.0, -3.0)),
    "random-2": ("random", (0.5, 0.0, 0.25)),
}


def rows() -> pd.DataFrame:
    """Gold is known in a and b alone, where it changes by half; the top token changes below −2."""
    return pd.DataFrame(
        [
            {
                "sample_id": sample,
                "picture": sample,
                "group": group,
                "group_kind": kind,
                "where": "all",
                "n_heads": 4,
                "heads": "[]",
                "rule": f"rule of {kind}",
                "final_logprob_before": -0.5,
                "final_logprob": -0.5 + change,
                "gold_logprob_before": None if sample == "c" else -1.0,
                "gold_logprob": None if sample == "c" else -1.0 + change / 2,
                "top1_changed": int(change < -2),
            }
            for group, (kind, changes) in CHANGES.items()
            for sample, change in zip("abc", changes, strict=True)
        ]
    )


def written(path: Path, frame: pd.DataFrame, about: object = ABOUT) -> Path:
    table = pa.Table.from_pandas(frame, preserve_index=False)
    text = {b"lensbench": json.dumps(about).encode()} if about is not None else {}
    pq.write_table(table.replace_schema_metadata(text), path)
    return path


def test_changes_and_contrast_by_hand(tmp_path: Path) -> None:
    # The order of rows in the file says nothing.
    path = written(tmp_path / "a.parquet", rows().sample(frac=1, random_state=1))
    found = compute_ablations(path, MetricOptions(resamples=500))
    assert {name: list(table.columns) for name, table in found.items()} == {
        name: STUDY_TABLES[name] for name in ("ablation", "ablation_contrast")
    }
    for table in found.values():
        assert set(table["model"]) == {"m"}
        assert set(table["dataset"]) == {"d"}
        assert set(table["mode"]) == {"zero"}
        assert (table["low"] <= table["value"]).all()
        assert (table["value"] <= table["high"]).all()
    table = found["ablation"].set_index(["measure", "group"])
    assert table.loc[("final_logprob", "image"), "value"] == pytest.approx(-2)
    assert table.loc[("final_logprob", "random-1"), "value"] == pytest.approx(-3)
    assert table.loc[("gold_logprob", "image"), "value"] == pytest.approx(-0.75)
    assert table.loc[("gold_logprob", "image"), "n"] == 2
    assert table.loc[("top1_changed", "image"), "value"] == pytest.approx(1 / 3)
    assert table.loc[("top1_changed", "random-1"), "value"] == pytest.approx(2 / 3)
    assert table.loc[("final_logprob", "least"), "rule"] == "rule of least"
    # Random groups on average: −1.5, −⅔ and −13/12 by sample.
    mean = table.loc[("final_logprob", "random-mean")]
    assert mean["value"] == pytest.approx((-1.5 - 2 / 3 - 3.25 / 3) / 3)
    assert mean["group_kind"] == "random-mean"
    both = found["ablation_contrast"]
    assert both["against"].tolist() == ["random", "least"] * 3
    # The image group costs as much as the heads that look least: −2 and −2 on average.
    least = both[both["against"] == "least"].set_index("measure")
    assert least.loc["final_logprob", "value"] == pytest.approx(0)
    assert -2 <= least.loc["final_logprob", "low"] < 0 < least.loc["final_logprob", "high"] <= 3
    assert least[["p", "p_floor", "p_holm", "random_median"]].isna().all(axis=None)
    contrast = both[both["against"] == "random"].set_index("measure")
    # One contrast is the run's own; of one run, Holm's p is p.
    assert contrast["p_holm"].dropna().to_dict() == {"final_logprob": 1.0}
    assert contrast["holm_runs"].to_dict() == {
        "final_logprob": 1, "gold_logprob": 0, "top1_changed": 0,
    }  # fmt: skip
    paired = np.array([-2 + 1.5, -1 + 2 / 3, -3 + 3.25 / 3])
    final = contrast.loc["final_logprob"]
    assert final["value"] == pytest.approx(paired.mean())
    # Paired: the interval lies within the differences, all of one sign.
    assert paired.min() - 1e-6 <= final["low"] < final["high"] <= paired.max() + 1e-6
    # One of three random groups is at least as strong, two are at most as strong: 2 · 2/4.
    assert (final["p"], final["p_floor"], final["n_random"]) == (1, 2 / 4, 3)
    assert (final["n_heads"], final["n"]) == (4, 3)
    # −½, −3 and ¼ by random group: one of them is far off, and pulls the mean to −13/12.
    assert final["random_median"] == pytest.approx(-0.5)
    # The top token changes in one of three samples; in two of three under random-1.
    assert contrast.loc["top1_changed", "p"] == 1
    # Gold is known in a and b: image −0.75, and random-1 −1.5 is stronger.
    assert contrast.loc["gold_logprob", "p"] == 1


@pytest.mark.parametrize(
    ("others", "one", "p"),
    [
        # Beyond all nine on either side: 2 · 1/10, the smallest that it can be.
        (range(9), 9.5, 0.2), (range(9), -0.5, 0.2),
        # One of nine is as strong or stronger, or as weak or weaker: 2 · 2/10.
        (range(9), 8, 0.4), (range(9), 0, 0.4), (range(9), 7.5, 0.4),
        # In the middle both shares are above a half, and twice that is no probability.
        (range(9), 4, 1.0), ([3.0] * 9, 3, 1.0), ([0.0], 5, 1.0),
    ],
)  # fmt: skip
def test_p_counts_both_sides(others: list, one: float, p: float) -> None:
    found, floor = p_two_sided(np.array(list(others), dtype=float), one)
    assert found == pytest.approx(p)
    assert floor == pytest.approx(min(1, 2 / (1 + len(others))))


def test_an_effect_as_strong_as_the_image_groups_counts(tmp_path: Path) -> None:
    frame = rows()
    image = frame.loc[frame["group"] == "image", "final_logprob"].to_numpy()
    frame.loc[frame["group"] == "random-0", "final_logprob"] = image
    found = compute_ablations(written(tmp_path / "a.parquet", frame), MetricOptions(resamples=20))
    contrast = found["ablation_contrast"].query("against == 'random'").set_index("measure")
    # At least as strong are random-0 and random-1, at most as strong random-0 and random-2.
    assert contrast.loc["final_logprob", "p"] == 1
    # Stronger than all three: one in four, on both sides.
    strong = frame.assign(final_logprob=frame["final_logprob"].where(frame["group"] != "image", -9))
    found = compute_ablations(written(tmp_path / "b.parquet", strong), MetricOptions(resamples=20))
    contrast = found["ablation_contrast"].query("against == 'random'").set_index("measure")
    assert contrast.loc["final_logprob", "p"] == 2 / 4


def test_holm_over_runs_by_hand() -> None:
    # 4 · 0.01, 3 · 0.02, 2 · 0.02 raised to 0.06, and 1 · 0.5: only primary contrasts count.
    p = {"a": 0.02, "b": 0.5, "c": 0.01, "d": 0.02}
    table = pd.DataFrame(
        [
            (run, where, measure, against, p[run] if against == "random" else np.nan)
            for run in p
            for where in ("all", "last")
            for measure in ("final_logprob", "top1_changed")
            for against in ("random", "least")
        ],
        columns=["dataset", "where", "measure", "against", "p"],
    )
    found = with_holm(table)
    primary = found[found["p_holm"].notna()].set_index("dataset")
    assert set(zip(primary["where"], primary["measure"], primary["against"], strict=True)) == {
        ("all", "final_logprob", "random")
    }
    assert primary["p_holm"].to_dict() == pytest.approx({"a": 0.06, "b": 0.5, "c": 0.04, "d": 0.06})
    assert set(primary["holm_runs"]) == {4}
    assert (found["holm_runs"] > 0).sum() == 4
    # Corrected anew with fewer runs, as when some are collected again; never above 1.
    fewer = with_holm(found[found["dataset"].isin(["b", "d"])])
    assert fewer["p_holm"].dropna().tolist() == pytest.approx([0.5, 0.04])
    assert with_holm(table.assign(p=0.5))["p_holm"].max() == 1
    assert with_holm(table.iloc[:0]).empty


def test_runs_that_are_collected_are_corrected_together(tmp_path: Path) -> None:
    frame = rows()
    strong = frame.assign(final_logprob=frame["final_logprob"].where(frame["group"] != "image", -9))
    for name in ("d", "e"):
        path = written(tmp_path / f"{name}.parquet", strong, {**ABOUT, "dataset": name})
        write_run(tmp_path / name, compute_ablations(path, MetricOptions(resamples=20)))
    found = collect_studies([tmp_path / "d", tmp_path / "e"])["ablation_contrast"]
    primary = found[found["holm_runs"] > 0]
    assert primary["p"].tolist() == [1 / 2, 1 / 2]
    assert primary["p_holm"].tolist() == [1, 1]
    assert primary["holm_runs"].tolist() == [2, 2]


def test_no_gold_at_all_has_no_row(tmp_path: Path) -> None:
    frame = rows().assign(gold_logprob=np.nan, gold_logprob_before=np.nan)
    found = compute_ablations(written(tmp_path / "a.parquet", frame), MetricOptions(resamples=20))
    for table in found.values():
        assert set(table["measure"]) == {"final_logprob", "top1_changed"}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda frame: frame.iloc[:-1], "lacks some groups of some samples"),
        (lambda frame: pd.concat([frame, frame.iloc[:1]]), "two rows for one sample and group"),
        (lambda frame: frame.drop(columns="rule"), "damaged or out of date"),
    ],
)
def test_rows_that_do_not_fit_are_one_sentence(change, sentence: str, tmp_path: Path) -> None:
    path = written(tmp_path / "a.parquet", change(rows()))
    with pytest.raises(DataError, match=sentence):
        compute_ablations(path)


def test_files_that_are_none_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is missing: run lensbench ablate"):
        compute_ablations(tmp_path / "none.parquet")
    (tmp_path / "torn.parquet").write_bytes(b"PAR1")
    for path in (
        tmp_path / "torn.parquet",
        written(tmp_path / "plain.parquet", rows(), None),
        written(tmp_path / "other.parquet", rows(), {"model": "m"}),
    ):
        with pytest.raises(DataError, match="damaged or out of date"):
            compute_ablations(path)


def test_the_command_writes_both_tables_or_says_why_not(tmp_path: Path, lensbench) -> None:
    path = written(tmp_path / "a.parquet", rows())
    done = lensbench("ablation-metrics", str(path), "--out", "run", "--options", '{"resamples": 9}')
    assert (done.returncode, done.stderr) == (0, "")
    for name in ("ablation", "ablation_contrast"):
        table = pd.read_parquet(tmp_path / "run" / f"{name}.parquet")
        assert list(table.columns) == STUDY_TABLES[name]
        assert len(table)
    done = lensbench("ablation-metrics", "none.parquet", "--out", "other")
    assert done.returncode == 1
    assert done.stderr == "lensbench: none.parquet is missing: run lensbench ablate for that run.\n"
    assert not (tmp_path / "other").exists()


def test_settings_that_ablate_does_not_have_are_refused_before_a_model_is_loaded(lensbench) -> None:
    done = lensbench(
        "ablate", "m", "--source", "folder:none", "--dataset", "d", "--model-folder", "m",
        "--heads", "h.parquet", "--out", "o.parquet", "--options", '{"n": 3}',
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("lensbench: The command ablate takes no setting n: there are ")
    assert "samples, randoms, least, most, where, mode" in done.stderr
