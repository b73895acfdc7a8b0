"""TallyQA's questions: read from its archive, checked one by one, and selected.

Acharya, Kafle and Kanan, "TallyQA: Answering Complex Counting Questions", AAAI 2019.
"""

from __future__ import annotations

import json
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from lensbench.answers import read_answer
from lensbench.datasets.choice import take_turns
from lensbench.datasets.manifest import storable
from lensbench.datasets.scenes import count_family
from lensbench.errors import DataError

SPLITS: tuple[str, ...] = ("test", "train")
KINDS: tuple[str, ...] = ("all", "simple", "complex")
#: Folder of an image's path → dataset and archive that hold it.
ARCHIVES: dict[str, tuple[str, str]] = {
    "VG_100K": ("visual_genome", "images.zip"),
    "VG_100K_2": ("visual_genome", "images2.zip"),
    "train2014": ("coco", "train2014.zip"),
    "val2014": ("coco", "val2014.zip"),
}
#: What the published study drew with, how many positions, and up to which answer.
PUBLISHED_SEED, PUBLISHED_N, PUBLISHED_ANSWER = 42, 5000, 5

_MOST_BYTES = 2**30  # train.json has some fifty million.
_IMAGE = re.compile(rf"({'|'.join(ARCHIVES)})/[A-Za-z0-9_-]+\.jpg")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


@dataclass(frozen=True)
class Question:
    """One question.

    Args:
        name: its id, made unique where the file uses one twice.
        image: path of its picture inside the archive of pictures.
        words: what is asked.
        answer: how many there are.
        simple: whether it needs no more than finding objects; None where the file doesn't say.
    """

    name: str
    image: str
    words: str
    answer: int
    simple: bool | None

    @property
    def family(self) -> str:
        """The kind of question: "simple" or "complex", or by the size of its answer."""
        if self.simple is None:
            return count_family(self.answer)
        return "simple" if self.simple else "complex"


def read_records(archive: str | Path, split: str) -> list[Question]:
    """Read and check one of TallyQA's two files.

    Args:
        archive: tallyqa.zip.
        split: "test" or "train".

    Returns:
        The questions in the order of the file.

    Raises:
        DataError: if the archive or the file can't be read, or a record is not as it must be.
    """
    where, records = _parsed(Path(archive), f"{split}.json")
    questions = []
    seen: Counter[str] = Counter()
    for place, record in enumerate(records):
        problem = _problem(record)
        if problem:
            raise DataError(f"{where}, record {place}: {problem}; fetch the file again.")
        name = str(record["question_id"])
        seen[name] += 1
        questions.append(
            Question(
                # Joined by a point, which no id has, so that no other id can be the same.
                name=name if seen[name] == 1 else f"{name}.{seen[name]}",
                image=record["image"],
                words=record["question"],
                answer=_count(str(record["answer"])) or 0,
                simple=record.get("issimple"),
            )
        )
    return questions


def _parsed(archive: Path, name: str) -> tuple[str, list[Any]]:
    """Return where a file of the archive is, for sentences, and its list of records."""
    again = "delete it and run again"
    try:
        with zipfile.ZipFile(archive) as opened:
            # It may lie in a folder of any name.
            found = [m for m in opened.infolist() if PurePosixPath(m.filename).name == name]
            if len(found) != 1:
                raise DataError(f"{archive} has {len(found)} files {name}, not one: {again}.")
            where = f"{archive.name}, {name}"
            if found[0].file_size > _MOST_BYTES:
                raise DataError(f"{where} has {found[0].file_size} bytes, far too many: {again}.")
            text = opened.read(found[0])
    # zipfile raises NotImplementedError and RuntimeError for methods and passwords.
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, ValueError) as error:
        raise DataError(f"{archive} can't be read as a ZIP archive: {again}.") from error
    try:
        records = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is not JSON: {again}.") from error
    if not isinstance(records, list) or not records:
        raise DataError(f"{where} is no list of records: {again}.")
    return where, records


