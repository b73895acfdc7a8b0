"""Which language the answer arrives in first: by hand, and against a naive reading of a run."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hand_runs import LANGUAGES, hand_run, reduced
from metric_runs import Made

from lensbench.metrics import language_lead as lead
from lensbench.metrics.language_lead import MASS, arrival_layer, compared
from lensbench.metrics.rundata import Block
from lensbench.trace import read_table
from synthetic import CONCEPTS, TOKEN_ID


def language_lead(run: Block) -> list[pd.DataFrame]:
    return reduced(lead.measure, lead.language_lead, run)


SHARES = ["share_first_earlier", "share_second_earlier", "share_tie", "share_only_first",
          "share_only_second", "share_neither"]  # fmt: skip


def values(table: pd.DataFrame, **labels: str) -> dict[str, float]:
    for column, value in {"family": "all", **labels}.items():
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
    assert got["net_first"].tolist() == [1, -1, 0, 1, -1, 0, 0]
    nan = np.nan
    np.testing.assert_array_equal(got["lead_layers"], [4, -1, 0, nan, nan, nan, 0])
    np.testing.assert_array_equal(got["lead_share"], [1, 0, 0, nan, nan, nan, 0])


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
    (table,) = language_lead(run)
    top1 = values(table, asked="all", first="zh", second="en", arrival="top1")
    assert top1 == {
        "share_first_earlier": 0.75, "share_second_earlier": 0, "share_tie": 0,
        "share_only_first": 0, "share_only_second": 0, "share_neither": 0.25, "net_first": 0.75,
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
    (table,) = language_lead(run)
    assert values(table, asked="all", first="zh", second="en", arrival="top1")["lead_layers"] == 1


def test_a_wrong_answer_of_the_same_kind_is_the_floor() -> None:
    # The two's wrong answer is three: 三 is on top at 0, three at 2; the three's own is two.
    run = hand_run(
        [["三", "两", " three", " two"], ["·", "两", "三", " two"]], ["number:2", "number:3"]
    )
    (table,) = language_lead(run)
    top1 = {"asked": "all", "first": "zh", "second": "en", "arrival": "top1"}
    other = values(table, **{**top1, "arrival": "top1_other"})
    assert other["lead_layers"] == 2
    assert (other["share_first_earlier"], other["net_first"]) == (1, 1)
    own = values(table, **top1)
    # The two: both arrive, 3 − 1, as the wrong one's 2 − 0. The three: Chinese alone.
    assert (own["share_first_earlier"], own["share_only_first"], own["net_first"]) == (0.5, 0.5, 1)
    assert own["lead_layers"] == 2
    assert (own["lead_over_other"], own["net_first_over_other"]) == (0, 0)
    paired = table.query("arrival == 'top1' and first == 'zh' and second == 'en'")
    n = paired[paired["asked"] == "all"].set_index("metric")["n"]
    assert (n["lead_over_other"], n["net_first_over_other"]) == (1, 2)


def test_the_wrong_answer_is_the_mean_of_all_others_not_the_next_by_name() -> None:
    # Of the gold 2: zh at 3, en at 4 (lead 1). 3: zh 0, en 2 (lead 2). 4: en alone. 5: neither.
    # 7 has no Chinese form, red is of another family: neither counts as a wrong answer.
    tops = [["三", " four", " three", "两", " two"]] + [["·"] * 5] * 5
    gold = ["number:2", "number:3", "number:4", "number:5", "number:7", "color:red"]
    (table,) = language_lead(hand_run(tops, gold))
    pair = {"asked": "all", "first": "zh", "second": "en"}
    own, other = (values(table, **pair, arrival=name) for name in ("top1", "top1_other"))
    # Four samples have wrong answers; all but the first have "·" throughout.
    assert other["share_first_earlier"] == pytest.approx(1 / 3 / 4)
    assert other["share_only_second"] == pytest.approx(1 / 3 / 4)
    assert other["share_neither"] == pytest.approx((1 / 3 + 3) / 4)
    assert other["net_first"] == 0
    assert (other["lead_layers"], own["lead_layers"]) == (2, 1)
    assert own["lead_over_other"] == -1
    assert own["net_first_over_other"] == pytest.approx(1 / 4)
    counted = table.query("asked == 'all' and first == 'zh' and second == 'en' and family == 'all'")
    n = counted.set_index(["arrival", "metric"])["n"]
    assert n["top1", "net_first_over_other"] == n["top1_other", "net_first"] == 4
    assert n["top1", "net_first"] == 5  # red has both, but no other color to be held against
    assert n["top1", "lead_over_other"] == 1
    # What stands beside a difference is of its samples: red, which has none, is left out of it.
    assert (own["net_first"], own["net_first_paired"]) == (pytest.approx(1 / 5), 1 / 4)
    assert (other["net_first_paired"], other["lead_paired"], own["lead_paired"]) == (0, 2, 1)
    for name, number in (("net_first_paired", 4), ("lead_paired", 1)):
        assert (n["top1", name], n["top1_other", name]) == (number, number)


def test_a_language_that_comes_first_of_any_answer_does_not_clear_the_floor() -> None:
    # Every layer 0 and 1 has Chinese numerals, whatever the picture: zh first, of right and wrong.
    tops = [["两", "三", " two", " three"], ["三", "两", " three", " two"]] * 4
    (table,) = language_lead(hand_run(tops, ["number:2", "number:3"] * 4))
    own = table.query("asked == 'all' and second == 'en' and first == 'zh' and arrival == 'top1'")
    row = own.set_index("metric")
    # Of eight samples without exception: Wilson's end for 0 of 8 is .324, and √2 of it for two
    # shares; the difference from the floor is at most 2 either way.
    assert row.loc["net_first", ["value", "low"]].tolist() == pytest.approx([1, 0.54122], abs=1e-5)
    over = row.loc["net_first_over_other", ["value", "low", "high"]].tolist()
    assert over == pytest.approx([0, -0.64881, 0.64881], abs=1e-5)
    assert row.loc["lead_layers", "low"] == 2
    assert row.loc["lead_over_other", ["value", "low", "high"]].tolist() == [0, 0, 0]


def test_families_of_answers_are_told_apart_where_they_have_samples_enough() -> None:
    # Numbers come in Chinese first, colors in English; five of each.
    tops = [["两", " two"]] * 5 + [[" red", "红"]] * 5
    run = hand_run(tops, ["number:2"] * 5 + ["color:red"] * 5)
    (table,) = language_lead(run)
    assert list(dict.fromkeys(table["family"])) == ["all", "color", "number"]
    pair = {"asked": "all", "first": "zh", "second": "en", "arrival": "top1"}
    leads = {name: values(table, family=name, **pair) for name in set(table["family"])}
    assert {name: of["net_first"] for name, of in leads.items()} == {
        "all": 0, "number": 1, "color": -1
    }  # fmt: skip
    few = hand_run(tops[:9], ["number:2"] * 5 + ["color:red"] * 4)
    assert set(language_lead(few)[0]["family"]) == {"all", "number"}
    one = hand_run(tops[:5], ["number:2"] * 5)
    assert set(language_lead(one)[0]["family"]) == {"all"}


def test_a_run_that_lists_few_tokens_says_nothing_of_the_tenth() -> None:
    (table,) = language_lead(hand_run([["三", "3"]], ["number:3"]))
    # One answer alone has no other of its kind to be held against.
    assert set(table["arrival"]) == {"top1", "mass"}
    # 7 has no Chinese form here: nothing can be said of it.
    (none,) = language_lead(hand_run([["7", "7"]], ["number:7"]))
    assert set(none["first"]) == {"en"}
    (nothing,) = language_lead(hand_run([["7", "7"]], ["animal:x"]))
    assert nothing.empty


def first_layers(rows: pd.DataFrame, concept: str) -> tuple[int | None, int | None]:
    """Return the first layers with a Chinese and an English form among the first ten, naively."""
    layers = []
    for language in ("zh", "en"):
        ids = {TOKEN_ID[text] for text in CONCEPTS[concept][language]}
        hit = [row.layer for row in rows.itertuples() if ids & set(row.top_id[:10])]
        layers.append(min(hit, default=None))
    return layers[0], layers[1]


def sign(layers: tuple[int | None, int | None]) -> int:
    zh, en = (99 if layer is None else layer for layer in layers)
    return (zh < en) - (en < zh)


@pytest.mark.parametrize("family", ["all", "number", "color"])
def test_a_synthetic_run_against_a_naive_reading(scenes: Made, family: str) -> None:
    trajectory = read_table(scenes.shards, "trajectory", step=0)
    samples = read_table(scenes.shards, "samples").set_index("sample_id")
    written = samples[samples["rejected"].isna()]
    both = [c for c in sorted(set(written["gold"])) if {"zh", "en"} <= set(CONCEPTS[c])]
    leads, over, nets, net_over = [], [], [], []
    for sample, rows in trajectory.groupby("sample_id"):
        gold = samples.loc[sample, "gold"]
        own = gold.split(":")[0]
        if gold not in both or family not in ("all", own):
            continue
        others = [first_layers(rows, c) for c in both if c != gold and c.split(":")[0] == own]
        zh, en = first_layers(rows, gold)
        nets.append(sign((zh, en)))
        net_over.append(nets[-1] - np.mean([sign(other) for other in others]))
        theirs = [e - z for z, e in others if z is not None and e is not None]
        if zh is not None and en is not None:
            leads.append(en - zh)
            if theirs:
                over.append(en - zh - np.mean(theirs))
    got = scenes.tables["language_lead"].query(
        "family == @family and asked == 'all' and first == 'zh' and second == 'en'"
        " and arrival == 'top10'"
    )
    table = got.set_index("metric")
    for metric, naive in (("lead_layers", leads), ("lead_over_other", over), ("net_first", nets),
                          ("net_first_over_other", net_over)):  # fmt: skip
        assert (metric in table.index) == bool(naive)
        if not naive:  # no wrong answer may be among the first ten in both languages
            continue
        row = table.loc[metric]
        assert row["value"] == pytest.approx(np.mean(naive)), metric
        assert row["n"] == len(naive), metric
        assert row["low"] <= row["value"] <= row["high"]
    shares = got[got["metric"].isin(SHARES)]
    assert shares["value"].sum() == pytest.approx(1)
