"""Regions of objects, naming, localisation: planted truth, hand values and plain references."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted_patches import (
    BLUE_CIRCLE,
    BORDER,
    ID,
    INSIDE,
    RED_STAR,
    SIDE,
    WHOLE,
    write_dataset,
    write_model,
    write_patches,
)
from scipy.stats import mannwhitneyu

from lensbench.metrics.patch_data import load_patches
from lensbench.metrics.patch_localisation import auc, best_iou, pointing, scores_of
from lensbench.metrics.patch_objects import cells, find_objects, naming_ids, region_of
from lensbench.metrics.patches import compute_patches
from lensbench.patch_prose import border_sentences
from lensbench.trace import read_meta, read_table, write_model_table

BOTH = [RED_STAR, BLUE_CIRCLE]


def computed(tmp_path: Path, says: list, objects: list, **more: object) -> dict[str, pd.DataFrame]:
    return compute_patches(
        [write_patches(tmp_path / "a", says, **more)],
        write_model(tmp_path / "m"),
        write_dataset(tmp_path / "d", objects),
    )


def at(table: pd.DataFrame, region: str, metric: str) -> pd.Series:
    (row,) = table[(table["region"] == region) & (table["metric"] == metric)].index
    return table.loc[row]


def names_on_the_border(layer: int, patch: int) -> tuple[str, float]:
    """The star's border says "Red" at layer 2, its inside "blue"; layer 1 whispers "stars"."""
    if patch in BORDER:
        return {2: (" Red", 0.8), 1: (" STARS", 0.2)}.get(layer, (" picture", 0.1))
    return ("blue", 0.7) if layer == 1 else (" picture", 0.3)


def test_regions_are_those_of_the_cells_own_rectangles(tmp_path: Path) -> None:
    best = computed(tmp_path, [names_on_the_border], [BOTH])["patch_best"]
    found = best.groupby("region")["patch"].agg(set)
    assert found["inside"] == INSIDE
    assert found["border"] == BORDER
    assert found["outside"] == set(range(16)) - INSIDE - BORDER


def test_naming_goes_by_the_objects_that_a_cell_touches(tmp_path: Path) -> None:
    tables = computed(tmp_path, [names_on_the_border], [BOTH])
    best = tables["patch_best"].set_index("patch")["names_object"]
    assert all(best[patch] == 1 for patch in BORDER)
    # The star's inside says "blue", which it is not; the circle's does, which it is.
    assert (best[5], best[15]) == (0, 1)
    # Outside, any object of the picture counts.
    assert all(best[patch] == 1 for patch in set(range(16)) - INSIDE - BORDER)
    table = tables["patch_by_region"]
    assert at(table, "border", "names_object")["value"] == 1
    assert at(table, "border", "names_color")["value"] == 1
    assert at(table, "border", "names_shape")["value"] == 0
    assert at(table, "border", "names_shape_any_layer")["value"] == 1
    assert at(table, "inside", "names_object")["value"] == 0.5
    assert at(table, "inside", "names_shape_any_layer")["value"] == 0
    assert at(table, "border", "best_layer")["value"] == 2
    assert at(table, "border", "probability")["value"] == pytest.approx(0.8)
    assert at(table, "border_minus_inside", "names_object")["value"] == 0.5
    assert at(table, "border_minus_inside", "names_object")["n_patches"] == 10
    assert at(table, "border", "share_blank")["value"] == 0


def test_the_difference_is_paired_and_pooled_over_patches(tmp_path: Path) -> None:
    """Two samples: in one only the border names, in the other only the inside."""

    def border(layer: int, patch: int) -> tuple[str, float]:
        return ("red", 0.9) if patch in BORDER else (" picture", 0.5)

    def inside(layer: int, patch: int) -> tuple[str, float]:
        return ("red", 0.9) if patch == 5 else (" picture", 0.5)

    table = computed(tmp_path, [border, inside], [[RED_STAR]] * 2)["patch_by_region"]
    row = at(table, "border_minus_inside", "names_object")
    assert (row["value"], row["low"], row["high"], row["n"]) == (0, -1, 1, 2)
    # Alike in both pictures, the difference has no spread, but two pictures are few: up to .658 of
    # others (Wilson, 0 of 2) may have any, down to −1.
    table = computed(tmp_path / "b", [border, border], [[RED_STAR]] * 2)["patch_by_region"]
    row = at(table, "border_minus_inside", "names_object")
    assert (row["value"], row["low"], row["high"]) == pytest.approx((1, -0.31524, 1), abs=1e-5)


