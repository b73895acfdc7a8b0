from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from PIL import Image

from lensbench.errors import DataError, LensbenchError
from lensbench.figures import (
    FIGURES,
    RUN_FIGURES,
    layout,
    make_figure,
    make_run_figure,
    style,
)
from lensbench.figures.convergence import depths
from lensbench.figures.fonts import printable
from lensbench.figures.frames import NUMBERS, published, read_table
from metric_frames import metric_frames, write_metric_frames

FRAMES = metric_frames(4)
TWO = metric_frames(2)
EIGHT = metric_frames(8)
WITH_PUBLISHED = ("accuracy_by_layer", "accuracy_by_answer", "han_in_topk", "final_rank", "heads")


def draw(name: str, frames: dict[str, pd.DataFrame]) -> Figure:
    return FIGURES[name].draw({**frames, "published": published(name)})


@cache
def drawn(name: str) -> Figure:
    """Return a figure of four models, drawn once for all tests that only look at it."""
    return draw(name, FRAMES)


@cache
def drawn_eight(name: str) -> Figure:
    return draw(name, EIGHT)


def panel(figure: Figure, title: str) -> object:
    found = [ax for ax in figure.axes if title in (ax.get_title(loc="left"), ax.get_title())]
    assert len(found) == 1, [ax.get_title(loc="left") for ax in figure.axes]
    return found[0]


def texts(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(lambda a: hasattr(a, "get_text")))


def cells(ax: object) -> np.ndarray:
    mesh = ax.collections[0]
    array = np.ma.filled(mesh.get_array().astype(float), np.nan)
    return array.reshape(mesh.get_coordinates().shape[0] - 1, -1)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    (folder / "images").mkdir()
    rows = []
    for place in range(6):
        Image.new("RGB", (48, 48), (250, 20 * place, 0)).save(folder / f"images/{place}.png")
        rows.append({
            "sample_id": f"scenes-{place:05d}", "image": f"images/{place}.png",
            "prompt": "How many? 用一个词回答", "gold": f"number:{place}",
        })  # fmt: skip
    pd.DataFrame(rows).to_parquet(folder / "manifest.parquet")
    return folder


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_saved_at_paper_width_and_is_not_blank(name: str, tmp_path: Path) -> None:
    pdf, png = make_figure(name, TWO, tmp_path / "a.b")
    assert (pdf.name, png.name) == ("a.b.pdf", "a.b.png")
    picture = np.asarray(Image.open(png).convert("L"))
    assert picture.shape[1] == round(style.TEXT_WIDTH * 200)
    assert (picture < 128).sum() > 200
    # Nothing is cut: the picture's border is white.
    border = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    assert (border > 250).all()


def test_eight_models_are_all_in_every_figure() -> None:
    frames = EIGHT
    names = set(frames["models"]["model"]) - {"smollm2-135m"}
    # Scripts are asked about below; few models see a picture twice.
    for name in set(FIGURES) - {"script_mass", "head_views"}:
        shown = texts(drawn_eight(name))
        assert all(model in shown for model in names), name
    shown = texts(drawn_eight("script_mass"))
    assert all(f"{model} · scenes" in shown for model in names)


@pytest.mark.parametrize("name", ["accuracy_by_layer", "heads", "convergence"])
def test_the_same_tables_give_the_same_bytes(name: str, tmp_path: Path) -> None:
    first = make_figure(name, TWO, tmp_path / "a")
    second = make_figure(name, metric_frames(2), tmp_path / "b")
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
    assert b"CreationDate" not in first[0].read_bytes()


def test_a_line_and_its_band_are_the_tables_own_numbers() -> None:
    figure = drawn("accuracy_by_layer")
    ax = panel(figure, "scenes")
    table = FRAMES["by_layer"].query("metric == 'accuracy' and dataset == 'scenes'")
    models = sorted(table["model"].unique())
    assert len(ax.lines) == len(models) == 3
    for line, model in zip(ax.lines, models, strict=True):
        rows = table[table["model"] == model]
        np.testing.assert_array_equal(line.get_xdata(), rows["layer"])
        np.testing.assert_array_equal(line.get_ydata(), rows["value"])
        band = next(
            band for band in ax.collections
            if isinstance(band, PolyCollection)
            and np.allclose(band.get_facecolor()[0][:3], _rgb(line.get_color()))
        )  # fmt: skip
        path = band.get_paths()[0].vertices
        for layer, low, high in zip(rows["layer"], rows["low"], rows["high"], strict=True):
            ys = path[path[:, 0] == layer][:, 1]
            assert (ys.min(), ys.max()) == (low, high)


