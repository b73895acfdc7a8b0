"""What a command made, noted beside it: the seal that `lensbench verify` holds the files against.

A command's seal is written last, as `.made/NAME.json` in the folder of its outputs, with the digest
of every file that it put there. Shards of traces carry their digests in their own provenance, so
that a job which dies loses none of them; their ledgers say which those are.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from lensbench import files
from lensbench.files import atomic_path, digest_of, sha256_of
from lensbench.runlock import only_writer
from lensbench.shards import PARTS, PROVENANCE
from lensbench.whole import require_whole

FOLDER = ".made"
#: What snakemake puts into a folder that is an output.
TIMESTAMP = ".snakemake_timestamp"
#: Arguments by which jobs that write into one folder at the same time differ.
_TOLD_APART = ("part", "shards")


def staged(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command that waits for its turn at its `out`, and seals what it made there."""
    if "out" not in inspect.signature(command).parameters:
        return command

    @functools.wraps(command)
    def in_turn(*args: Any, **kwargs: Any) -> None:
        out = kwargs.get("out")
        if out is None:
            return command(*args, **kwargs)
        name = command.__name__.replace("_", "-")
        # What may be written into one folder at the same time: other commands, other parts.
        told = [f"{key}{kwargs[key]}" for key in _TOLD_APART if kwargs.get(key) is not None]
        with only_writer(out, "-".join([name, *told])):
            folders = traces_among(kwargs)
            require_whole(folders)
            # Taken before, since what changes meanwhile is not what was read.
            inputs = {path.as_posix(): digest_of_traces(path) for path in folders}
            own = {path: digest_of(path) for path in own_among(kwargs)}
            del files.placed[:]
            command(*args, **kwargs)
            seal(out, name, files.placed, inputs, own)

    return in_turn


def own_among(arguments: dict[str, Any]) -> list[str]:
    """Return somebody's own files and folders among a command's arguments: weights, pictures,
    questions, a lens of others."""
    kind, _, place = str(arguments.get("source") or "").partition(":")
    found: list[Any] = [place] if kind in ("folder", "gguf") else []
    try:
        options = json.loads(arguments.get("options") or "{}")
    except (ValueError, RecursionError, TypeError):
        options = None  # The command will say so.
    if isinstance(options, dict):
        found += [options.get(key) for key in ("folder", "questions")]
    found += [str(arguments[key]) for key in ("file", "picture") if arguments.get(key)]
    return [path for path in found if isinstance(path, str) and path and digest_of(path)]


def seal(
    out: Path, name: str, made: Iterable[Path], inputs: dict[str, str], own: dict[str, str]
) -> None:
    """Note what a command made.

    Args:
        out: its `--out`: a folder, a file, or the path of files without their endings.
        name: the command's.
        made: files and folders that were put in their place; what is gone is left out, and so is a
            folder whose provenance names its files by their digests.
        inputs: path → digest of the traces that they were made from.
        own: path → digest of somebody's own files and folders that they were made from.
    """
    folder = (out if out.is_dir() else out.parent).absolute()
    whole = [path.absolute() for path in made if path.exists() and not _has_digests(path)]
    found = sorted({file for path in whole for file in files_below(path)})
    inside = [file for file in found if file.is_relative_to(folder)]
    if not inside:
        return
    noted = {
        "command": name,
        "files": {file.relative_to(folder).as_posix(): sha256_of(file) for file in inside},
        "traces": inputs,
        "own": own,
    }
    with atomic_path(seal_of(out, name)) as path:
        text = json.dumps(noted, indent=1, sort_keys=True, ensure_ascii=False)
        path.write_text(text + "\n", encoding="utf-8", newline="\n")


def seal_of(out: Path, name: str) -> Path:
    """Return where the seal of a command lies."""
    if out.is_dir():
        return out / FOLDER / f"{name}.json"
    return out.parent / FOLDER / f"{name}-{out.name}.json"


def files_below(path: Path) -> list[Path]:
    """Return a file, or all files in a folder but for seals and snakemake's own, sorted."""
    if not path.is_dir():
        return [path]
    return sorted(
        file
        for file in path.rglob("*")
        if file.is_file() and file.name != TIMESTAMP and FOLDER not in file.relative_to(path).parts
    )


def _has_digests(path: Path) -> bool:
    """Say whether a path is a shard whose provenance names its files by digest, or a ledger."""
    if path.parent.name == PARTS and path.suffix == ".json":
        return True
    try:
        noted = json.loads((path / PROVENANCE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(noted, dict) and isinstance(noted.get("files"), dict)


def traces_among(arguments: dict[str, Any]) -> list[Path]:
    """Return the folders of traces among a command's arguments, but for what it makes."""
    given = [
        path
        for key, value in arguments.items()
        if key != "out"
        for path in (value if isinstance(value, list) else [value])
    ]
    return [path for path in given if isinstance(path, Path) and digest_of_traces(path)]


def digest_of_traces(folder: Path) -> str:
    """Return one SHA-256 of a run's ledgers, or of a shard's provenance; "" if it has neither."""
    ledgers = sorted((folder / PARTS).glob("*.json"))
    notes = ledgers or [path for path in [folder / PROVENANCE] if path.is_file()]
    if not notes:
        return ""
    lines = "".join(f"{sha256_of(path)}  {path.name}\n" for path in notes)
    return hashlib.sha256(lines.encode()).hexdigest()
