"""Some samples of a run as arrays [rows, layers]: what every metric file starts from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

from lensbench.answers import kind_of
from lensbench.errors import TraceError
from lensbench.metrics.accuracy import Followed, Spelling, answer_in, followed, language_of_hit
from lensbench.steps import content_step, step_of
from lensbench.trace_meta import TraceMeta


@dataclass(frozen=True)
class Trajectory:
    """Rows of `trajectory` as arrays: n samples (or samples × steps) by L + 1 layers.

    Args:
        sample_id: [n] strings, sorted.
        step: [n] integers.
        top_id: [n, L+1, k] integers, likeliest first.
        top_probability: [n, L+1] probability of the likeliest.
        columns: the columns of one value a row, each [n, L+1].
        script_mass: [n, L+1, S].
        concept_mass: [n, L+1, C].
    """

    sample_id: np.ndarray
    step: np.ndarray
    top_id: np.ndarray
    top_probability: np.ndarray
    columns: dict[str, np.ndarray]
    script_mass: np.ndarray
    concept_mass: np.ndarray

    @property
    def top1(self) -> np.ndarray:
        """The likeliest token at every layer, [n, L+1]."""
        return self.top_id[:, :, 0]

    @property
    def final(self) -> np.ndarray:
        """y = argmax p_L, [n]."""
        return self.columns["final_id"][:, -1]

    def at(self, rows: np.ndarray) -> Trajectory:
        """Return some rows, by a mask or by indices."""
        return Trajectory(
            self.sample_id[rows],
            self.step[rows],
            self.top_id[rows],
            self.top_probability[rows],
            {name: values[rows] for name, values in self.columns.items()},
            self.script_mass[rows],
            self.concept_mass[rows],
        )


class Vocabulary:
    """What each token id is; an id that the table does not have is an error, not a blank."""

    def __init__(self, frame: pd.DataFrame) -> None:
        if frame.empty:
            raise TraceError(
                "vocabulary.parquet has no token: delete the model's folder of results and rerun."
            )
        self._ids = frame["token_id"].to_numpy()
        self._text = frame["text"].to_numpy(dtype=object)
        self._script = frame["script"].to_numpy(dtype=object)

    def __len__(self) -> int:
        return len(self._ids)

    def text(self, ids: np.ndarray) -> np.ndarray:
        """Return the tokens' texts, an object array of the shape of `ids`."""
        return self._text[self._rows(ids)]

    def script(self, ids: np.ndarray) -> np.ndarray:
        """Return the tokens' scripts, an object array of the shape of `ids`."""
        return self._script[self._rows(ids)]

    def is_script(self, ids: np.ndarray, script: str) -> np.ndarray:
        """Return whether the tokens are of that script, a mask of the shape of `ids`."""
        return (self._script == script)[self._rows(ids)]

    def entries(self) -> Iterator[tuple[int, str]]:
        """Yield every token id with its text."""
        return zip(self._ids.tolist(), self._text.tolist(), strict=True)

    def share(self, script: str) -> float:
        """Return the script's share of the vocabulary."""
        return float((self._script == script).mean())

    def _rows(self, ids: np.ndarray) -> np.ndarray:
        rows = np.searchsorted(self._ids, ids)
        found = self._ids[np.minimum(rows, len(self._ids) - 1)] == ids
        if not found.all():
            raise TraceError(
                f"vocabulary.parquet lacks token id {np.asarray(ids)[~found].flat[0]}, which the "
                "trace has: delete the model's folder of results and rerun."
            )
        return rows


@dataclass(frozen=True)
class Groups:
    """How many samples of a whole run have which answer, language asked for and family.

    Args:
        counts: (gold, language, family) → samples that could be read.
        n_rejected: how many could not.
        all_seen: whether every sample that could be read has an image.
        of_picture: picture → samples that show it, where they are more than one.
    """

    counts: Mapping[tuple[str, str, str], int]
    n_rejected: int = 0
    all_seen: bool = False
    of_picture: Mapping[str, int] = field(default_factory=dict)

    @property
    def n(self) -> int:
        """How many samples could be read."""
        return sum(self.counts.values())

    @cached_property
    def golds(self) -> dict[str, int]:
        """gold → samples, sorted by gold."""
        return self._summed(0)

    @cached_property
    def families(self) -> dict[str, int]:
        """family of the question → samples, sorted."""
        return self._summed(2)

    def _summed(self, place: int) -> dict[str, int]:
        found: dict[str, int] = {}
        for key, n in sorted(self.counts.items(), key=lambda item: item[0][place]):
            found[key[place]] = found.get(key[place], 0) + n
        return found


