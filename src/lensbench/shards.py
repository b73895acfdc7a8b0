"""How a run is cut: shards of so many samples, parts of so many shards, and a ledger a part.

A shard is a folder that is named by its number; a part is what one job takes, its model loaded
once. A part's ledger is written last and names the part's shards by the digests of their
provenances, which name their files by theirs. So whoever trusts a ledger can check every byte.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from lensbench.errors import LensbenchError, TraceError
from lensbench.files import atomic_path, sha256_of

#: The folder of a run's ledgers, beside its shards.
PARTS = "parts"
PROVENANCE = "provenance.json"
#: Its key for the machine that it was made on.
MACHINE = "machine"
_NUMBER = re.compile(r"0|[1-9][0-9]{0,8}")
_RANGE = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9}))?")


def n_shards_of(n: int, shard_samples: int | None) -> int:
    """Return how many shards n samples make: one at least, and one alone if None are its limit.

    Args:
        n: samples.
        shard_samples: samples a shard at most; None for all of them.
    """
    return 1 if shard_samples is None else max(1, -(-n // shard_samples))


def n_parts_of(n_shards: int, shards_per_job: int) -> int:
    """Return how many parts a run has."""
    return -(-n_shards // shards_per_job)


def shards_of_part(part: int, n_shards: int, shards_per_job: int) -> range:
    """Return the shards of a part.

    Raises:
        LensbenchError: if the run has no such part.
    """
    n_parts = n_parts_of(n_shards, shards_per_job)
    if not 0 <= part < n_parts:
        raise LensbenchError(
            f"Part {part} does not exist: {n_shards} shards, {shards_per_job} a job, make the "
            f"parts 0 to {n_parts - 1}."
        )
    return range(part * shards_per_job, min((part + 1) * shards_per_job, n_shards))


def parse_shards(text: str, n_shards: int) -> list[int]:
    """Return the shards that somebody names, such as "0-4,7", in rising order.

    Args:
        text: numbers and ranges, commas between them.
        n_shards: how many shards the run has.

    Raises:
        LensbenchError: if the text is something else, or names a shard that the run doesn't have.
    """
    found: set[int] = set()
    for piece in text.split(","):
        match = _RANGE.fullmatch(piece.strip())
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if first > last:
            raise LensbenchError(
                f"--shards {text} names no shards at {piece.strip()!r}: give numbers and ranges "
                "from 0, such as 0-4,7."
            )
        check_shard_number(last, n_shards)
        found.update(range(first, last + 1))
    return sorted(found)


def check_shard_number(shard: int, n_shards: int) -> None:
    """Refuse a shard that a run doesn't have."""
    if not 0 <= shard < n_shards:
        raise LensbenchError(
            f"Shard {shard} does not exist: the run has {n_shards}, numbered from 0 to "
            f"{n_shards - 1}."
        )


def is_kept(folder: str | Path, provenance: Mapping[str, Any], names: Iterable[str]) -> bool:
    """Return whether a shard is there already, as it would be written now, every byte of it.

    Args:
        folder: the shard's.
        provenance: what would be written beside the tables now, but for `files` and the machine:
            what was computed on another node isn't lost.
        names: of the files that the shard must have.
    """
    path = Path(folder)
    try:
        noted = json.loads((path / PROVENANCE).read_text(encoding="utf-8"))
        files = noted.pop("files")
        noted.pop(MACHINE, None)
        # Through JSON, which has no tuples.
        if noted != json.loads(json.dumps(provenance)) or sorted(files) != sorted(names):
            return False
        return all(sha256_of(path / name) == digest for name, digest in files.items())
    # Whatever is wrong with it, it is computed again.
    except (OSError, ValueError, RecursionError, AttributeError, KeyError, TypeError):
        return False


def ledger_path(run_folder: str | Path, part: int) -> Path:
    """Return where a part's ledger is."""
    return Path(run_folder) / PARTS / f"{part}.json"


