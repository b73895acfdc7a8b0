"""Published numbers beside ours: paired by their keys, empty where nothing of ours is the same."""

from __future__ import annotations

import pandas as pd
import pytest

from lensbench.compared import beside
from lensbench.errors import LensbenchError
from lensbench.figures.frames import published


def table(rows: list[tuple], columns: str) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=columns.split())


def test_differences_are_of_the_same_model_data_and_layer() -> None:
    theirs = table([("m", "t", 0, 0.1), ("m", "t", 1, 0.5), ("m", "t", 2, 0.9)],
                   "model dataset layer value")  # fmt: skip
    ours = table(
        [("m", "t", 1, 0.6, 0.4, 0.7), ("m", "t", 2, 0.7, 0.6, 0.8), ("m", "u", 0, 0.1, 0, 1),
         ("n", "t", 0, 0.1, 0, 1)],
        "model dataset layer value low high",
    )  # fmt: skip
    got = beside(theirs, ours, ["layer"])
    assert got["layer"].tolist() == [0, 1, 2]
    assert got["difference"].tolist()[1:] == pytest.approx([0.1, -0.2])
    assert pd.isna(got["ours"].iloc[0])
    assert got["inside"].tolist()[1:] == [1, 0]
    assert pd.isna(got["inside"].iloc[0])


def test_two_numbers_for_one_place_are_refused() -> None:
    theirs = table([("m", "t", 1, 0.5)], "model dataset layer value")
    ours = table([("m", "t", 1, 0.6, 0, 1), ("m", "t", 1, 9.0, 0, 9)],
                 "model dataset layer value low high")  # fmt: skip
    with pytest.raises(LensbenchError, match="our table has two numbers for one layer"):
        beside(theirs, ours, ["layer"])


def test_the_published_tables_have_one_number_a_place() -> None:
    names = {"accuracy_by_layer": [], "accuracy_by_answer": ["answer"], "han_in_topk": ["k"]}
    for name, more in names.items():
        keys = [*more, "layer"]
        theirs = published(name)
        got = beside(theirs, theirs.assign(low=theirs["value"], high=theirs["value"]), keys)
        assert len(got) == len(theirs)
        assert (got["difference"] == 0).all()
        assert (got["inside"] == 1).all()