def _rgb(color: object) -> tuple[float, float, float]:
    from matplotlib.colors import to_rgb

    return to_rgb(color)


def test_ranks_are_drawn_as_they_are_and_none_is_cut() -> None:
    frames = EIGHT
    ax = panel(drawn_eight("final_rank"), "fills")
    rows = frames["by_layer"].query(
        "metric == 'final_rank_median' and dataset == 'fills' and model == 'llava-1.5-7b'"
    )
    assert any(np.array_equal(line.get_ydata(), rows["value"]) for line in ax.lines)
    theirs = published("final_rank")["value"].to_numpy()
    assert any(np.array_equal(line.get_ydata(), theirs) for line in ax.lines)
    assert ax.get_ylim()[1] > theirs.max()
    assert ax.get_yscale() == "symlog"


@pytest.mark.parametrize(
    ("name", "index", "value"),
    [("han_in_topk", "k", "value"), ("heads", "head", "image_mass")],
)
def test_cells_are_the_tables_pivot(name: str, index: str, value: str) -> None:
    ax = panel(drawn(name), "lensbench-llava · scenes")
    rows = style.of_run(FRAMES[name], "lensbench-llava", "scenes")
    np.testing.assert_array_equal(cells(ax), rows.pivot(index=index, columns="layer", values=value))


def test_answers_are_sorted_and_their_cells_are_the_tables() -> None:
    ax = panel(drawn("accuracy_by_answer"), "lensbench-llava · scenes")
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels == ["blue", "red", "0", "1", "2", "3", "4", "5"]
    rows = style.of_run(FRAMES["accuracy_by_answer"], "lensbench-llava", "scenes")
    expected = rows.pivot(index="answer", columns="layer", values="value")
    order = ["color:blue", "color:red", *(f"number:{count}" for count in range(6))]
    np.testing.assert_array_equal(cells(ax), expected.loc[order])


def test_a_missing_cell_stays_empty_on_a_hatched_ground() -> None:
    frames = dict(FRAMES)
    table = frames["han_in_topk"]
    frames["han_in_topk"] = table[~((table["k"] == 2) & (table["layer"] == 3))]
    ax = panel(draw("han_in_topk", frames), "lensbench-llava · scenes")
    assert np.isnan(cells(ax)[1, 3])
    assert np.isnan(cells(ax)).sum() == 1
    assert ax.patch.get_hatch()


def test_stages_are_marked_where_they_end() -> None:
    ax = panel(drawn("heads"), "lensbench-llava · scenes")
    ends = style.of_run(FRAMES["stages"], "lensbench-llava", "scenes")["last_layer"].tolist()
    # Cells start at 0 for layer 1, so that a stage ends at its last layer's number.
    assert sorted({line.get_xdata()[0] for line in ax.lines}) == ends[:-1]


def test_a_run_without_pictures_is_left_out_of_heads() -> None:
    assert "smollm2" not in texts(drawn("heads"))
    only_text = texts(draw("heads", metric_frames(1)))
    assert "No run has pictures" in only_text


def test_overview_and_tiles_are_of_the_runs_that_have_both() -> None:
    figure = drawn("head_views")
    shown = texts(figure)
    assert "lensbench-onevision · scenes" in shown
    assert "lensbench-llava" not in shown
    rows = style.of_run(FRAMES["heads"], "lensbench-onevision", "fills")
    points = panel(figure, "lensbench-onevision · fills").collections[0].get_offsets()
    np.testing.assert_allclose(points, rows[["overview_mass", "tiles_mass"]])
    assert "both whole and in tiles" in texts(draw("head_views", metric_frames(1)))


