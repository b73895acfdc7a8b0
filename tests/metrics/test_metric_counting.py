"""Counts and kinds: matched by standardisation, by hand and on a planted paradox."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hand_runs import ID, hand_run, reduced

from lensbench.datasets.scenes import count_question
from lensbench.metrics import counting
from lensbench.metrics.counting import counts_of, kinds_of, matched_weights
from lensbench.metrics.rundata import Block


def matched_kinds(run: Block) -> list[pd.DataFrame]:
    tables = reduced(counting.measure, counting.matched_kinds, run, resamples=400, seed=3)
    return [table[table["asked"] == "all"] for table in tables]


def by_count(run: Block) -> list[pd.DataFrame]:
    tables = reduced(counting.measure, counting.by_count, run, resamples=400, seed=3)
    return [table[table["asked"] == "all"] for table in tables]


def test_counts_of_concepts() -> None:
    got = counts_of(np.array(["number:3", "number:12", "color:red", "number:x", ""], dtype=object))
    assert got.tolist() == [3, 12, -1, -1, -1]


def test_kinds_come_from_the_family_or_from_a_scene_s_words() -> None:
    samples = pd.DataFrame({
        "family": ["simple", "complex", "count", "large count", "count", "color"],
        "asked": ["red?", "x", count_question("star", "red"), count_question(None, "blue"),
                  count_question("star", None), "What color is the red star?"],
    })  # fmt: skip
    assert kinds_of(samples, "tallyqa").tolist() == ["simple", "complex", "", "", "", ""]
    # Words tell of scenes alone; a question that doesn't count is of neither kind.
    assert kinds_of(samples, "scenes").tolist() == [
        "simple", "complex", "complex", "complex", "simple", "",
    ]  # fmt: skip


def test_scenes_are_told_apart_as_their_own_records_do(tmp_path: object) -> None:
    import json
    from pathlib import Path

    from lensbench.datasets.manifest import read_manifest
    from lensbench.datasets.scenes import make

    folder = Path(str(tmp_path)) / "scenes"
    make(folder, n=45, seed=7)
    manifest = read_manifest(folder)
    kinds = kinds_of(manifest.rename(columns={"prompt": "asked"}), "scenes")
    records = json.loads((folder / "records.json").read_text(encoding="utf-8"))
    wanted = {r["image"]: "simple" if r["issimple"] else "complex" for r in records}
    assert set(wanted.values()) == {"simple", "complex"}
    assert kinds.tolist() == [wanted.get(image, "") for image in manifest["image"]]


def test_weights_are_the_smaller_kind_s_numbers() -> None:
    simple, complex_ = {0: 4, 1: 1, 2: 2}, {0: 3, 2: 3, 5: 1}
    assert matched_weights(simple, complex_) == pytest.approx({0: 3 / 5, 2: 2 / 5})
    assert matched_weights({1: 2}, {2: 2}) == {}


def test_a_count_of_which_a_kind_has_one_question_is_not_matched() -> None:
    assert matched_weights({2: 2, 3: 2, 7: 1}, {2: 2, 3: 1, 7: 1}) == {2: 1}
    assert matched_weights({3: 2, 7: 1}, {3: 1, 7: 1}) == {}
    rows = [("simple", 2, True)] * 2 + [("complex", 2, True)] * 2
    rows += [("simple", 3, True)] * 6 + [("complex", 3, False)]
    (table,) = matched_kinds(run_of(rows))
    even = matched(table, "difference", "matched")
    assert even[["value", "n"]].tolist() == [0, 4]
    # Two of two are right in both: each may be 0.342 (Wilson), the difference as much either way.
    assert even[["low", "high"]].tolist() == pytest.approx([-0.65762, 0.65762], abs=1e-5)
    assert matched(table, "difference", "as they are")["n"] == 11
    assert matched_kinds(run_of(rows[4:])) == []


def run_of(rows: list[tuple[str, int, bool]], layers: int = 3) -> Block:
    """Return a run of (kind, count, right at the last layer), kept from layer 1 on."""
    texts = {2: " two", 3: " three", 7: " seven"}
    tops = [["·", *[texts[count] if right else "the"] * (layers - 1)] for _, count, right in rows]
    return hand_run(
        tops, [f"number:{count}" for _, count, _ in rows], family=[kind for kind, _, _ in rows]
    )


def matched(table: pd.DataFrame, kind: str, weighting: str) -> pd.Series:
    found = table.query("kind == @kind and weighting == @weighting and metric == 'accuracy'")
    (row,) = [row for _, row in found.iterrows()]
    return row


def test_matched_values_by_hand() -> None:
    rows = [("simple", 2, True)] * 3 + [("simple", 2, False)] + [("simple", 3, True)] * 2
    rows += [("complex", 2, True), ("complex", 2, False)] + [("complex", 3, False)] * 3
    (table,) = matched_kinds(run_of(rows))
    # min(4, 2) twos and min(2, 3) threes: weights ½ and ½.
    assert matched(table, "simple", "matched")["value"] == pytest.approx(0.75 / 2 + 1 / 2)
    assert matched(table, "complex", "matched")["value"] == pytest.approx(0.5 / 2)
    difference = matched(table, "difference", "matched")
    assert difference["value"] == pytest.approx(0.25 - 0.875)
    assert difference["n"] == 11
    assert matched(table, "simple", "as they are")["value"] == pytest.approx(5 / 6)
    assert matched(table, "difference", "as they are")["value"] == pytest.approx(0.2 - 5 / 6)


def test_a_difference_made_by_the_counts_alone_vanishes_when_they_are_matched() -> None:
    # Twos are easy (90 %), threes hard (20 %), whatever the kind; complex questions are threes.
    rows = []
    for kind, twos, threes in (("simple", 80, 20), ("complex", 20, 80)):
        rows += [(kind, 2, place < 0.9 * twos) for place in range(twos)]
        rows += [(kind, 3, place < 0.2 * threes) for place in range(threes)]
    (table,) = matched_kinds(run_of(rows))
    raw, even = (matched(table, "difference", way) for way in ("as they are", "matched"))
    assert raw["value"] == pytest.approx(-0.42)
    assert raw["high"] < 0
    assert even["value"] == pytest.approx(0)
    assert even["low"] < 0 < even["high"]
    # Normal theory: each kind is ½ (mean of twos) + ½ (mean of threes), variances p (1 − p) ÷ n.
    spread = np.sqrt(0.25 * (0.09 / 80 + 0.16 / 20 + 0.09 / 20 + 0.16 / 80))
    assert even["high"] - even["low"] == pytest.approx(2 * 1.96 * spread, rel=0.15)


def test_counts_that_one_kind_lacks_weigh_nothing_and_one_kind_alone_has_no_table() -> None:
    rows = [("simple", 2, True)] * 4 + [("simple", 7, False)] * 9 + [("complex", 2, True)] * 3
    (table,) = matched_kinds(run_of(rows))
    assert matched(table, "difference", "matched")["value"] == 0
    assert matched(table, "simple", "matched")["n"] == 4
    assert matched_kinds(run_of(rows[:10])) == []
    assert matched_kinds(run_of([("simple", 2, True), ("complex", 3, True)])) == []


def test_groups_of_counts_by_hand() -> None:
    rows = [("x", 2, True)] * 10 + [("x", 3, False)] * 10 + [("x", 7, True)] * 2
    run = run_of(rows)
    # In the middle the threes were right: the best layer is not the last.
    run.steps.top_id[10:20, 1, 0] = 9  # " three"
    (table,) = by_count(run)
    got = table.set_index(["group", "metric"])["value"]
    assert got["0-5", "accuracy"] == 0.5
    assert (got["0-5", "accuracy_best"], got["0-5", "best_layer"]) == (1, 1)
    assert (got["6+", "accuracy"], got["6+", "accuracy_best"]) == (1, 1)
    assert got["0-5", "convergence_layer"] == pytest.approx((1 + 2) / 2)
    assert table.set_index(["group", "metric"])["n"]["6+", "accuracy"] == 2
    assert by_count(hand_run([["红", " red"]], ["color:red"])) == []


def test_languages_asked_for_are_told_apart() -> None:
    """Asked for English the twos are right, for Chinese wrong; complex ones are asked in both."""
    kinds = ["simple"] * 4 + ["complex"] * 4
    asked = ["en", "en", "zh", "zh"] * 2
    tops = [["·", "·", " two" if language == "en" else "the"] for language in asked]
    run = hand_run(tops, ["number:2"] * 8, asked=asked, family=kinds)
    (table,) = reduced(counting.measure, counting.by_count, run, resamples=50)
    accuracy = table[table["metric"] == "accuracy"].set_index("asked")
    assert accuracy["value"].to_dict() == {"all": 0.5, "en": 1.0, "zh": 0.0}
    assert accuracy["n"].to_dict() == {"all": 8, "en": 4, "zh": 4}
    (table,) = reduced(counting.measure, counting.matched_kinds, run, resamples=50)
    even = table.query("weighting == 'matched' and metric == 'accuracy' and kind == 'simple'")
    assert even.set_index("asked")["value"].to_dict() == {"all": 0.5, "en": 1.0, "zh": 0.0}


def test_an_accuracy_that_peaks_nowhere_has_no_best_layer() -> None:
    rows = [("x", 2, False)] * 12 + [("x", 7, True)] * 12
    (table,) = by_count(run_of(rows))
    got = table.set_index(["group", "metric"])["value"]
    assert got["0-5", "accuracy_best"] == 0
    assert ("0-5", "best_layer") not in got.index
    # Right at layers 1 and 2 of 2, and nothing else was tried: no layer stands out either.
    assert ("6+", "best_layer") not in got.index
    run = run_of([("x", 2, False)] * 20)
    run.steps.top_id[:, 1, 0] = ID[" two"]  # layer 1 alone
    run.steps.top_id[:, 0, 0] = ID[" two"]  # an artefact of the embedding
    (table,) = by_count(run)
    assert table.set_index("metric").loc["best_layer", "value"] == 1
