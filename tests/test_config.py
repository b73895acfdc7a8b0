"""The configuration: defaults, a sentence for each mistake, documentation that can't drift."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from lensbench import config
from lensbench.errors import ConfigError


def sentence(tmp_path: Path, text: str) -> str:
    """Return the error for a configuration file with this text."""
    file = tmp_path / "mine.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        config.load_config(file)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith((".", "?"))
    return message.replace(str(file), "mine.yaml").replace(str(Path("..") / file), "mine.yaml")


def test_defaults_are_those_of_the_default_file() -> None:
    by_schema = config.validate({})
    by_file = yaml.safe_load((config.ROOT / "config/config.yaml").read_text(encoding="utf-8"))
    assert by_file == by_schema


def test_every_default_is_allowed_by_its_own_schema() -> None:
    for name, part in config.walk_keys(config.load_schema()):
        assert "default" in part, name
        assert part["description"].endswith("."), name
    filled = config.validate({})
    assert config.validate(filled) == filled


def test_overlay_changes_only_its_keys() -> None:
    root = config.ROOT / "config"
    base = config.load_config(root / "config.yaml")
    paper = config.load_config(root / "config.yaml", root / "paper.yaml")
    assert paper["hub"] is True
    assert base["hub"] is False
    assert paper["extraction"]["top_k"] == base["extraction"]["top_k"]


def test_unknown_key_names_file_and_neighbour(tmp_path: Path) -> None:
    message = sentence(tmp_path, "sed: 1\n")
    assert message.startswith("Unknown key sed in ")
    assert message.endswith("mine.yaml: did you mean seed?")


def test_unknown_key_in_a_group_lists_the_known(tmp_path: Path) -> None:
    message = sentence(tmp_path, "paper:\n  colour: red\n")
    assert "Unknown key paper.colour" in message
    assert message.endswith("the keys there are pdf, title.")


@pytest.mark.parametrize(
    ("text", "key", "wish"),
    [
        ("seed: abc\n", "seed", '"abc": it must be a whole number ≥ 0.'),
        ("seed: -1\n", "seed", "-1: it must be a whole number ≥ 0."),
        ("hub: 1\n", "hub", "1: it must be true or false."),
        ("models: gpt2\n", "models", '"gpt2": it must be a list of texts, such as ["gpt2"].'),
        ("models: [1]\n", "models", "1: it must be a text."),
        ("models: [a, a]\n", "models", '["a", "a"]: it must be a list with no entry twice.'),
        ("extraction:\n  top_k: 2\n", "extraction.top_k", "a whole number ≥ 5 and ≤ 100."),
        ("extraction:\n  lens: tuned\n", "extraction.lens", "it must be one of normed, raw."),
        ("extraction: 3\n", "extraction", "3: it must be a group of keys."),
        ("metrics:\n  confidence: 1\n", "metrics.confidence", "a number > 0 and < 1."),
        ("datasets:\n  flowers:\n    folder: 3\n", "datasets.flowers.folder", "a text or null."),
        ("datasets:\n  tallyqa:\n    answers: [1]\n", "datasets.tallyqa.answers",
         "[1]: it must be two whole numbers ≥ 0."),
        ("mirror: ftp://x\n", "mirror", "it must be a text or null like file:///data/mirror."),
        ("max_rejected: 2\n", "max_rejected", "a number ≥ 0 and ≤ 1."),
        ("revisions: {a: main}\n", "revisions.a",
         "it must be a text like 895c3a49bc3fa70a340399125c650a463535e71c."),
    ],
)  # fmt: skip
def test_wrong_value_is_one_sentence(tmp_path: Path, text: str, key: str, wish: str) -> None:
    message = sentence(tmp_path, text)
    assert message.startswith(f"{key} in ")
    assert "mine.yaml is " in message
    assert message.endswith(wish)


def test_no_yaml_and_no_mapping_and_no_file(tmp_path: Path) -> None:
    assert "not valid YAML near line 2" in sentence(tmp_path, "seed: 1\n  : [\n")
    assert "must hold keys with values" in sentence(tmp_path, "- 1\n")
    with pytest.raises(ConfigError, match="can't be read"):
        config.load_config(tmp_path / "absent.yaml")


def test_a_folder_that_is_not_there_is_told_before_anything_runs(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"datasets: {{flowers: {{folder: {tmp_path / 'none'}}}}}\n")
    with pytest.raises(ConfigError) as caught:
        config.load_config(path)
    assert str(caught.value) == (
        f"datasets.flowers.folder in {path} is {tmp_path / 'none'}, but there is no such folder: "
        "name one with photographs, or null to draw flowers."
    )
    (tmp_path / "none").mkdir()
    assert config.load_config(path)["datasets"]["flowers"]["folder"] == str(tmp_path / "none")


def test_own_pictures_need_a_folder_and_one_kind_of_questions(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"

    def said(keys: str) -> str:
        path.write_text(f"datasets: {{own: {{n: 1, {keys}}}}}\n", encoding="utf-8")
        with pytest.raises(ConfigError) as caught:
            config.load_config(path)
        return str(caught.value)

    assert "datasets.own in" in said("question: 'Why?'")
    assert "has neither folder nor questions: name the folder" in said("question: 'Why?'")
    assert "there is no such folder" in said(f"folder: {tmp_path / 'none'}, question: 'Why?'")
    here = f"folder: {tmp_path}"
    assert "needs either questions" in said(here)
    assert "needs either questions" in said(f"{here}, question: 'Why?', questions: {path}")
    assert "there is no such file" in said(f"questions: {tmp_path / 'none.csv'}")
    assert "there is no such file" in said(f"{here}, questions: {tmp_path / 'none.csv'}")
    path.write_text(f"datasets: {{own: {{n: 1, {here}, question: 'Why?'}}}}\n", encoding="utf-8")
    assert config.load_config(path)["datasets"]["own"]["question"] == "Why?"


def test_value_from_the_command_line_is_said_to_be_from_there(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("seed: 1\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"seed in the command line \(--config\)"):
        config.validate({"seed": "x"}, [file])


def test_readme_has_every_key_as_the_schema_says_it() -> None:
    text = (config.ROOT / "config/README.md").read_text(encoding="utf-8")
    assert text.endswith("\n\n" + config.markdown())


def test_the_old_number_of_shards_is_told_what_stands_in_its_place(tmp_path: Path) -> None:
    told = sentence(tmp_path, "extraction:\n  shards: 2\n")
    assert told.startswith("extraction.shards in ")
    assert told.endswith(
        "mine.yaml is no key any more: how many shards there are follows from "
        "extraction.shard_samples (samples a shard at most), and extraction.shards_per_job is how "
        "many one job takes: set these instead."
    )