def test_groups_switched_off_are_rows_of_the_table() -> None:
    figure = drawn("ablation")
    ax = panel(figure, "lensbench-llava · scenes")
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names == ["image", "image, stage 1", "least", "random"]
    rows = style.of_run(FRAMES["ablation"], "lensbench-llava", "scenes")
    rows = rows[rows["measure"] == "final_logprob"]
    drawn_values = sorted(float(x) for line in ax.lines if line.get_marker() not in ("", "None")
                          for x in line.get_xdata())  # fmt: skip
    assert drawn_values == pytest.approx(sorted(rows["value"]))
    ends = sorted(tuple(line.get_xdata()) for line in ax.lines if line.get_marker() == "None"
                  and len(set(line.get_xdata())) == 2)  # fmt: skip
    wanted = rows[rows["group_kind"] != "random"]
    np.testing.assert_allclose(ends, sorted(zip(wanted["low"], wanted["high"], strict=True)))
    assert "p = 0.33, Holm 0.67\n5 groups" in texts(figure)
    assert "No run has had heads switched off" in texts(draw("ablation", metric_frames(1)))


def test_script_mass_has_both_floors() -> None:
    figure = FIGURES["script_mass"].draw(metric_frames(1))
    rows = FRAMES["script_mass"].query("model == 'smollm2-135m' and script == 'Latin'")
    drawn = [line.get_ydata() for line in figure.axes[0].lines]
    for column in ("value", "floor_vocabulary", "floor_random"):
        assert any(np.array_equal(data, rows[column]) for data in drawn), column


def test_scripts_shown_are_few_and_han_is_among_them() -> None:
    table = FRAMES["script_mass"].copy()
    table.loc[table["script"] == "Han", "value"] = 0.02
    from lensbench.figures.script_mass import MOST_SCRIPTS, scripts_shown

    shown = scripts_shown(table)
    assert len(shown) == MOST_SCRIPTS
    assert shown.index("Latin") < shown.index("Han")
    assert "Arabic" not in shown


def test_convergence_is_drawn_as_depth() -> None:
    figure = drawn("convergence")
    ax = panel(figure, "lensbench-llava · scenes")
    rows = style.of_run(FRAMES["convergence"], "lensbench-llava", "scenes")
    depth = depths(rows, "convergence_layer")
    heights = [patch.get_height() for patch in ax.patches]
    counts = np.bincount(rows["convergence_layer"], minlength=9) / len(rows)
    np.testing.assert_allclose(heights, counts)
    main = ax.lines[0]
    at = dict(zip(main.get_xdata(), main.get_ydata(), strict=True))
    for edge in depth.unique():
        assert at[edge] == pytest.approx((depth <= edge).mean())


def line_of(ax: object, values: pd.Series) -> object:
    found = [line for line in ax.lines if np.array_equal(line.get_ydata(), values)]
    assert len(found) == 1
    return found[0]


def test_every_lens_is_a_line_of_its_run_and_the_raw_one_is_dashed() -> None:
    ax = panel(drawn("lenses"), "lensbench-llava · scenes")
    rows = style.of_run(FRAMES["lenses"], "lensbench-llava", "scenes")
    rows = rows[rows["metric"] == "agreement"]
    assert len(ax.lines) == rows["lens"].nunique() == 4
    for lens, of_lens in rows.groupby("lens"):
        line = line_of(ax, of_lens["value"])
        np.testing.assert_array_equal(line.get_xdata(), of_lens["layer"])
        assert (line.get_linestyle() == "--") == (lens == "raw")
    assert len({str(line.get_color()) for line in ax.lines}) == 4


@pytest.mark.parametrize(
    ("n_models", "run"),
    [(4, ("smollm2-135m", "facts")), (8, ("extra_vlm-3b", "fills"))],
)
def test_normed_is_held_against_raw_in_the_model_with_most_layers(
    n_models: int, run: tuple[str, str]
) -> None:
    frames = {4: FRAMES, 8: EIGHT}[n_models]
    figure = {4: drawn, 8: drawn_eight}[n_models]("lenses")
    panel(figure, " · ".join(run))  # once, before the two of it
    rows = style.of_run(frames["lenses"], *run)
    for metric, title in (("entropy_nats", "entropy (nats)"), ("final_rank_median", "final token")):
        (ax,) = [ax for ax in figure.axes if ax.get_title(loc="left").endswith(title)]
        assert len(ax.lines) == 2
        for lens in ("normed", "raw"):
            wanted = rows[(rows["metric"] == metric) & (rows["lens"] == lens)]
            line_of(ax, wanted["value"])


