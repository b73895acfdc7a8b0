"""Published heads beside ours, on tables of a few heads."""

from __future__ import annotations

import pandas as pd
import pytest

from lensbench.figures.frames import published
from lensbench.published_heads import head_differences, kinds_beside, verdict

THEIRS = pd.DataFrame(
    {"model": "m", "dataset": "d", "layer": [1, 1, 2], "head": [0, 1, 0],
     "image_mass": [0.1, 0.9, 0.5]}
)  # fmt: skip


def ours(model: str, n_layers: int) -> pd.DataFrame:
    rows = [(model, "d", layer, head, 0.3 * layer + 0.05 * head) for layer in range(1, n_layers + 1)
            for head in (1, 0)]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["model", "dataset", "layer", "head", "image_mass"])
    return frame.assign(low=frame["image_mass"] - 0.1, high=frame["image_mass"] + 0.1, n=7)


def test_differences_are_of_the_same_head_of_the_same_model() -> None:
    found = head_differences(THEIRS, pd.concat([ours("m", 3), ours("other", 3)]))
    assert found[["layer", "head"]].to_numpy().tolist() == [[1, 0], [1, 1], [2, 0]]
    assert found["difference"].tolist() == pytest.approx([0.2, 0.35 - 0.9, 0.1])
    assert set(found["model"]) == {"m"}
    assert head_differences(THEIRS, ours("other", 3)).empty


def test_kinds_are_counted_down_to_the_published_depth() -> None:
    # Two of four blocks are published: of eight blocks four, of one block one.
    table = kinds_beside(THEIRS, 4, pd.concat([ours("deep", 8), ours("flat", 1)]))
    assert table["blocks"].tolist() == ["1–2 (the first 3 heads)", "1–4", "1–1"]
    assert table["n_heads"].tolist() == [3, 8, 2]
    counts = table[["image", "mixed", "text"]].to_numpy().tolist()
    assert counts == [[1, 1, 1], [4, 4, 0], [0, 2, 0]]
    assert table["mean_image_mass"].iloc[0] == pytest.approx(0.5)


def test_the_packaged_table_is_of_32_heads_in_three_blocks() -> None:
    row = kinds_beside(published("heads"), 24, ours("deep", 8)).iloc[0]
    assert (row["blocks"], row["n_heads"]) == ("1–3 (the first 32 heads)", 32)
    assert row["image"] + row["mixed"] + row["text"] == 32


@pytest.mark.parametrize(
    ("low", "high", "p", "floor", "says"),
    [
        (-3, -1, 0.02, 0.02, "costs the answer more than random heads of the same blocks; "),
        (0.1, 0.4, 0.04, 0.02, "costs the answer less than random heads of the same blocks; "),
        # One of the two alone tells nothing apart.
        (0.1, 0.4, 0.19, 0.02, "is told from the mean of random heads of the same blocks by the"),
        (-3, 0.1, 0.02, 0.02, "random heads of the same blocks by p, not by the interval; "),
        (-3, 0.0, 0.5, 0.02, "group can't be told from random heads of the same blocks; "),
        # With twenty groups p ends at 2/21.
        (
            -3,
            -1,
            2 / 21,
            2 / 21,
            "more than any group of random heads of the same blocks does, but ",
        ),
        (-3, -1, 4 / 21, 2 / 21, "by the interval, not by p; "),
    ],
)
def test_the_verdict_wants_interval_and_p(
    low: float, high: float, p: float, floor: float, says: str
) -> None:
    row = {"low": low, "high": high, "p": p, "p_floor": floor, "p_holm": p, "holm_runs": 1}
    assert says in verdict(row, {"low": -1, "high": 1})


def test_the_verdict_names_every_comparison() -> None:
    row = {"low": -3, "high": -1, "p": 0.01, "p_floor": 0.01, "p_holm": 0.03, "holm_runs": 3}
    said = verdict(row, {"low": 0.5, "high": 2})
    assert said == (
        "the image group costs the answer more than random heads of the same blocks; "
        "it costs the answer less than the heads that look least"
    )
    assert verdict(row, {"low": -1, "high": 2}).endswith(
        "; it can't be told by the interval from the heads that look least"
    )
    # Six runs: Holm's p is no smaller than 6 · 0.01.
    many = verdict({**row, "p_holm": 0.06, "holm_runs": 6}, {"low": 0.5, "high": 2})
    assert "does, but so few groups for so many runs allow no corrected p below 0.06; " in many