def test_samples_count_where_they_have_patches_of_a_region(tmp_path: Path) -> None:
    small = {**RED_STAR, "box": [25, 25, 35, 35]}  # within one cell: nothing is inside

    def says(layer: int, patch: int) -> tuple[str, float]:
        return ("red", 0.9)

    table = computed(tmp_path, [says] * 3, [[RED_STAR], [small], []])["patch_by_region"]
    assert at(table, "inside", "names_color")[["n", "n_patches"]].tolist() == [1, 1]
    assert at(table, "border", "names_color")[["n", "n_patches"]].tolist() == [2, 9]
    assert at(table, "outside", "names_color")[["n", "n_patches"]].tolist() == [2, 22]
    assert at(table, "border_minus_inside", "names_color")[["n", "n_patches"]].tolist() == [1, 9]


def test_the_difference_is_of_the_pictures_that_have_both(tmp_path: Path) -> None:
    """The second picture has a border alone, and it names nothing: the difference is without it."""
    small = {**RED_STAR, "box": [25, 25, 35, 35]}

    def says(layer: int, patch: int) -> tuple[str, float]:
        return ("red", 0.9) if patch in BORDER - {10} else (" picture", 0.5)

    def silent(layer: int, patch: int) -> tuple[str, float]:
        return (" picture", 0.5)

    table = computed(tmp_path, [says, silent, says], [[RED_STAR], [small], [RED_STAR]])[
        "patch_by_region"
    ]
    # Of 17 patches on the border 7 + 0 + 7 name it; of the two pictures with an inside 14 of 16.
    assert at(table, "border", "names_object")["value"] == pytest.approx(14 / 17)
    assert at(table, "inside", "names_object")["value"] == 0
    row = at(table, "border_minus_inside", "names_object")
    assert row["value"] == 14 / 16
    assert row["low"] < 0 < row["value"] < row["high"] < 1
    assert row[["n", "n_patches"]].tolist() == [2, 18]
    # The two sides of the difference are of these two pictures, unlike the regions' own rows.
    paired = at(table, "border_paired", "names_object")
    assert paired[["value", "n", "n_patches"]].tolist() == [14 / 16, 2, 16]
    assert at(table, "inside_paired", "names_object")[["value", "n"]].tolist() == [0, 2]
    (line,) = border_sentences(table.assign(model="m", dataset="d")).splitlines()
    # Both pictures have the same shares: the intervals are those of none of two, or two.
    assert "87.5 % [30.0, 95.7] of 16 patches on the border and 0.0 % [0.0, 65.8] of 2" in line
    assert "border less inside is +87.5 points" in line
    apart = computed(tmp_path / "b", [silent], [[small]])["patch_by_region"]
    assert "border_minus_inside" not in set(apart["region"])


def test_without_objects_or_forms_there_is_no_row_and_no_claim(tmp_path: Path) -> None:
    def says(layer: int, patch: int) -> tuple[str, float]:
        return ("red", 0.9)

    tables = computed(tmp_path, [says], [[]])
    assert tables["patch_by_region"].empty
    assert tables["patch_localisation"].empty
    assert set(tables["patch_best"]["region"]) == {""}
    assert tables["patch_best"]["names_object"].isna().all()


def test_which_tokens_name(tmp_path: Path) -> None:
    def says(layer: int, patch: int) -> tuple[str, float]:
        return ("red", 0.9)

    folder = write_patches(tmp_path / "a", [says])
    data = load_patches([folder], write_model(tmp_path / "m"))
    assert naming_ids(data, "color", "red") == {ID["red"], ID[" Red"], ID["红"]}
    assert naming_ids(data, "color", "green") == frozenset()  # its only form is left out
    assert naming_ids(data, "shape", "star") == {ID["star"], ID[" STARS"], ID["stars"]}
    assert naming_ids(data, "shape", "circle") == {ID["circle"], ID["Circles"]}
    assert naming_ids(load_patches([folder]), "color", "red") == frozenset()


def test_tiles_have_the_regions_of_their_own_part_of_the_picture(tmp_path: Path) -> None:
    corner = {"name": "tiles", "rows": 2, "cols": 2, "box": [0.0, 0.0, 0.5, 0.5]}

    def says(layer: int, patch: int) -> tuple[str, float]:
        return ("red", 0.9)

    best = computed(tmp_path, [says], [[RED_STAR]], views=(WHOLE, corner))["patch_best"]
    tiles = best[best["view"] == 1].set_index(["row", "col"])["region"]
    # Cells of 20 × 20 in the picture's upper left quarter; the box is 10…50.
    assert tiles.to_dict() == {
        (0, 0): "border", (0, 1): "border", (1, 0): "border", (1, 1): "inside",
    }  # fmt: skip


