"""Datasets read again: manifests by their schema, pictures by the manifest's digest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from lensbench.datasets.manifest import FILE_NAME, read_about, read_manifest
from lensbench.errors import DataError
from lensbench.files import sha256_of
from lensbench.verify.problems import Problem


def check_datasets(root: Path, promised: set[Path]) -> Iterator[Problem]:
    """Yield what is wrong with the datasets."""
    for folder in sorted(path for path in root.glob("datasets/*") if path.is_dir()):
        path = folder / FILE_NAME
        try:
            manifest, about = read_manifest(folder), read_about(folder)
        except DataError as error:
            yield Problem(root, path, f"can't be used ({error})")
            continue
        wanted = manifest.loc[manifest["image"].notna()]
        rejected = set(wanted.loc[wanted["rejected"] != "", "image"])
        names = sorted(set(wanted["image"]))
        missing = [name for name in names if not (folder / name).is_file()]
        for name in missing:
            if name not in rejected:
                yield Problem(root, folder / name, "is missing, though the manifest names it")
        there = [name for name in names if name not in missing]
        lines = "".join(f"{sha256_of(folder / name)}  {name}\n" for name in there)
        noted = about.get("pictures")
        if noted is not None and noted != hashlib.sha256(lines.encode()).hexdigest():
            yield Problem(
                root, path, "has noted another SHA-256 of its pictures than they have now"
            )
