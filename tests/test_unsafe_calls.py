"""No file of the project unpickles, evaluates text, runs a shell or code of others."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from lensbench.config import ROOT

PLACES = ("src", "scripts", "notebooks", "benchmarks")
FILES = sorted(path for place in PLACES for path in (ROOT / place).rglob("*.py"))
#: Modules that read objects, or code, out of bytes.
IMPORTS = {"pickle", "cPickle", "_pickle", "dill", "joblib", "cloudpickle", "shelve", "marshal"}
CALLS = {
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen", "tempfile.mktemp"),
    *("yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load", "pd.read_pickle"),
    *("pandas.read_pickle", "torch.hub.load", "ctypes.CDLL"),
}
METHODS = {"extractall", "read_pickle", "to_pickle"}
#: TeX has no autoescape of jinja2's; its texts go through `latex_escape`.
TEX = {"src/lensbench/tables/latex.py", "src/lensbench/paper.py"}


def name_of(node: ast.expr) -> str:
    """Return a call's name with its dots, such as "torch.load"."""
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "…"


def is_constant(node: ast.expr | None, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def unsafe(text: str, file: str = "") -> list[str]:
    """Return what in a file's text is not to be there, with its line."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names = {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {(node.module or "").split(".")[0]}
        else:
            names = set()
        found += [f"{node.lineno}: import {name}" for name in sorted(names & IMPORTS)]
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if is_constant(key, None) or not isinstance(key, ast.Constant):
                    continue
                if key.value == "trust_remote_code" and not is_constant(value, False):
                    found.append(f"{node.lineno}: trust_remote_code")
        if not isinstance(node, ast.Call):
            continue
        name = name_of(node.func)
        given = {keyword.arg: keyword.value for keyword in node.keywords}
        wrong = name in CALLS or (
            isinstance(node.func, ast.Attribute) and node.func.attr in METHODS
        )
        wrong |= name == "torch.load" and not is_constant(given.get("weights_only"), True)
        wrong |= "shell" in given and not is_constant(given["shell"], False)
        wrong |= "allow_pickle" in given and not is_constant(given["allow_pickle"], False)
        wrong |= "trust_remote_code" in given and not is_constant(given["trust_remote_code"], False)
        wrong |= (
            "verify" in given
            and name.startswith("requests")
            and is_constant(given["verify"], False)
        )
        if name.endswith("jinja2.Environment") and file not in TEX:
            wrong |= not is_constant(given.get("autoescape"), True)
        if wrong:
            found.append(f"{node.lineno}: {name}")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_file_has_no_unsafe_call(path: Path) -> None:
    name = path.relative_to(ROOT).as_posix()
    assert unsafe(path.read_text(encoding="utf-8"), name) == []


def test_rules_have_no_unsafe_call() -> None:
    for path in sorted((ROOT / "workflow").rglob("*.smk")):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"\b(pickle|eval|exec|trust_remote_code|unsafe_load)\b", text), path


@pytest.mark.parametrize(
    "line",
    [
        "import pickle", "from pickle import loads", "import torch, marshal", "eval('1')",
        "torch.load(f)", "torch.load(f, weights_only=False)", "yaml.load(t, Loader=L)",
        "subprocess.run(c, shell=True)", "m.from_pretrained(x, trust_remote_code=True)",
        "options = {'trust_remote_code': flag}", "np.load(f, allow_pickle=True)",
        "archive.extractall(p)", "jinja2.Environment(loader=l)", "os.system('x')",
        "frame.to_pickle(p)", "requests.get(u, verify=False)",
    ],
)  # fmt: skip
def test_what_is_unsafe_is_found(line: str) -> None:
    assert len(unsafe(f"x = 1\n{line}\n")) == 1


def test_what_is_safe_is_let_pass() -> None:
    lines = (
        "model.eval()", "torch.load(f, weights_only=True)", "yaml.safe_load(t)",
        "re.compile('x')", "subprocess.run(c, shell=False)", "load(x, trust_remote_code=False)",
        "options = {'trust_remote_code': False}", "jinja2.Environment(autoescape=True)",
    )  # fmt: skip
    assert [unsafe(line) for line in lines] == [[]] * len(lines)