def test_regions_are_counted_apart_by_view(tmp_path: Path) -> None:
    """The overview's border names the star and the tiles' inside does."""
    whole = {**WHOLE, "name": "overview"}
    corner = {"name": "tiles", "rows": 2, "cols": 2, "box": [0.0, 0.0, 0.5, 0.5]}

    def says(layer: int, patch: int) -> tuple[str, float]:
        return ("red", 0.9) if patch in BORDER or patch == 19 else (" picture", 0.5)

    table = computed(tmp_path, [says], [[RED_STAR]], views=(whole, corner))["patch_by_region"]
    named = table[table["metric"] == "names_object"].set_index(["view_name", "region"])
    truth = {
        ("all", "inside"): 0.5, ("all", "border"): 8 / 11, ("all", "outside"): 0,
        ("all", "border_minus_inside"): 8 / 11 - 0.5,
        ("all", "border_paired"): 8 / 11, ("all", "inside_paired"): 0.5,
        ("overview", "inside"): 0, ("overview", "border"): 1, ("overview", "outside"): 0,
        ("overview", "border_minus_inside"): 1,
        ("overview", "border_paired"): 1, ("overview", "inside_paired"): 0,
        ("tiles", "inside"): 1, ("tiles", "border"): 0, ("tiles", "border_minus_inside"): -1,
        ("tiles", "inside_paired"): 1, ("tiles", "border_paired"): 0,
    }  # fmt: skip
    assert named["value"].to_dict() == pytest.approx(truth)
    assert named.loc[("tiles", "border"), "n_patches"] == 3


@settings(max_examples=200, deadline=None)
@given(
    rows=st.integers(1, 5),
    cols=st.integers(1, 5),
    scale=st.integers(1, 4),
    corners=st.lists(
        st.tuples(st.integers(0, 18), st.integers(0, 18), st.integers(1, 9), st.integers(1, 9)),
        min_size=1,
        max_size=3,
    ),
)
def test_regions_are_those_of_counted_pixels(
    rows: int, cols: int, scale: int, corners: list[tuple[int, int, int, int]]
) -> None:
    width, height = cols * scale, rows * scale
    boxes = np.array([[x, y, x + w, y + h] for x, y, w, h in corners])
    view = {"rows": rows, "cols": cols, "box": [0.0, 0.0, 1.0, 1.0]}
    row, col = np.divmod(np.arange(rows * cols), cols)
    region, shares = region_of(cells(view, row, col, (width, height)), boxes)
    for place in range(rows * cols):
        counts = []
        for left, top, right, bottom in boxes:
            pixels = [
                left <= x < right and top <= y < bottom
                for y in range(row[place] * scale, (row[place] + 1) * scale)
                for x in range(col[place] * scale, (col[place] + 1) * scale)
            ]
            counts.append(sum(pixels))
        wanted = "inside" if scale**2 in counts else "border" if any(counts) else "outside"
        assert region[place] == wanted
        assert shares[place].tolist() == [count > 0 for count in counts]


_CASES = st.lists(
    st.tuples(st.sampled_from([0.0, 0.1, 0.2, 0.25, 0.9]), st.booleans()), min_size=2, max_size=25
).filter(lambda case: 0 < sum(inside for _, inside in case) < len(case))


@settings(max_examples=300, deadline=None)
@given(case=_CASES)
def test_the_measures_are_those_of_scipy_and_of_plain_loops(
    case: list[tuple[float, bool]],
) -> None:
    scores, within = (np.array(part) for part in zip(*case, strict=True))
    u = mannwhitneyu(scores[within], scores[~within], method="asymptotic").statistic
    assert auc(scores, within) == pytest.approx(u / (within.sum() * (~within).sum()))
    ious = []
    for threshold in scores:
        taken = scores >= threshold
        ious.append((taken & within).sum() / (taken | within).sum())
    assert best_iou(scores, within) == pytest.approx(max(ious))
    highest = [inside for score, inside in case if score == max(scores)]
    assert pointing(scores, within) == pytest.approx(sum(highest) / len(highest))


def test_the_measures_by_hand() -> None:
    scores, within = np.array([0.9, 0.4, 0.4, 0.1]), np.array([True, True, False, False])
    # Pairs: 0.9 beats both; 0.4 ties with 0.4 and beats 0.1: 3.5 of 4.
    assert auc(scores, within) == 3.5 / 4
    assert pointing(scores, within) == 1
    assert best_iou(scores, within) == pytest.approx(2 / 3)
    flat = np.zeros(4)
    assert (auc(flat, within), pointing(flat, within), best_iou(flat, within)) == (0.5, 0.5, 0.5)


