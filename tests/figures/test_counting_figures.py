"""The figures of the counting study draw their tables' own numbers, none left out, none made up."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from lensbench.figures import FIGURES, style
from lensbench.figures.language_lead import FIRST, SECOND, segments
from metric_frames import metric_frames

FRAMES = metric_frames(4)


def titled(figure: Figure, title: str) -> object:
    (found,) = [ax for ax in figure.axes if ax.get_title(loc="left").endswith(title)]
    return found


def intervals(ax: object, *, horizontal: bool) -> list[tuple[float, float, float]]:
    """Return (low, value, high) of every dot and the line through it, as `style.dot` draws them."""
    axis = 0 if horizontal else 1
    data = [np.asarray(line.get_data()[axis], dtype=float) for line in ax.lines]
    dots = [(place, d[0]) for place, d in enumerate(data) if len(d) == 1]
    return [(*sorted(data[place - 1])[:1], value, max(data[place - 1])) for place, value in dots]


def of_counting(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of numbers for scenes, of all questions for the other datasets."""
    return table[(table["family"] == "number") == (table["dataset"] == "scenes")]


def test_bars_are_the_shares_and_fill_the_whole_width() -> None:
    figure = FIGURES["language_lead"].draw(FRAMES)
    table = of_counting(FRAMES["language_lead"])
    table = table.query("asked == 'all' and first == 'zh' and second == 'en'")
    runs = style.runs_of(table)
    ax = figure.axes[2]  # the second row: among the first 10
    parts = list(segments({FIRST: "C0", SECOND: "C1"}))
    assert len(ax.patches) == len(parts) * len(runs)
    for place, run in enumerate(runs):
        rows = style.of_run(table[table["arrival"] == "top10"], *run).set_index("metric")["value"]
        bars = ax.patches[place * len(parts) : (place + 1) * len(parts)]
        assert [bar.get_width() for bar in bars] == pytest.approx([rows[part] for part in parts])
        assert bars[0].get_x() == 0
        assert bars[-1].get_x() + bars[-1].get_width() == pytest.approx(1)
    leads = intervals(figure.axes[3], horizontal=True)
    # The right answer, and hollow the floor: a wrong one.
    rows = table.query("arrival in ['top10', 'top10_other'] and metric == 'lead_layers'")
    hollow = [line for line in figure.axes[3].lines if line.get_markerfacecolor() == "white"]
    assert {round(float(line.get_xdata()[0]), 6) for line in hollow} == {-1.1}
    assert sorted(leads) == sorted(zip(rows["low"], rows["value"], rows["high"], strict=True))


def test_chinese_and_english_are_the_colors_they_have_elsewhere() -> None:
    from lensbench.figures.concept_mass import language_colors

    figure = FIGURES["language_lead"].draw(FRAMES)
    colors = language_colors(FRAMES["concept_mass"])
    bars = figure.axes[0].patches
    assert to_hex(bars[0].get_facecolor()) == to_hex(colors["zh"])
    assert to_hex(bars[4].get_facecolor()) == to_hex(colors["en"])


def test_variants_are_sorted_by_side_and_blank_is_joined_to_nothing() -> None:
    figure = FIGURES["by_variant"].draw(FRAMES)
    ax = titled(figure, "accuracy · scenes")
    assert [label.get_text() for label in ax.get_xticklabels()] == ["blank", "56", "224", "native"]
    rows = FRAMES["by_variant"].query("metric == 'accuracy' and family == 'number'")
    drawn = sorted(intervals(ax, horizontal=False))
    assert drawn == sorted(zip(rows["low"], rows["value"], rows["high"], strict=True))
    joined = [line.get_ydata().tolist() for line in ax.lines if len(line.get_xdata()) > 2]
    assert joined == [[0.5, 0.85, 0.9]] * 3


def test_han_has_native_blank_and_the_floors_that_are_there() -> None:
    figure = FIGURES["han_floor"].draw(FRAMES)
    rows = style.of_run(FRAMES["han_floor"], "lensbench-llava", "scenes")
    rows = rows.query("family == 'number' and asked == 'not zh'")
    top5, mass = figure.axes[1], figure.axes[2]
    for ax, metric, n_lines in ((top5, "han_top5", 3), (mass, "han_mass", 4)):
        of_metric = rows[rows["metric"] == metric]
        lines = [np.asarray(line.get_ydata(), dtype=float) for line in ax.lines]
        assert len(lines) == n_lines
        for variant in ("native", "blank"):
            wanted = of_metric[of_metric["variant"] == variant]["value"].to_numpy()
            assert any(np.array_equal(line, wanted) for line in lines), variant
        assert any((line == 0.2).all() for line in lines)
        assert any((line == 0.25).all() for line in lines) == (metric == "han_mass")


