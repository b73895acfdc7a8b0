"""Where the right answer is born and lost: by hand, and planted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hand_runs import ID, hand_run, reduced
from metric_runs import Made

from lensbench.metrics import answer_path as path
from lensbench.metrics.answer_path import change, changes, found_lost_regained
from lensbench.metrics.rundata import Block


def answer_path(run: Block) -> list[pd.DataFrame]:
    (table,) = reduced(path.measure, path.answer_path, run)
    return [table[table["asked"] == "all"]]


def values(table: pd.DataFrame, family: str = "all") -> dict[str, float]:
    table = table[table["family"] == family]
    return dict(zip(table["metric"], table["value"], strict=True))


def test_found_lost_and_regained_by_hand() -> None:
    right = np.array([
        [0, 0, 1, 1],  # found and kept
        [0, 1, 0, 0],  # found and lost
        [1, 0, 1, 0],  # found, lost, found, lost
        [1, 0, 0, 1],  # found, lost, found: not lost at the end
        [0, 0, 0, 0],
        [0, 0, 0, 1],
    ], dtype=bool)  # fmt: skip
    found, lost, regained = found_lost_regained(right)
    assert found.tolist() == [True, True, True, True, False, True]
    assert lost.tolist() == [False, True, True, False, False, False]
    assert regained.tolist() == [False, False, True, True, False, False]


@pytest.mark.parametrize(
    ("before", "after", "same", "what"),
    [
        (" two", " two", True, ""), (" two", "two", True, "space"), (" two", " Two", True, "case"),
        ("two", " TWO", True, "case"), ("二", "两", True, "word"),
        ("二", " two", False, "language"),
        ("Straße", "STRASSE", True, "case"),
    ],
)  # fmt: skip
def test_what_changes_between_two_forms(before: str, after: str, same: bool, what: str) -> None:
    assert change(before, after, same) == what


def test_changes_are_counted_over_gaps_and_leaving_by_itself() -> None:
    texts = np.array([["二", "the", " two", " Two"], ["two", " two", "the", "the"]], dtype=object)
    language = np.array([[2, -1, 1, 1], [1, 1, -1, -1]])
    got = {name: count.tolist() for name, count in changes(texts, language).items()}
    assert got == {"case": [1, 0], "space": [0, 1], "word": [0, 0], "language": [1, 0],
                   "leave": [1, 1]}  # fmt: skip


TOPS = [
    ["·", "二", "两", " two", " two"],  # born at 1, word and language change, kept
    ["·", "·", " two", "the", " two"],  # found, lost, found
    ["2", "·", "·", "·", "·"],  # found and lost for good
    ["·", "·", "·", "·", "the"],  # never
    ["·", "·", "·", "·", "·"],  # its gold has no form: only in what is over all samples
]


def test_a_run_by_hand() -> None:
    run = hand_run(TOPS, ["number:2"] * 4 + ["animal:x"])
    got = values(answer_path(run)[0])
    assert got["gold_found"] == 0.75
    assert got["gold_first_layer"] == pytest.approx((1 + 2 + 0) / 3)
    assert got["gold_first_depth"] == pytest.approx(3 / 3 / 4)
    assert (got["gold_lost"], got["gold_regained"]) == (0.25, 0.25)
    assert got["gold_lost_of_found"] == pytest.approx(1 / 3)
    assert got["after_word"] == got["after_language"] == pytest.approx(1 / 3)
    assert (got["after_case"], got["after_space"]) == (0, 0)
    assert got["after_leave"] == got["n_leave"] == pytest.approx(2 / 3)
    # All five samples: the second and the fourth change in the last block.
    assert got["last_block_change"] == pytest.approx(2 / 5)
    assert got["last_1_agree"] == pytest.approx(3 / 5)
    assert got["last_2_agree"] == pytest.approx(2 / 5)  # the first one had 两 before
    assert got["last_4_agree"] == pytest.approx(1 / 5)  # only the last one has had it ever since
    assert (got["last_block_js_nats"], got["last_block_kl_nats"]) == (pytest.approx(0.1), 0.2)
    assert not [name for name in got if "raw" in name]


def test_the_raw_lens_is_held_against_the_normed_one_sample_by_sample() -> None:
    run = hand_run(TOPS, ["number:2"] * 4 + ["animal:x"])
    raw = np.full((5, 5), ID["·"])
    raw[0, 3], raw[1, 1], raw[3, 4] = ID["两"], ID[" two"], ID["2"]
    (table,) = answer_path(replace(run, lenses={"raw": (np.arange(5), {"top_id": raw})}))
    got = values(table)
    assert got["gold_found_raw"] == 0.75
    assert got["gold_first_layer_raw"] == pytest.approx((3 + 1 + 4) / 3)
    # Both lenses find it in the first two: 3 − 1 and 1 − 2.
    assert got["gold_first_layer_raw_minus_normed"] == pytest.approx(0.5)
    # Their layers beside the difference are of the same two: 3 and 1, 1 and 2.
    assert (got["gold_first_layer_raw_paired"], got["gold_first_layer_paired"]) == (2, 1.5)
    n = table.set_index("metric")["n"]
    names = ("raw_minus_normed", "raw_paired", "paired")
    assert [n[f"gold_first_layer_{name}"] for name in names] == [2, 2, 2]


def test_families_are_told_apart_each_over_its_own_samples() -> None:
    numbers = [*TOPS[:4], ["·", "·", "2", "2", "2"]]
    colors = [[" red"] * 5, ["·", " red", " red", " red", "·"], *[["·"] * 5] * 3]
    run = hand_run(numbers + colors, ["number:2"] * 5 + ["color:red"] * 4 + ["color:x"])
    (table,) = answer_path(run)
    number, color = values(table, "number"), values(table, "color")
    assert (number["gold_found"], color["gold_found"]) == (0.8, 0.5)  # the last color has no form
    assert number["gold_first_layer"] == pytest.approx((1 + 2 + 0 + 2) / 4)
    assert (color["gold_first_layer"], color["gold_lost"]) == (0.5, 0.25)
    assert color["after_leave"] == 0.5
    assert (number["last_block_change"], color["last_block_change"]) == (2 / 5, 1 / 5)
    n = table.set_index(["family", "metric"])["n"]
    assert (n["color", "gold_found"], n["color", "gold_first_layer"]) == (4, 2)
    assert (n["all", "gold_found"], n["all", "last_1_agree"]) == (9, 10)


def test_planted_truth_is_recovered(scenes: Made) -> None:
    table = (
        scenes.tables["answer_path"].query("family == 'all' and asked == 'all'").set_index("metric")
    )
    truth = scenes.truth
    kept = pd.Series(truth.convergence) <= 7  # of 8 layers: the last block changes nothing
    assert table.loc["last_1_agree", "value"] == pytest.approx(kept.mean())
    assert table.loc["last_block_change", "value"] == pytest.approx((~kept).mean())
    # The Chinese form stands on top in the middle of every sample that has one.
    assert table.loc["gold_found", "value"] == 1
    assert table.loc["gold_first_layer", "value"] <= truth.han_layers[0]
    assert table.loc["gold_lost", "value"] == pytest.approx(
        np.mean([not right for right in truth.correct.values()])
    )
    assert {"gold_found_raw", "gold_first_layer_raw"} <= set(table.index)
