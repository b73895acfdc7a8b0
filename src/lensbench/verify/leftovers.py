"""What lies in the results that no job promised: of a run that was killed, or of another one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lensbench.made import TIMESTAMP
from lensbench.verify.problems import Problem

#: Where latexmk works: it keeps what it needs to be quick, dated by the clock.
SCRATCH = Path("paper", "build")


def check_leftovers(root: Path, promised: set[Path]) -> Iterator[Problem]:
    """Yield what nobody promised, one line a folder of such files."""
    parents = {parent for path in promised for parent in path.parents}
    yield from _below(root, root, promised, parents)


def _below(root: Path, folder: Path, promised: set[Path], parents: set[Path]) -> Iterator[Problem]:
    loose = []
    for path in sorted(folder.iterdir()):
        if path.relative_to(root) == SCRATCH or path.name == TIMESTAMP or path in promised:
            continue
        if path.is_dir() and not path.is_symlink():
            if path in parents:
                yield from _below(root, path, promised, parents)
            elif any(inside.is_file() for inside in path.rglob("*")) or path.name.startswith("."):
                yield Problem(root, path, "is a folder that no job promised")
            continue
        loose.append(path)
    for path in loose[:1]:
        more = f", nor {len(loose) - 1} more files beside it" if len(loose) > 1 else ""
        yield Problem(root, path, f"was promised by no job{more}")
