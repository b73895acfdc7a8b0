"""Mining: planted co-occurrence is found and nothing else; p, q and odds against other hands."""

from __future__ import annotations

import csv
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy.stats import binom, fisher_exact

from lensbench.errors import ConfigError, DataError, TraceError
from lensbench.lexicon import Lexicon, load_lexicon
from lensbench.mined_files import draft, new_forms, quoted, reviewed, write_candidates
from lensbench.mining import (
    COLUMNS,
    MiningOptions,
    associations,
    benjamini_hochberg,
    fisher_greater,
    layers_between,
    layers_of,
    mine,
    occurrences,
    runs_of_folders,
)
from synthetic import CONCEPTS, TOKEN_ID, make_run

ANY = MiningOptions(min_samples=1)


def drawn(has: np.ndarray) -> pd.DataFrame:
    """Return occurrences from a mask [n samples, T tokens], all in layer 1."""
    sample, token = np.nonzero(has)
    return pd.DataFrame({"sample": sample, "token_id": token, "layer": 1})


def test_fisher_is_the_tea_tasting_and_scipy_s_own() -> None:
    # Fisher's lady: 4 of 4 right has p = 1 ÷ (8 over 4); 3 of 4 has (16 + 1) ÷ 70.
    got = fisher_greater(np.array([4, 3, 0]), np.array([4, 4, 4]), np.array([4, 4, 4]), 8)
    assert got == pytest.approx([1 / 70, 17 / 70, 1.0])
    rng = np.random.default_rng(0)
    for _ in range(50):
        a, b, c, d = rng.integers(0, 15, 4)
        mine_p = fisher_greater(np.array(a), np.array(a + b), np.array(a + c), a + b + c + d)
        assert float(mine_p) == pytest.approx(
            fisher_exact([[a, b], [c, d]], alternative="greater").pvalue
        )


def test_benjamini_and_hochberg_by_hand() -> None:
    # Sorted 0.01 0.02 0.03 0.04 0.5, times 5 ÷ rank: 0.05 0.05 0.05 0.05 0.5.
    q = benjamini_hochberg(np.array([0.04, 0.5, 0.01, 0.03, 0.02]))
    assert q == pytest.approx([0.05, 0.5, 0.05, 0.05, 0.05])
    # A later p pulls an earlier q down, never up: 0.03 · 3 ÷ 1 = 0.09, 0.035 · 3 ÷ 2 = 0.0525.
    assert benjamini_hochberg(np.array([0.03, 0.9, 0.035])) == pytest.approx([0.0525, 0.9, 0.0525])
    assert benjamini_hochberg(np.array([])).shape == (0,)
    # The paper's own example: 15 comparisons, four rejected at 0.05.
    paper = np.array([0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459,
                      0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0])  # fmt: skip
    assert (benjamini_hochberg(paper) <= 0.05).sum() == 4


def test_one_pair_by_hand() -> None:
    # Ten samples, four with the answer; the token is in three of these and in one other.
    has = np.array([1, 1, 1, 0, 1, 0, 0, 0, 0, 0], dtype=bool)[:, None]
    answers = ["number:1"] * 4 + ["number:2"] * 6
    table = associations(drawn(has), answers, ANY).set_index("concept")
    row = table.loc["number:1"]
    assert (row["with_answer"], row["without_answer"], row["n_answer"], row["n_others"]) == (
        3, 1, 4, 6,
    )  # fmt: skip
    assert row["expected"] == pytest.approx(1.6)
    assert row["log_odds"] == pytest.approx(math.log(3.5 * 5.5 / (1.5 * 1.5)))
    assert row["pmi_nats"] == pytest.approx(math.log(3.5 / 2.1))
    # (C(4,3) C(6,1) + C(4,4)) ÷ C(10,4)
    assert row["p"] == pytest.approx(25 / 210)
    assert row["n_tests"] == 2
    assert row["p_bonferroni"] == pytest.approx(50 / 210)
    assert table.loc["number:2", "q"] == pytest.approx(float(table.loc["number:2", "p"]))


def test_a_sample_counts_once_whatever_its_layers_repeat() -> None:
    top = np.array([[[5, 6], [5, 7], [5, 6]], [[8, 9], [9, 6], [8, 5]]])
    found = occurrences(top, np.array([3, 4, 5]))
    assert len(found) == 12
    answers = ["number:1", "number:2"]
    table = associations(found, answers, ANY).set_index(["concept", "token_id"])
    assert table.loc[("number:1", 5), "with_answer"] == 1
    assert table.loc[("number:2", 5), "with_answer"] == 1
    where = layers_of(found, answers)
    assert tuple(where.loc[("number:1", 6)]) == (3, 3)  # a tie goes to the earlier layer
    assert tuple(where.loc[("number:2", 5)]) == (5, 5)
    assert tuple(where.loc[("number:2", 9)]) == (3, 3)


