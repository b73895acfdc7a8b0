"""What the notebook on patches says: its sentences follow from the tables."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from lensbench.figures.frames import published
from lensbench.patch_prose import (
    NAMES,
    TABLES,
    border_sentences,
    compared,
    late_sentences,
    localised,
    tables_of,
    told,
)

#: By the study's rule, which counts layer 0 too, and from layer 1 on.
STUDYS = {"best_layer_with_layer_0": 28.0833333, "n_last_third_with_layer_0": 525,
          "n_empty_with_layer_0": 140, "n_blank_with_layer_0": 145}  # fmt: skip
SWEATER = {"best_layer": 28.5, "n_patches": 576, "n_last_third": 526, "n_empty": 139,
           "n_blank": 144, "share_last_third": 0.911, "share_blank": 0.252, **STUDYS}  # fmt: skip


def summary(
    model: str, dataset: str, over: str, view: str = "all", **values: float
) -> pd.DataFrame:
    table = pd.DataFrame(
        [(model, dataset, metric, value, value - 0.1, value + 0.1, 24, over)
         for metric, value in values.items()],
        columns=["model", "dataset", "metric", "value", "low", "high", "n", "over"],
    )  # fmt: skip
    return table.assign(view_name=view)


def regions(inside: tuple, border: tuple, gap: tuple | None) -> pd.DataFrame:
    # Of all pictures, which are others than those that the difference is of.
    rows = [("inside", 0.9, 0.8, 1, 9, 12), ("border", 0.9, 0.8, 1, 24, 1700)]
    if gap is not None:
        rows += [("inside_paired", *inside, 6, 8), ("border_paired", *border, 6, 1537)]
        rows.append(("border_minus_inside", *gap, 6, 1545))
    table = pd.DataFrame(rows, columns=["region", "value", "low", "high", "n", "n_patches"])
    return table.assign(model="m", dataset="scenes", metric="names_object", view_name="all")


def test_ours_stand_beside_the_published_with_their_difference() -> None:
    table = pd.concat([
        summary("llava-1.5-7b", "sweater", "patches", **SWEATER),
        summary("llava-1.5-7b", "other", "patches", **{**SWEATER, "best_layer_with_layer_0": 3.0}),
        summary("m", "scenes", "samples", **SWEATER),
        summary("m", "alone", "patches", **SWEATER),  # a close-up of one picture, no import
    ])  # fmt: skip
    found = compared(table, published("patch_lens"), ["m"])
    assert len(found) == 2 * len(NAMES)
    sweater = found[found["lens"] == "llava-1.5-7b · sweater"]
    assert sweater["published"].tolist() == [28.083, 576, 525, 140, 145]
    assert sweater["difference"].tolist() == pytest.approx([0] * 5)
    assert sweater["ours, from layer 1 on"].tolist() == [28.5, 576, 526, 139, 144]
    text = told(sweater)
    assert text["ours"].tolist() == ["28.083", "576", "525", "140", "145"]
    assert text["difference"].tolist() == ["0"] * 5
    assert set(told(found[found["lens"] != "llava-1.5-7b · sweater"])["published"]) == {"–"}
    other = found[found["lens"] == "llava-1.5-7b · other"]
    assert other["published"].isna().all()
    assert other["ours"].tolist() == [3.0, 576, 525, 140, 145]
    off = compared(
        summary("llava-1.5-7b", "sweater", "patches", **{**SWEATER, "n_blank_with_layer_0": 147}),
        published("patch_lens"), ["m", "llava-1.5-7b"],
    )  # fmt: skip
    assert off["difference"].tolist() == pytest.approx([0, 0, 0, 0, 2])
    assert compared(table.iloc[:0], published("patch_lens"), []).empty
    # What was run here is no import, unless its numbers are the published ones.
    both = compared(table, published("patch_lens"), ["m", "llava-1.5-7b"])
    assert set(both["lens"]) == {"llava-1.5-7b · sweater"}


def test_shares_are_said_with_their_intervals_and_what_was_drawn() -> None:
    text = late_sentences(summary("m", "scenes", "samples", **SWEATER))
    assert "`m` on `scenes`: 91.1 % [81.1, 101.1] of 576 patches" in text
    assert "25.2 % [15.2, 35.2] are blank there (intervals over 24 pictures)" in text
    text = late_sentences(summary("m", "a\u202eb", "samples", **SWEATER).assign(n=1))
    assert "(intervals over 1 picture)" in text
    assert "\u202e" not in text


def test_both_views_are_said_and_not_what_is_pooled() -> None:
    values = {"n_patches": 600, "share_blank": 0.3}
    table = pd.concat([
        summary("m", "scenes", "samples", view, share_last_third=share, **values)
        for view, share in (("all", 0.5), ("overview", 0.2), ("tiles", 0.6))
    ])  # fmt: skip
    first, second = late_sentences(table).splitlines()
    assert first.startswith("- `m` on `scenes`, `overview`: 20.0 % [10.0, 30.0] of 600 patches")
    assert second.startswith("- `m` on `scenes`, `tiles`: 60.0 %")
    one = regions((0.2, 0.1, 0.3), (0.5, 0.4, 0.6), (0.3, 0.1, 0.5))
    table = pd.concat([one, one.assign(view_name="overview"), one.assign(view_name="tiles")])
    lines = border_sentences(table).splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "- `m` on `scenes`, `overview`, over the 6 pictures that have both",
        "- `m` on `scenes`, `tiles`, over the 6 pictures that have both",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("inside", "border", "gap", "says"),
    [
        ((0.2, 0.1, 0.3), (0.5, 0.4, 0.6), (0.3, 0.1, 0.5), "the border names the object more"),
        ((0.6, 0.5, 0.7), (0.5, 0.4, 0.6), (-0.1, -0.2, -0.01), "the inside names the object"),
        ((0.5, 0.1, 0.9), (0.5, 0.4, 0.6), (0, -0.5, 0.5), "can't be told"),
        # None of eight patches names it: the bootstrap has no spread to find there.
        ((0, 0, 0.4), (0.01, 0.002, 0.02), (0.01, 0.002, 0.02), "all patches inside are alike"),
        ((0.2, 0.1, 0.3), (1, 0.6, 1), (0.8, 0.7, 0.9), "all patches on the border are alike"),
    ],
)
def test_what_is_said_of_the_border_follows_from_its_interval(
    inside: tuple, border: tuple, gap: tuple, says: str
) -> None:
    text = border_sentences(regions(inside, border, gap))
    assert says in text
    said = [f"{100 * each:+.1f}" for each in gap]
    assert "over the 6 pictures that have both: " in text
    assert f"{said[0]} points, from {said[1]} to {said[2]}: " in text
    assert "of 1,537 patches on the border" in text


def test_one_picture_has_no_interval() -> None:
    table = regions((0.5, 0.5, 0.5), (0.4, 0.4, 0.4), (-0.1, -0.1, -0.1)).assign(n=1)
    text = border_sentences(table)
    assert "over the one picture that has both: " in text
    assert text.endswith(": one picture, so no interval.")
    assert "alike" not in text


def test_a_small_share_is_not_said_to_be_none() -> None:
    text = border_sentences(regions((0.2, 0.1, 0.3), (3e-4, 2e-4, 0.006), (-0.2, -0.3, -0.1)))
    assert "0.03 % [0.02, 0.60] of 1,537 patches on the border" in text


def test_without_an_inside_nothing_is_compared() -> None:
    table = regions((0, 0, 0), (0.5, 0.4, 0.6), None)
    text = border_sentences(table[table["region"] != "inside"])
    assert text == "- `m` on `scenes`: no patch lies inside, so nothing can be compared."
    assert border_sentences(table.iloc[:0]) == ""
    assert border_sentences(table) == (
        "- `m` on `scenes`: no picture has both, so nothing can be compared."
    )


def test_tables_that_are_not_there_are_empty(tmp_path: Path) -> None:
    summary("m", "d", "samples", best_layer=3).to_csv(tmp_path / "patch_summary.csv", index=False)
    found = tables_of(tmp_path)
    assert set(found) == set(TABLES)
    assert found["patch_summary"]["value"].tolist() == [3]
    assert all(found[name].empty for name in TABLES if name != "patch_summary")


def test_names_are_never_markup() -> None:
    table = regions((0.2, 0.1, 0.3), (0.5, 0.4, 0.6), (0.3, 0.1, 0.5))
    text = border_sentences(table.assign(model="<img src=x>", dataset="a*b`c"))
    assert text.startswith(
        "- `<img src=x>` on `` a*b`c ``, over the 6 pictures that have both: 50.0 %"
    )


def test_localisation_is_told_at_the_ends_and_in_the_middle() -> None:
    table = pd.DataFrame(
        [("m", "d", "color", "auc", layer, layer / 4, layer / 10, 0.0, 1.0, 7)
         for layer in (3, 0, 4, 1, 2)],
        columns=["model", "dataset", "of", "metric", "layer", "depth", "value", "low", "high", "n"],
    )  # fmt: skip
    (row,) = localised(table).itertuples(index=False)
    assert tuple(row) == (
        "m", "d", "color", "auc", "0.00 (0.00 to 1.00, n = 7)", "0.20 (0.00 to 1.00, n = 7)",
        "0.40 (0.00 to 1.00, n = 7)",
    )  # fmt: skip
    assert localised(table.iloc[:0]).empty