def _problem(record: Any) -> str:
    """Return what is wrong with a record, or "" if nothing is."""
    if not isinstance(record, dict):
        return f"it is {type(record).__name__}, not an object"
    for key in ("image", "question", "answer", "question_id"):
        if key not in record:
            return f"it has no {key}"
    image, words, answer, name = (
        record[key] for key in ("image", "question", "answer", "question_id")
    )
    if isinstance(name, bool) or not isinstance(name, int | str) or not _ID.fullmatch(str(name)):
        return f"its question_id is {name!r}, not a number"
    if not isinstance(image, str) or not _IMAGE.fullmatch(image):
        return f"its image is {image!r}, not such as {next(iter(ARCHIVES))}/1.jpg"
    if not isinstance(words, str) or not words.strip():
        return f"its question is {words!r}, not words"
    if not storable(words):
        return f"its question is {words!r}, which has half a character"
    if isinstance(answer, bool) or _count(str(answer)) is None:
        return f"its answer is {answer!r}, not a whole number ≥ 0"
    if not isinstance(record.get("issimple", True), bool):
        return f"its issimple is {record['issimple']!r}, not true or false"
    return ""


@cache
def _count(answer: str) -> int | None:
    """Return the number that an answer is: some exports write texts, or a point."""
    reading = read_answer(answer, "count")
    return int(reading.concept.partition(":")[2]) if reading else None


def select(
    questions: Sequence[Question],
    *,
    n: int,
    seed: int,
    kind: str = "all",
    answers: Sequence[int] = (0, 15),
    balanced: bool = False,
) -> list[int]:
    """Return the places of at most n questions, sorted; a larger n only adds.

    Args:
        questions: what `read_records` gave.
        n: how many at most.
        seed: decides which ones.
        kind: "all", "simple" or "complex".
        answers: the smallest and the largest answer.
        balanced: whether the answers take turns: equally often as far as there are questions, the
            rest evenly from the answers that have more.

    Raises:
        DataError: if the questions don't say which are simple and that is asked, or none is left.
    """
    if kind != "all" and any(question.simple is None for question in questions):
        raise DataError(
            f"These questions of TallyQA don't say which are simple, so the kind {kind} can't be "
            "taken: set kind to all, or split to test."
        )
    low, high = answers
    places = [
        place
        for place, question in enumerate(questions)
        if low <= question.answer <= high and kind in ("all", question.family)
    ]
    if not places:
        raise DataError(
            f"TallyQA has no question of the kind {kind} with an answer from {low} to {high}: "
            "allow more kinds or answers."
        )
    groups = [questions[place].answer if balanced else 0 for place in places]
    return [places[chosen] for chosen in take_turns(groups, n, seed)]


def published(questions: Sequence[Question], n: int = PUBLISHED_N) -> list[int]:
    """Return the places of the questions that the published study ran on, in its order.

    It drew a permutation of as many positions as there are simple questions with answers up to 5,
    and used it as places in the whole file: simple and complex ones alike, none beyond that
    number. Those with a larger answer it skipped.

    Args:
        questions: of the test split, in the order of the file.
        n: the first so many of them.

    Raises:
        DataError: if the questions don't say which are simple, or none is.
    """
    if any(question.simple is None for question in questions):
        raise DataError("The published subset is one of TallyQA's test split, not of another.")
    reach = sum(bool(q.simple) and q.answer <= PUBLISHED_ANSWER for q in questions)
    drawn = torch_permutation(reach, PUBLISHED_N, PUBLISHED_SEED)
    chosen = [place for place in drawn if questions[place].answer <= PUBLISHED_ANSWER][:n]
    if not chosen:
        raise DataError("TallyQA's test split has no question of the published subset.")
    return chosen


def torch_permutation(n: int, k: int, seed: int) -> list[int]:
    """Return the first k places of PyTorch's `randperm(n)` on a CPU after `manual_seed(seed)`.

    Place i is swapped with place i + r % (n - i), r being the next 32 bits of a Mersenne Twister.

    Args:
        n: of how many things, fewer than 2³² / 20 (for more PyTorch draws 64 bits).
        k: how many places of the permutation.
        seed: of the generator, less than 2³².
    """
    order = list(range(n))
    steps = min(k, n - 1)
    # NumPy promises that the numbers of its old generator will never change.
    draws = np.random.RandomState(seed).randint(0, 2**32, max(steps, 0), dtype=np.uint32)
    for i, draw in enumerate(draws.tolist()):
        other = i + draw % (n - i)
        order[i], order[other] = order[other], order[i]
    return order[:k]