@dataclass(frozen=True)
class Run:
    """What is known of one model on one dataset as a whole.

    Args:
        meta: of the first shard.
        groups: its samples, counted.
        forms: the model's `forms`, as its golds' first tokens let them be read.
        vocabulary: the model's tokens.
        floor: mean script mass of random directions, [L+1, S].
    """

    meta: TraceMeta
    groups: Groups
    forms: pd.DataFrame
    vocabulary: Vocabulary
    floor: np.ndarray

    @property
    def layers(self) -> np.ndarray:
        """0 … L."""
        return np.arange(self.meta.n_layers + 1)

    @cached_property
    def spelling(self) -> Spelling:
        """How the vocabulary writes each gold."""

        def text(token: int) -> str:
            return str(self.vocabulary.text(np.array([token]))[0])

        return Spelling.of(self.forms, self.groups.golds, text, self.meta.languages)

    @cached_property
    def usable(self) -> frozenset[str]:
        """The concepts that have a first token of their own in this vocabulary."""
        return frozenset(self.forms.loc[self.forms["kept"], "concept"])

    @cached_property
    def usable_golds(self) -> dict[str, int]:
        """gold → samples, of those that have a first token of their own, sorted by gold."""
        return {gold: n for gold, n in self.groups.golds.items() if gold in self.usable}


@dataclass(frozen=True)
class Block:
    """Some samples of a run, in the order of their ids, none of them rejected.

    Args:
        run: the whole that they are of.
        samples: rows of `samples`.
        steps: every step of each sample.
        lenses: lens → its layers, [m], and the columns read of it, each [n, m].
        heads: columns of `heads` at step 0, each [n, head layers, heads].
    """

    run: Run
    samples: pd.DataFrame
    steps: Trajectory
    lenses: dict[str, tuple[np.ndarray, dict[str, np.ndarray]]] = field(default_factory=dict)
    heads: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def meta(self) -> TraceMeta:
        """Of the run."""
        return self.run.meta

    @property
    def forms(self) -> pd.DataFrame:
        """Of the run's model."""
        return self.run.forms

    @property
    def vocabulary(self) -> Vocabulary:
        """Of the run's model."""
        return self.run.vocabulary

    @property
    def layers(self) -> np.ndarray:
        """0 … L."""
        return self.run.layers

    @cached_property
    def starts(self) -> np.ndarray:
        """The row of `steps` at which each sample begins, [n]."""
        return np.flatnonzero(self.steps.step == 0)

    @cached_property
    def has_content(self) -> np.ndarray:
        """Whether the sample's answer has a letter, number or ideograph, [n]."""
        return np.array([step is not None for step in self._content_steps], dtype=bool)

    @cached_property
    def content_step(self) -> np.ndarray:
        """The step at which the first word of each answer begins, 0 where there is none, [n]."""
        return np.array([step or 0 for step in self._content_steps], dtype=int)

    @cached_property
    def answer_step(self) -> np.ndarray:
        """The step at which the only number or color of the text begins, [n].

        It is the content step where the text has none, or several.
        """
        found = self.content_step.copy()
        for row, (text, ends, gold) in enumerate(
            zip(self.samples["generated"], self.samples["generated_ends"], self.gold, strict=True)
        ):
            reading = answer_in(text, kind_of(gold), True)
            step = None if reading is None else step_of(reading.start, ends)
            found[row] = found[row] if step is None else step
        return found

    @cached_property
    def content(self) -> Trajectory:
        """The content step alone, one row a row of `samples`."""
        return self.steps.at(self.starts + self.content_step)

    @cached_property
    def strict(self) -> Followed:
        """What each layer says from the content step on."""
        return self._followed(self.content_step)

    @cached_property
    def lenient(self) -> Followed:
        """What each layer says from the answer step on."""
        return self._followed(self.answer_step)

    def _followed(self, step: np.ndarray) -> Followed:
        begin = self.starts + step
        return followed(self.steps.top1, begin, step, self.samples, self.run.spelling)

    @property
    def _content_steps(self) -> list[int | None]:
        pairs = zip(self.samples["generated"], self.samples["generated_ends"], strict=True)
        return [content_step(text, ends) for text, ends in pairs]

    @cached_property
    def pictures(self) -> np.ndarray:
        """Which picture each sample shows, [n] texts."""
        return self.samples["picture"].to_numpy(dtype=object)

    @cached_property
    def gold(self) -> np.ndarray:
        """Gold concepts, [n]."""
        return self.samples["gold"].to_numpy(dtype=object)

    @cached_property
    def asked(self) -> np.ndarray:
        """Languages asked for, [n]."""
        return self.samples["language"].to_numpy(dtype=object)

    @cached_property
    def has_gold(self) -> np.ndarray:
        """Whether a first token in this vocabulary stands for the sample's gold alone, [n]."""
        return self.content.columns["gold_rank"][:, 0] >= 0

    @cached_property
    def language_of_top1(self) -> np.ndarray:
        """Index of the language of which top-1 begins a form of the gold, else -1, [n, L+1].

        By the first token at the content step, among those that stand for the gold alone.
        """
        return language_of_hit(self.content.top1, self.gold, self.forms, self.meta.languages)

    def at(self, rows: np.ndarray) -> Block:
        """Return some of the samples, by a mask [n]."""
        kept = self.samples[rows].reset_index(drop=True)
        steps = np.isin(self.steps.sample_id, kept["sample_id"].to_numpy(dtype=object))
        return Block(
            self.run,
            kept,
            self.steps.at(steps),
            {
                lens: (layers, {name: values[rows] for name, values in columns.items()})
                for lens, (layers, columns) in self.lenses.items()
            },
            {name: values[rows] for name, values in self.heads.items()},
        )
