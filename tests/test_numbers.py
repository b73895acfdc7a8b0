from __future__ import annotations

import re
from pathlib import Path

import pytest

from lensbench.config import ROOT, read_yaml
from lensbench.errors import LensbenchError
from lensbench.figures.style import runs_of
from lensbench.numbers import write_numbers
from lensbench.paper import PARTS, write_parts
from metric_frames import metric_frames, write_metric_frames

FRAMES = metric_frames(4)


def keys(path: Path) -> dict[str, str]:
    text = path.read_text(encoding="utf-8")
    return dict(re.findall(r"^\\lb@set\{(.*?)\}\{(.*)\}$", text, re.MULTILINE))


@pytest.fixture
def numbers(tmp_path: Path) -> dict[str, str]:
    return keys(write_numbers(FRAMES, tmp_path / "n.tex", {"seed": 17, "note": "50 % & a_b"}))


def test_every_row_of_the_summary_has_its_macros(numbers: dict[str, str]) -> None:
    for row in FRAMES["summary"].to_dict("records"):
        key = f"{row['model']}/{row['dataset']}/{row['metric']}"
        for kind in ("num", "pct", "ci", "pctci", "low", "high", "n"):
            assert f"{kind}/{key}" in numbers
    for row in FRAMES["gates"].to_dict("records"):
        assert numbers[f"gate/{row['model']}/{row['check']}"]
    for row in FRAMES["models"].to_dict("records"):
        assert numbers[f"model/{row['model']}/architecture"] == row["architecture"]


def test_numbers_are_printed_with_few_digits(numbers: dict[str, str]) -> None:
    run = "lensbench-llava/scenes"
    assert numbers[f"num/{run}/accuracy"] == "0.93"
    assert numbers[f"pct/{run}/accuracy"] == "93.0\\,\\%"
    assert numbers[f"ci/{run}/accuracy"] == "0.93 [0.84, 1.02]"
    assert numbers[f"n/{run}/accuracy"] == "100"
    assert numbers[f"num/{run}/last_block_change"] == "0.012"
    assert numbers[f"num/{run}/n_rejected"] == "0"
    assert numbers["model/lensbench-llava/n_parameters"] == "2\\,200\\,000"
    assert numbers["gate/smollm2-135m/readout_equals_logits"] == "$3.1\\cdot10^{-6}$"
    assert numbers[f"num/{run}/heads:heads"] == "32"


def test_counts_and_extras(numbers: dict[str, str]) -> None:
    assert (numbers["count/models"], numbers["count/runs"]) == ("4", "10")
    assert numbers["count/gatespassed"] == numbers["count/gates"] == "8"
    assert numbers["extra/seed"] == "17"
    assert numbers["extra/note"] == "50 \\% \\& a\\_b"


def test_the_file_is_the_same_from_csv_and_frames(tmp_path: Path) -> None:
    write_metric_frames(tmp_path / "metrics", FRAMES)
    one = write_numbers(tmp_path / "metrics", tmp_path / "a.tex")
    two = write_numbers(FRAMES, tmp_path / "b.tex")
    assert one.read_bytes() == two.read_bytes()


def test_a_name_tex_cannot_hold_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    frames = {name: frame.replace("lensbench-llava", "a}b") for name, frame in FRAMES.items()}
    with pytest.raises(LensbenchError, match="can't be a key"):
        write_numbers(frames, tmp_path / "n.tex")
    assert list(tmp_path.iterdir()) == []


def parts_of(folder: Path, **extraction: object) -> dict[str, str]:
    """Return the paper's generated parts for the runs of FRAMES, with other settings."""
    config = read_yaml(ROOT / "config/config.yaml")
    config["extraction"] |= extraction
    write_metric_frames(folder / "metrics", FRAMES)
    write_parts(folder / "parts", folder / "metrics", runs_of(FRAMES["summary"]), config)
    return {part: (folder / "parts" / f"{part}.tex").read_text("utf-8") for part in PARTS}


@pytest.mark.parametrize("lenses", [["raw", "attention", "mlp"], ["raw"], []])
def test_every_number_that_the_paper_s_parts_ask_for_is_there(
    tmp_path: Path, numbers: dict[str, str], lenses: list[str]
) -> None:
    parts = parts_of(tmp_path, lenses=lenses)
    text = "\n".join(parts.values())
    asked = re.findall(r"\\lb(num|pct|ci|pctci|low|high|n)\{(.+?)\}\{(.+?)\}\{(.+?)\}", text)
    asked += re.findall(r"\\lb(model)\{(.+?)\}\{(.+?)\}", text)
    asked += re.findall(r"\\lb(count)\{(.+?)\}", text)
    assert len(asked) > 50
    for kind, *key in asked:
        assert "/".join([kind, *key]) in numbers, key
    # Both lenses are shown on one text model and one model with pictures.
    of_lenses = {tuple(key) for _, *key in asked if re.match("raw_|attention_|mlp_", key[-1])}
    wanted = ["raw_convergence_layer", "raw_last_layer_agreement"] if "raw" in lenses else []
    wanted += ["attention_blocks_on_final", "mlp_blocks_on_final"] if "mlp" in lenses else []
    runs = [("smollm2-135m", "facts"), ("lensbench-llava", "fills")]
    assert of_lenses == {(*run, metric) for run in runs for metric in wanted}


def test_data_are_told_as_they_were_taken(tmp_path: Path) -> None:
    assert "TallyQA~" in parts_of(tmp_path)["data"]  # Whose records the scenes' ones follow.
    assert "tab:sources" not in parts_of(tmp_path)["data"]
    config = read_yaml(ROOT / "config/config.yaml")
    runs = [("m", "tallyqa"), ("m", "oxford_flowers"), ("m", "own")]

    def data(**tallyqa: object) -> str:
        config["datasets"]["tallyqa"] |= {"n": 5000, **tallyqa}
        write_parts(tmp_path / "parts", tmp_path / "metrics", runs, config)
        return (tmp_path / "parts/data.tex").read_text("utf-8")

    text = data(subset="published")
    assert "used them as indices into the whole test file" in text
    assert r"$5\,000$" not in text
    assert r"at most 5\,000 questions" in text
    text = data(subset="selected", kind="simple", answers=[0, 5], balanced=True)
    assert "the simple questions with answers\nfrom 0 to 5" in text
    assert "every answer equally often" in text
    for file in ("tallyqa.zip", "images2.zip", "102flowers.tgz"):
        assert rf"\texttt{{{file}}}" in text
    assert "9\\,731\\,705\\,982" in text
    assert "3b4324bcecdb" in text
    assert "train2014" not in text
    assert "train2014.zip" in data(split="train", kind="all")
    for absent in ("Scenes", "Fills", "Facts", "TensorFlow"):
        assert absent not in text


def test_a_raw_main_lens_is_not_held_against_a_normed_one_that_is_not_there(tmp_path: Path) -> None:
    parts = parts_of(tmp_path, lens="raw")
    assert "raw_" not in parts["results"]
    assert "In this run the lens is raw" in parts["settings"]
