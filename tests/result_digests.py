"""The bytes of a folder of results, for holding two of them against each other."""

from __future__ import annotations

import hashlib
from pathlib import Path


def digests(results: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of the results, by its path.

    Left out are the folder that latexmk works in, whose logs hold dates, and snakemake's marks in
    folders that are outputs, which are empty and stand for a time.
    """
    return {
        path.relative_to(results).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(results.rglob("*"))
        if path.is_file()
        and path.relative_to(results).parts[:2] != ("paper", "build")
        and path.name != ".snakemake_timestamp"
    }
