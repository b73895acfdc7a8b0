"""Seals: every file that a command noted is there, and has the bytes it had then."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from lensbench.files import digest_of, is_nameable, sha256_of
from lensbench.made import FOLDER, digest_of_traces
from lensbench.verify.leftovers import SCRATCH
from lensbench.verify.problems import Problem


def check_seals(root: Path, promised: set[Path], absent: set[str]) -> Iterator[Problem]:
    """Yield what differs from the seals.

    Args:
        root: the folder of results.
        promised: gets what the seals promise.
        absent: gets somebody's own files and folders that are not there to compare.
    """
    for path in sorted(root.rglob(f"{FOLDER}/*.json")):
        folder = path.parent.parent
        if folder.is_relative_to(root / SCRATCH):
            continue
        try:
            noted = json.loads(path.read_text(encoding="utf-8"))
            files, traces = _of_texts(noted["files"]), _of_texts(noted["traces"])
            own = _of_texts(noted.get("own", {}), inside=False)
            if any(PurePosixPath(name).is_absolute() or not name for name in files):
                raise ValueError
        except (OSError, ValueError, RecursionError, KeyError, TypeError) as error:
            yield Problem(root, path, f"is no seal that can be read ({type(error).__name__})")
            continue
        promised.add(path)
        for name, digest in sorted(files.items()):
            file = folder / name
            promised.add(file)
            if not file.is_file():
                yield Problem(root, file, "is missing, though its job made it")
            elif sha256_of(file) != digest:
                yield Problem(root, file, "is not as its job made it (its SHA-256 differs)")
        yield from _check_inputs(root, folder, files, traces)
        yield from _check_own(root, folder, files, own, absent)


def _check_inputs(
    root: Path, folder: Path, files: dict[str, str], traces: dict[str, str]
) -> Iterator[Problem]:
    """Yield what was made from traces that are others now."""
    for name, digest in sorted(traces.items()):
        # Noted as the workflow names it, from the project's folder.
        parts = PurePosixPath(name).parts
        if root.name not in parts:
            continue
        place = root.joinpath(*parts[parts.index(root.name) + 1 :])
        if digest_of_traces(place) != digest:
            # Deleting one output has its job make all of them.
            first, more = min(files), f" (as {len(files) - 1} more)" if len(files) > 1 else ""
            yield Problem(
                root, folder / first, f"was made from other traces than {place} has now{more}"
            )


def _check_own(
    root: Path, folder: Path, files: dict[str, str], own: dict[str, str], absent: set[str]
) -> Iterator[Problem]:
    """Yield what was made from somebody's files that are others now."""
    for name, digest in sorted(own.items()):
        # Noted as it was named, from the project's folder.
        found = digest_of(root.parent / name)
        if not found:
            absent.add(name)
        elif found != digest:
            yield Problem(root, folder / min(files), f"was made from {name}, which is another now")


def _of_texts(value: Any, inside: bool = True) -> dict[str, str]:
    """Return a mapping of texts whose keys are names, by default of what is inside a folder.

    Raises:
        TypeError: if it is none.
    """
    if not isinstance(value, dict):
        raise TypeError
    for key, text in value.items():
        path = PurePosixPath(key)
        out = inside and ".." in path.parts
        if not isinstance(text, str) or out or not is_nameable(key):
            raise TypeError
    return value
