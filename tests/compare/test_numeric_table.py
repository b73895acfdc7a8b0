"""What numerics writes, what the paper's table and prose make of it: planted numbers come out."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest
from tests.compare.planted import change, shard, two
from tests.metric_frames import NUMERICS, metric_frames

from lensbench.compare.measures import Found
from lensbench.compare.numeric_table import COLUMNS, joined, not_measured, rows_of, write
from lensbench.compare.report import compare
from lensbench.compare.tolerances import TOLERANCES, ULP, markdown, tolerance_of
from lensbench.config import ROOT
from lensbench.errors import DataError
from lensbench.numeric_prose import numeric_prose
from lensbench.tables import make_table


def test_an_ulp_is_the_spacing_of_numbers_below_64() -> None:
    import torch

    for name, ulp in ULP.items():
        x = torch.tensor(40.0, dtype=getattr(torch, name))
        above = torch.nextafter(x, torch.tensor(64.0, dtype=x.dtype))
        assert float(above - x) == ulp, name


def test_every_class_says_why_and_is_wider_than_the_one_before() -> None:
    assert list(TOLERANCES) == ["same", "threads", "batch", "cpu", "device", "dtype"]
    nats = [spec.nats for spec in TOLERANCES.values()]
    assert nats == sorted(nats)
    assert nats[0] == 0
    assert all(spec.why.endswith(".") for spec in TOLERANCES.values())
    assert [name for name, spec in TOLERANCES.items() if not spec.measured] == ["device"]
    assert TOLERANCES["cpu"].nats == pytest.approx(64 * 3.8147e-6, rel=1e-4)
    # In half precision nothing but bit by bit the same is held to more than half precision.
    assert tolerance_of("batch", "bfloat16") is TOLERANCES["dtype"]
    assert tolerance_of("same", "bfloat16") is TOLERANCES["same"]
    assert tolerance_of("batch", "float32") is TOLERANCES["batch"]


def test_the_page_on_numbers_holds_the_table_of_tolerances() -> None:
    page = (ROOT / "docs/numbers.md").read_text(encoding="utf-8")
    between = page.partition("<!-- tolerances -->\n\n")[2].partition("\n<!-- /tolerances -->")[0]
    assert between == markdown()


def test_one_change_of_few_is_allowed_and_none_where_none_is_promised() -> None:
    batch, same = TOLERANCES["batch"], TOLERANCES["same"]
    assert batch.allows("top1", Found(1 / 200, 200))
    assert not batch.allows("top1", Found(2 / 200, 200))
    assert batch.allows("top1", Found(4 / 4000, 4000))
    assert not batch.allows("top1", Found(5 / 4000, 4000))
    assert not same.allows("top1", Found(1 / 4000, 4000))
    assert not batch.allows("unexplained", Found(1.0, 1))
    assert batch.allows("unexplained", Found(math.nan, 0))
    assert not batch.allows("top_logprob", Found(math.inf, 5))
    assert not same.allows("entropy", Found(1e-12, 5))


def test_rows_of_a_condition_are_what_was_found_with_what_is_allowed(tmp_path: Path) -> None:
    a, b, _ = two(tmp_path)

    def moved(frame: pd.DataFrame) -> None:
        frame.loc[40, "entropy_nats"] += 0.25

    change(shard(b) / "trajectory.parquet", moved)
    (run,) = compare(a, b).runs
    frame = rows_of(run, "cpu", "default instead of AVX2", TOLERANCES["cpu"])
    assert list(frame.columns) == COLUMNS
    rows = frame.set_index("measure")
    assert rows.loc["entropy", "value"] == pytest.approx(0.25, rel=1e-5)
    assert rows.loc["entropy", "limit"] == pytest.approx(128 * 3.8147e-6, rel=1e-4)
    assert rows.loc["entropy", "within"] == 0
    assert rows.loc["kl", "within"] == 1
    assert rows.loc["identical_files", ["value", "n", "within"]].tolist() == [0.8, 5, 1]
    # The same rows held to the class that promises the same bits.
    strict = rows_of(run, "same", "", TOLERANCES["same"]).set_index("measure")
    assert strict.loc["identical_files", "within"] == 0
    write(tmp_path / "x.parquet", [frame, not_measured("m", "d", "device", "there was none")])
    back = joined([tmp_path / "x.parquet"])
    assert len(back) == len(frame) + 1
    assert back["n"].iloc[-1] == 0
    assert joined([]).columns.tolist() == COLUMNS
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"x\.parquet is damaged or out of date"):
        joined([tmp_path / "x.parquet"])


def test_the_table_has_a_line_a_condition_and_none_for_what_was_not_measured(
    tmp_path: Path,
) -> None:
    frames = metric_frames(2)
    csv, tex = make_table("numerics", frames, tmp_path / "t")
    built = pd.read_csv(csv)
    of_one = built[built["model"] == "lensbench-llava"]
    assert of_one["condition"].tolist() == ["same", "threads", "batch", "device", "dtype"]
    assert of_one["n_samples"].tolist() == [24, 24, 24, 0, 24]
    assert of_one["top_logprob"].tolist()[1] == NUMERICS["threads"][1]
    text = tex.read_text(encoding="utf-8")
    assert "CUDA" not in text
    line = next(line for line in text.splitlines() if "bfloat16 instead" in line)
    assert "3.1\\,\\% {\\footnotesize of 744}" in line
    assert "8.3\\,\\% {\\footnotesize of 24} {\\footnotesize($\\leq$\\,3)}" in line
    assert line.endswith("& yes \\\\")


def test_prose_adds_up_all_models_and_says_what_was_not_measured() -> None:
    told = numeric_prose(metric_frames(3)["numerics"])
    by_name = {it["name"]: it for it in told["conditions"]}
    assert list(by_name) == ["same", "threads", "batch", "dtype"]
    assert by_name["same"]["identical"]
    half = by_name["dtype"]
    # Three models: 3 × 23 of 3 × 744, 3 × 2 of 3 × 24.
    assert (half["top1"], half["n_top1"]) == ("3.1\\,\\%", "2\\,232")
    assert (half["layers"], half["n_layers"], half["by"]) == ("8.3\\,\\%", 72, 3)
    assert half["largest"] == "0.87"
    assert by_name["threads"]["largest"] == "$1.9\\cdot10^{-5}$"
    assert told["missing"] == [
        {
            "condition": "CPU and CUDA, both in float32",
            "reason": "no CUDA device was there",
            "models": 3,
        }
    ]
    assert (told["models"], told["samples"], told["outside"]) == (3, 72, [])


def test_prose_names_who_exceeds_what_is_promised() -> None:
    table = metric_frames(2)["numerics"]
    mask = (table["model"] == "smollm2-135m") & (table["condition"] == "batch")
    table.loc[mask & (table["measure"] == "top1"), "within"] = 0
    assert numeric_prose(table)["outside"] == [("smollm2-135m", "batch size")]


def test_nothing_read_again_is_said_and_no_number_made_up() -> None:
    told = numeric_prose(pd.DataFrame(columns=COLUMNS))
    assert (told["conditions"], told["missing"], told["models"]) == ([], [], 0)
