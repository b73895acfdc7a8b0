"""The lexicon: concept → language → forms, so that " Three", 三 and "3" are one answer.

A concept is "<family>:<english name>", such as "number:3" or "color:red". A form is a word as it is
written in running text; `variants` adds the spellings that a vocabulary may hold of it. Words that
mean something else to most models (German "rot" is English for decay) are left out on purpose and
listed under `left_out` with the reason, because a token has no language of its own.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import yaml

from lensbench.errors import DataError
from lensbench.yamls import parse

LANGUAGES: tuple[str, ...] = ("digit", "en", "zh", "ja", "ko", "ru", "fr", "de", "es")
DEFAULT_PATH = Path(__file__).parent / "data" / "lexicon.yaml"

_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
_LEFT_OUT = "left_out"


def fold(text: str) -> str:
    """Return a text as the lexicon compares it: composed, case and surrounding space dropped."""
    return unicodedata.normalize("NFC", text.strip()).casefold()


def variants(form: str) -> list[str]:
    """Return the spellings of a form to look for in a vocabulary, the plain one first.

    As it is, in lower case, Capitalized and in UPPER case, each without and with a leading space;
    a script without case has only the form and the spaced form.
    """
    spellings = [form, form.lower(), form[:1].upper() + form[1:], form.upper()]
    return list(dict.fromkeys(space + s for s in spellings for space in ("", " ")))


@dataclass(frozen=True)
class Lexicon:
    """The forms of every concept in every language, and the words left out with the reason."""

    entries: Mapping[str, Mapping[str, tuple[str, ...]]]
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def concepts(self) -> tuple[str, ...]:
        """Return the concept ids in the order of the file."""
        return tuple(self.entries)

    def __contains__(self, concept: object) -> bool:
        return concept in self.entries

    def forms(self, concept: str) -> list[tuple[str, str]]:
        """Return (language, form) of a concept, languages in the order of `LANGUAGES`.

        A form that two languages of the concept share is listed once, for the first of them:
        "six" is English, 白 is Chinese.

        Raises:
            DataError: if the concept is not in the lexicon.
        """
        if concept not in self.entries:
            raise DataError(
                f"The concept {concept!r} is not in the lexicon: add its forms or correct its name."
            )
        seen: dict[str, tuple[str, str]] = {}
        for language in LANGUAGES:
            for form in self.entries[concept].get(language, ()):
                seen.setdefault(fold(form), (language, form))
        return list(seen.values())

    def languages(self, concept: str) -> tuple[str, ...]:
        """Return the languages that have a form of the concept to their own name, in order."""
        return tuple(dict.fromkeys(language for language, _ in self.forms(concept)))

    def find(self, text: str) -> tuple[str, str] | None:
        """Return (concept, language) of a text that is a form, case and outer space ignored."""
        return self._index.get(fold(text))

    @cached_property
    def families(self) -> dict[str, dict[str, tuple[str, str, bool]]]:
        """Return family → folded form → (concept, language, False); "" has all but numbers."""
        found: dict[str, dict[str, tuple[str, str, bool]]] = {"": {}}
        for form, (concept, language) in self._index.items():
            family = concept.partition(":")[0]
            for name in (family, "") if family != "number" else (family,):
                found.setdefault(name, {})[form] = (concept, language, False)
        return found

    @cached_property
    def _index(self) -> dict[str, tuple[str, str]]:
        return {
            fold(form): (concept, language)
            for concept in self.entries
            for language, form in self.forms(concept)
        }


def load_lexicon(path: str | Path | None = None) -> Lexicon:
    """Read and check a lexicon.

    Args:
        path: a YAML file of family → name → language → list of forms, with an optional `left_out`
            (form → reason); the one that comes with lensbench if None.

    Raises:
        DataError: if the file can't be read, a language is unknown, a list is empty, a key is
            there twice, a form is left out and listed, or a form belongs to two concepts.
    """
    return _packaged() if path is None else _read(Path(path))


@cache
def _packaged() -> Lexicon:
    """Return the lexicon that comes with lensbench, read once: many ask, and none changes it."""
    return _read(DEFAULT_PATH)


def _read(source: Path) -> Lexicon:
    tree = read_yaml(source, "lexicon")
    if not isinstance(tree, dict) or not tree:
        raise DataError(f"{source} holds no lexicon: it must map families to concepts.")
    reasons = _left_out(tree.pop(_LEFT_OUT, None), source)
    entries = dict(_entries(tree, source))
    if not entries:
        raise DataError(f"{source} holds no concept: give at least one family with a concept.")
    _check_unique(entries, reasons, source)
    return Lexicon(entries, reasons)


def _left_out(tree: Any, source: Path) -> dict[str, str]:
    """Return form → reason of the words that are left out on purpose."""
    tree = {} if tree is None else tree
    if not isinstance(tree, dict) or not all(
        isinstance(key, str) and isinstance(value, str) for key, value in tree.items()
    ):
        raise DataError(f"{source}: {_LEFT_OUT} must map forms to reasons, both in quotes.")
    return dict(tree)


def _entries(
    tree: dict[Any, Any], source: Path
) -> Iterator[tuple[str, dict[str, tuple[str, ...]]]]:
    """Yield each concept with its forms by language, the types and names checked."""
    for family, concepts in tree.items():
        if not isinstance(concepts, dict) or not concepts:
            raise DataError(f"{source}: the family {family!r} must map names to languages.")
        for name, languages in concepts.items():
            for part in (family, name):
                if not isinstance(part, str) or not _NAME.fullmatch(part):
                    raise DataError(
                        f"{source}: {part!r} is no name of a family or concept: use lower-case "
                        "letters, digits and hyphens (a number or yes/no in quotes)."
                    )
            concept = f"{family}:{name}"
            if not isinstance(languages, dict) or not languages:
                raise DataError(f"{source}: {concept} must map languages to lists of forms.")
            yield (
                concept,
                {
                    language: _forms_of(forms, language, concept, source)
                    for language, forms in languages.items()
                },
            )


def _forms_of(forms: Any, language: Any, concept: str, source: Path) -> tuple[str, ...]:
    """Return the checked forms of one concept in one language."""
    if language not in LANGUAGES:
        raise DataError(
            f"{source}: {concept} has the unknown language {language!r}: "
            f"use one of {', '.join(LANGUAGES)}."
        )
    if not isinstance(forms, list) or not forms:
        raise DataError(f"{source}: {concept} has no list of forms in {language}: add one form.")
    for form in forms:
        if not isinstance(form, str):
            raise DataError(
                f"{source}: {concept} in {language} has {form!r}, which YAML reads as "
                f"{type(form).__name__}: put it in quotes."
            )
        if not form.strip() or form != form.strip():
            raise DataError(
                f"{source}: {concept} in {language} has the form {form!r}: it must not be blank, "
                "nor begin or end with space."
            )
    seen: set[str] = set()
    for form in forms:
        if fold(form) in seen:
            raise DataError(f"{source}: {concept} lists {form!r} twice in {language}: remove one.")
        seen.add(fold(form))
    return tuple(forms)


def _check_unique(
    entries: Mapping[str, Mapping[str, tuple[str, ...]]], reasons: Mapping[str, str], source: Path
) -> None:
    """Refuse a form that two concepts claim, or that is both listed and left out."""
    banned = {fold(form): reason for form, reason in reasons.items()}
    owner: dict[str, str] = {}
    for concept, languages in entries.items():
        for language, forms in languages.items():
            for form in forms:
                if fold(form) in banned:
                    raise DataError(
                        f"{source}: {concept} lists {form!r} in {language}, which {_LEFT_OUT} "
                        f"excludes ({banned[fold(form)]}): remove one of the two."
                    )
                other = owner.setdefault(fold(form), concept)
                if other != concept:
                    raise DataError(
                        f"{source}: the form {form!r} belongs to two concepts, {other} and "
                        f"{concept}: keep it in one of them."
                    )


def read_yaml(path: Path, what: str) -> Any:
    """Return the content of a YAML file, in which a key that is there twice is an error.

    Args:
        path: the file, in UTF-8.
        what: what the file should be, for the error's sentence ("lexicon").

    Raises:
        DataError: if the file is missing, not UTF-8 or not YAML, or has a key twice.
    """
    try:
        return parse(path.read_text(encoding="utf-8"), twins=False)
    except OSError as error:
        raise DataError(f"The {what} {path} can't be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"The {what} {path} is not UTF-8: save it as UTF-8.") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f" in line {mark.line + 1}" if mark is not None else ""
        raise DataError(f"The {what} {path} is not valid YAML{line}: {error.problem}.") from error
    except yaml.YAMLError as error:
        first = (str(error).splitlines() or ["it can't be parsed"])[0]
        raise DataError(f"The {what} {path} is not valid YAML: {first}.") from error