def test_planted_tokens_are_found_and_no_other() -> None:
    rng = np.random.default_rng(11)
    answers = np.array([f"number:{i % 6}" for i in range(300)])
    has = rng.random((300, 1500)) < rng.uniform(0.02, 0.6, 1500)
    planted = {}
    for token in range(12):
        concept = f"number:{token % 6}"
        has[:, token] = rng.random(300) < np.where(answers == concept, 0.8, 0.05)
        planted[token] = concept
    everywhere = 20
    has[:, everywhere] = True  # there for any input: it goes with no answer
    table = associations(drawn(has), answers, MiningOptions())
    found = table[table["q"] <= 0.05]
    right = {(row.token_id, row.concept) for row in found.itertuples()}
    assert set(planted.items()) <= right
    # The others were drawn by chance: at most a twentieth of what is found, and a margin of one.
    assert len(right) - len(planted) <= 0.05 * len(right) + 1
    # Bonferroni's is the stricter: nothing but what was planted.
    strict = table[table["p_bonferroni"] <= 0.05]
    assert {(row.token_id, row.concept) for row in strict.itertuples()} == set(planted.items())
    assert (table[table["token_id"] == everywhere]["p"] == 1).all()


def test_by_chance_alone_something_is_found_no_oftener_than_promised() -> None:
    """With nothing planted, any discovery is false, so P(one or more) may be 0.05 at most."""
    rng, runs, wrong, strict = np.random.default_rng(5), 120, 0, 0
    answers = np.array([f"number:{i % 6}" for i in range(120)])
    for _ in range(runs):
        has = rng.random((120, 300)) < rng.uniform(0.05, 0.6, 300)
        table = associations(drawn(has), answers, MiningOptions())
        wrong += bool((table["q"] <= 0.05).any())
        strict += bool((table["p_bonferroni"] <= 0.05).any())
    # What a fair coin of 0.05 exceeds in one of a thousand such tests.
    assert wrong <= binom.ppf(0.999, runs, 0.05)
    assert strict <= wrong


def test_among_true_ones_the_share_of_false_discoveries_is_bounded() -> None:
    rng, shares = np.random.default_rng(6), []
    answers = np.array([f"number:{i % 4}" for i in range(160)])
    for _ in range(40):
        has = rng.random((160, 400)) < 0.2
        for token in range(40):
            own = answers == f"number:{token % 4}"
            has[:, token] = rng.random(160) < np.where(own, 0.6, 0.1)
        table = associations(drawn(has), answers, MiningOptions())
        found = table[table["q"] <= 0.05]
        true = (found["token_id"] < 40) & (
            found["concept"] == [f"number:{token % 4}" for token in found["token_id"]]
        )
        assert true.sum() >= 30
        shares.append(1 - true.mean())
    error = np.std(shares) / np.sqrt(len(shares))
    assert np.mean(shares) <= 0.05 + 3 * error


def test_rare_tokens_are_not_tested_and_the_choice_looks_at_no_answer() -> None:
    has = np.zeros((10, 3), dtype=bool)
    has[:2, 0], has[:3, 1], has[:, 2] = True, True, True
    answers = ["number:1"] * 5 + ["number:2"] * 5
    table = associations(drawn(has), answers, MiningOptions(min_samples=3))
    assert set(table["token_id"]) == {1, 2}
    assert set(table["n_tests"]) == {4}
    assert associations(drawn(has[:, :1]), answers, MiningOptions()).empty


@pytest.mark.parametrize(
    ("text", "n_layers", "layers"),
    [
        ("0.3:0.9", 10, range(3, 10)), ("0.3:0.9", 8, range(3, 8)), ("0:1", 4, range(5)),
        ("0.5:0.5", 8, [4]), ("8:24", 28, range(8, 25)), ("8:24", 12, range(8, 13)),
        ("3:3", 30, [3]), (" 0.25 : 0.75 ", 4, [1, 2, 3]), ("9:12", 6, []),
    ],
)  # fmt: skip
def test_spans_of_layers(text: str, n_layers: int, layers: range) -> None:
    if text == "0:1":  # whole numbers are layers, so that shares need a point
        layers = [0, 1]
    assert layers_between(text, n_layers).tolist() == list(layers)


@pytest.mark.parametrize("text", ["", "3", "0.9:0.3", "24:8", "a:b", "-1:3", "0.5:2", "nan:1.0"])
def test_spans_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="are no span"):
        MiningOptions(layers=text)


@pytest.mark.parametrize(
    "wrong", [{"k": 0}, {"min_samples": 0}, {"smoothing": 0.0}, {"level": 0.0}, {"level": 1.5},
              {"smoothing": float("nan")}],
)  # fmt: skip
def test_options_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"for {next(iter(wrong))}"):
        MiningOptions(**wrong)


