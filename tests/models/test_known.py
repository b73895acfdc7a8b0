"""Models by name: which source and commit is meant, and one sentence where none or several are."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

from lensbench import Lens
from lensbench.catalog import TASKS, rule_name
from lensbench.config import ROOT
from lensbench.errors import ConfigError, ModelError
from lensbench.models import known
from lensbench.models.known import find_model, known_models, resolve_commit
from lensbench.models.rules import ModelRule, read_rule, rule_files
from lensbench.models.source import PACKAGED, packaged_models

COMMIT = "0123456789abcdef0123456789abcdef01234567"
RULE = """# A model.
use rule extract as {rule} with:
    wildcard_constraints:
        model="{name}",
    params:
        source={source},  # where from
        revision="{commit}",
        task="text",
    resources:
        task="no task of the model's",
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder, which is where we are."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def add_rule(place: Path, name: str, source: str) -> Path:
    path = place / "workflow/rules/models" / f"{name}.smk"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = RULE.format(rule=rule_name(name), name=name, source=source, commit=COMMIT)
    path.write_text(text, encoding="utf-8")
    return path


def sentence(text: str, revision: str | None = None) -> str:
    with pytest.raises(ModelError) as caught:
        find_model(text, revision)
    said = str(caught.value)
    assert "\n" not in said
    assert said.endswith(".")
    return said


# The workflow's rules as text


@pytest.mark.parametrize("source", ['"hub:org/tiny"', "r'hub:org/tiny'", '"hub:" "org/tiny"'])
def test_rule_is_read_however_its_texts_are_written(place: Path, source: str) -> None:
    path = add_rule(place, "tiny", source)
    assert read_rule(path) == ModelRule("tiny", "hub:org/tiny", COMMIT, "text", place)


@pytest.mark.parametrize("source", ["SOURCE", 'config["x"]', "3", '"hub:x" +'])
def test_rule_that_is_no_plain_text_is_refused_and_listed(place: Path, source: str) -> None:
    path = add_rule(place, "tiny", source)
    with pytest.raises(ConfigError, match="must give source and task as plain texts"):
        read_rule(path)
    (listed,) = [model for model in known_models() if model.name == "tiny"]
    assert (listed.source, listed.there) == (str(path), "missing")
    with pytest.raises(ConfigError, match="name the model's source itself"):
        find_model("tiny")


@pytest.mark.parametrize(("kind", "name"), [("folder", "config.json"), ("gguf", "tiny.gguf")])
def test_rule_of_a_folder_or_gguf_file_needs_no_revision(place: Path, kind: str, name: str) -> None:
    (place / name).write_text("{}")
    source = f"{kind}:{place if kind == 'folder' else place / name}"
    path = add_rule(place, "tiny", f'"{source}"')
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if "revision" not in line))
    assert read_rule(path) == ModelRule("tiny", source, "", "text", place)
    (listed,) = [model for model in known_models() if model.name == "tiny"]
    assert (listed.there, listed.revision) == ("fetched", None)
    assert str(find_model("tiny")[1]) == source


def test_rules_of_this_project_are_all_read(place: Path) -> None:
    read = {name: read_rule(path) for name, path in rule_files().items()}
    assert set(read) == {path.stem for path in (ROOT / "workflow/rules/models").glob("*.smk")}
    assert {rule.task for rule in read.values()} == set(TASKS)
    assert read["gpt2"] == ModelRule(
        "gpt2",
        "hub:openai-community/gpt2",
        "607a30d783dfa663caf39e06633721c8d4cfcd7e",
        "text",
        ROOT,
    )


def test_workflow_we_are_in_comes_first(place: Path) -> None:
    add_rule(place, "tiny", '"hub:org/tiny"')
    assert set(rule_files()) == {"tiny"}
    names = {model.name: model for model in known_models()}
    assert set(names) == {"tiny", *packaged_models()}
    assert names["tiny"].there == "on the hub"
    assert names["tiny"].revision == COMMIT
    assert names["lensbench-llava"].task == "image-text"
    assert names["lensbench-llava"].there == "packaged"


