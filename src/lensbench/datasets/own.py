"""Your own questions: about the pictures of a folder, or in words alone."""

from __future__ import annotations

import json
import math
import reprlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from lensbench.answers import UNREAD, asks_count, read_answer
from lensbench.datasets.choice import take_turns
from lensbench.datasets.exported import read_exported
from lensbench.datasets.folder import (
    Converted,
    Picture,
    by_name,
    convert_all,
    find_pictures,
    image_of,
    picture_named,
    tell_left_out,
)
from lensbench.datasets.manifest import building, check_rejected, storable, write_manifest
from lensbench.datasets.scenes import count_family
from lensbench.errors import DataError
from lensbench.files import sha256_of
from lensbench.lexicon import Lexicon, load_lexicon

COLUMNS: tuple[str, ...] = ("file", "question", "answer", "boxes")
#: Another name for `file`, as other data sets have it.
OTHER_NAME = "image"
#: No picture is so wide or high, in pixels.
_FAR = 10**9


@dataclass(frozen=True)
class Asked:
    """One sample: its id, its picture, what is asked, what is known, and where that stands.

    Args:
        sample_id: of the manifest.
        picture: the picture; None of a question in words alone.
        words: what is asked.
        answer: the right answer in any spelling, or "".
        boxes: (label, [x0, y0, x1, y1] in pixels of the upright picture) of its objects.
        where: file and line of the question, for sentences.
    """

    sample_id: str
    picture: Picture | None
    words: str
    answer: str = ""
    boxes: tuple[tuple[str, tuple[float, ...]], ...] = ()
    where: str = ""


def make(
    out: str | Path,
    *,
    n: int,
    seed: int,
    folder: str | Path | None = None,
    questions: str | Path | None = None,
    question: str | None = None,
    max_rejected: float = 0.1,
) -> None:
    """Write the manifest of at most n samples of somebody's questions.

    Args:
        out: the folder to make; whole or not there.
        n: how many samples at most; a larger n only adds.
        seed: chooses among them.
        folder: the pictures, flat or in subfolders; None for questions in words alone, whose file
            has neither `file` nor `boxes`.
        questions: a CSV (first line: the columns) or JSONL file with `file` (or `image`) and
            `question`, and where they are known `answer` (see `lensbench.answers`; one that isn't
            understood is told and counted) and `boxes`, a JSON list of [x0, y0, x1, y1] or
            {"label": …, "box": […]} in pixels of the upright picture. A named file may have any
            suffix or none.
        question: one question for every picture, instead of `questions`.
        max_rejected: share of the samples whose picture need not be readable.

    Raises:
        DataError: if there is neither folder nor questions, not one of `questions` and `question`,
            a line that can't be used, or too few pictures can be read.
    """
    if not folder and not questions:
        raise DataError(
            "The dataset own has neither folder nor questions: name the folder of your pictures, "
            "or a file of questions in words alone."
        )
    if bool(questions) == bool(question and question.strip()):
        raise DataError(
            "The dataset own needs either questions, a CSV or JSONL file, or one question for all "
            "pictures: give one of the two."
        )
    if question and not storable(question):
        raise DataError(
            f"The question {question!r} of the dataset own has half a character: write it again."
        )
    selection: dict[str, Any] = {"dataset": "own", "n": n, "seed": seed}
    with building(out, "own", n) as place:
        pictures = find_pictures(folder, any_suffix=bool(questions)) if folder else None
        if questions:
            samples = read_questions(questions, pictures)
            # No path: the same files elsewhere give the same dataset.
            selection["questions"] = Path(questions).name
            selection["questions_sha256"] = sha256_of(questions)
        else:
            selection["question"] = question
            samples = [Asked(f"own-{p.slug}", p, str(question)) for p in pictures or ()]
        chosen = [samples[index] for index in take_turns([0] * len(samples), n, seed)]
        used = list(dict.fromkeys(s.picture for s in chosen if s.picture))
        converted = convert_all(used, folder, place) if used else []
        made: dict[Picture | None, Converted] = dict(zip(used, converted, strict=True))
        lexicon = load_lexicon()
        frame = pd.DataFrame([_row(s, made.get(s.picture), lexicon) for s in chosen])
        check_rejected(frame, max_rejected, "own")
        write_manifest(place, frame, selection)
    _tell_unread(chosen, frame["gold"].tolist())
    if folder and not questions:
        tell_left_out(folder)