# A run on disk: Chinese forms of the gold stand on top in the middle layers.


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("run")
    make_run(root, "m", "scenes", n_samples=120, n_steps=1, n_shards=2)
    return root


def small_lexicon(drop: str = "") -> Lexicon:
    """Return a lexicon of the synthetic concepts without one form, 三 given to a wrong concept."""
    entries = {
        concept: {
            language: tuple(t.strip() for t in texts if t.strip() not in (drop, "三"))
            for language, texts in forms.items()
        }
        for concept, forms in CONCEPTS.items()
        if forms
    }
    entries["number:1"] = {**entries["number:1"], "zh": ("一", "三")}
    return Lexicon(entries, {"两": "left out here"})


def test_a_run_on_disk_gives_back_the_words_that_were_planted(run: Path) -> None:
    runs = runs_of_folders([run / "traces/m/scenes"], [run / "models/m"])
    assert [len(shards) for shards, _ in runs] == [2]
    # From 0.4 to 0.6 of the depth the Chinese form leads.
    options = MiningOptions(layers="0.4:0.6", k=1)
    found = mine(runs, small_lexicon(drop="零"), options)
    assert list(found.columns) == list(COLUMNS)
    best = found.drop_duplicates("concept").set_index("concept")
    planted = {"number:0": "零", "number:1": "一", "number:2": "二", "number:3": "三"}
    assert best["token"].to_dict() == planted
    for concept, text in planted.items():
        row = best.loc[concept]
        assert row["with_answer"] == row["n_answer"]
        assert row["without_answer"] == 0
        assert row["token_id"] == TOKEN_ID[text]
        assert (row["script"], row["first_layer"]) == ("Han", 4)  # of 8, the only layer there
    assert best["in_lexicon"].to_dict() == {
        "number:0": "", "number:1": "number:1", "number:2": "number:2", "number:3": "number:1",
    }  # fmt: skip
    assert best["conflict"].tolist() == ["", "", "", "number:1"]
    assert list(best.index) == sorted(planted)
    # Only what nobody has is new.
    fresh = new_forms(found)
    assert fresh["form"].tolist()[0] == "零"
    assert not set(fresh["form"]) & {"一", "二", "三"}
    lines = draft(found)
    assert '"零"' in lines
    assert yaml.safe_load(lines)["number"]["0"]["zh"] == ["零"]


def test_runs_of_one_model_are_counted_together_and_models_apart(run: Path, tmp_path: Path) -> None:
    make_run(tmp_path, "other", "scenes", n_samples=60, n_steps=1)
    one = runs_of_folders([run / "traces/m/scenes/0", run / "traces/m/scenes/1"],
                          [run / "models/m"])  # fmt: skip
    two = runs_of_folders([tmp_path / "traces/other/scenes"], [tmp_path / "models/other"])
    options = MiningOptions(layers="0.4:0.6", k=1)
    lexicon = load_lexicon()
    both = mine([*one, *two], lexicon, options)
    assert list(dict.fromkeys(both["model"])) == ["m", "other"]
    alone = mine(one, lexicon, options)
    pd.testing.assert_frame_equal(both[both["model"] == "m"].reset_index(drop=True), alone)
    # The same run twice is as many samples twice, not another result of another model.
    twice = mine([*one, *one], lexicon, options)
    row = twice.query("concept == 'number:0'").iloc[0]
    assert row["n_answer"] == 2 * alone.query("concept == 'number:0'").iloc[0]["n_answer"]


def test_bad_input_is_told_in_one_sentence(run: Path, tmp_path: Path) -> None:
    models = [run / "models/m"]
    with pytest.raises(TraceError, match="holds no shard"):
        runs_of_folders([tmp_path], models)
    with pytest.raises(DataError, match="add --model-folder"):
        runs_of_folders([run / "traces/m/scenes"], [])
    runs = runs_of_folders([run / "traces/m/scenes"], models)
    with pytest.raises(DataError, match="0 samples with 0 different answers"):
        mine(runs, load_lexicon(), MiningOptions(family="planet"))
    with pytest.raises(ConfigError, match="fewer than the 11"):
        mine(runs, load_lexicon(), MiningOptions(k=11))
    with pytest.raises(ConfigError, match="No layer of m"):
        mine(runs, load_lexicon(), MiningOptions(layers="9:12"))


HOSTILE = [
    "=HYPERLINK(1)", "+1", "-2", "@x", '"', '""', "a,b", "a\nb", "\r\n", "\t", "\x00\x1b[31m",
    "\x7f\x9b", "\u202eabc\u202c", "\u2028", "\ufeff", "\u200b", "  ", " two", "\xa0", "</script>",
    "\\u0041", "\\", "🙂", "👩\u200d🚀", "\U000e0001", "三", "NA", "", "'", "café",
]  # fmt: skip


