"""Figures of patches: what is drawn is what the tables hold."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.colors import to_hex

from lensbench.figures import FIGURES, style
from lensbench.figures.patch_best_layer import grouped
from lensbench.figures.patch_maps import BLANK, NAMES, OTHER, kind_of, outline, pictures_of
from metric_frames import metric_frames

TWO, TWICE = metric_frames(2), metric_frames(3)


def best(**columns: object) -> pd.DataFrame:
    """Return a run of four patches in a row, as the table has them."""
    frame = {
        "model": "m", "dataset": "d", "sample_id": "s", "view": 0, "row": 0, "col": range(4),
        "patch": range(4), "best_layer": [0, 8, 8, 3], "n_layers": 8, "probability": 0.5,
        "text": ["$a$", "", "\t", "<b>"], "script": "Latin", "blank": [0, 1, 1, 0],
        "region": ["outside", "border", "border", "inside"], "names_object": [0.0, 0.0, 0.0, 1.0],
        **columns,
    }  # fmt: skip
    return pd.DataFrame(frame)


def summary(share: float = 0.5) -> pd.DataFrame:
    return pd.DataFrame(
        {"model": "m", "dataset": "d", "view_name": "all", "metric": ["share_last_third"],
         "value": [share]}
    )  # fmt: skip


def test_bars_are_the_shares_of_patches_and_blanks_are_told_apart() -> None:
    frames = {"patch_best": best(), "patch_summary": summary()}
    ax = FIGURES["patch_best_layer"].draw(frames).axes[0]
    color = to_hex(style.palette(frames)["m"])
    heights: dict[tuple[int, bool], float] = {}
    for bar in ax.patches:
        if bar.get_height() > 0 and bar.get_width() < 1:
            key = (round(bar.get_x() + bar.get_width() / 2), to_hex(bar.get_facecolor()) == color)
            heights[key] = heights.get(key, 0) + bar.get_height()
    assert heights == {(0, True): 0.25, (3, True): 0.25, (8, False): 0.5}
    assert "4 patches\n50 % in the last third" in [text.get_text() for text in ax.texts]
    assert all(tick <= 1 for tick in ax.get_yticks())


def test_of_a_picture_seen_twice_the_overview_is_drawn() -> None:
    late = pd.concat([summary(0.9), summary(0.25).assign(view_name="overview"),
                      summary(0.95).assign(view_name="tiles")])  # fmt: skip
    tiles = best(view=1, best_layer=8, patch=range(4, 8))
    frames = {"patch_best": pd.concat([best(), tiles]), "patch_summary": late}
    ax = FIGURES["patch_best_layer"].draw(frames).axes[0]
    assert "4 patches\n25 % in the last third" in [text.get_text() for text in ax.texts]
    figure = FIGURES["patch_regions"].draw(TWICE)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    ax = figure.axes[titles.index("lensbench-onevision · scenes")]
    rows = style.of_run(TWICE["patch_by_region"], "lensbench-onevision", "scenes")
    points = {line.get_ydata()[0] for line in ax.lines if len(line.get_xdata()) == 1}
    assert points == set(rows.loc[rows["view_name"] == "overview", "value"])


def test_lenses_that_stand_alone_share_a_row() -> None:
    runs = [("x", "a"), ("m", "b"), ("n", "b"), ("x", "c")]
    assert grouped(runs) == ([("m", "b"), ("n", "b"), ("x", "a"), ("x", "c")], [2, 2])
    assert grouped([("m", "b")]) == ([("m", "b")], [1])


def test_points_and_bars_are_the_tables_own_numbers() -> None:
    figure = FIGURES["patch_regions"].draw(TWO)
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    ax = figure.axes[titles.index("lensbench-llava · scenes")]
    rows = style.of_run(TWO["patch_by_region"], "lensbench-llava", "scenes")
    points = {line.get_ydata()[0] for line in ax.lines if len(line.get_xdata()) == 1}
    assert points == set(rows["value"])
    spans = {tuple(line.get_ydata()) for line in ax.lines if len(line.get_xdata()) == 2}
    assert spans == set(zip(rows["low"], rows["high"], strict=True))
    assert [label.get_text() for label in ax.get_xticklabels()] == [
        "inside\n6", "border\n6", "outside\n6",
    ]  # fmt: skip


def test_maps_are_shaped_like_the_picture() -> None:
    frames = {"patch_best": best(row=[0, 0, 1, 1], col=[0, 1, 0, 1])}
    left, right = FIGURES["patch_maps"].draw(frames).axes[:2]
    depth = np.asarray(left.collections[0].get_array()).reshape(2, 2)
    np.testing.assert_array_equal(depth, [[0, 1], [1, 3 / 8]])
    mesh = right.collections[0]
    mesh.update_scalarmappable()
    colors = [to_hex(color) for color in mesh.get_facecolors().reshape(-1, 4)]
    assert colors == [OTHER, BLANK, BLANK, NAMES]
    assert left.get_ylim() == (2, 0)
    assert left.get_aspect() == 1


def test_a_blank_patch_is_blank_whatever_it_names() -> None:
    rows = best(names_object=[np.nan, 1.0, np.nan, np.nan])
    assert kind_of(rows).tolist() == [0, 2, 2, 0]


def test_the_outline_runs_between_touched_and_untouched_cells() -> None:
    edges = {tuple(map(tuple, edge)) for edge in outline(np.array([[True, False]]))}
    assert edges == {
        ((0, 0), (0, 1)), ((1, 0), (1, 1)), ((0, 0), (1, 0)), ((0, 1), (1, 1)),
    }  # fmt: skip


def test_the_first_view_of_the_first_pictures_is_drawn() -> None:
    many = pd.concat(
        [best(sample_id=f"s{n}", view=view) for n in (3, 1, 2, 0) for view in (0, 1, -1)]
    )
    found = pictures_of(many)
    assert [sample for _, _, sample, _ in found] == ["s0", "s1", "s2"]
    assert all((rows["view"] == 0).all() and len(rows) == 4 for *_, rows in found)
    runs = pd.concat([many.assign(model=f"m{n}") for n in range(8)])
    assert len(pictures_of(runs)) == 8


def test_without_patches_a_sentence_says_so() -> None:
    empty = {name: frame.iloc[:0] for name, frame in TWO.items()}
    for name in ("patch_best_layer", "patch_regions", "patch_maps"):
        (text,) = FIGURES[name].draw(empty).texts
        assert "No run has close-ups" in text.get_text()
