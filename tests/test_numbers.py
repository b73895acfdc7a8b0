from __future__ import annotations

import re
from pathlib import Path

import pytest

from lensbench.errors import LensbenchError
from lensbench.numbers import write_numbers
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