def test_runs_are_drawn_through_the_lenses_that_they_have() -> None:
    table = FRAMES["lenses"]
    llava = table["model"] == "lensbench-llava"
    onevision = table["model"] == "lensbench-onevision"
    lost = (llava & ~table["lens"].isin(["normed", "raw"])) | (
        onevision & (table["lens"] != "normed")
    )
    figure = draw("lenses", {**FRAMES, "lenses": table[~lost]})
    assert len(panel(figure, "lensbench-llava · scenes").lines) == 2
    assert len(panel(figure, "lensbench-qwen2vl · scenes").lines) == 4
    # With the main lens alone there is nothing to compare.
    assert "onevision" not in texts(figure)
    alone = draw("lenses", {**FRAMES, "lenses": table[table["lens"] == "normed"]})
    assert "No run was read through more than one lens" in texts(alone)
    # Without the normed lens, nothing is held against it.
    parts = draw("lenses", {**FRAMES, "lenses": table[table["lens"].isin(["raw", "mlp"])]})
    assert len(parts.axes) == 10
    assert "entropy" not in texts(parts)


def test_concept_mass_has_a_panel_for_each_language_asked() -> None:
    frames = dict(FRAMES)
    every = frames["concept_mass"].assign(asked="all").drop_duplicates(
        ["model", "dataset", "language", "layer"]
    )  # fmt: skip
    frames["concept_mass"] = pd.concat([frames["concept_mass"], every])
    shown = texts(draw("concept_mass", frames))
    for language in ("digits", "English", "Chinese"):
        assert f"lensbench-llava · scenes · {language}" in shown
    assert "· all" not in shown


@pytest.mark.parametrize("name", WITH_PUBLISHED)
def test_published_results_are_drawn_only_beside_a_run_of_their_model(name: str) -> None:
    with_it, without = texts(drawn_eight(name)), texts(drawn(name))
    assert "published" in with_it
    assert "published" not in without


def test_published_numbers_are_the_studies_own() -> None:
    accuracy = published("accuracy_by_layer").set_index("layer")["value"]
    assert accuracy[28] == 0.84
    answers = published("accuracy_by_answer").set_index(["answer", "layer"])["value"]
    assert (answers["number:0", 17], answers["number:0", 22]) == (0.84, 0.01)
    han = published("han_in_topk").set_index(["k", "layer"])["value"]
    assert (han[1, 2], han[2, 9]) == (0.99, 0.93)
    rank = published("final_rank").set_index("layer")["value"]
    assert (rank[0], rank[24]) == (5169, 0)
    heads = published("heads").set_index(["layer", "head"])["image_mass"]
    assert (heads[1, 12], heads[3, 3]) == (1.0, pytest.approx(2.54 / 25))
    for name in WITH_PUBLISHED:
        assert published(name)["origin"].str.len().min() > 40


def test_no_data_is_said_in_a_sentence_not_drawn_as_empty_panels() -> None:
    for name, spec in FIGURES.items():
        empty = {table: FRAMES[table].iloc[:0] for table in spec.inputs}
        figure = draw(name, empty)
        assert not figure.axes
        assert "No run" in texts(figure), name


def test_tokens_are_written_into_the_cells_of_their_layer_and_step() -> None:
    rows = style.of_run(FRAMES["tokens"], "lensbench-llava", "scenes")
    figure = RUN_FIGURES["tokens"].draw({"tokens": rows})
    ax = panel(figure, "scenes-00001")
    sample = rows[rows["sample_id"] == "scenes-00001"]
    probability = sample.pivot(index="layer", columns="step", values="probability")
    np.testing.assert_array_equal(cells(ax), probability)
    written = {(text.get_position()): text.get_text() for text in ax.texts}
    for row in sample.to_dict("records"):
        expected = printable(row["text"])
        place = (row["step"] + 0.5, row["layer"] + 0.53)
        assert written[place].removesuffix("…") == expected[: len(written[place].removesuffix("…"))]
    # The mark stands where the token is the one generated, and nowhere else.
    marked = {(patch.get_x(), patch.get_y()) for patch in ax.patches}
    assert marked == {(r.step, r.layer) for r in sample.itertuples() if r.final_rank == 0}
    assert ax.yaxis_inverted()  # the embeddings are on top