def test_localisation_of_planted_maps(tmp_path: Path) -> None:
    """Layer 1: nothing in the top k. Layer 2: all that is red. Layer 3: everywhere else."""
    # Cells whose centers (10, 30, 50, 70) lie in 10…50: the first two of each side.
    red = {0, 1, 4, 5}

    def says(layer: int, patch: int) -> tuple[str, float]:
        if layer == 2:
            return ("red", 0.8) if patch in red else (" picture", 0.5)
        if layer == 3:
            return (" picture", 0.5) if patch in red else ("红", 0.8)
        return (" picture", 0.5)

    table = computed(tmp_path, [says, says], [[RED_STAR]] * 2)["patch_localisation"]
    color = table[table["of"] == "color"].pivot(index="layer", columns="metric", values="value")
    assert color["auc"].tolist() == [0.5, 0.5, 1, 0]
    assert color["pointing"].tolist() == [0.25, 0.25, 1, 0]
    assert color["best_iou"].tolist() == [0.25, 0.25, 1, 0.25]
    assert color["chance"].tolist() == [0.25] * 4
    shape = table[table["of"] == "shape"].pivot(index="layer", columns="metric", values="value")
    assert shape["auc"].tolist() == [0.5] * 4
    assert set(table["n"]) == {2}
    assert table["depth"].tolist()[:4] == pytest.approx([0, 1 / 3, 2 / 3, 1])


@pytest.mark.parametrize(("n", "whole"), [(6, (1, 4)), (12, (4, 7)), (24, (4, 7, 13, 16))])
def test_the_auc_is_that_of_exact_centers_and_counted_pairs(
    tmp_path: Path, n: int, whole: tuple[int, ...]
) -> None:
    """Edges of boxes run through centers of cells: a left or upper one takes them in."""
    centers = [Fraction(SIDE * (2 * place + 1), 2 * n) for place in range(n)]
    edges = [int(centers[place]) for place in whole]
    boxes = [[left, top, 80, 79] for left in edges for top in edges]
    boxes += [[0, 1, right, bottom] for right in edges for bottom in edges]

    def sure(patch: int, layer: int) -> float:
        return (7 * patch + layer) % 10 / 20 + 0.25

    view = {"name": "picture", "rows": n, "cols": n, "box": [0.0, 0.0, 1.0, 1.0]}
    table = computed(
        tmp_path,
        [lambda layer, patch: ("red", sure(patch, layer))] * len(boxes),
        [[{**RED_STAR, "box": box}] for box in boxes],
        views=(view,), n_layers=1,
    )["patch_localisation"]  # fmt: skip
    found = table.query("of == 'color' and metric == 'auc'").set_index("layer")["value"]
    for layer in (0, 1):
        aucs = []
        for left, top, right, bottom in boxes:
            scores: dict[bool, list[float]] = {True: [], False: []}
            for patch in range(n * n):
                y, x = centers[patch // n], centers[patch % n]
                scores[left <= x < right and top <= y < bottom].append(sure(patch, layer))
            inside, outside = (np.array(scores[side]) for side in (True, False))
            won = (inside[:, None] > outside) + (inside[:, None] == outside) / 2
            aucs.append(won.mean())
        assert found[layer] == pytest.approx(np.mean(aucs), abs=1e-8)


def test_equal_things_are_one_target(tmp_path: Path) -> None:
    other = {"shape": "circle", "color": "red", "box": [60, 60, 80, 80]}

    def says(layer: int, patch: int) -> tuple[str, float]:
        return ("red", 0.8) if patch in {0, 1, 4, 5, 15} else (" picture", 0.5)

    table = computed(tmp_path, [says], [[RED_STAR, other]])["patch_localisation"]
    color = table[(table["of"] == "color") & (table["layer"] == 0)].set_index("metric")["value"]
    assert (color["auc"], color["best_iou"]) == (1, 1)
    assert color["chance"] == pytest.approx(5 / 16)


def test_the_scores_of_a_targets_forms_add_up(tmp_path: Path) -> None:
    def says(layer: int, patch: int) -> tuple[str, float]:
        return ("red", 0.5)

    folder = write_patches(tmp_path / "a", [says])
    dataset = write_dataset(tmp_path / "d", [[RED_STAR]])
    data = load_patches([folder], write_model(tmp_path / "m"), dataset)
    data.top_id[:, 2, 1], data.top_logprob[:, 2, 1] = ID["红"], np.log(0.25)
    (red,) = (target for target in find_objects(data).targets if target.kind == "color")
    assert scores_of(data, red)[3].tolist() == pytest.approx([0.5, 0.5, 0.75, 0.5])


def test_a_first_token_that_two_colors_share_names_neither(tmp_path: Path) -> None:
    folder = write_patches(tmp_path / "patches", [lambda layer, patch: ("red", 0.9)])
    model = write_model(tmp_path / "model")
    forms = read_table(model, "forms")
    red = forms[forms["concept"] == "color:red"]
    assert set(load_patches([folder], model).forms.query("kept")["concept"]) >= {"color:red"}
    both = pd.concat([forms, red.assign(concept="color:rust")], ignore_index=True)
    write_model_table(model, "forms", both, read_meta(model))
    kept = load_patches([folder], model).forms.query("kept")["concept"]
    assert not {"color:red", "color:rust"} & set(kept)
