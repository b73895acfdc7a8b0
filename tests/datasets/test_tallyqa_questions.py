"""TallyQA's questions: read with care, selected by hand-checked rules, and the published subset."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.published import record, tallyqa_zip, zipped

from lensbench.datasets.tallyqa_questions import (
    Question,
    published,
    read_records,
    select,
    torch_permutation,
)
from lensbench.errors import DataError


def question(number: int, answer: int, simple: bool | None = True) -> Question:
    return Question(str(number), f"VG_100K/{number}.jpg", "How many?", answer, simple)


def written(folder: Path, content: bytes) -> Path:
    path = folder / "tallyqa.zip"
    path.write_bytes(content)
    return path


# 22,991 simple questions and 38,589 in all: what the published study's count lies under.
@pytest.mark.parametrize("n", [1, 2, 3, 7, 624, 625, 5000, 5001, 20_123, 22_991, 38_589])
@pytest.mark.parametrize("seed", [42, 0, 2**32 - 1])
def test_permutations_are_pytorchs_own(n: int, seed: int) -> None:
    torch.manual_seed(seed)
    theirs = torch.randperm(n).tolist()
    assert torch_permutation(n, 5000, seed) == theirs[:5000]
    assert torch_permutation(n, n, seed) == theirs
    assert torch_permutation(n, 2, seed) == theirs[:2]


def test_published_subset_draws_places_of_the_whole_file() -> None:
    # Simple with answers up to 5: those whose number ends with 0 or 1, 10 of 50.
    questions = [question(i, answer=i % 10, simple=i % 10 < 2 or i % 10 > 7) for i in range(50)]
    torch.manual_seed(42)
    drawn = torch.randperm(10).tolist()
    assert drawn == [2, 6, 1, 8, 4, 5, 0, 9, 3, 7]
    # So only the first ten records can occur, complex ones too; 6, 7, 8 and 9 are too many.
    assert published(questions) == [2, 1, 4, 5, 0, 3]
    assert [questions[place].family for place in published(questions)].count("complex") == 4
    assert published(questions, 3) == [2, 1, 4]


def test_published_subset_ends_after_5000_positions() -> None:
    questions = [question(i, answer=i % 6) for i in range(6000)]
    torch.manual_seed(42)
    assert published(questions, 10_000) == torch.randperm(6000).tolist()[:5000]


def test_published_subset_needs_to_know_what_is_simple() -> None:
    with pytest.raises(DataError, match="one of TallyQA's test split"):
        published([question(1, 1, None)])
    with pytest.raises(DataError, match="no question of the published subset"):
        published([question(1, 1, False), question(2, 9, True)])


@pytest.mark.parametrize("top", ["", "tallyqa/", "some/folder/"])
def test_records_are_read_in_order_with_every_key(tmp_path: Path, top: str) -> None:
    test = [
        record(1, "VG_100K/2331289.jpg", 0, "How many dinosaurs?"),
        record(2, "VG_100K_2/2408050.jpg", 15, "How many are red?", simple=False),
    ]
    train = [record(3, "val2014/COCO_val2014_000000000042.jpg", 7, "Ça va ?", simple=None)]
    archive = written(tmp_path, tallyqa_zip(test, train, top))
    assert read_records(archive, "test") == [
        Question("30000001", "VG_100K/2331289.jpg", "How many dinosaurs?", 0, True),
        Question("30000002", "VG_100K_2/2408050.jpg", "How many are red?", 15, False),
    ]
    (only,) = read_records(archive, "train")
    assert (only.simple, only.words) == (None, "Ça va ?")
    assert [q.family for q in read_records(archive, "test")] == ["simple", "complex"]
    assert only.family == "large count"
    assert question(1, 5, None).family == "count"


def test_an_id_that_is_there_twice_is_told_apart(tmp_path: Path) -> None:
    same = [record(1, "VG_100K/1.jpg", answer) for answer in (1, 2, 3)]
    archive = written(tmp_path, tallyqa_zip(same))
    names = [q.name for q in read_records(archive, "test")]
    assert names == ["30000001", "30000001.2", "30000001.3"]


def test_an_answer_may_be_written_as_text_or_with_a_point(tmp_path: Path) -> None:
    given = [
        {**record(i, "VG_100K/1.jpg", 0), "answer": a}
        for i, a in enumerate(["7", 3.0, 12, "three"])
    ]
    archive = written(tmp_path, tallyqa_zip(given))
    assert [q.answer for q in read_records(archive, "test")] == [7, 3, 12, 3]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"image": "../../etc/passwd"}, r"its image is '../../etc/passwd', not such as VG_100K/1"),
        ({"image": "/VG_100K/1.jpg"}, "its image is"),
        ({"image": "VG_100K/../1.jpg"}, "its image is"),
        ({"image": "VG_100K/a\\b.jpg"}, "its image is"),
        ({"image": "VG_100K/1.jpg\n"}, "its image is"),
        ({"image": "VG_100K/1.svg"}, "its image is"),
        ({"image": "elsewhere/1.jpg"}, "its image is"),
        ({"image": 7}, "its image is 7"),
        ({"question": "x \ud800"}, "its question is .* half a character"),
        ({"question": " "}, "its question is ' ', not words"),
        ({"question": None}, "its question is None"),
        ({"answer": -1}, "its answer is -1, not a whole number"),
        ({"answer": "many"}, "its answer is 'many'"),
        ({"answer": True}, "its answer is True"),
        ({"answer": 2.5}, "its answer is 2.5"),
        ({"question_id": "../1"}, r"its question_id is '../1'"),
        ({"question_id": True}, "its question_id is True"),
        ({"question_id": -4}, "its question_id is -4"),
        ({"issimple": "yes"}, "its issimple is 'yes'"),
        ({"issimple": None}, "its issimple is None"),
    ],
)
def test_a_bad_record_is_named(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    good, bad = record(1, "VG_100K/1.jpg", 1), {**record(2, "VG_100K/2.jpg", 2), **change}
    archive = written(tmp_path, tallyqa_zip([good, bad]))
    with pytest.raises(DataError, match=rf"tallyqa.zip, test.json, record 1: {said}"):
        read_records(archive, "test")


@pytest.mark.parametrize("key", ["image", "question", "answer", "question_id"])
def test_a_key_that_lacks_is_named(tmp_path: Path, key: str) -> None:
    bad = record(1, "VG_100K/1.jpg", 1)
    del bad[key]
    with pytest.raises(DataError, match=f"record 0: it has no {key}; fetch"):
        read_records(written(tmp_path, tallyqa_zip([bad])), "test")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "can't be read as a ZIP"),
        (b"PK\3\4 torn", "can't be read as a ZIP"),
        (zipped({"other.json": b"[]"}), "has 0 files test.json, not one"),
        (zipped({"a/test.json": b"[]", "b/test.json": b"[]"}), "has 2 files test.json, not one"),
        (zipped({"test.json": b"[{]"}), "test.json is not JSON"),
        (zipped({"test.json": b"\xff\xfe\x00"}), "test.json is not JSON"),
        (zipped({"test.json": b"[" * 100_000}), "test.json is not JSON"),
        (zipped({"test.json": b"{}"}), "test.json is no list of records"),
        (zipped({"test.json": b"[]"}), "test.json is no list of records"),
        (zipped({"test.json": b"[7]"}), "record 0: it is int, not an object"),
    ],
)
def test_a_damaged_archive_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_records(written(tmp_path, content), "test")


def test_damaged_bytes_inside_the_archive_are_refused(tmp_path: Path) -> None:
    text = json.dumps([record(i, f"VG_100K/{i}.jpg", i) for i in range(50)]).encode()
    content = bytearray(zipped({"test.json": text}))
    content[60] ^= 0xFF
    with pytest.raises(DataError, match="can't be read as a ZIP archive"):
        read_records(written(tmp_path, bytes(content)), "test")


def test_select_keeps_to_kind_and_answers() -> None:
    questions = [question(i, answer=i % 12, simple=i % 2 == 0) for i in range(48)]
    every = select(questions, n=100, seed=1, answers=(0, 99))
    assert every == list(range(48))
    some = select(questions, n=100, seed=1, kind="complex", answers=(3, 7))
    assert some == [i for i in range(48) if i % 2 and 3 <= i % 12 <= 7]
    assert select(questions, n=100, seed=1, kind="simple", answers=(4, 4)) == [4, 16, 28, 40]


def test_select_draws_by_the_seed_and_a_larger_n_only_adds() -> None:
    questions = [question(i, answer=i % 5) for i in range(200)]
    for balanced in (False, True):
        few, more = (select(questions, n=n, seed=3, balanced=balanced) for n in (20, 60))
        assert len(few) == 20
        assert few == sorted(few)
        assert set(few) < set(more)
        assert few == select(questions, n=20, seed=3, balanced=balanced)
        assert few != select(questions, n=20, seed=4, balanced=balanced)


def test_balanced_gives_every_answer_its_turn_as_far_as_there_are_questions() -> None:
    # 50 zeros, 20 ones, 4 twos: 30 questions are 4 twos and 13 of each of the others.
    answers = [0] * 50 + [1] * 20 + [2] * 4
    questions = [question(i, answer) for i, answer in enumerate(answers)]
    chosen = select(questions, n=30, seed=0, balanced=True)
    assert Counter(answers[place] for place in chosen) == {0: 13, 1: 13, 2: 4}
    chosen = select(questions, n=60, seed=0, balanced=True)
    assert Counter(answers[place] for place in chosen) == {0: 36, 1: 20, 2: 4}
    plain = select(questions, n=30, seed=0)
    assert Counter(answers[place] for place in plain)[2] < 4


def test_a_selection_that_means_nothing_is_refused() -> None:
    unknown = [question(1, 3, None)]
    assert select(unknown, n=1, seed=0) == [0]
    with pytest.raises(DataError, match="don't say which are simple, so the kind complex"):
        select(unknown, n=1, seed=0, kind="complex")
    said = "no question of the kind simple with an answer from 7 to 9"
    with pytest.raises(DataError, match=re.escape(said)):
        select([question(1, 3), question(2, 8, False)], n=1, seed=0, kind="simple", answers=(7, 9))
