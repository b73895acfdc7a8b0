"""The facts: short questions with one-word answers, for text models."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from lensbench.datasets.choice import take_turns
from lensbench.datasets.manifest import building, write_manifest
from lensbench.errors import DataError
from lensbench.lexicon import LANGUAGES, Lexicon, load_lexicon, read_yaml

DEFAULT_PATH = Path(__file__).parent.parent / "data" / "facts.yaml"


@dataclass(frozen=True)
class Fact:
    """One question: a prompt whose next word is the answer, and the answer's concept."""

    family: str
    language: str
    prompt: str
    gold: str


def load_facts(path: str | Path | None = None, lexicon: Lexicon | None = None) -> list[Fact]:
    """Read and check the questions.

    Args:
        path: a YAML file of family → language of the answer → list of [prompt, concept]; the one
            that comes with lensbench if None.
        lexicon: what the answers must be concepts of; the one that comes with lensbench if None.

    Returns:
        The questions in the order of the file.

    Raises:
        DataError: if the file can't be read, a prompt is there twice or ends with a space, or an
            answer has no form in its language.
    """
    source = Path(DEFAULT_PATH if path is None else path)
    known = load_lexicon() if lexicon is None else lexicon
    tree = read_yaml(source, "list of facts")
    if not isinstance(tree, dict) or not tree:
        raise DataError(f"{source} holds no facts: it must map families to languages.")
    facts: list[Fact] = []
    prompts: set[str] = set()
    for family, languages in tree.items():
        if not isinstance(family, str) or not isinstance(languages, dict):
            raise DataError(f"{source}: the family {family!r} must map languages to questions.")
        for language, pairs in languages.items():
            if language not in LANGUAGES:
                raise DataError(
                    f"{source}: {family} has the unknown language {language!r}: "
                    f"use one of {', '.join(LANGUAGES)}."
                )
            for pair in pairs if isinstance(pairs, list) else [pairs]:
                fact = _fact(family, language, pair, known, source)
                if fact.prompt in prompts:
                    raise DataError(f"{source}: {fact.prompt!r} is there twice: remove one.")
                prompts.add(fact.prompt)
                facts.append(fact)
    if not facts:
        raise DataError(f"{source} holds no facts: add at least one.")
    return facts


def _fact(family: str, language: str, pair: Any, lexicon: Lexicon, source: Path) -> Fact:
    """Return one question, checked."""
    if (
        not isinstance(pair, list)
        or len(pair) != 2
        or not all(isinstance(part, str) and part.strip() for part in pair)
    ):
        raise DataError(f"{source}: {family} in {language} has {pair!r}: use [prompt, concept].")
    prompt, gold = pair
    if prompt != prompt.strip():
        # A space at the end would be a token of its own and spoil the next one.
        raise DataError(f"{source}: {prompt!r} begins or ends with a space: remove it.")
    if gold not in lexicon or language not in lexicon.languages(gold):
        raise DataError(
            f"{source}: the answer {gold!r} to {prompt!r} has no form in {language!r} in the "
            "lexicon: add one."
        )
    return Fact(family, language, prompt, gold)


def choose(facts: list[Fact], n: int, seed: int) -> list[int]:
    """Return the places of n questions, families taking turns, sorted.

    Args:
        facts: the questions.
        n: how many to choose, at most all.
        seed: decides which ones; equal seeds choose equally, and a larger n only adds.
    """
    return take_turns([fact.family for fact in facts], n, seed)


def make(out: str | Path, *, n: int, seed: int, path: str | Path | None = None) -> None:
    """Write the manifest of n facts.

    A sample's id is its place in the file, so that a smaller n keeps the ids of a larger one.

    Args:
        out: the folder to make; whole or not there.
        n: how many questions, at most all of the file's.
        seed: chooses among them, if n is smaller.
        path: another file of facts.

    Raises:
        DataError: if n is not positive or more than there are, or the file is not as it must be.
    """
    with building(out, "facts", n) as folder:
        facts = load_facts(path)
        if n > len(facts):
            raise DataError(f"The dataset facts has {len(facts)} questions, not {n}: lower its n.")
        rows = [
            {
                "sample_id": f"facts-{place:05d}",
                "kind": "text",
                "image": None,
                "prompt": facts[place].prompt,
                "style": "completion",
                "gold": facts[place].gold,
                "language": facts[place].language,
                "family": facts[place].family,
                "objects": "[]",
                "source": "lensbench facts" if path is None else Path(path).name,
                "rejected": "",
            }
            for place in choose(facts, n, seed)
        ]
        write_manifest(folder, pd.DataFrame(rows))