def test_hostile_tokens_round_trip_through_csv_and_are_seen(tmp_path: Path) -> None:
    frame = pd.DataFrame({name: [""] * len(HOSTILE) for name in COLUMNS}).assign(token=HOSTILE)
    write_candidates(tmp_path / "c.csv", frame)
    raw = (tmp_path / "c.csv").read_text(encoding="utf-8")
    with open(tmp_path / "c.csv", encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [json.loads(row["token"]) for row in rows] == HOSTILE
    assert len(raw.splitlines()) == 1 + len(HOSTILE)  # no token breaks a line
    # A spreadsheet sees a quote first, never a formula; no control character is left.
    assert all(row["token"].startswith('"') for row in rows)
    assert not [c for c in raw if c != "\n" and not c.isprintable()]
    assert quoted("三 café 🙂") == '"三 café 🙂"'
    assert quoted("\u202e") == '"\\u202e"'
    assert quoted("a\xa0b") == '"a\\u00a0b"'


def test_a_draft_holds_only_words_that_nobody_has(tmp_path: Path) -> None:
    base = {"model": "m\nx", "concept": "number:3", "q": 0.01, "log_odds": 2.0, "with_answer": 3,
            "n_answer": 4, "without_answer": 1, "n_others": 9, "in_lexicon": "", "conflict": "",
            "left_out": "", "script": "Latin"}  # fmt: skip
    base["model"] = "m"
    rows = [
        {**base, "token": " trio"}, {**base, "token": "Trio"},  # one word
        {**base, "token": "three", "in_lexicon": "number:3"},
        {**base, "token": "un", "left_out": "an article"},
        {**base, "token": "# x: [", "script": "Symbol"}, {**base, "token": "a: b"},
        {**base, "token": "<0xE4>", "script": "Fragment"},
        {**base, "token": "三隻", "script": "Han"}, {**base, "token": "yes", "concept": "word:no"},
    ]  # fmt: skip
    lines = draft(pd.DataFrame(rows))
    assert yaml.safe_load(lines) == {
        "number": {"3": {"en": ["trio"], "zh": ["三隻"]}}, "word": {"no": {"en": ["yes"]}},
    }  # fmt: skip
    assert "NOT reviewed" in lines
    assert "3 of 4 samples" in lines
    nothing = draft(pd.DataFrame(rows[2:5]))
    assert yaml.safe_load(nothing) is None
    assert "No form is new" in nothing


def lensbench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lensbench", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_commands_mine_and_check(run: Path, tmp_path: Path) -> None:
    folders = (str(run / "traces/m/scenes"), "--model-folder", str(run / "models/m"))
    out, lines = tmp_path / "c.csv", tmp_path / "draft.yaml"
    done = lensbench("lexicon", "mine", *folders, "--out", str(out), "--draft", str(lines),
                     "--layers", "0.4:0.6", "--top", "1")  # fmt: skip
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(out, keep_default_na=False)
    assert list(table.columns) == list(COLUMNS)
    assert '"零"' in table["token"].tolist()
    assert lines.read_text(encoding="utf-8").startswith("# Draft")
    mini = tmp_path / "mini.yaml"
    mini.write_text('number:\n  "3": {zh: [三]}\n', encoding="utf-8")
    done = lensbench("lexicon", "mine", *folders, "--out", str(out), "--lexicon", str(mini))
    assert done.returncode == 0, done.stderr
    assert set(pd.read_csv(out, keep_default_na=False)["in_lexicon"]) == {"", "number:3"}
    good = lensbench("lexicon", "check", str(mini))
    assert good.returncode == 0
    assert "is a lexicon: 1 form, 1 concept, 1 family, 0 words left out" in good.stdout
    mini.write_text('number:\n  "3": {zh: [三]}\n  "4": {zh: [三]}\n', encoding="utf-8")
    bad = lensbench("lexicon", "check", str(mini))
    assert (bad.returncode, bad.stdout) == (1, "")
    assert bad.stderr.count("\n") == 1
    assert "belongs to two concepts" in bad.stderr


def test_the_reviewed_record_agrees_with_the_lexicon() -> None:
    record, lexicon = reviewed(), load_lexicon()
    assert set(record["decision"]) <= {"in the lexicon", "taken", "left out"}
    for row in record.itertuples():
        found = lexicon.find(row.token)
        assert (found[0] if found else "") == ("" if row.decision == "left out" else row.concept)
        assert row.reason
    # What the README of the record says: all digits and Chinese numerals came up again.
    listed = record[record["decision"] == "in the lexicon"]
    per_script = listed.groupby("script")[["model", "concept"]].apply(
        lambda rows: len(rows.drop_duplicates())
    )
    assert per_script.to_dict() == {"Digit": 27, "Han": 27, "Latin": 26}
    assert (record["decision"] == "left out").sum() == 48