def read_questions(path: str | Path, pictures: Sequence[Picture] | None) -> list[Asked]:
    """Read and check a file of questions.

    Args:
        path: CSV, or JSONL if its name ends so.
        pictures: what may be asked about; None if the questions are in words alone.

    Raises:
        DataError: naming the first line that can't be used, and why.
    """
    source = Path(path)
    named = by_name(pictures or ())
    lines, left_out = read_exported(source, (*COLUMNS, OTHER_NAME))
    samples = []
    for line, cells in lines:
        where = f"{source}, line {line}"
        _check_columns(cells, where, pictures is not None)
        file = _text(cells, "file", where) or _text(cells, OTHER_NAME, where)
        words = _text(cells, "question", where)
        if not words:
            raise DataError(f"{where}: it asks nothing: write its question.")
        samples.append(
            Asked(
                # The line's number, so that a sample is found again in the file.
                f"own-{line:05d}",
                None if pictures is None else picture_named(file, named, where),
                words,
                _text(cells, "answer", where),
                _boxes(cells.get("boxes"), where),
                where,
            )
        )
    if not samples:
        raise DataError(f"{source} has no question: add a line.")
    if left_out:
        print(f"Left out of {source}: {', '.join(left_out)}.", file=sys.stderr)
    return samples


def _check_columns(cells: dict[str, Any], where: str, pictured: bool) -> None:
    """Refuse a line that lacks what it needs or has what nobody reads."""
    unknown = [name for name in cells if name not in (*COLUMNS, OTHER_NAME)]
    if unknown:
        raise DataError(
            f"{where}: nobody reads {unknown[0]!r}: the columns are {', '.join(COLUMNS)}."
        )
    shown = [name for name in ("file", OTHER_NAME, "boxes") if name in cells]
    if shown and not pictured:
        raise DataError(
            f"{where}: it has {shown[0]}, but the dataset own names no folder: name the one with "
            "the pictures, or leave the column out."
        )
    if pictured and ("file" in cells) == (OTHER_NAME in cells):
        raise DataError(f"{where}: name its picture once, as file (or {OTHER_NAME}).")
    if "question" not in cells:
        raise DataError(f"{where}: it has no question: write one.")


def _text(cells: dict[str, Any], name: str, where: str) -> str:
    """Return a cell as text without outer space, "" if it isn't there; numbers as their digits."""
    value = cells.get(name)
    if value is None or value != value:  # NaN is what Python's json writes where nothing is
        return ""
    # An answer that is no text or whole number is not understood, as it is in a CSV file.
    given = str | int | float if name == "answer" else str | int
    if not isinstance(value, given) or (isinstance(value, bool) and name != "answer"):
        raise DataError(f"{where}: its {name} is {value!r}, not a text or a whole number.")
    return _stored(str(value).strip(), name, where)


def _stored(text: str, name: str, where: str) -> str:
    """Return a text, once it is sure that it can be stored."""
    if not storable(text):
        raise DataError(
            f"{where}: its {name} is {text!r}, which has half a character: write it again."
        )
    return text


