"""What one page shows of one sample, as arrays: the same for a close-up and an imported lens."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lensbench.errors import TraceError


@dataclass(frozen=True)
class View:
    """A grid in which positions of the picture lie.

    Args:
        name: what it is called, such as "overview".
        rows: rows of its grid.
        cols: columns of its grid.
        box: left, top, right and bottom of what it covers, in fractions of the picture.
    """

    name: str
    rows: int
    cols: int
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class Step:
    """How one generated token came about, layer by layer (M = L + 1 layers).

    Args:
        step: its number, from 0.
        final_id: the token at the last layer.
        final_logprob: [M] its log-probability, nats.
        final_rank: [M] its rank, from 0.
        gold_logprob: [M] log-probability of the gold token, nats; None where there is none.
        gold_rank: [M] rank of the gold token, from 0; None where there is none.
        top_id: [M] likeliest token.
        top_logprob: [M] its log-probability, nats.
        convergence: layer from which the final token stays the likeliest; None where unknown.
    """

    step: int
    final_id: int
    final_logprob: np.ndarray
    final_rank: np.ndarray
    gold_logprob: np.ndarray | None
    gold_rank: np.ndarray | None
    top_id: np.ndarray
    top_logprob: np.ndarray
    convergence: int | None


@dataclass(frozen=True)
class Attention:
    """Attention of the last position of the prompt on the image positions.

    Args:
        layers: numbers of the blocks, from 1.
        weights: [blocks, heads, image positions].
    """

    layers: np.ndarray
    weights: np.ndarray


@dataclass(frozen=True)
class Sample:
    """One sample with everything its page shows.

    P positions: those of the prompt in its order, then one for each generated step from 1 on.

    Args:
        about: texts by name: sample_id, model, dataset, lens, prompt, asked, generated, gold,
            language, family.
        top_id: [M, P, k] likeliest token ids, likeliest first.
        top_logprob: [M, P, k] their log-probabilities, nats.
        entropy: [M, P] nats, NaN where it isn't told.
        token_id: [P] the token that stands there; -1 at image positions.
        patch: [P] number of the image position; -1 elsewhere.
        place: [P, 3] view, row and column of the image position; -1 where it has none.
        step: [P] number of the generated step; -1 in the prompt.
        views: the picture's grids.
        picture: the picture's file, or None.
        steps: how each generated token came about; empty where it isn't known.
        attention: None where there is none.
        content_step: the step at which the answer's first word begins.
        correct: whether the answer that begins there is right; None where that can't be told.
    """

    about: Mapping[str, str]
    top_id: np.ndarray
    top_logprob: np.ndarray
    entropy: np.ndarray
    token_id: np.ndarray
    patch: np.ndarray
    place: np.ndarray
    step: np.ndarray
    views: tuple[View, ...]
    picture: Path | None
    steps: tuple[Step, ...] = ()
    attention: Attention | None = None
    content_step: int = 0
    correct: bool | None = None

    @property
    def convergence(self) -> int | None:
        """The convergence layer of the content step, or None."""
        return self.steps[self.content_step].convergence if self.steps else None

    @property
    def best_layer(self) -> np.ndarray:
        """[P] the layer ≥ 1 whose likeliest token is likeliest; of equal ones the earliest."""
        return 1 + self.top_logprob[1:, :, 0].argmax(axis=0)


@dataclass(frozen=True)
class Vocabulary:
    """What token ids say.

    Args:
        frame: token_id as index; text, script and is_fragment.
    """

    frame: pd.DataFrame

    def of(self, token_id: int) -> tuple[str, str, bool]:
        """Return text, script and whether the token is a fragment."""
        if token_id not in self.frame.index:
            return f"⟨token {token_id}⟩", "Special", False
        row = self.frame.loc[token_id]
        return str(row["text"]), str(row["script"]), bool(row["is_fragment"])


def views_of(text: str, where: str) -> tuple[View, ...]:
    """Return the views that `samples.views` lists.

    Args:
        text: JSON list of objects with name, rows, cols and box.
        where: the folder and sample, for the error's sentence.

    Raises:
        TraceError: if it is anything else.
    """
    try:
        found = tuple(_view(entry) for entry in json.loads(text))
    except (ValueError, TypeError, KeyError, RecursionError):
        raise TraceError(
            f"{where} has views that are no list of name, rows, cols and box: make it again."
        ) from None
    return found


def _view(entry: Any) -> View:
    left, top, right, bottom = (float(edge) for edge in entry["box"])
    rows, cols = int(entry["rows"]), int(entry["cols"])
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1 and rows > 0 and cols > 0):
        raise ValueError("a view outside the picture")
    return View(str(entry["name"]), rows, cols, (left, top, right, bottom))
