"""Differences planted by hand, one at a time: the comparison says that and nothing else."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.compare.planted import DATASET, MODEL, N_LAYERS, K, at, change, shard, two

from lensbench.compare.report import compare
from lensbench.compare.runs import RunDifference
from lensbench.trace import read_table, stack

#: Of 8 samples one is rejected; one has no gold token.
READ, GOLDEN = 7, 6
LAYERS = N_LAYERS + 1


def only(left: Path, right: Path) -> RunDifference:
    """Return how the one run of two folders differs."""
    runs = compare(left, right).runs
    assert [(run.model, run.dataset) for run in runs] == [(MODEL, DATASET)]
    return runs[0]


def differing(run: RunDifference) -> set[str]:
    """Return the measures that found something."""
    return {name for name, found in run.found.items() if found.value > 0}


def test_a_run_and_its_copy_differ_in_nothing_and_every_number_has_its_n(tmp_path: Path) -> None:
    a, b, _ = two(tmp_path)
    run = only(a, b)
    assert run.identical
    assert run.files == (5, 5)
    assert (run.n_samples, run.only_left, run.only_right, run.rejected) == (READ, 0, 0, 0)
    counts = {name: found.n for name, found in run.found.items()}
    rows, heads = READ * LAYERS, READ * N_LAYERS * 4
    assert counts == {
        "top_logprob": rows * K, "final_logprob": rows, "gold_logprob": GOLDEN * LAYERS,
        "entropy": rows, "kl": rows, "js": rows, "script_mass": rows * 17, "concept_mass": rows * 9,
        # Six masses a head; raw has layer 0 too, attention and MLP have none.
        "head_mass": heads * 6, "head_entropy": heads, "lens_logprob": READ * (3 * N_LAYERS + 1),
        "top1": rows, "unexplained": 0, "answer": READ, "text": READ, "convergence": READ,
        "convergence_layers": READ, "metric": 0,
    }  # fmt: skip
    assert all(found.value == 0 for found in run.found.values() if found.n)
    assert differing(run) == set()


def test_one_log_probability_is_found_with_the_amount_it_was_changed_by(tmp_path: Path) -> None:
    a, b, _ = two(tmp_path)

    def fainter(frame: pd.DataFrame) -> None:
        row = at(frame, 2, 5)
        frame.at[row, "top_logprob"] = frame.at[row, "top_logprob"] - np.eye(K)[9] * 0.25

    change(shard(b) / "trajectory.parquet", fainter)
    run = only(a, b)
    found = run.found["top_logprob"]
    assert differing(run) == {"top_logprob"}
    assert found.value == pytest.approx(0.25, abs=1e-6)
    # 1 of 630 is above 99.9 %: the smallest value that 630 of 630 do not exceed.
    assert found.percentile == found.value
    assert run.files == (4, 5)
    assert not run.identical


def test_the_percentile_leaves_out_one_in_a_thousand(tmp_path: Path) -> None:
    a, b, _ = two(tmp_path, n_samples=30)  # 29 read × 9 layers × 10 tokens = 2610 numbers

    def fainter(frame: pd.DataFrame) -> None:
        # Of 2610 differences the 2608th is wanted (99.9 % of 2610 are 2607.39): three are largest.
        for sample, by in ((1, 0.5), (2, 0.375), (3, 0.125)):
            row = at(frame, sample, 1)
            frame.at[row, "top_logprob"] = frame.at[row, "top_logprob"] - np.eye(K)[9] * by

    change(shard(b) / "trajectory.parquet", fainter)
    found = only(a, b).found["top_logprob"]
    assert found.n == 2610
    assert found.value == pytest.approx(0.5, abs=1e-5)
    assert found.percentile == pytest.approx(0.125, rel=1e-3)


@pytest.mark.parametrize(
    ("table", "column", "measure", "by"),
    [
        ("trajectory", "final_logprob", "final_logprob", -0.5),
        ("trajectory", "gold_logprob", "gold_logprob", -0.5),
        ("trajectory", "entropy_nats", "entropy", 0.25),
        ("trajectory", "kl_to_final_nats", "kl", 0.125),
        ("trajectory", "js_to_final_nats", "js", 0.0625),
        ("heads", "image_mass", "head_mass", -0.125),
        ("heads", "text_mass", "head_mass", 0.125),
        ("heads", "image_entropy_nats", "head_entropy", 0.5),
        ("lenses", "final_logprob", "lens_logprob", -0.25),
    ],
)
def test_each_number_is_found_under_its_own_measure(
    tmp_path: Path, table: str, column: str, measure: str, by: float
) -> None:
    a, b, _ = two(tmp_path)

    def moved(frame: pd.DataFrame) -> None:
        frame.loc[40, column] += by

    change(shard(b) / f"{table}.parquet", moved)
    run = only(a, b)
    assert differing(run) == {measure}
    assert run.found[measure].value == pytest.approx(abs(by), rel=1e-5)


def test_a_list_of_masses_is_held_element_by_element(tmp_path: Path) -> None:
    a, b, _ = two(tmp_path)

    def moved(frame: pd.DataFrame) -> None:
        frame.at[3, "script_mass"] = frame.at[3, "script_mass"] + np.eye(17)[4] * 0.125

    change(shard(b) / "trajectory.parquet", moved)
    run = only(a, b)
    assert differing(run) == {"script_mass"}
    assert run.found["script_mass"].value == pytest.approx(0.125, rel=1e-5)


def swapped(sample: int, layer: int):
    """Return a change that lets the first two tokens of a row change places, lists kept sorted."""

    def how(frame: pd.DataFrame) -> None:
        row = at(frame, sample, layer)
        ids = frame.at[row, "top_id"].copy()
        ids[[0, 1]] = ids[[1, 0]]
        frame.at[row, "top_id"] = ids

    return how


def test_a_swapped_top_1_is_one_change_and_no_near_tie(tmp_path: Path) -> None:
    a, b, truth = two(tmp_path)
    rows = read_table(shard(a), "trajectory", step=0)
    row = at(rows, 3, 1)
    gap = float(np.subtract(*stack(rows, "top_logprob")[row, :2]))
    change(shard(b) / "trajectory.parquet", swapped(3, 1))
    run = only(a, b)
    assert run.found["top1"].changed == 1
    assert run.found["top1"].value == pytest.approx(1 / 63)
    # Nothing else moves at all, so that nothing explains it.
    assert (run.found["unexplained"].value, run.found["unexplained"].n) == (1.0, 1)
    assert run.found["top_logprob"].value == pytest.approx(gap, rel=1e-5)
    # y is planted at this layer in neither, and nothing of the end changed.
    assert truth.convergence[f"{DATASET}-00003"] > 1
    assert differing(run) == {"top1", "unexplained", "top_logprob"}


def test_a_near_tie_is_explained_by_what_rounding_moves_elsewhere(tmp_path: Path) -> None:
    a, b, _ = two(tmp_path)

    def tie(frame: pd.DataFrame) -> None:
        row = at(frame, 3, 1)
        logprob = frame.at[row, "top_logprob"].copy()
        logprob[1] = logprob[0] - 0.001
        frame.at[row, "top_logprob"] = logprob

    def noise(by: float):
        def how(frame: pd.DataFrame) -> None:
            row = at(frame, 5, 2)
            frame.at[row, "top_logprob"] = frame.at[row, "top_logprob"] - np.eye(K)[9] * by

        return how

    for results in (a, b):
        change(shard(results) / "trajectory.parquet", tie)
    change(shard(b) / "trajectory.parquet", swapped(3, 1))
    change(shard(b) / "trajectory.parquet", noise(0.0004))
    # 2 × 0.0004 < 0.001: both tokens may move by that, and it is not enough.
    assert only(a, b).found["unexplained"].changed == 1
    change(shard(b) / "trajectory.parquet", noise(0.0002))
    assert only(a, b).found["unexplained"].changed == 0
    assert only(a, b).found["top1"].changed == 1


def test_a_token_that_comes_from_nowhere_is_never_a_near_tie(tmp_path: Path) -> None:
    a, b, _ = two(tmp_path)

    def replaced(frame: pd.DataFrame) -> None:
        row = at(frame, 3, 1)
        ids = frame.at[row, "top_id"].copy()
        ids[0] = next(i for i in range(60) if i not in ids)
        frame.at[row, "top_id"] = ids
        other = at(frame, 5, 2)  # noise that would explain anything
        frame.at[other, "top_logprob"] = frame.at[other, "top_logprob"] - np.eye(K)[9] * 50

    change(shard(b) / "trajectory.parquet", replaced)
    run = only(a, b)
    assert run.found["unexplained"].changed == 1
    # The old first token is in neither list twice, so it has nothing to be held against.
    assert run.found["top_logprob"].n == 630 - 1


def test_a_shifted_convergence_layer_is_told_in_layers(tmp_path: Path) -> None:
    a, b, truth = two(tmp_path)
    sample = f"{DATASET}-00004"
    planted = truth.convergence[sample]
    assert planted < N_LAYERS
    rows = read_table(shard(a), "trajectory", step=0)
    final = int(rows.loc[at(rows, 4, N_LAYERS), "final_id"])

    def late(frame: pd.DataFrame) -> None:
        # Another token on top in the last layer but one: y stays from the last layer on.
        row = at(frame, 4, N_LAYERS - 1)
        ids = frame.at[row, "top_id"].copy()
        assert ids[0] == final
        ids[[0, 1]] = ids[[1, 0]]
        frame.at[row, "top_id"] = ids

    change(shard(b) / "trajectory.parquet", late)
    run = only(a, b)
    assert run.found["convergence"].changed == 1
    assert run.found["convergence"].n == READ
    assert run.found["convergence_layers"].value == N_LAYERS - planted
    assert run.found["answer"].changed == 0


def test_another_answer_and_another_text_are_counted(tmp_path: Path) -> None:
    a, b, _ = two(tmp_path)

    def other_answer(frame: pd.DataFrame) -> None:
        for layer in range(LAYERS):
            frame.loc[at(frame, 1, layer), "final_id"] += 1

    def other_text(frame: pd.DataFrame) -> None:
        frame.loc[[0, 1], "generated"] = "something else"

    change(shard(b) / "trajectory.parquet", other_answer)
    change(shard(b) / "samples.parquet", other_text)
    run = only(a, b)
    assert (run.found["answer"].changed, run.found["answer"].n) == (1, READ)
    assert (run.found["text"].changed, run.found["text"].n) == (2, READ)
    # log p of y is compared where y is the same.
    assert run.found["final_logprob"].n == (READ - 1) * LAYERS


def test_steps_after_another_token_are_not_compared(tmp_path: Path) -> None:
    a, b, _ = two(tmp_path, n_samples=20, n_steps=3)
    samples = read_table(shard(a), "samples")
    steps = {row.sample_id: len(row.generated_ids) for row in samples.itertuples()}
    longest = next(name for name, count in steps.items() if count == 3)
    number = int(longest[-5:])
    whole = only(a, b).found["entropy"].n

    def parted(frame: pd.DataFrame) -> None:
        row = frame.index[frame["sample_id"] == longest][0]
        ids = frame.at[row, "generated_ids"].copy()
        ids[1] += 1  # the token of step 1: steps 0 and 1 have the same context, step 2 has not
        frame.at[row, "generated_ids"] = ids

    def far_off(frame: pd.DataFrame) -> None:
        frame.loc[at(frame, number, 4, step=2), "entropy_nats"] += 1000

    change(shard(b) / "samples.parquet", parted)
    change(shard(b) / "trajectory.parquet", far_off)
    found = only(a, b).found["entropy"]
    assert found.n == whole - LAYERS
    assert found.value == 0


def test_a_dropped_sample_is_counted_and_the_rest_compared(tmp_path: Path) -> None:
    a, b, _ = two(tmp_path)
    gone = f"{DATASET}-00002"
    for name in ("samples", "trajectory", "heads", "lenses"):
        change(shard(b) / f"{name}.parquet", lambda frame: frame[frame["sample_id"] != gone])
    run = only(a, b)
    assert (run.only_left, run.only_right, run.n_samples) == (1, 0, READ - 1)
    assert only(b, a).only_right == 1
    assert differing(run) == set()
    assert not run.identical


def test_a_sample_rejected_in_one_only_is_counted(tmp_path: Path) -> None:
    a, b, _ = two(tmp_path)
    gone = f"{DATASET}-00002"

    def reject(frame: pd.DataFrame) -> None:
        frame.loc[frame["sample_id"] == gone, "rejected"] = "too long"

    change(shard(b) / "samples.parquet", reject)
    for name in ("trajectory", "heads", "lenses"):
        change(shard(b) / f"{name}.parquet", lambda frame: frame[frame["sample_id"] != gone])
    run = only(a, b)
    assert (run.rejected, run.n_samples, run.only_left) == (1, READ - 1, 0)


# Of eleven samples the fifth is in that shard of the right ones.
@pytest.mark.parametrize(("left", "right", "holding"), [(1, 3, 1), (3, 2, 0), (2, 5, 2)])
def test_shards_cut_differently_compare_as_if_they_were_not(
    tmp_path: Path, left: int, right: int, holding: int
) -> None:
    a, b, _ = two(tmp_path, n_samples=11, left=left, right=right)
    plain = only(a, b)
    assert plain.files is None
    assert (plain.n_samples, plain.only_left, plain.only_right) == (10, 0, 0)
    assert plain.identical

    def moved(frame: pd.DataFrame) -> None:
        frame.loc[at(frame, 4, 6), "entropy_nats"] += 0.5

    change(shard(b, holding) / "trajectory.parquet", moved)
    run = only(a, b)
    assert run.found["entropy"].value == pytest.approx(0.5, rel=1e-5)
    assert run.found["entropy"].n == 10 * LAYERS


def test_blocks_of_a_shard_add_up_to_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b, _ = two(tmp_path, n_samples=11, right=2)

    def moved(frame: pd.DataFrame) -> None:
        frame["entropy_nats"] += np.linspace(0, 0.5, len(frame))

    change(shard(b) / "trajectory.parquet", moved)
    whole = only(a, b)
    monkeypatch.setattr("lensbench.compare.pairs.ROWS_AT_ONCE", 50)
    parts = only(a, b)
    assert parts.found == whole.found or all(
        parts.found[name] == whole.found[name] or math.isnan(whole.found[name].value)
        or math.isnan(whole.found[name].percentile)
        for name in whole.found
    )  # fmt: skip
    for name, found in whole.found.items():
        assert parts.found[name].n == found.n, name
        np.testing.assert_equal(parts.found[name].value, found.value)


def test_what_differs_in_the_making_is_told_key_by_key(tmp_path: Path) -> None:
    a, b, _ = two(tmp_path)
    for results, device in ((a, "cpu"), (b, "cuda")):
        path = shard(results) / "provenance.json"
        content = json.loads(path.read_text())
        content |= {"device": device, "packages": {"torch": "2", "numpy": "1"}, "shard": device}
        path.write_text(json.dumps(content))
    run = only(a, b)
    assert run.provenance == {"device": (("cpu",), ("cuda",))}
    assert run.identical  # The numbers are.