def test_answers_on_their_way_show_both_lenses_and_the_ranks_beside_them() -> None:
    rows = style.of_run(FRAMES["answer_way"], "lensbench-llava", "scenes")
    figure = RUN_FIGURES["answer_way"].draw({"answer_way": rows})
    # The first sample of each answer: two samples have each.
    titles = [ax.get_title(loc="left") for ax in figure.axes if ax.get_title(loc="left")]
    assert titles == [f"scenes-0000{place} → ␣{place // 2}" for place in (0, 2, 4)]
    cells_ax, curve = panel(figure, titles[1]), figure.axes[3]
    assert [tick.get_text() for tick in cells_ax.get_xticklabels()] == ["raw", "normed"]
    sample = rows[rows["sample_id"] == "scenes-00002"]
    written = {text.get_position(): text.get_text() for text in cells_ax.texts}
    for row in sample.to_dict("records"):
        place = (0.5 + (row["lens"] == "normed"), row["layer"] + 0.53)
        start = written[place].removesuffix("…")
        assert start
        assert printable(row["text"]).startswith(start)
    # Normed first: the raw lens' dashes lie on top. Ranks stand in line with their cells.
    for line, lens in zip(curve.lines, ("normed", "raw"), strict=True):
        of_lens = sample[sample["lens"] == lens]
        assert list(line.get_xdata()) == of_lens["final_rank"].tolist()
        assert list(line.get_ydata()) == (of_lens["layer"] + 0.5).tolist()
    assert curve.get_ylim() == cells_ax.get_ylim()
    one = RUN_FIGURES["answer_way"].draw({"answer_way": rows[rows["lens"] == "normed"]})
    assert [tick.get_text() for tick in one.axes[0].get_xticklabels()] == ["normed"]
    assert "No" not in texts(one)


def test_an_answer_way_is_drawn_from_the_folder_of_tables(tmp_path: Path, manifest: Path) -> None:
    write_metric_frames(tmp_path / "metrics", TWO)
    written = make_run_figure(
        "answer_way", tmp_path / "metrics", "smollm2-135m", "facts", manifest, tmp_path / "a"
    )
    assert all(path.stat().st_size > 1000 for path in written)
    empty = RUN_FIGURES["answer_way"].draw({"answer_way": FRAMES["answer_way"][:0]})
    assert "no answers" in texts(empty)


def test_token_text_is_black_or_white_with_enough_contrast() -> None:
    for gray in np.linspace(0, 1, 21):
        linear = gray / 12.92 if gray <= 0.03928 else ((gray + 0.055) / 1.055) ** 2.4
        ratio = 1.05 / (linear + 0.05) if style.text_on((gray,) * 3) == "white" else (
            (linear + 0.05) / 0.05)  # fmt: skip
        assert ratio >= 4.5


def test_examples_show_picture_question_gold_and_output(manifest: Path, tmp_path: Path) -> None:
    frames = {"tokens": FRAMES["tokens"]}
    written = make_run_figure(
        "examples", frames, "lensbench-llava", "scenes", manifest, tmp_path / "examples"
    )
    assert all(path.stat().st_size > 1000 for path in written)
    rows = style.of_run(FRAMES["tokens"], "lensbench-llava", "scenes")
    table = pd.read_parquet(manifest / "manifest.parquet")
    figure = RUN_FIGURES["examples"].draw({"tokens": rows, "manifest": table}, manifest)
    shown = texts(figure)
    assert "scenes-00005" in shown
    assert "How many?" in shown
    assert "␣three." in shown  # both steps, joined
    assert sum(len(ax.images) for ax in figure.axes) == 6