def _boxes(value: Any, where: str) -> tuple[tuple[str, tuple[float, ...]], ...]:
    """Return label and edges of each box of a line, from JSON or the text of a cell."""
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.strip() else None
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{where}: its boxes are not JSON: write [[x0, y0, x1, y1]]."
            ) from error
    found = []
    for thing in [] if value is None else value if isinstance(value, list) else [value]:
        label, box = ("", thing)
        if isinstance(thing, dict) and set(thing) == {"label", "box"}:
            label, box = thing["label"], thing["box"]
        good = isinstance(label, str) and isinstance(box, list) and len(box) == 4
        # Compared, not converted: JSON's whole numbers may be too large for a float.
        if not good or any(type(e) not in (int, float) or not -_FAR < e < _FAR for e in box):
            raise DataError(
                f"{where}: it has the box {reprlib.repr(thing)}: write [x0, y0, x1, y1] in "
                'pixels, or {"label": …, "box": […]}.'
            )
        if not (0 <= box[0] < box[2] and 0 <= box[1] < box[3]):
            raise DataError(f"{where}: its box {box!r} is empty: x0 < x1 and y0 < y1, from 0.")
        found.append((_stored(label, "label", where), tuple(float(edge) for edge in box)))
    return tuple(found)


def _row(sample: Asked, made: Converted | None, lexicon: Lexicon) -> dict[str, str | None]:
    """Return the manifest's row of a sample."""
    gold, language = _gold(sample, lexicon)
    family, _, name = gold.partition(":")
    if family == "number":
        family = count_family(int(name))
    if gold == UNREAD:
        family = ""
    file, _, line = sample.where.rpartition(", ")
    shown = sample.picture.name if sample.picture else Path(file).name
    return {
        "sample_id": sample.sample_id,
        "kind": "image" if sample.picture else "text",
        "image": image_of(sample.picture) if sample.picture else None,
        "prompt": sample.words,
        "style": "chat",
        "gold": gold,
        "language": language,
        "family": family or "own",
        "objects": _objects(sample, made) if made and not made.reason else "[]",
        "source": f"{shown}, {line}" if line else shown,
        "rejected": made.reason if made else "",
    }


def _gold(sample: Asked, lexicon: Lexicon) -> tuple[str, str]:
    """Return concept and language of a sample's answer, which as a whole must be one.

    "None" is zero and "3 cats" is three where the question counts, and nothing anywhere else.
    """
    if not sample.answer:
        return "", "en"
    kind = "count" if asks_count(sample.words) else None
    reading = read_answer(sample.answer, kind, lexicon)
    return (reading.concept, reading.language) if reading else (UNREAD, "en")


def _tell_unread(samples: Sequence[Asked], golds: Sequence[str]) -> None:
    """Print how many answers are not understood, and the first five."""
    unread = [sample for sample, gold in zip(samples, golds, strict=True) if gold == UNREAD]
    if unread:
        shown = "; ".join(f"{s.where}: {reprlib.repr(s.answer)}" for s in unread[:5])
        print(
            f"{len(unread)} of the {sum(bool(s.answer) for s in samples)} answers of the dataset "
            f"own are not understood, so that nothing is scored by them ({shown}"
            f"{'; …' if len(unread) > 5 else ''}): write a number, or a word of the lexicon.",
            file=sys.stderr,
        )


def _objects(sample: Asked, made: Converted) -> str:
    """Return a sample's boxes as the manifest has them, in pixels of the picture as it was written.

    Raises:
        DataError: if a box reaches out of the picture.
    """
    (width, height), size = made.original, made.size
    things = []
    for label, (x0, y0, x1, y1) in sample.boxes:
        if x1 > width or y1 > height:
            raise DataError(
                f"{sample.where}: its box {[x0, y0, x1, y1]} reaches out of its picture, "
                f"{width} × {height} pixels: correct it."
            )
        # Rounded outwards: a box keeps all of its object, and never becomes empty.
        across, down = size[0] / width, size[1] / height
        box = [
            math.floor(x0 * across),
            math.floor(y0 * down),
            min(size[0], math.ceil(x1 * across)),
            min(size[1], math.ceil(y1 * down)),
        ]
        things.append({"shape": label or "thing", "color": "", "box": box})
    return json.dumps(things, ensure_ascii=False, separators=(",", ":"))
