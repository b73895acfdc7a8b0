"""The table of all types: which transformers has, and what was found of each."""

from __future__ import annotations

import csv
import io
import logging
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import torch
import transformers
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
)

from lensbench.coverage.frames import FRAME_TYPES, frame_instance
from lensbench.coverage.grids import grid_instance
from lensbench.coverage.instance import Instance
from lensbench.coverage.text import text_instance
from lensbench.coverage.verdict import Verdict, judge
from lensbench.errors import LensbenchError
from lensbench.files import atomic_path

TASKS = ("image-text", "text")
COLUMNS = ("type", "task", "verdict", "reason")
_TASK_NAMES = {"image-text": "image-text-to-text", "text": "causal language model"}


def all_types() -> list[tuple[str, str]]:
    """Return (type, task) of every type that the installed transformers maps to the two tasks."""
    names = {
        "image-text": MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
        "text": MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    }
    return [(name, task) for task in TASKS for name in sorted(names[task])]


def instance(model_type: str, task: str, seed: int = 0) -> Instance:
    """Return a tiny random model of a type.

    Raises:
        Unbuildable: no tiny instance can be run; the message says why.
    """
    if task == "text":
        return text_instance(model_type, seed)
    make = frame_instance if model_type in FRAME_TYPES else grid_instance
    return make(model_type, seed)


def judge_type(model_type: str, task: str, seed: int = 0) -> Verdict:
    """Return the verdict on one type; the same for the same seed.

    A model that fails by little is judged again with two other random models. Rounding does that to
    one in a hundred, and on another machine to others; what is wrong is wrong in all of them.
    """
    torch.set_num_threads(1)  # Tiny models; and sums in one order, whatever the machine.
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = judge(partial(instance, model_type, task, seed), model_type, task)
            if not found.close:
                return found
            others = [
                judge(partial(instance, model_type, task, seed + more), model_type, task)
                for more in (1, 2)
            ]
            supported = all(other.verdict == "SUPPORTED" for other in others)
            return others[0] if supported else found
    finally:
        logging.disable(logging.NOTSET)


def judge_all(types: Sequence[tuple[str, str]], jobs: int = 1) -> Iterable[Verdict]:
    """Yield the verdicts on types in their order.

    Args:
        types: (type, task) pairs, of `all_types`.
        jobs: processes that work side by side.

    Raises:
        LensbenchError: if transformers has no such type.
    """
    known = set(all_types())
    for pair in types:
        if pair not in known:
            raise LensbenchError(
                f'transformers {transformers.__version__} has no {pair[1]} type "{pair[0]}": '
                "lensbench coverage --list shows them."
            )
    if jobs <= 1:
        yield from (judge_type(*pair) for pair in types)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield from pool.map(judge_type, *zip(*types, strict=True), chunksize=4)


def as_csv(verdicts: Iterable[Verdict]) -> str:
    """Return the table as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows((v.model_type, v.task, v.verdict, v.reason) for v in verdicts)
    return text.getvalue()


def as_markdown(verdicts: Sequence[Verdict]) -> str:
    """Return the table as a page."""
    lines = [
        "# Which types of model lensbench reads",
        "",
        f"transformers {transformers.__version__} maps {_count(verdicts, 'image-text')} types to "
        f"image-text-to-text and {_count(verdicts, 'text')} to causal language models. Of each a "
        "tiny model with random weights is built, and run on two prompts (with a picture each):",
        "",
        "- **SUPPORTED**: every check of the gate holds, and a naive reference that shares no code "
        "with the engine gives the same log-probabilities at every layer (to 1e-4) and the same "
        "attention in every head (to 1e-5). What can't be read of it is said beside it.",
        "- **REFUSED**: it can't be read, with the reason. lensbench refuses such a model too.",
        "- **WRONG**: the gate holds, but the reference disagrees.",
        "",
        "A verdict is about the architecture as this tiny model has it. The weights of a real one "
        "pass the gate themselves before their first sample. Written by `lensbench coverage`.",
        "",
        "| task | types | SUPPORTED | REFUSED | WRONG |",
        "|---|---|---|---|---|",
    ]
    for task in TASKS:
        counts = Counter(v.verdict for v in verdicts if v.task == task)
        numbers = " | ".join(str(counts[kind]) for kind in ("SUPPORTED", "REFUSED", "WRONG"))
        lines.append(f"| {_TASK_NAMES[task]} | {_count(verdicts, task)} | {numbers} |")
    for task in TASKS:
        lines += ["", f"## {_TASK_NAMES[task]}", "", "| type | verdict | reason |", "|---|---|---|"]
        for v in verdicts:
            if v.task == task:
                lines.append(f"| `{v.model_type}` | {v.verdict} | {_escaped(v.reason)} |")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return re.sub(r"([|_*<>`\\])", r"\\\1", text)


def _count(verdicts: Sequence[Verdict], task: str) -> int:
    return sum(v.task == task for v in verdicts)


def write_coverage(verdicts: Sequence[Verdict], folder: str | Path) -> None:
    """Write coverage.csv and coverage.md into a folder."""
    for name, text in (("coverage.csv", as_csv(verdicts)), ("coverage.md", as_markdown(verdicts))):
        with atomic_path(Path(folder) / name) as path:
            path.write_text(text, encoding="utf-8", newline="\n")


def read_coverage(path: str | Path) -> list[Verdict]:
    """Return the verdicts of a coverage.csv."""
    with Path(path).open(encoding="utf-8", newline="") as stream:
        rows = list(csv.reader(stream))[1:]
    return [Verdict(row[0], row[1], row[2], row[3]) for row in rows]


def differences(found: Sequence[Verdict], noted: Sequence[Verdict]) -> list[str]:
    """Return where verdicts are not those of another table, a few words each."""
    known = {(v.model_type, v.task): v.verdict for v in noted}
    pairs = [(v, known.get((v.model_type, v.task), "there")) for v in found]
    return [
        f"{v.model_type} ({v.task}) is {v.verdict}, not {other}"
        for v, other in pairs
        if v.verdict != other
    ]
