"""The models a workflow knows, read from its rules as text: one file a model.

The workflow itself reads them through snakemake; a look at one model shouldn't have to start it.
"""

from __future__ import annotations

import ast
import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

from lensbench.config import ROOT
from lensbench.errors import ConfigError

#: Where a workflow keeps its models, from the folder it is run in.
RULES = Path("workflow", "rules", "models")
_RULE = re.compile(r"^use rule extract as (extract_\w+) with:", re.MULTILINE)
_NEEDED = ("source", "task")


@dataclass(frozen=True)
class ModelRule:
    """What one model's rule says of it.

    Args:
        name: the model's name, which is its file's.
        source: as `parse_source` takes it; a relative path starts from `place`.
        revision: pinned commit of a hub's model, "" if the configuration must give it; another
            source needs none.
        task: "text" or "image-text".
        place: the folder that the workflow is run in.
    """

    name: str
    source: str
    revision: str
    task: str
    place: Path


def rules_in(path: Path) -> list[str]:
    """Return the names of the models' rules in a file, in order."""
    return _RULE.findall(path.read_text(encoding="utf-8", errors="replace"))


def rule_files() -> dict[str, Path]:
    """Return the models' files by name: of the workflow here, else of the one lensbench lies in."""
    for place in (Path.cwd(), ROOT):
        found = {
            path.stem: path
            for path in sorted((place / RULES).glob("*.smk"))
            if _RULE.search(path.read_text(encoding="utf-8", errors="replace"))
        }
        if found:
            return found
    return {}


def read_rule(path: Path) -> ModelRule:
    """Read a model's rule.

    Args:
        path: its file, `workflow/rules/models/<name>.smk`.

    Raises:
        ConfigError: if its params don't give source, task and any revision as plain texts.
    """
    wanted = (*_NEEDED, "revision")
    block = _params(path.read_text(encoding="utf-8", errors="replace"))
    try:
        call = ast.parse(f"params(\n{block}\n)", mode="eval").body
        keywords = call.keywords if isinstance(call, ast.Call) else []
        given = {k.arg: ast.literal_eval(k.value) for k in keywords if k.arg in wanted}
    # What a params block can hold beside plain texts: names, calls, anything Python has.
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        given = {}
    given = {"revision": ""} | given if given else {}
    if [type(given.get(key)) for key in wanted] != [str] * len(wanted):
        raise ConfigError(
            f"{path} must give {' and '.join(_NEEDED)} as plain texts among its params to be read "
            "outside the workflow: name the model's source itself."
        )
    texts = {key: str(given[key]) for key in wanted}
    return ModelRule(name=path.stem, place=path.parents[len(RULES.parts)], **texts)


def _params(text: str) -> str:
    """Return the block under a rule's `params:`, its indentation taken off; "" if there is none."""
    lines = text.splitlines()
    for at, line in enumerate(lines):
        if not line.strip().startswith("params:"):
            continue
        depth = len(line) - len(line.lstrip())
        block = []
        for below in lines[at + 1 :]:
            if below.strip() and len(below) - len(below.lstrip()) <= depth:
                break
            block.append(below)
        return line.strip().removeprefix("params:") + "\n" + textwrap.dedent("\n".join(block))
    return ""
