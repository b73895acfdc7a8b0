"""YAML that somebody wrote: bombs, loops and odd tags are refused, plain values are read."""

from __future__ import annotations

import pytest
import yaml

from lensbench import yamls
from lensbench.config import load_config
from lensbench.errors import ConfigError

NINES = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10)]
MERGES = [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 9)]


def test_plain_values_and_aliases_are_read() -> None:
    text = "a: &x [1, 2.5, yes, null, 'z']\nb: *x\nc: {<<: {d: 1}, e: 2}\n"
    expected = [1, 2.5, True, None, "z"]
    assert yamls.parse(text) == {"a": expected, "b": expected, "c": {"d": 1, "e": 2}}
    assert yamls.parse("") is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a0: &a0 [x]\n" + "".join(NINES), "more than 100,000 values"),
        ("a0: &a0 {x: 1}\n" + "".join(MERGES), "more than 100,000 values"),
        ("a: &a [*a]\n", "holds itself"),
        ("a: " + "[" * 5000, "nests too deep"),
        ("a: " + "9" * 5000, "not of the type"),
        ("a: 2001-13-45", "not of the type"),
        ("a: !!timestamp x", "not of the type"),
        ("a: !!int ''", "not of the type"),
        ("a: !!python/object/apply:os.system [id]", "could not determine a constructor"),
        ("x" * (2**20 + 1), "more than 1,048,576 characters"),
    ],
)
def test_what_is_no_plain_yaml_is_refused(text: str, says: str) -> None:
    with pytest.raises(yaml.YAMLError, match=says):
        yamls.parse(text)


def test_a_key_may_stand_twice_only_where_that_is_allowed() -> None:
    assert yamls.parse("a: 1\na: 2\n") == {"a": 2}
    with pytest.raises(yaml.MarkedYAMLError, match="'a' is there twice"):
        yamls.parse("b:\n  a: 1\n  a: 2\n", twins=False)
    assert yamls.parse("1: x\n'1': y\n", twins=False) == {1: "x", "1": "y"}


@pytest.mark.parametrize("value", ["2001-01-01", ".nan", ".inf", "!!binary YQ=="])
def test_a_configuration_holds_plain_finite_values(tmp_path, value: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"max_rejected: {value}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="no text, number, list or group"):
        load_config(path)
