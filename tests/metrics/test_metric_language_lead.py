"""Which language the answer arrives in first: by hand, and against a naive reading of a run."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hand_runs import LANGUAGES, hand_run
from metric_runs import Made

from lensbench.metrics.bootstrap import Bootstrap
from lensbench.metrics.language_lead import MASS, another, arrival_layer, compared, language_lead
from lensbench.trace import read_table
from synthetic import CONCEPTS, TOKEN_ID

SHARES = ["share_first_earlier", "share_second_earlier", "share_tie", "share_only_first",
          "share_only_second", "share_neither"]  # fmt: skip


def values(table: pd.DataFrame, **labels: str) -> dict[str, float]:
    for column, value in labels.items():
        table = table[table[column] == value]
    return dict(zip(table["metric"], table["value"], strict=True))


def test_arrival_is_the_first_layer_and_never_is_told() -> None:
    there = np.array([[0, 1, 0, 1], [1, 0, 0, 0], [0, 0, 0, 0]], dtype=bool)
    assert arrival_layer(there).tolist() == [1, 0, -1]


def test_each_sample_is_of_one_kind_and_the_lead_is_over_those_with_both() -> None:
    first = np.array([2, 5, 3, 4, -1, -1, 0])
    second = np.array([6, 4, 3, -1, 1, -1, 0])
    got = compared(first, second)
    wanted = {
        "share_first_earlier": [1, 0, 0, 0, 0, 0, 0],
        "share_second_earlier": [0, 1, 0, 0, 0, 0, 0],
        "share_tie": [0, 0, 1, 0, 0, 0, 1],
        "share_only_first": [0, 0, 0, 1, 0, 0, 0],
        "share_only_second": [0, 0, 0, 0, 1, 0, 0],
        "share_neither": [0, 0, 0, 0, 0, 1, 0],
    }
    assert {name: got[name].astype(int).tolist() for name in SHARES} == wanted
    assert got["lead_layers"].tolist() == [4, -1, 0, 0]
    assert got["lead_share"].tolist() == [True, False, False, False]


def test_planted_arrivals_are_counted_by_language_asked_and_way() -> None:
    mass = np.zeros((4, 4, len(LANGUAGES)))
    mass[0, 1, LANGUAGES.index("zh")] = MASS  # exactly the threshold
    mass[0, 3, LANGUAGES.index("en")] = 0.5
    run = hand_run(
        [
            ["·", "两", " two", "2"],  # Chinese 1, English 2, digit 3
            [["·", " two"], ["二", "·"], "·", " two"],  # top 1: zh 1, en 3; top 10: en 0
            ["the", "2", "2", "2"],
            ["红", " red", " red", " red"],  # a color has no digit
        ],
        ["number:2", "number:2", "number:2", "color:red"],
        k=10,
        asked=["en", "zh", "en", "en"],
        mass=mass,
    )
    (table,) = language_lead(run, Bootstrap(resamples=50))
    top1 = values(table, asked="all", first="zh", second="en", arrival="top1")
    assert top1 == {
        "share_first_earlier": 0.75, "share_second_earlier": 0, "share_tie": 0,
        "share_only_first": 0, "share_only_second": 0, "share_neither": 0.25,
        "lead_layers": pytest.approx(4 / 3), "lead_share": 1.0,
    }  # fmt: skip
    top10 = values(table, asked="all", first="zh", second="en", arrival="top10")
    assert top10["share_second_earlier"] == 0.25
    assert top10["lead_layers"] == pytest.approx((1 - 1 + 1) / 3)
    digits = table[(table["second"] == "digit") & (table["first"] == "zh")]
    assert set(digits[digits["asked"] == "all"]["n"]) == {3, 1}  # the color is not compared
    assert values(digits, asked="all", arrival="top1")["share_only_first"] == pytest.approx(1 / 3)
    by_mass = values(table, asked="all", first="zh", second="en", arrival="mass")
    assert (by_mass["share_first_earlier"], by_mass["share_neither"]) == (0.25, 0.75)
    assert by_mass["lead_layers"] == 2
    asked_zh = values(table, asked="zh", first="zh", second="en", arrival="top1")
    assert (asked_zh["lead_layers"], asked_zh["share_first_earlier"]) == (2, 1)


def test_a_numeral_that_two_languages_share_is_the_first_ones() -> None:
    run = hand_run([["三", " three", "3"]], ["number:3"])
    (table,) = language_lead(run, Bootstrap(resamples=10))
    assert values(table, asked="all", first="zh", second="en", arrival="top1")["lead_layers"] == 1


def test_a_wrong_answer_of_the_same_kind_is_the_floor() -> None:
    gold = np.array(["number:2", "number:3", "color:red", "number:7", "number:2"], dtype=object)
    wrong = ["number:3", "number:7", "", "number:2", "number:3"]
    assert another(gold).tolist() == wrong
    # The twos' wrong answer is three: 三 is on top at 0, three at 2; the three's own is two.
    run = hand_run(
        [["三", "两", " three", "2"], ["·", "两", "三", " two"]], ["number:2", "number:3"]
    )
    (table,) = language_lead(run, Bootstrap(resamples=10))
    other = values(table, asked="all", first="zh", second="en", arrival="top1_other")
    assert other["lead_layers"] == 2
    assert other["share_first_earlier"] == 1
    own = values(table, asked="all", first="zh", second="en", arrival="top1")
    assert own["share_only_first"] == 1


def test_a_run_that_lists_few_tokens_says_nothing_of_the_tenth() -> None:
    (table,) = language_lead(hand_run([["三", "3"]], ["number:3"]), Bootstrap(resamples=10))
    # One answer alone has no other of its kind to be held against.
    assert set(table["arrival"]) == {"top1", "mass"}
    # 7 has no Chinese form here: nothing can be said of it.
    (none,) = language_lead(hand_run([["7", "7"]], ["number:7"]), Bootstrap(resamples=10))
    assert set(none["first"]) == {"en"}
    (nothing,) = language_lead(hand_run([["7", "7"]], ["animal:x"]), Bootstrap(resamples=10))
    assert nothing.empty


def test_a_synthetic_run_against_a_naive_reading(scenes: Made) -> None:
    trajectory = read_table(scenes.shards, "trajectory", step=0)
    samples = read_table(scenes.shards, "samples").set_index("sample_id")
    leads = []
    for sample, rows in trajectory.groupby("sample_id"):
        found = CONCEPTS[samples.loc[sample, "gold"]]
        if not ("zh" in found and "en" in found):
            continue
        layer = {}
        for language in ("zh", "en"):
            ids = {TOKEN_ID[text] for text in found[language]}
            hit = [row.layer for row in rows.itertuples() if ids & set(row.top_id[:10])]
            layer[language] = min(hit, default=None)
        if None not in layer.values():
            leads.append(layer["en"] - layer["zh"])
    got = scenes.tables["language_lead"].query(
        "asked == 'all' and first == 'zh' and second == 'en' and arrival == 'top10'"
    )
    row = got.set_index("metric").loc["lead_layers"]
    assert row["value"] == pytest.approx(np.mean(leads))
    assert row["n"] == len(leads)
    assert row["low"] < row["value"] < row["high"]
    shares = got[got["metric"].isin(SHARES)]
    assert shares["value"].sum() == pytest.approx(1)
