"""Best layers, what patches say there, and the published numbers of a real lens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from planted_patches import WHOLE, write_dataset, write_model, write_patches
from tests.commands import Done

from lensbench.errors import DataError, TraceError
from lensbench.figures.frames import published
from lensbench.imported import import_patch_lens
from lensbench.metrics.bootstrap import Bootstrap
from lensbench.metrics.patches import (
    PatchOptions,
    best_layer,
    compute_patches,
    in_last_third,
)
from lensbench.metrics.resampling import multiplicities
from lensbench.metrics.study_tables import STUDY_TABLES

SWEATER = Path(__file__).parents[1] / "data" / "sweater_top1.json.gz"


def value(table: pd.DataFrame, metric: str, column: str = "value") -> float:
    (found,) = table.loc[table["metric"] == metric, column]
    return found


def test_a_real_lens_gives_the_published_numbers_exactly(tmp_path: Path) -> None:
    import_patch_lens(SWEATER, tmp_path / "sweater")
    summary = compute_patches([tmp_path / "sweater"])["patch_summary"]
    assert round(value(summary, "best_layer_with_layer_0"), 3) == 28.083
    assert value(summary, "n_patches") == 576
    assert value(summary, "n_last_third_with_layer_0") == 525
    assert value(summary, "n_empty_with_layer_0") == 140
    assert value(summary, "n_blank_with_layer_0") == 145
    printed = published("patch_lens").query("model == 'llava-1.5-7b' and dataset == 'sweater'")
    assert set(printed["metric"]) == {
        "best_layer", "n_patches", "n_last_third", "n_empty", "n_blank",
    }  # fmt: skip
    for row in printed.itertuples():
        metric = row.metric if row.metric == "n_patches" else f"{row.metric}_with_layer_0"
        assert round(value(summary, metric), 3) == row.value
    assert value(summary, "share_from_22_of_32_with_layer_0") == pytest.approx(525 / 576)
    # One picture: its patches' means are known, and how pictures differ is not.
    means = summary[~summary["metric"].str.startswith("n_")]
    assert set(means["over"]) == {"samples"}
    assert set(means["n"]) == {1}


def test_the_best_layer_is_the_earliest_of_the_highest() -> None:
    logs = np.log(np.array([[0.1, 0.9, 0.9, 0.2], [0.5, 0.5, 0.5, 0.5], [0.1, 0.2, 0.3, 0.4]]))
    assert best_layer(logs, first=0).tolist() == [1, 0, 3]
    # Layer 0, the embedding, is left out unless it is asked for by name.
    assert best_layer(logs).tolist() == [1, 1, 3]
    assert best_layer(np.log(np.array([[0.99, 0.2, 0.3, 0.3]]))).tolist() == [2]


def test_an_artefact_of_the_embedding_is_no_best_layer_and_the_studys_rule_has_a_name(
    tmp_path: Path,
) -> None:
    """Every patch says " \\n" with 0.99 at layer 0; four say "red" with 0.6 at layer 3 of 3."""

    def says(layer: int, patch: int) -> tuple[str, float]:
        if layer == 0:
            return " \n", 0.99
        return ("red", 0.6) if layer == 3 and patch < 4 else ("blue", 0.3)

    tables = compute_patches([write_patches(tmp_path / "a", [says])])
    best, summary = tables["patch_best"], tables["patch_summary"]
    assert best["best_layer"].tolist() == [3] * 4 + [1] * 12
    assert best["best_layer_with_layer_0"].tolist() == [0] * 16
    assert best["text"].tolist() == ["red"] * 4 + ["blue"] * 12
    assert value(summary, "best_layer") == 24 / 16
    assert value(summary, "share_blank") == 0
    assert value(summary, "n_last_third") == 4
    assert value(summary, "best_layer_with_layer_0") == 0
    assert value(summary, "share_blank_with_layer_0") == 1
    assert value(summary, "n_blank_with_layer_0") == 16
    assert value(summary, "n_last_third_with_layer_0") == 0
    assert value(summary, "probability_with_layer_0") == pytest.approx(0.99)
    assert (summary["metric"] == "n_patches").sum() == 1


@pytest.mark.parametrize(
    ("n_layers", "first"), [(32, 22), (8, 6), (3, 2), (24, 16), (28, 19), (1, 1)]
)
def test_the_last_third_begins_at_two_thirds_of_the_depth(n_layers: int, first: int) -> None:
    late = in_last_third(np.arange(n_layers + 1), n_layers)
    assert np.flatnonzero(late)[0] == first
    assert late[first:].all()


def says_at(layer_of: dict[int, int], text_of: dict[int, str]) -> Callable[..., tuple[str, float]]:
    """Return patches that are loudest at a planted layer, with a planted text there only."""

    def says(layer: int, patch: int) -> tuple[str, float]:
        best = layer_of.get(patch, 1)
        return (text_of.get(patch, "red"), 0.9) if layer == best else ("blue", 0.3)

    return says


def test_the_table_of_patches_is_what_was_planted(tmp_path: Path) -> None:
    says = says_at({0: 3, 1: 2, 5: 1}, {0: "", 1: " \n", 5: "红"})
    folder = write_patches(tmp_path / "a", [says])
    best = compute_patches([folder])["patch_best"]
    assert list(best.columns) == STUDY_TABLES["patch_best"]
    assert best["best_layer"].tolist() == [3, 2, 1, 1, 1, 1, *[1] * 10]
    assert best["text"].tolist() == ["", " \n", "red", "red", "red", "红", *["red"] * 10]
    assert best["blank"].tolist() == [1, 1, *[0] * 14]
    assert best["script"].tolist()[:6] == ["Space", "Space", "Latin", "Latin", "Latin", "Han"]
    assert best["probability"].to_numpy() == pytest.approx(0.9)
    assert best["patch"].tolist() == list(range(16))
    assert best["row"].tolist() == [patch // 4 for patch in range(16)]
    assert set(best["region"]) == {""}
    assert best["names_object"].isna().all()
    summary = compute_patches([folder])["patch_summary"]
    assert value(summary, "best_layer") == pytest.approx((3 + 2 + 14) / 16)
    assert value(summary, "best_depth") == pytest.approx((1 + 2 / 3 + 14 / 3) / 16)
    assert value(summary, "share_last_third") == pytest.approx(2 / 16)
    assert value(summary, "share_blank") == pytest.approx(2 / 16)
    assert value(summary, "share_empty") == pytest.approx(1 / 16)
    assert value(summary, "n_last_third") == 2


def test_pictures_are_resampled_not_patches(tmp_path: Path) -> None:
    late, early = says_at(dict.fromkeys(range(16), 3), {}), says_at({}, {})
    half = says_at(dict.fromkeys(range(8), 3), {})
    one = compute_patches([write_patches(tmp_path / "a", [half])])["patch_summary"]
    row = one[one["metric"] == "share_last_third"].iloc[0]
    # One picture says little of others: up to .793 of them (Wilson, 0 of 1) may have 0, or 1.
    assert (row["value"], row["n"], row["over"]) == (0.5, 1, "samples")
    assert (row["low"], row["high"]) == pytest.approx((0.10327, 0.89673), abs=1e-5)
    two = compute_patches([write_patches(tmp_path / "b", [late, early])])["patch_summary"]
    row = two[two["metric"] == "share_last_third"].iloc[0]
    # Of two samples a resample has both, or one of them twice.
    assert (row["value"], row["low"], row["high"], row["n"]) == (0.5, 0.0, 1.0, 2)
    assert row["over"] == "samples"


def test_ends_of_lines_are_no_patches_but_positions_without_any_grid_are(tmp_path: Path) -> None:
    folder = write_patches(tmp_path / "a", [says_at({}, {})] * 2, line_ends=3)
    assert len(compute_patches([folder])["patch_best"]) == 2 * 16
    folder = write_patches(tmp_path / "b", [says_at({}, {})], views=(), line_ends=5)
    best = compute_patches([folder])["patch_best"]
    assert best["patch"].tolist() == [0, 1, 2, 3, 4]
    assert set(best["view"]) == {-1}


def test_a_ratio_and_a_paired_difference_are_those_of_a_plain_loop() -> None:
    rng = np.random.default_rng(3)
    wholes = rng.integers(0, 5, 9)
    parts = rng.binomial(wholes, 0.4)
    others = rng.integers(1, 5, 9)
    theirs = rng.binomial(others, 0.7)
    boot = Bootstrap(seed=4, resamples=300)
    pictures = np.array(list("abcdefghi"), dtype=object)
    shares, differences = [], []
    for drawn in multiplicities(pictures, 300, 4).T.astype(int):
        above = sum(n * part for n, part in zip(drawn, parts, strict=True))
        below = sum(n * whole for n, whole in zip(drawn, wholes, strict=True))
        if below:
            other = np.dot(drawn, theirs) / np.dot(drawn, others)
            shares.append(above / below)
            differences.append(above / below - other)
    found = boot.ratio(parts, wholes, pictures)
    assert float(found.value) == pytest.approx(parts.sum() / wholes.sum())
    assert [found.low, found.high] == pytest.approx(np.quantile(shares, [0.025, 0.975]))
    found = boot.ratio(parts, wholes, pictures, less=(theirs, others))
    assert [found.low, found.high] == pytest.approx(np.quantile(differences, [0.025, 0.975]))
    assert float(found.value) == pytest.approx(
        parts.sum() / wholes.sum() - theirs.sum() / others.sum()
    )


def test_a_resample_without_any_whole_is_left_out() -> None:
    pictures = np.array(list("abc"), dtype=object)
    found = Bootstrap(resamples=200).ratio(np.array([1, 0, 0]), np.array([2, 0, 0]), pictures)
    assert (float(found.value), float(found.low), float(found.high)) == (0.5, 0.5, 0.5)


def test_shards_in_any_order_give_the_same_tables(tmp_path: Path) -> None:
    says = [says_at({number: 2}, {number: "blue"}) for number in range(3)]
    folder = write_patches(tmp_path / "a", says)
    again = compute_patches([folder], options=PatchOptions(seed=5))
    for name, frame in compute_patches([str(folder)], options=PatchOptions(seed=5)).items():
        pd.testing.assert_frame_equal(frame, again[name])


def test_another_models_folder_and_another_dataset_are_refused(tmp_path: Path) -> None:
    folder = write_patches(tmp_path / "a", [says_at({}, {})] * 2)
    with pytest.raises(TraceError, match="holds the vocabulary of other"):
        compute_patches([folder], write_model(tmp_path / "other", "other"))
    data = write_dataset(tmp_path / "d", [[]])
    with pytest.raises(DataError, match="Sample d-1 isn't in the manifest"):
        compute_patches([folder], write_model(tmp_path / "m"), data)
    with pytest.raises(DataError, match=r"manifest.parquet is missing or damaged"):
        compute_patches([folder], tmp_path / "m", tmp_path)
    drawn = write_dataset(
        tmp_path / "e", [[], [{"shape": "star", "color": "red", "box": [0, 0, 9, 9]}]]
    )
    (drawn / "images/1.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"images/1.png is missing or can't be read"):
        compute_patches([folder], tmp_path / "m", drawn)
    with pytest.raises(TraceError, match=r"patches.parquet is missing"):
        compute_patches([tmp_path])


def test_the_stage_writes_every_table_for_close_ups_and_imports(
    lensbench: Callable[..., Done], tmp_path: Path
) -> None:
    folder = write_patches(tmp_path / "a", [says_at({}, {})])
    options = '{"seed": 1, "resamples": 50}'
    done = lensbench("patch-metrics", str(folder), "--out", "out", "--options", options)
    assert done.returncode == 0, done.stderr
    wanted = [name for name in STUDY_TABLES if name.startswith("patch_")]
    assert sorted(path.stem for path in (tmp_path / "out").glob("*.parquet")) == sorted(wanted)
    for name in wanted:
        assert list(pd.read_parquet(tmp_path / f"out/{name}.parquet")) == STUDY_TABLES[name]
    done = lensbench("patch-metrics", str(folder), "--out", "out", "--options", '{"tau": 1}')
    assert done.returncode == 1
    assert "patch-metrics takes no setting tau" in done.stderr


def test_views_are_told_apart(tmp_path: Path) -> None:
    left = {"name": "tiles", "rows": 1, "cols": 2, "box": [0.0, 0.0, 0.5, 1.0]}
    folder = write_patches(tmp_path / "a", [says_at({17: 2}, {})], views=(WHOLE, left))
    best = compute_patches([folder])["patch_best"].set_index(["view", "row", "col"])
    assert len(best) == 18
    assert best["best_layer"][1, 0, 1] == 2


def test_views_are_summed_up_apart_and_together(tmp_path: Path) -> None:
    """Two of sixteen patches of the overview are blank and late, one of the tiles' two is late."""
    whole = {**WHOLE, "name": "overview"}
    tiles = {"name": "tiles", "rows": 1, "cols": 2, "box": [0.0, 0.0, 0.5, 1.0]}
    says = says_at({0: 3, 1: 3, 17: 2}, {0: "", 1: " \n"})
    folder = write_patches(tmp_path / "a", [says] * 2, views=(whole, tiles), line_ends=1)
    summary = compute_patches([folder])["patch_summary"].set_index(["view_name", "metric"])
    shares = summary.loc[(slice(None), "share_last_third"), "value"].droplevel("metric")
    assert shares.to_dict() == pytest.approx({"all": 3 / 18, "overview": 2 / 16, "tiles": 1 / 2})
    assert summary.loc[("overview", "share_blank"), "value"] == 2 / 16
    assert summary.loc[("tiles", "share_blank"), "value"] == 0
    counts = summary.loc[(slice(None), "n_patches"), "value"].tolist()
    assert counts == [36, 32, 4]
    assert set(summary.loc["tiles"].loc[["best_layer", "share_empty"], "n"]) == {2}
    one = write_patches(tmp_path / "b", [says], views=(whole, tiles))
    alone = compute_patches([one])["patch_summary"].set_index(["view_name", "metric"])
    found = alone.loc[("tiles", "best_layer"), ["value", "n", "over"]]
    assert found.tolist() == [1.5, 1, "samples"]
    # Seen once, a picture has no view beside all.
    single = compute_patches([write_patches(tmp_path / "c", [says_at({}, {})])])["patch_summary"]
    assert set(single["view_name"]) == {"all"}
