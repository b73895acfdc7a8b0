"""The commands look, check and models: what they print, write and refuse."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image
from tests.commands import Done
from tests.looks import columns_of, picture, refuse, table
from tests.planted import written_model

from lensbench import Lens


@pytest.fixture(scope="module")
def written_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model on disk into which " three" is written at layer 2 and 三 at layer 4."""
    folder = tmp_path_factory.mktemp("models") / "written"
    loaded = written_model({2: {" three": 3.0}, 4: {"三": 9.0}}, n_layers=5)
    loaded.model.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    return folder


def test_look_prints_each_layer_s_tokens_and_the_rank(
    lensbench: Callable[..., Done], written_folder: Path
) -> None:
    asked = ("look", str(written_folder), "--text", "How many ?", "--style", "plain")
    done = lensbench(*asked, "--top", "2")
    assert done.returncode == 0, done.stderr
    assert "step 0 writes 三" in done.stdout
    _, tokens, _, ranks = zip(*table(done.stdout, 6), strict=True)
    assert tokens == ("␣?", "␣?", "␣three", "␣three", "三", "三")
    assert ranks == ("1", "1", "2", "2", "0", "0")
    assert "top 3" not in done.stdout
    assert "\x1b" not in done.stdout


def test_look_writes_json_csv_and_a_figure(
    lensbench: Callable[..., Done], written_folder: Path, tmp_path: Path
) -> None:
    asked = ("look", str(written_folder), "--text", "How many ?", "--style", "plain", "-n", "2")
    done = lensbench(*asked, "--json", "--csv", "a/out.csv", "--plot", "fig.v1.png")
    assert done.returncode == 0, done.stderr
    tree = json.loads(done.stdout)
    frame = Lens.from_pretrained(written_folder)(
        "How many ?", style="plain", max_new_tokens=2, k=5
    ).to_frame()
    assert [row["token_id"] for row in tree["rows"]] == frame["token_id"].tolist()
    assert tree["generated"] == "三三"
    read = pd.read_csv(tmp_path / "a/out.csv", keep_default_na=False)
    assert read["token_id"].tolist() == frame["token_id"].tolist()
    assert read["probability"].to_numpy() == pytest.approx(
        frame["probability"].to_numpy(), rel=1e-4
    )
    assert Image.open(tmp_path / "fig.v1.png").size[0] > 300


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--top", "0"], "k is 0"),
        (["--image", "nope.png"], "The picture nope.png is missing"),
        (["--plot", "x.gif"], "--plot x.gif must end in .png or .pdf or .svg"),
        (["--csv", "x.txt"], "--csv x.txt must end in .csv"),
        (["--dtype", "int8"], 'dtype "int8" is unknown'),
    ],
)
def test_look_refuses_with_one_sentence_and_leaves_nothing(
    lensbench: Callable[..., Done],
    written_folder: Path,
    tmp_path: Path,
    more: list[str],
    words: str,
) -> None:
    done = lensbench("look", str(written_folder), "--text", "Why ?", *more)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("lensbench: ")
    assert len(done.stderr.splitlines()) == 1
    assert words in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_packaged_model_is_looked_into_with_a_picture(
    lensbench: Callable[..., Done], tmp_path: Path
) -> None:
    picture(56).save(tmp_path / "x.png")
    done = lensbench(
        "look", "lensbench-llava", "--image", "x.png", "--text", "How many circles are there?"
    )
    assert done.returncode == 0, done.stderr
    assert [row[0] for row in table(done.stdout, 9)] == list("012345678")
    assert done.stderr == ""


def test_check_prints_every_check_and_its_figure(
    lensbench: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    done = lensbench("check", "lensbench-qwen2vl")
    assert done.returncode == 0, done.stderr
    for name in ("readout_logprob", "hooks_change_nothing", "attention_is_eager"):
        (line,) = [line for line in done.stdout.splitlines() if line.startswith(name)]
        value, limit, passed = line.split()[1:4]
        assert float(value) <= float(limit)
        assert passed == "yes"
    told = json.loads(lensbench("check", "lensbench-qwen2vl", "--json").stdout)
    assert told["passed"] is True
    refuse(monkeypatch)
    done = lensbench("check", "lensbench-qwen2vl")
    assert done.returncode == 1
    assert re.search(r"^sums +0\.5 +0\.1 +NO +the largest error of a sum$", done.stdout, re.M)
    assert re.search(r"^hooks +0 +0 +yes", done.stdout, re.MULTILINE)
    assert done.stderr == (
        'lensbench: lensbench-qwen2vl is refused by the gate, check "sums": the largest error of a '
        "sum is 0.5, at most 0.1 is allowed.\n"
    )


def test_models_are_listed_with_where_they_are(lensbench: Callable[..., Done]) -> None:
    done = lensbench("models", columns=200)
    lines = {line.split()[0]: re.split(r" {2,}", line) for line in done.stdout.splitlines()}
    assert lines["lensbench-llava"] == [
        "lensbench-llava", "image-text", "packaged", "packaged:lensbench-llava",
    ]  # fmt: skip
    assert lines["qwen2-vl-2b"][3] == "hub:Qwen/Qwen2-VL-2B-Instruct"
    assert lines["gpt2"][1] == "text"
    narrow = lensbench("models", columns=60).stdout.splitlines()
    assert max(map(columns_of, narrow)) <= 60


def test_help_tells_a_newcomer_what_to_type(lensbench: Callable[..., Done]) -> None:
    for command in ("look", "check", "models"):
        assert command in lensbench("--help").stdout
    told = lensbench("look", "--help", columns=200).stdout
    assert 'lensbench look lensbench-llava --image cats.png --text "How many cats' in told
    for option in ("--image", "--max-new-tokens", "--top", "--lens", "--csv", "--plot", "--json"):
        assert option in told