def test_what_asks_for_chinese_alone_and_a_dataset_without_families_are_drawn_whole() -> None:
    han = FRAMES["han_floor"].query("asked != 'not zh' and family == 'all'")
    figure = FIGURES["han_floor"].draw({"han_floor": han})
    wanted = style.of_run(han, "lensbench-llava", "scenes").query(
        "asked == 'all' and metric == 'han_top1'"
    )
    lines = [np.asarray(line.get_ydata(), dtype=float) for line in figure.axes[0].lines]
    assert len(lines) == 3
    native = wanted[wanted["variant"] == "native"]["value"].to_numpy()
    assert any(np.array_equal(line, native) for line in lines)
    changed = FRAMES["by_variant"].query("family == 'all'")
    ax = titled(FIGURES["by_variant"].draw({"by_variant": changed}), "accuracy · scenes")
    rows = changed.query("metric == 'accuracy'")
    drawn = sorted(intervals(ax, horizontal=False))
    assert drawn == sorted(zip(rows["low"], rows["value"], rows["high"], strict=True))


def test_kinds_are_drawn_matched_and_as_they_are_with_their_difference() -> None:
    figure = FIGURES["matched_kinds"].draw(FRAMES)
    table = FRAMES["matched_kinds"].query("metric == 'accuracy'")
    difference = titled(figure, "accuracy, complex − simple")
    rows = table[table["kind"] == "difference"]
    drawn = intervals(difference, horizontal=True)
    assert sorted(drawn) == sorted(zip(rows["low"], rows["value"], rows["high"], strict=True))
    dots = [line for line in difference.lines if len(line.get_xdata()) == 1]
    hollow = [line.get_xdata()[0] for line in dots if line.get_markerfacecolor() == "white"]
    assert hollow == [-0.15] * 3
    rows = table[table["kind"] != "difference"]
    drawn = intervals(figure.axes[0], horizontal=True)
    assert sorted(drawn) == sorted(zip(rows["low"], rows["value"], rows["high"], strict=True))


def test_a_run_that_lacks_a_part_is_still_drawn() -> None:
    table = FRAMES["language_lead"]
    some = table[~((table["model"] == "lensbench-llava") & (table["metric"] == "lead_layers"))]
    figure = FIGURES["language_lead"].draw({**FRAMES, "language_lead": some})
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert "lensbench-llava · scenes" in labels
    han = FRAMES["han_floor"]
    alone = han[han["variant"] == "native"]
    figure = FIGURES["han_floor"].draw({**FRAMES, "han_floor": alone})
    assert len(figure.axes[0].lines) == 2
    empty = {"matched_kinds": pd.DataFrame(columns=FRAMES["matched_kinds"].columns)}
    figure = FIGURES["matched_kinds"].draw({**FRAMES, **empty})
    assert "No run has simple and complex" in figure.texts[0].get_text()


@pytest.mark.parametrize(
    "name",
    ["accuracy_by_answer", "han_in_topk", "script_mass", "matched_kinds", "by_variant"],
)
def test_rows_of_one_language_asked_in_are_not_drawn(name: str) -> None:
    one = FRAMES[name].assign(asked="zh", value=0.99, low=0.98, high=1.0)
    both = {**FRAMES, name: pd.concat([one, FRAMES[name]])}
    drawn, alone = (drawn_data(FIGURES[name].draw(frames)) for frames in (both, FRAMES))
    assert drawn == alone


def drawn_data(figure: Figure) -> list[list[float]]:
    """Return the numbers of every line and of every map of cells."""
    lines = [np.ravel(line.get_xydata()).tolist() for ax in figure.axes for line in ax.lines]
    cells = [np.asarray(mesh.get_array()) for ax in figure.axes for mesh in ax.collections
             if mesh.get_array() is not None]  # fmt: skip
    return lines + [np.nan_to_num(np.ma.filled(each, -1.0)).ravel().tolist() for each in cells]
