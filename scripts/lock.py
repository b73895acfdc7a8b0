"""Write requirements.lock: the installed versions of all that pyproject.toml asks for, with theirs.

The pins in pyproject.toml are the decision; this walks what they need in the present environment
(`make lock` after an upgrade). No host, index or hash is named, so any mirror can serve the files.
"""

from __future__ import annotations

import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
HEADER = """\
# Every package of the environment, exact; made by `make lock` from pyproject.toml.
# torch stands here with its public version only: the index at hand decides between CPU and CUDA
# builds, and packages that a CUDA build needs beside it follow from its own metadata.
"""


def declared() -> list[str]:
    """Return the requirements of pyproject.toml, those of its extras too."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    return [*project["dependencies"], *(entry for extra in extras for entry in extra)]


def closure(requirements: list[str]) -> dict[str, str]:
    """Return name → version of all that the requirements need here, canonical names sorted."""
    found: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [(Requirement(entry), "") for entry in requirements]
    while waiting:
        requirement, extra = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        try:
            installed = distribution(name)
        except PackageNotFoundError:
            raise SystemExit(f"{name} is needed but not installed: run make environment.") from None
        if not requirement.specifier.contains(installed.version, prereleases=True):
            raise SystemExit(
                f"{name} is installed as {installed.version}, but {requirement} is asked for."
            )
        # The local part (+cpu) names a build, not a version.
        found[name] = installed.version.partition("+")[0]
        for asked in {"", *requirement.extras}:
            if (name, asked) not in seen:
                seen.add((name, asked))
                needs = installed.requires or []
                waiting.extend((Requirement(entry), asked) for entry in needs)
    return dict(sorted(found.items()))


def main() -> None:
    """Write the lock file."""
    lines = [f"{name}=={version}\n" for name, version in closure(declared()).items()]
    (ROOT / "requirements.lock").write_text(HEADER + "".join(lines), encoding="utf-8")
    print(f"requirements.lock: {len(lines)} packages", file=sys.stderr)


if __name__ == "__main__":
    main()