def test_a_missing_picture_is_named(manifest: Path) -> None:
    rows = style.of_run(FRAMES["tokens"], "lensbench-llava", "scenes")
    table = pd.read_parquet(manifest / "manifest.parquet")
    table["image"] = "images/none.png"
    with pytest.raises(DataError, match=r"images/none\.png"):
        RUN_FIGURES["examples"].draw({"tokens": rows, "manifest": table}, manifest)
    with pytest.raises(DataError, match="scenes-00000"):
        RUN_FIGURES["examples"].draw({"tokens": rows, "manifest": table.iloc[1:]}, manifest)


def test_figures_are_made_from_the_csv_folder(tmp_path: Path, manifest: Path) -> None:
    write_metric_frames(tmp_path / "metrics", TWO)
    from_csv = make_figure("han_in_topk", tmp_path / "metrics", tmp_path / "a")
    from_frames = make_figure("han_in_topk", TWO, tmp_path / "b")
    assert from_csv[0].read_bytes() == from_frames[0].read_bytes()
    run = ("smollm2-135m", "facts", manifest)
    make_run_figure("tokens", tmp_path / "metrics", *run, tmp_path / "t")
    assert (tmp_path / "t.pdf").stat().st_size > 1000


def test_models_and_datasets_can_be_picked(tmp_path: Path) -> None:
    one = make_figure("entropy_kl", TWO, tmp_path / "a", models=["smollm2-135m"])
    other = make_figure("entropy_kl", TWO, tmp_path / "b", datasets=["facts"])
    assert one[1].read_bytes() == other[1].read_bytes()


def test_a_model_has_one_color_in_all_figures() -> None:
    alone = {name: frame[frame["model"] == "smollm2-135m"] for name, frame in FRAMES.items()}
    alone["models"] = FRAMES["models"]
    assert style.palette(alone) == style.palette(FRAMES)
    assert len(set(map(str, style.palette(metric_frames(8)).values()))) == 8


def test_unknown_names_and_missing_tables_are_told(tmp_path: Path) -> None:
    with pytest.raises(LensbenchError, match="no figure 'pie'"):
        make_figure("pie", FRAMES, tmp_path / "a")
    with pytest.raises(LensbenchError, match=r"by_layer\.csv is missing"):
        make_figure("accuracy_by_layer", tmp_path, tmp_path / "a")


def test_a_table_keeps_texts_that_look_like_numbers_or_nothing(tmp_path: Path) -> None:
    tokens = ["NA", "null", "1e5", "", "nan", "\n", "a,b", '"', "007"]
    frame = pd.DataFrame({"text": tokens, "layer": range(9), "value": [0.5] * 8 + [np.nan]})
    frame.to_csv(tmp_path / "t.csv", index=False, lineterminator="\n")
    back = read_table(tmp_path / "t.csv")
    assert back["text"].tolist() == tokens
    assert back["layer"].tolist() == list(range(9))
    assert np.isnan(back["value"].iloc[-1])
    (tmp_path / "t.csv").write_text("layer\nthree\n", encoding="utf-8")
    with pytest.raises(LensbenchError, match="Column layer"):
        read_table(tmp_path / "t.csv")


def test_every_number_column_of_the_tables_is_read_as_a_number(tmp_path: Path) -> None:
    write_metric_frames(tmp_path, FRAMES)
    for name, frame in FRAMES.items():
        back = read_table(tmp_path / f"{name}.csv")
        for column in frame:
            is_number = pd.api.types.is_numeric_dtype(frame[column])
            if is_number and column != "stage":
                assert column in NUMBERS, (name, column)
                np.testing.assert_allclose(back[column], frame[column], rtol=1e-5)


def test_rows_are_balanced_and_groups_start_a_row() -> None:
    assert layout.rows_of([1, 3, 3], 3) == [1, 3, 3]
    assert layout.rows_of([7], 3) == [3, 2, 2]
    assert layout.rows_of([4], 3) == [2, 2]


@pytest.mark.parametrize("last", [1, 2, 7, 8, 12, 24, 28, 30, 31, 36, 80])
def test_layer_ticks_hold_first_and_last_and_fit(last: int) -> None:
    for first in (0, 1):
        ticks = style.layer_ticks(last, room=8, first=first)
        assert ticks[0] == min(first, last)
        assert ticks[-1] == last
        assert ticks == sorted(set(ticks))
        assert len(ticks) <= 10
