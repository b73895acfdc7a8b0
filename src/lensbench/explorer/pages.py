"""The pages of one run: one a sample, and the cards by which the index finds them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from lensbench.errors import LensbenchError
from lensbench.explorer.html import render, visible
from lensbench.explorer.packing import pack
from lensbench.explorer.pictures import Embedded, embedded
from lensbench.explorer.reading import read_closeup, read_imported, read_vocabulary
from lensbench.explorer.sample import Sample, Vocabulary
from lensbench.files import atomic_path

CARDS = "cards.json"
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


def write_pages(
    out: str | Path,
    *,
    closeup: str | Path | None = None,
    imported: str | Path | None = None,
    model_folder: str | Path | None = None,
    manifest: str | Path | None = None,
    convergence: str | Path | None = None,
    samples: int = 12,
    k: int = 5,
) -> list[dict[str, Any]]:
    """Write one page a sample and `cards.json`; the folder is replaced as a whole.

    Args:
        out: the folder, two below the index's: explorer/{model}/{dataset}.
        closeup: folder of the run's close-up; `model_folder` and `manifest` are then needed.
        imported: or folder of an imported lens.
        model_folder: the model's folder, with its vocabulary.
        manifest: the dataset's folder.
        convergence: the run's metric table `convergence`, if there is one.
        samples: pages at most.
        k: top tokens a position and layer.

    Returns:
        The cards.

    Raises:
        LensbenchError: if an input is missing, damaged or incomplete, or two kinds are named.
    """
    if (closeup is None) == (imported is None):
        raise LensbenchError("Name either --closeup or --imported: pages are made from one.")
    if samples < 1 or k < 1:
        raise LensbenchError("--samples and --k must be 1 or more.")
    if imported is not None:
        vocabulary = read_vocabulary(imported)
        found = read_imported(imported, samples)
    else:
        if model_folder is None or manifest is None:
            raise LensbenchError("--closeup needs --model-folder and --manifest too: name them.")
        vocabulary = read_vocabulary(model_folder)
        found = read_closeup(str(closeup), manifest, convergence, samples)
    cards = []
    with atomic_path(out) as folder:
        folder.mkdir()
        for card, text in _pages(found, vocabulary, k):
            (folder / card["href"]).write_text(text, encoding="utf-8", newline="\n")
            cards.append(card)
        text = json.dumps({"cards": cards}, indent=1, sort_keys=True, ensure_ascii=True)
        (folder / CARDS).write_text(text + "\n", encoding="utf-8", newline="\n")
    return cards


def _pages(
    samples: Iterable[Sample], vocabulary: Vocabulary, k: int
) -> Iterator[tuple[dict[str, Any], str]]:
    for sample in samples:
        name = sample.about["sample_id"]
        if not _FILE_NAME.fullmatch(name):
            raise LensbenchError(
                f"The sample {name!r} can't name a file: use letters, digits, points and hyphens, "
                "up to 200."
            )
        picture, thumbnail = (None, None) if sample.picture is None else embedded(sample.picture)
        yield (
            card_of(sample, thumbnail, f"{name}.html"),
            page_of(sample, vocabulary, picture, k),
        )


def page_of(sample: Sample, vocabulary: Vocabulary, picture: Embedded | None, k: int = 5) -> str:
    """Return a sample's page as HTML."""
    about = sample.about
    title = " · ".join(visible(about[name]) for name in ("model", "dataset", "sample_id"))
    return render(
        "page",
        pack(sample, vocabulary, k),
        title=title,
        picture=picture if sample.views else None,
        trajectory=bool(sample.steps),
        index="../../index.html",
    )


def card_of(sample: Sample, thumbnail: Embedded | None, href: str) -> dict[str, Any]:
    """Return what the index needs to know of a page."""
    about = sample.about
    return {
        "title": about["sample_id"],
        "model": about["model"],
        "dataset": about["dataset"],
        "thumbnail": None if thumbnail is None else thumbnail.uri,
        "right": sample.correct,
        "convergence_layer": sample.convergence,
        "n_layers": sample.top_id.shape[0] - 1,
        "question": about["asked"],
        "answer": about["generated"],
        "gold": about["gold"],
        "href": href,
    }