def test_rule_without_a_revision_is_listed_so_and_means_the_default_branch(
    place: Path, hub: type[Hub]
) -> None:
    path = add_rule(place, "tiny", '"hub:org/tiny"')
    path.write_text(path.read_text(encoding="utf-8").replace(COMMIT, ""), encoding="utf-8")
    assert read_rule(path).revision == ""
    (listed,) = [model for model in known_models() if model.name == "tiny"]
    assert (listed.there, listed.revision) == ("revision needed", None)
    assert find_model("tiny")[1].revision == COMMIT
    assert hub.asked == [("org/tiny", None)]


# What a user may mean


def test_known_names_mean_their_sources(place: Path) -> None:
    assert [str(find_model(name)[1]) for name in packaged_models()] == [
        f"packaged:{name}" for name in packaged_models()
    ]
    name, source = find_model("gpt2")
    assert (name, str(source)) == ("gpt2", "hub:openai-community/gpt2")
    assert source.revision == "607a30d783dfa663caf39e06633721c8d4cfcd7e"
    assert find_model("gpt2", COMMIT)[1].revision == COMMIT


def test_folders_and_files_mean_themselves(place: Path) -> None:
    (place / "some").mkdir()
    (place / "some/config.json").write_text("{}", encoding="utf-8")
    (place / "weights.Q4.gguf").touch()
    assert find_model("some") == ("some", known.Source("folder", "some"))
    assert find_model(f"{place}/some/")[0] == "some"
    assert find_model(f"folder:{place}/some")[0] == "some"
    assert find_model("weights.Q4.gguf") == ("weights.Q4", known.Source("gguf", "weights.Q4.gguf"))
    assert find_model("gguf:weights.Q4.gguf")[0] == "weights.Q4"


def test_folder_named_like_a_repository_is_the_folder(place: Path) -> None:
    (place / "org/tiny").mkdir(parents=True)
    (place / "org/tiny/config.json").write_text("{}", encoding="utf-8")
    assert str(find_model("org/tiny")[1]) == "folder:org/tiny"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("lensbench-lava", "did you mean lensbench-llava"),
        ("LensBench-LLaVA", "did you mean lensbench-llava"),
        ("smollm", "did you mean smollm2-135m?"),
        ("Qwen2-VL-2B", "did you mean qwen2-vl-2b or "),
        ("Qwen/Qwen2-VL-2B", "did you mean qwen2-vl-2b or Qwen/Qwen2-VL-2B-Instruct"),
        ("zebra", 'No model, folder or .gguf file is called "zebra"; `lensbench models`'),
        ("a/b/c", 'is called "a/b/c"; `lensbench models`'),
        ("", "A model is given by its name, a folder, a .gguf file or a hub repository ORG/NAME"),
        ("hug:org/x", '"hug:org/x" is no source of a model: use one of packaged:'),
        ("packaged:lava", 'No packaged model is called "lava": known are lensbench-llava,'),
        ("hub:../x", '"../x" is no name of a hub repository'),
        ("folder:nowhere", "nowhere is no model's folder"),
        ("nowhere.gguf", "There is no GGUF file nowhere.gguf"),
        ("gguf:nowhere.gguf", "There is no GGUF file nowhere.gguf"),
        ("notes.txt", "notes.txt is a file, but a model is a folder with its config.json"),
        ("empty", "empty is no model's folder (it has no config.json)"),
    ],
)
def test_what_is_no_model_is_one_sentence(place: Path, given: str, words: str) -> None:
    (place / "notes.txt").touch()
    (place / "empty").mkdir()
    assert words in sentence(given)


