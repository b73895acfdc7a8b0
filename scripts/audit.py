"""Ask a service of advisories for known vulnerabilities of the packages of requirements.lock.

pip-audit does it, in an environment of its own under build/. Exit status 0: none is known; 1: some
are, or pip-audit broke; 3: it could not be checked, for want of a network or of the service.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PLACE = ROOT / "build" / "audit"
UNCHECKED = 3


def main() -> int:
    """Audit, say the result in a line or one a vulnerability, and return the exit status."""
    program = PLACE / "bin" / "pip-audit"
    if not program.exists() and not _installed():
        print("audit: pip-audit can't be installed from here, so nothing was checked.")
        return UNCHECKED
    locked = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    first = next(line for line in locked.splitlines() if line.startswith("pillow=="))
    # One package tells whether anybody answers; mirrors of a registry often have no advisories.
    if not any(_checked(_report(program, first))):
        print("audit: no service of known vulnerabilities answers from here: nothing was checked.")
        return UNCHECKED
    return told(_report(program, locked))


def _report(program: Path, requirements: str) -> list[dict[str, Any]]:
    """Return what pip-audit says of each package; nothing if it can't ask."""
    with tempfile.TemporaryDirectory() as folder:
        asked, report = Path(folder) / "requirements.txt", Path(folder) / "report.json"
        asked.write_text(requirements, encoding="utf-8")
        command = [
            *(program, "--requirement", asked, "--no-deps", "--disable-pip", "--timeout", "20"),
            *("--progress-spinner", "off", "--format", "json", "--output", report),
        ]
        subprocess.run(command, capture_output=True, check=False)
        if not report.exists():
            return []
        found: list[dict[str, Any]] = json.loads(report.read_text(encoding="utf-8"))["dependencies"]
        return found


def _checked(packages: list[dict[str, Any]]) -> list[bool]:
    return ["skip_reason" not in package for package in packages]


def told(packages: list[dict[str, Any]]) -> int:
    """Print what pip-audit says of the packages and return the exit status."""
    found = [(package, flaw) for package in packages for flaw in package.get("vulns", ())]
    for package, flaw in found:
        fixed = ", ".join(flaw["fix_versions"]) or "no version yet"
        print(f"audit: {package['name']} {package['version']}: {flaw['id']}, mended in {fixed}.")
    print(f"audit: {sum(_checked(packages))} packages checked, {len(found)} known vulnerabilities.")
    skipped = [str(package["name"]) for package in packages if "skip_reason" in package]
    if skipped:
        print(f"audit: the service does not know {', '.join(skipped)}.")
    if found:
        return 1
    return 0 if any(_checked(packages)) else UNCHECKED


def _installed() -> bool:
    venv.create(PLACE, with_pip=True)
    command = [PLACE / "bin" / "python", "-m", "pip", "install", "--quiet"]
    wanted = ["--requirement", ROOT / "requirements-audit.txt"]
    done = subprocess.run([*command, *wanted], capture_output=True, check=False)
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
