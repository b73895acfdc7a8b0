"""What users write as settings: the configuration, options of commands, rules of models, YAML."""

from __future__ import annotations

import json
from inspect import signature
from typing import Any

import yaml
from hypothesis import strategies as st
from tests.fuzz.conftest import Fuzz
from tests.fuzz.harness import Jail, command
from tests.fuzz.mutations import mutated_text, mutated_trees

import lensbench.tracing  # noqa: F401 (takes long, and is no input's fault)
from lensbench import config as configuration
from lensbench.cli_options import extraction_of, fitting, loading_of, settings_of
from lensbench.config import ROOT
from lensbench.datasets import DATASETS
from lensbench.datasets.facts import DEFAULT_PATH as FACTS
from lensbench.datasets.facts import load_facts
from lensbench.lexicon import DEFAULT_PATH as LEXICON
from lensbench.lexicon import load_lexicon
from lensbench.metrics.options import MetricOptions
from lensbench.models.rules import RULES, read_rule

CONFIGS = [(ROOT / "config" / name).read_text("utf-8") for name in ("config.yaml", "paper.yaml")]
TREES = [configuration.validate({}), *(yaml.safe_load(text) for text in CONFIGS)]
#: Nine lists of nine lists …, each written once: nine levels are 400 million entries.
BOMB = "a0: &a0 [x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10)
)
MERGES = "a0: &a0 {x: 1}\n" + "".join(
    f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 9)
)
LOOP = "a: &a [*a]\n"
DEEP = "a: " + "[" * 3000
YAML_BOMBS = tuple(text.encode() for text in (BOMB, MERGES, LOOP, DEEP, "a: " + "9" * 5000))
YAML_WORDS = (
    *("&a ", "*a", "<<: ", "!!python/name:os.system ", "!!binary ", "!!set ", "? ", "- ", "|\n"),
    *("---\n", "...\n", "%YAML 1.1\n", "2001-01-01", "1:30:00", "0o17", "!!timestamp x", "~", ": "),
)


def dumped(tree: Any) -> bytes:
    """Return a tree as YAML; lone halves of characters as JSON writes them."""
    return json.dumps(tree).encode()


def test_configuration(fuzz: Fuzz) -> None:
    def read(jail: Jail, content: bytes) -> None:
        path = jail.give("config.yaml", content)
        configuration.load_config(path)

    inputs = st.one_of(mutated_text(CONFIGS, YAML_WORDS), mutated_trees(TREES).map(dumped))
    fuzz("configuration", inputs, read, examples=YAML_BOMBS)


def test_options_of_commands(fuzz: Fuzz) -> None:
    calls = [MetricOptions, *(make for _, make in DATASETS.values())]
    seeds = [
        {k: p.default for k, p in signature(call).parameters.items() if p.default is not p.empty}
        | {"n": 10, "seed": 0}
        for call in calls
    ]
    seeds = [json.loads(json.dumps(seed, default=str)) for seed in seeds]
    extraction = {"shards": 2, "top_k": 10, "batch_size": 4, "seed": 0, "dtype": "float32"}

    def read(jail: Jail, given: tuple[int, bytes]) -> None:
        place, content = given
        text = content.decode("utf-8", "surrogateescape")
        if place == len(calls):
            extraction_of(text)
            return
        settings = settings_of(text)
        loading_of(settings)
        fitting("A command", settings, calls[place], given=("out", "cache"))

    trees = st.one_of(
        st.tuples(st.integers(0, len(calls)), mutated_trees([*seeds, extraction]).map(dumped)),
        st.tuples(
            st.integers(0, len(calls)),
            mutated_text([json.dumps(seed) for seed in (*seeds, extraction)]),
        ),
    )
    fuzz("command options", trees, read, examples=((0, b"[" * 100_000), (0, b"9" * 5000)))


def test_rules_of_models(fuzz: Fuzz) -> None:
    rules = [path.read_text("utf-8") for path in sorted((ROOT / RULES).glob("*.smk"))]

    def read(jail: Jail, content: bytes) -> None:
        read_rule(jail.give(f"{RULES}/model.smk", content))

    words = (
        "params:",
        "source=",
        "(" * 300,
        "f'{x}'",
        "__import__('os').system('id')",
        "\x0c",
        "\t",
    )
    deep = "use rule extract as extract_m with:\n    params:\n        source=" + "(" * 5000
    fuzz(
        "model rules", mutated_text(rules, words), read, examples=(deep.encode(), b"params:\n \x00")
    )


def test_lexicons(fuzz: Fuzz) -> None:
    whole = LEXICON.read_text("utf-8")
    small = "number:\n  '3':\n    en: [three]\n    zh: [三]\nleft_out:\n  rot: decay\n"

    def read(jail: Jail, content: bytes) -> None:
        load_lexicon(jail.give("lexicon.yaml", content))

    inputs = st.one_of(
        mutated_text([small], YAML_WORDS),
        mutated_trees([yaml.safe_load(small)]).map(dumped),
        mutated_text([whole[:3000]], YAML_WORDS),
    )
    many = "number:\n  '3':\n    en: [" + ", ".join(f"w{n}" for n in range(60_000)) + "]\n"
    fuzz("lexicon", inputs, read, examples=(*YAML_BOMBS, many.encode()))


def test_lexicons_through_the_command(fuzz: Fuzz) -> None:
    small = "number:\n  '3':\n    en: [three]\nleft_out:\n  rot: decay\n"

    def read(jail: Jail, content: bytes) -> None:
        command("lexicon", "check", str(jail.give("lexicon.yaml", content)))

    fuzz("lexicon", mutated_text([small], YAML_WORDS), read, examples=YAML_BOMBS)


def test_facts(fuzz: Fuzz) -> None:
    whole = FACTS.read_text("utf-8")

    def read(jail: Jail, content: bytes) -> None:
        load_facts(jail.give("facts.yaml", content))

    inputs = st.one_of(
        mutated_text([whole[: whole.rindex("\n", 0, 2000)]], YAML_WORDS),
        mutated_trees([{"number": {"en": [["Two and one are", "number:3"]]}}]).map(dumped),
    )
    fuzz("facts", inputs, read, examples=YAML_BOMBS)