def test_name_of_two_things_is_refused(place: Path) -> None:
    (place / "gpt2").mkdir()
    (place / "gpt2/config.json").write_text("{}", encoding="utf-8")
    said = sentence("gpt2")
    assert "both a known model and a folder here" in said
    assert "folder:gpt2" in said
    assert "hub:openai-community/gpt2" in said


@pytest.mark.parametrize("given", ["lensbench-llava", "some"])
def test_only_the_hub_has_revisions(place: Path, given: str) -> None:
    (place / "some").mkdir()
    (place / "some/config.json").write_text("{}", encoding="utf-8")
    assert "has no revisions, only a hub repository has: leave main out" in sentence(given, "main")


def test_model_of_the_registry_is_fetched_where_the_workflow_wants_it(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = Path("resources/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
    add_rule(place, "smollm2-135m", f'"gguf:{file}"')
    asked = []

    def fetch(path: str) -> None:
        asked.append(str(path))
        Path(path).parent.mkdir(parents=True)
        Path(path).touch()

    monkeypatch.setattr(known, "fetch_smollm2", fetch)
    there = {model.name: model.there for model in known_models()}
    assert there["smollm2-135m"] == "to be fetched"
    for _ in range(2):  # The second time it is there.
        assert find_model("smollm2-135m") == ("smollm2-135m", known.Source("gguf", str(file)))
    assert asked == [str(file)]
    assert f"fetching smollm2-135m into {file}" in capsys.readouterr().err
    there = {model.name: model.there for model in known_models()}
    assert there["smollm2-135m"] == "fetched"


# The hub


class Hub:
    """A hub that has one repository with a branch, a tag and nothing else."""

    asked: list[tuple[str, str | None]]

    def model_info(self, repository: str, revision: str | None = None) -> SimpleNamespace:
        self.asked.append((repository, revision))
        answer = SimpleNamespace(headers={}, request=None)
        if repository != "org/tiny":
            raise RepositoryNotFoundError("404", response=answer)  # type: ignore[arg-type]
        if revision not in (None, "main", "v1"):
            raise RevisionNotFoundError("404", response=answer)  # type: ignore[arg-type]
        return SimpleNamespace(sha=COMMIT)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> type[Hub]:
    Hub.asked = []
    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    return Hub


@pytest.mark.parametrize("revision", [None, "main", "v1"])
def test_branch_is_resolved_to_its_commit(
    place: Path, hub: type[Hub], revision: str | None
) -> None:
    assert find_model("org/tiny", revision) == ("tiny", known.Source("hub", "org/tiny", COMMIT))
    assert find_model("hub:org/tiny", revision)[1].revision == COMMIT
    assert hub.asked == [("org/tiny", revision)] * 2


def test_commit_is_not_asked_for(hub: type[Hub]) -> None:
    assert resolve_commit("org/other", COMMIT) == COMMIT
    assert hub.asked == []


def test_what_the_hub_does_not_have_is_said(place: Path, hub: type[Hub]) -> None:
    assert "No folder is called org/other, and the hub has no such" in sentence("org/other")
    assert "hub:org/tiny has no revision v2." in sentence("org/tiny", "v2")


def test_hub_out_of_reach_is_said(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(place))
    said = sentence("org/tiny")
    assert "the hub can't be asked for it" in said
    assert "check the network" in said


def test_model_fetched_before_is_found_without_a_network(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = place / "cache/models--org--tiny"
    shutil.copytree(PACKAGED / "lensbench-llava", cache / "snapshots" / COMMIT)
    (cache / "refs").mkdir()
    (cache / "refs/main").write_text(COMMIT, encoding="utf-8")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(place / "cache"))
    add_rule(place, "tiny", '"hub:org/tiny"')
    assert {m.name: m.there for m in known_models()}["tiny"] == "fetched"
    lens = Lens.from_pretrained("org/tiny", verify=False)
    assert lens.revision == COMMIT
    assert lens.source == "hub:org/tiny"
    assert f"hub:org/tiny @ {COMMIT}" in repr(lens)
    assert lens("Why?").revision == COMMIT
