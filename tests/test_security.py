"""SECURITY.md: the tests it names exist, its bounds are the fuzzer's, every parser is fuzzed."""

from __future__ import annotations

import ast
import re

import pytest
from tests.fuzz.bounds import BOUNDS, markdown

from lensbench.config import ROOT

TEXT = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[\w/.]+\.py(?:::\w+)?)`", TEXT)))


@pytest.mark.parametrize("name", NAMED)
def test_a_test_that_it_names_is_there(name: str) -> None:
    file, _, function = name.partition("::")
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert function in names or (not function and any(n.startswith("test_") for n in names))


def test_its_bounds_are_those_of_the_fuzzer() -> None:
    assert markdown() in TEXT


def test_every_bound_is_one_of_a_parser_that_is_fuzzed() -> None:
    files = sorted((ROOT / "tests/fuzz").glob("test_*.py"))
    used = {
        node.args[0].value
        for file in files
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "fuzz"
        and isinstance(node.args[0], ast.Constant)
    }
    assert used == set(BOUNDS)


def test_the_commands_that_it_names_are_there() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for command in re.findall(r"`make ([\w-]+)", TEXT):
        assert re.search(rf"^{command}:", makefile, re.MULTILINE), command


def test_the_audit_is_pinned() -> None:
    text = (ROOT / "requirements-audit.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert len(lines) == 1
    assert re.fullmatch(r"pip-audit==[\d.]+", lines[0])
