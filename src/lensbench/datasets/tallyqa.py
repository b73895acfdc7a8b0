"""TallyQA: real counting questions about real photographs, of which only those asked about come."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lensbench.datasets.folder import Picture, convert_all, image_of
from lensbench.datasets.manifest import building, check_rejected, write_manifest
from lensbench.datasets.members import CACHE, fetch_members
from lensbench.datasets.tallyqa_questions import (
    ARCHIVES,
    KINDS,
    PUBLISHED_N,
    PUBLISHED_SEED,
    SPLITS,
    Question,
    published,
    read_records,
    select,
)
from lensbench.errors import DataError
from lensbench.files import sha256_of

SUBSETS: tuple[str, ...] = ("selected", "published")
SELECTION = "selection.json"
#: What the published study asked beside the question, and how large it made its pictures.
INSTRUCTION = "Output single word with exact number."
PUBLISHED_SIZE = (512, 512)


def make(
    out: str | Path,
    *,
    n: int,
    seed: int,
    subset: str = "selected",
    split: str = "test",
    kind: str = "all",
    answers: Sequence[int] = (0, 15),
    balanced: bool = False,
    whole_archives: bool = False,
    mirror: str | None = None,
    cache: str | Path = CACHE,
    max_rejected: float = 0.1,
) -> None:
    """Write the manifest of at most n questions, their pictures and what selected them.

    Args:
        out: the folder to make; whole or not there.
        n: how many questions at most; a larger n only adds.
        seed: chooses among the questions; the published subset has its own.
        subset: "selected" for what the next four select, "published" for the questions of the
            published study, its first n, whatever they are; its pictures are resized to 512 × 512.
        split: "test" or "train".
        kind: "all", "simple" or "complex"; train doesn't say which is which.
        answers: the smallest and the largest answer.
        balanced: whether the answers take turns: equally often as far as there are questions, the
            rest evenly from the answers that have more.
        whole_archives: whether the whole archives of pictures are fetched, not single pictures.
        mirror: stands in for every host.
        cache: where downloads are kept.
        max_rejected: share of the questions whose picture need not be readable.

    Raises:
        LensbenchError: if an option is not allowed, no question is left, something can't be
            fetched, or too few pictures can be read.
    """
    from lensbench.downloads.fetch import fetch_source

    _check_options(subset, split, kind, answers)
    selection: dict[str, Any] = {"dataset": "tallyqa", "subset": subset, "n": n}
    with building(out, "tallyqa", n) as folder:
        archive = fetch_source("tallyqa", "tallyqa.zip", Path(cache), mirror)
        if subset == "published":
            split = "test"
        questions = read_records(archive, split)
        selection["split"] = split
        if subset == "published":
            places = published(questions, n)
            selection |= {"seed": PUBLISHED_SEED, "drawn": PUBLISHED_N}
        else:
            places = select(
                questions, n=n, seed=seed, kind=kind, answers=answers, balanced=balanced
            )
            selection |= {
                "seed": seed,
                "kind": kind,
                "answers": list(answers),
                "balanced": balanced,
            }
        chosen = [questions[place] for place in places]
        selection |= {
            "question_ids": [question.name for question in chosen],
            "annotations_sha256": sha256_of(archive),
        }
        size = PUBLISHED_SIZE if subset == "published" else None
        pictures = _pictures(chosen, folder, Path(cache), mirror, whole_archives, size)
        frame = _frame(chosen, pictures, split)
        check_rejected(frame, max_rejected, "tallyqa")
        write_manifest(folder, frame, selection)
        text = json.dumps(selection, indent=1) + "\n"
        (folder / SELECTION).write_text(text, encoding="utf-8")


def _check_options(subset: str, split: str, kind: str, answers: Sequence[int]) -> None:
    """Refuse an option that has no meaning."""
    given = (("subset", subset, SUBSETS), ("split", split, SPLITS), ("kind", kind, KINDS))
    for name, value, allowed in given:
        if value not in allowed:
            raise DataError(
                f"The dataset tallyqa has no {name} {value!r}: use one of {', '.join(allowed)}."
            )
    pair = isinstance(answers, list | tuple) and len(answers) == 2
    if not pair or any(type(a) is not int for a in answers) or not 0 <= answers[0] <= answers[1]:
        raise DataError(
            f"The answers of the dataset tallyqa are {answers!r}: give the smallest and the "
            "largest, such as [0, 15]."
        )


def _pictures(
    questions: Sequence[Question],
    folder: Path,
    cache: Path,
    mirror: str | None,
    whole: bool,
    size: tuple[int, int] | None,
) -> dict[str, tuple[Picture, str]]:
    """Return image → picture in the dataset's folder and why it can't be read, or ""."""
    images = sorted({question.image for question in questions})
    lacking: dict[str, str] = {}
    for top, (dataset, file) in ARCHIVES.items():
        names = [image for image in images if image.partition("/")[0] == top]
        lacking |= fetch_members(dataset, file, names, cache, mirror=mirror, whole=whole)
    # Of the picture's folder and name one safe name is made; both are checked and hold no point.
    pictures = {
        image: Picture(
            cache / ARCHIVES[image.partition("/")[0]][0] / image,
            image,
            image.removesuffix(".jpg").replace("/", "-"),
        )
        for image in images
    }
    there = [picture for image, picture in pictures.items() if image not in lacking]
    # Their folders may be links: to a larger disk, or to pictures that were there already.
    made = {
        picture.name: converted.reason
        for picture, converted in zip(there, convert_all(there, None, folder, size), strict=True)
    }
    return {
        image: (picture, lacking[image] if image in lacking else made[image])
        for image, picture in pictures.items()
    }


def _frame(
    questions: Sequence[Question], pictures: dict[str, tuple[Picture, str]], split: str
) -> pd.DataFrame:
    """Return the manifest's rows."""
    rows = []
    for question in questions:
        picture, reason = pictures[question.image]
        rows.append(
            {
                "sample_id": f"tallyqa-{question.name}",
                "kind": "image",
                "image": image_of(picture),
                "prompt": f"{question.words} {INSTRUCTION}",
                "style": "chat",
                "gold": f"number:{question.answer}",
                "language": "digit",
                "family": question.family,
                "objects": "[]",
                "source": f"tallyqa {split} {question.name} {question.image}",
                "rejected": reason,
            }
        )
    return pd.DataFrame(rows)
