"""The reader of written answers: a table in nine languages, and what holds of any text."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from num2words import num2words
from typer.testing import CliRunner

from lensbench.answers import (
    Reading,
    asks_count,
    begins_with,
    find_answer,
    kind_of,
    read_answer,
)
from lensbench.lexicon import load_lexicon
from lensbench.lexicon_cli import lexicon as commands

#: What 300 strings are, decided by hand: text, kind, and what strict and lenient reading give.
with (Path(__file__).parent / "data" / "answers.csv").open(encoding="utf-8") as _file:
    TABLE = [tuple(row.values()) for row in csv.DictReader(_file)]
LEXICON = load_lexicon()


def concept(reading: Reading | None) -> str:
    return reading.concept if reading else ""


def test_the_table_is_large() -> None:
    assert len({(text, kind) for text, kind, _, _ in TABLE}) == len(TABLE) >= 200


@pytest.mark.parametrize(("text", "kind", "strict", "lenient"), TABLE)
def test_the_table_of_answers(text: str, kind: str, strict: str, lenient: str) -> None:
    read = (f(text, kind or None, LEXICON) for f in (read_answer, find_answer))
    assert [concept(reading) for reading in read] == [strict, lenient]


@pytest.mark.parametrize("language", ["en", "ru", "fr", "de", "es", "ja", "ko"])
def test_every_number_word_of_num2words_is_read_by_its_value(language: str) -> None:
    for value in range(101):  # 百一 is 101 in Japanese, 110 in Chinese.
        word = num2words(value, lang=language)
        # German for 0, but what programs write for nothing.
        expected = "" if word == "null" else f"number:{value}"
        assert concept(read_answer(word, "count", LEXICON)) == expected, word


@pytest.mark.parametrize(
    ("text", "kind", "place"),
    [
        ("There are three.", "count", "three"),
        ("答案：３个。", "count", "３个"),
        ("▁▁ “Ze\u0301ro”", "count", "Ze\u0301ro"),
        ("It is a ROT-free WEISS.", "color", ""),
        ("Das ist WEIẞ, \u200bja", "color", "WEIẞ"),
        ("3 cats: three", "count", "3"),
    ],
)
def test_a_reading_knows_its_place_in_the_text(text: str, kind: str, place: str) -> None:
    reading = find_answer(text, kind, LEXICON)
    assert (text[reading.start : reading.end] if reading else "") == place


@pytest.mark.parametrize(
    ("text", "language"),
    [
        *(("3", "digit"), ("three", "en"), ("三", "zh"), ("三つです", "ja"), ("みっつ", "ja")),
        *(("세 마리", "ko"), ("три", "ru"), ("trois", "fr"), ("drei", "de"), ("tres", "es")),
    ],
)
def test_the_language_of_a_reading(text: str, language: str) -> None:
    assert read_answer(text, "count", LEXICON) == Reading(
        "number:3", language, 0, len(text.removesuffix("です"))
    )


def test_other_families_of_the_lexicon() -> None:
    assert concept(read_answer("Paris.", "capital")) == "capital:paris"
    assert read_answer("巴黎是首都", "capital") is None
    assert concept(find_answer("巴黎是首都", "capital")) == "capital:paris"
    assert find_answer("Parisian", "capital") is None
    assert find_answer("Paris or London", "capital") is None
    assert find_answer("Paris", "color") is None
    assert concept(read_answer("Paris", None)) == "capital:paris"
    assert [kind_of(c) for c in ("number:3", "color:red", "day:monday")] == [
        "count",
        "color",
        "day",
    ]


@pytest.mark.parametrize(
    ("text", "concept", "begins"),
    [
        *(("3 cats", "number:3", True), ("12", "number:1", False), ("3.5", "number:3", False)),
        *(("3, or 4", "number:3", True), ("三十", "number:3", False), ("三个", "number:3", True)),
        *(("I see 3", "number:3", False), ("un chat", "number:1", True), ("", "number:1", False)),
        *(("New Yorker", "capital:paris", False), ("Paris, Texas", "capital:paris", True)),
        *(("Parisian", "capital:paris", False), ("twenty-one", "number:20", False)),
        *(("3.", "number:3", True), (" three three", "number:3", True), ("-3", "number:3", False)),
        *(("1 000", "number:1", False), (" 1 000", "number:1", False), ("3 %", "number:3", False)),
        *(("3 1/2", "number:3", False), (" two and a half", "number:2", False)),
        *(("three hundred", "number:3", False), ("三或四个", "number:4", False)),
    ],
)
def test_what_a_text_begins_with(text: str, concept: str, begins: bool) -> None:
    assert begins_with(text, concept) is begins


#: What texts that numbers are read from are made of.
PARTS = st.sampled_from(
    [
        *"3½②一三十万个第红세열개이-–.,:/'ßẞİﷺ㌀Ⅻ\n\u200b\u0301", "没有", "黄色", "마리", "입니다",
        "みっつ", "です", "じゅう", "three", " twenty", " no ", "not", "un ", "deux", " vingt",
        "half", " dozen", "**", "red", " blue", "dark ", "👨‍👩‍👧", "3️⃣",
    ]
)  # fmt: skip


@given(st.one_of(st.lists(PARTS, max_size=7).map("".join), st.text(max_size=12)))
def test_what_is_read_strictly_is_found_too_and_lies_in_the_text(text: str) -> None:
    for kind in ("count", "color", "capital", None):
        strict, lenient = (f(text, kind, LEXICON) for f in (read_answer, find_answer))
        assert strict is None or strict == lenient
        assert lenient is None or 0 <= lenient.start < lenient.end <= len(text)


@pytest.mark.parametrize(
    ("question", "counts"),
    [
        *(("How many cats?", True), ("Count the cats.", True), ("图中有几只猫？", True)),
        *(
            ("いくつありますか", True),
            ("고양이가 몇 마리 있습니까?", True),
            ("Сколько кошек?", True),
        ),
        *(("Combien de chats ?", True), ("Wie viele Katzen?", True), ("¿Cuántos gatos?", True)),
        *(
            ("What color is the hat?", False),
            ("Which country?", False),
            ("帽子是什么颜色？", False),
        ),
    ],
)
def test_which_questions_count(question: str, counts: bool) -> None:
    assert asks_count(question) is counts


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["一共有三个", "--kind", "count"], "number:3"),
        (["二百五", "--kind", "count"], "none"),
        (["blue-green", "--kind", "color"], "none"),
        (["Red!", "--kind", "color"], "color:red"),
        (["-3", "--kind", "count"], "none"),
        (["一共有三个", "--kind", "count", "--strict"], "none"),
    ],
)
def test_the_command_prints_the_concept(arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(commands, ["read", *arguments])
    assert (result.exit_code, result.output) == (0, f"{said}\n")
