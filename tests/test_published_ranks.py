"""Published ranks beside ours: the same layer of the same model, else the nearest in depth."""

from __future__ import annotations

import pandas as pd
import pytest

from lensbench.errors import LensbenchError
from lensbench.figures.frames import published
from lensbench.published import ranks_beside

THEIRS = pd.DataFrame(
    {
        "model": "m", "dataset": "fills", "layer": range(5), "top1_token": list("abcde"),
        "value": [100, 75405, 30, 2, 0],
    }
)  # fmt: skip


def way(model: str, last: int, sample: str = "fills-00000", **more: object) -> pd.DataFrame:
    layers = range(last + 1)
    return pd.DataFrame(
        {
            "model": model, "dataset": "fills", "sample_id": sample, "lens": "raw",
            "layer": layers, "depth": [layer / last for layer in layers],
            "text": [f"t{layer}" for layer in layers],
            "final_rank": [10 * (last - layer) for layer in layers], "gold": "color:red", **more,
        }
    )  # fmt: skip


def test_the_same_model_is_told_apart_layer_by_layer() -> None:
    normed = way("m", 4, lens="normed").assign(final_rank=-1)
    table = pd.concat([way("m", 4, "fills-00009"), way("m", 4), normed, way("m", 4, "a", gold="x")])
    got = ranks_beside(THEIRS, table, "color:red")
    assert got["sample_id"].unique().tolist() == ["fills-00000"]
    assert got["our_layer"].tolist() == got["layer"].tolist() == [0, 1, 2, 3, 4]
    assert got["difference"].tolist() == [40 - 100, 30 - 75405, 20 - 30, 10 - 2, 0]
    assert got["our_token"].tolist() == ["t0", "t1", "t2", "t3", "t4"]


def test_another_model_s_layers_are_the_nearest_in_depth_and_not_subtracted() -> None:
    got = ranks_beside(THEIRS, pd.concat([way("deep", 10), way("flat", 2)]), "color:red")
    by_model = {name: rows["our_layer"].tolist() for name, rows in got.groupby("model")}
    # 2.5 and 7.5 of 10, 0.5 and 1.5 of 2: half a layer goes to the deeper one.
    assert by_model == {"deep": [0, 3, 5, 8, 10], "flat": [0, 1, 1, 2, 2]}
    assert got["difference"].isna().all()
    assert got["our_rank"].tolist()[:5] == [100, 70, 50, 20, 0]


def test_what_does_not_fit_is_refused_and_nothing_gives_an_empty_table() -> None:
    with pytest.raises(LensbenchError, match="m has 6 layers here and 4"):
        ranks_beside(THEIRS, way("m", 6), "color:red")
    two = pd.concat([THEIRS, THEIRS.assign(dataset="flowers")])
    with pytest.raises(LensbenchError, match="of one run"):
        ranks_beside(two, way("m", 4), "color:red")
    empty = ranks_beside(THEIRS, way("m", 4), "color:blue")
    full = ranks_beside(THEIRS, way("m", 4), "color:red")
    assert empty.empty
    assert empty.columns.tolist() == full.columns.tolist()


def test_the_packaged_table_fits() -> None:
    got = ranks_beside(published("final_rank"), way("tiny", 8), "color:red")
    assert got.loc[got["layer"] == 12, "rank"].item() == 75405
    assert len(got) == 25
