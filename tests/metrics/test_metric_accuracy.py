"""When a token, and when a text, is the gold answer."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from tests.metrics.hand_runs import hand_run

from lensbench.answers import UNREAD
from lensbench.metrics.accuracy import generated_is_gold, is_told, language_of_hit
from lensbench.metrics.concepts import by_asked, families, forms_kept, languages_with_forms
from lensbench.metrics.depths import summary
from lensbench.metrics.tally import Tally

LANGUAGES = ("digit", "en", "zh")
COLUMNS = ["concept", "language", "form", "token_id", "kept"]
FORMS = pd.DataFrame(
    [
        ("number:3", "digit", "3", 30, True),
        ("number:3", "en", " three", 31, True),
        ("number:3", "en", " Three", 32, True),
        ("number:3", "zh", "三", 33, True),
        ("number:3", "zh", "3", 30, True),  # two languages: the first owns it
        ("number:2", "en", " two", 20, True),
        ("number:2", "en", " twain", 99, False),  # its first token is shared
        ("capital:paris", "en", " Paris", 50, True),
        ("capital:paris", "zh", "巴黎", 51, True),
        ("capital:paris", "ko", "파리", 52, True),
        ("color:red", "en", " red", 60, True),
        ("capital:nyc", "en", " New York", 70, False),
    ],
    columns=COLUMNS,
).assign(reason=lambda table: ["" if kept else "shared" for kept in table["kept"]])


def test_language_of_hit_by_hand() -> None:
    ids = np.array([[30, 31, 32, 33, 20], [20, 99, 30, 31, 20]])
    got = language_of_hit(ids, np.array(["number:3", "number:2"], dtype=object), FORMS, LANGUAGES)
    # A digit, two English variants, Chinese, the form of another number; the form of the second
    # counts, its shared one does not, the forms of 3 do not.
    assert got.tolist() == [[0, 1, 1, 2, -1], [1, -1, -1, -1, 1]]


def test_language_of_hit_takes_one_id_a_sample() -> None:
    gold = np.array(["number:3", "color:red", "unknown:x"], dtype=object)
    got = language_of_hit(np.array([33, 61, 33]), gold, FORMS, LANGUAGES)
    assert got.tolist() == [2, -1, -1]


@pytest.mark.parametrize(
    ("text", "concept", "strict", "lenient"),
    [
        ("3", "number:3", True, True),
        (" Three.", "number:3", True, True),
        ("**three** stars", "number:3", True, True),
        ("\n３", "number:3", True, True),  # full width
        ("3\n\nThe next picture shows 4", "number:3", True, True),
        ("3, I think", "number:3", True, True),
        ("1. There are 3 cats", "number:1", False, False),
        ("threesome", "number:3", False, False),
        ("3.5", "number:3", False, False),
        ("There are three", "number:3", False, True),
        ("There are three", "number:2", False, False),
        ("答案：3", "number:3", False, True),
        ("三十", "number:3", False, False),
        ("twenty-one", "number:21", True, True),  # whether the lexicon has it or not
        ("It is red", "color:red", False, True),
        ("red", "number:3", False, False),
        ("red", "unknown:x", False, False),
        ("red", "", False, False),
        ("巴黎是首都", "capital:paris", True, True),
        ("Paris. The capital of Germany is Berlin", "capital:paris", True, True),
        ("Paris. The capital of Germany is Berlin", "capital:berlin", False, False),
        ("Paris, Berlin", "capital:paris", True, True),
        ("No. There are 3 cats.", "number:3", False, True),
        ("No. There are 3 cats.", "number:0", False, False),
        ("No. 3", "number:0", False, False),
        ("No.", "number:0", True, True),
        ("No estoy seguro.", "number:0", False, False),
        ("3 or more", "number:3", False, False),
        ("3만 명", "number:3", False, False),
        ("One cannot tell from the image.", "number:1", False, False),
        ("One can see a cat.", "number:1", False, False),
        ("One side of the street", "number:1", False, False),
        ("White and gold.", "color:white", False, False),
        ("Black and silver.", "color:black", False, False),
        ("赤と青", "color:red", False, False),
        ("Orange juice", "color:orange", False, False),
        ("빨간색이 아닙니다", "color:red", False, False),
        ("", "number:3", False, False),
        ("...", "number:3", False, False),
    ],
)
def test_generated_text(text: str, concept: str, strict: bool, lenient: bool) -> None:
    assert generated_is_gold([text], [concept]).tolist() == [strict]
    assert generated_is_gold([text], [concept], lenient=True).tolist() == [lenient]


def test_golds_that_a_written_answer_can_name() -> None:
    gold = np.array(["number:3", "number:99", "capital:nyc", "color:x", ""], dtype=object)
    assert is_told(gold, FORMS).tolist() == [True, True, True, False, False]


def test_answers_that_are_not_understood_are_counted_in_the_summary() -> None:
    block = hand_run([["·", " three"]] * 9, ["number:3"] * 2 + [UNREAD] * 6 + [""])
    (table,) = summary(block.run, Tally(0, 10))
    row = table.set_index("metric").loc["n_answers_not_understood"]
    assert row[["value", "n"]].tolist() == [6, 9]
    # They are no family of answers, which would have rows of its own.
    assert families(block.run.groups.golds | {"color:red": 5, "day:monday": 5}) == ["color", "day"]


def test_forms_kept_are_counted_over_the_gold_concepts_alone() -> None:
    gold = np.array(["number:2", "number:2", "color:red"], dtype=object)
    assert forms_kept(gold, FORMS) == (2, 3)


def test_languages_with_forms_in_order() -> None:
    assert languages_with_forms(np.array(["number:3"]), FORMS, LANGUAGES) == list(LANGUAGES)
    assert languages_with_forms(np.array(["number:2"]), FORMS, LANGUAGES) == ["en"]
    assert languages_with_forms(np.array(["capital:nyc"]), FORMS, LANGUAGES) == ["en"]
    assert languages_with_forms(np.array(["capital:rome"]), FORMS, LANGUAGES) == []


def test_by_asked_gives_all_and_then_each_language_there_is() -> None:
    asked = np.array(["zh", "en", "zh"], dtype=object)
    got = [(name, mask.tolist()) for name, mask in by_asked(asked, LANGUAGES)]
    assert got == [
        ("all", [True, True, True]),
        ("en", [False, True, False]),
        ("zh", [True, False, True]),
    ]
    assert list(by_asked(asked[:0], LANGUAGES)) == []


def test_samples_without_a_gold_are_no_family_and_have_no_answer_step() -> None:
    assert families({"number:2": 6, "": 6}) == []
    block = hand_run([["·", " red"]] * 2, ["color:red", ""])
    block.samples["generated"] = ["It is red"] * 2
    block.samples["generated_ends"] = [[2, 5, 9]] * 2
    assert block.content_step.tolist() == [0, 0]
    assert block.answer_step.tolist() == [2, 0]