def write_ledger(
    run_folder: str | Path,
    model: str,
    dataset: str,
    part: int,
    counts: Mapping[int, tuple[int, int]],
) -> None:
    """Write that all shards of a part are there.

    Args:
        run_folder: the run's, with the shards in it.
        model: name of the model.
        dataset: name of the dataset.
        part: number of the part.
        counts: shard → its samples, and how many of them are rejected.
    """
    ledger = {
        "model": model,
        "dataset": dataset,
        "part": part,
        "shards": [
            {
                "shard": shard,
                "n_samples": counts[shard][0],
                "n_rejected": counts[shard][1],
                "provenance_sha256": sha256_of(Path(run_folder) / str(shard) / PROVENANCE),
            }
            for shard in sorted(counts)
        ],
    }
    text = json.dumps(ledger, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    with atomic_path(ledger_path(run_folder, part)) as path:
        path.write_text(text, encoding="utf-8", newline="\n")


def clear_stale(run_folder: str | Path, n_shards: int, n_parts: int) -> list[Path]:
    """Remove shards and ledgers that an earlier configuration had more of than this one.

    Args:
        run_folder: the run's.
        n_shards: how many shards it has now.
        n_parts: how many parts.

    Returns:
        What was removed.
    """
    run = Path(run_folder)
    stale = [path for number, path in _numbered(run) if number >= n_shards]
    for path in stale:
        # Another job of the run may be removing the same.
        shutil.rmtree(path, ignore_errors=True)
    for path in _ledgers(run):
        if int(path.stem) >= n_parts:
            with suppress(FileNotFoundError):
                path.unlink()
            stale.append(path)
    return stale


def shard_folders(folders: Iterable[str | Path]) -> list[Path]:
    """Return the shards that folders stand for, in the order of their numbers.

    Args:
        folders: shards, or runs: a run with ledgers stands for the shards in them, one without
            (extracted by hand) for all folders with a number that it holds.

    Raises:
        TraceError: if a run holds no shard, or a ledger is missing or damaged, or names what is
            not there.
    """
    found: list[Path] = []
    for folder in map(Path, folders):
        if (folder / "samples.parquet").exists():
            found.append(folder)
            continue
        inside = _in_ledgers(folder) if (folder / PARTS).is_dir() else _numbered(folder)
        if not inside:
            raise TraceError(f"{folder} holds no shard: run the extraction, or correct the path.")
        found += [path for _, path in inside]
    return found


def _in_ledgers(run: Path) -> list[tuple[int, Path]]:
    """Return the shards that the ledgers of a run name, once they are what was written."""
    ledgers = _ledgers(run)
    parts = [int(path.stem) for path in ledgers]
    missing = sorted(set(range(max(parts, default=0) + 1)) - set(parts))
    if missing:
        raise TraceError(
            f"{ledger_path(run, missing[0])} is missing: run the extraction of that part."
        )
    found: dict[int, Path] = {}
    for path in ledgers:
        for shard, digest in _read_ledger(path):
            folder = run / str(shard)
            if shard in found:
                raise TraceError(
                    f"{path} names shard {shard}, as another ledger does: delete {path.parent} "
                    "and run the extraction again, which keeps the shards."
                )
            try:
                whole = sha256_of(folder / PROVENANCE) == digest
            except OSError:
                whole = False
            if not whole:
                raise TraceError(
                    f"{folder} is not the shard that {path} was written for: delete {path} and run "
                    "the extraction again, which keeps the others."
                )
            found[shard] = folder
    return sorted(found.items())


def _read_ledger(path: Path) -> list[tuple[int, str]]:
    """Return the shards that a ledger names, each with the digest of its provenance."""
    try:
        ledger = json.loads(path.read_text(encoding="utf-8"))
        found = [(entry["shard"], entry["provenance_sha256"]) for entry in ledger["shards"]]
    except OSError as error:
        raise TraceError(f"{path} can't be read ({error.strerror}): check its folder.") from error
    except (ValueError, RecursionError, KeyError, TypeError):
        found = [("", "")]
    if not all(type(shard) is int and isinstance(digest, str) for shard, digest in found):
        raise TraceError(f"{path} is damaged: delete it and run the extraction again.")
    return found


def _ledgers(run: Path) -> list[Path]:
    found = (run / PARTS).glob("*.json")
    return sorted(
        (path for path in found if _NUMBER.fullmatch(path.stem)), key=lambda p: int(p.stem)
    )


def _numbered(run: Path) -> list[tuple[int, Path]]:
    """Return the folders of a run whose names are numbers, in order."""
    if not run.is_dir():
        return []
    found = [path for path in run.iterdir() if _NUMBER.fullmatch(path.name) and path.is_dir()]
    return sorted((int(path.name), path) for path in found)
