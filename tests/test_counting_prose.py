"""What the notebook on counting says: no verdict where a wrong answer does the same."""

from __future__ import annotations

import pandas as pd
import pytest

from lensbench.counting_prose import (
    LEADS,
    excess_sentences,
    lead_sentences,
    leads,
    side,
    verdict,
)

ABOVE, ACROSS, BELOW = (0.1, 0.3), (-0.1, 0.2), (-0.3, -0.1)


def row(bounds: tuple[float, float], n: int = 40) -> pd.Series:
    low, high = bounds
    return pd.Series({"value": (low + high) / 2, "low": low, "high": high, "n": n})


@pytest.mark.parametrize(
    ("net", "over", "said"),
    [
        (ABOVE, ABOVE, "Chinese comes first, more than with a wrong answer"),
        (BELOW, BELOW, "English comes first, more than with a wrong answer"),
        (ABOVE, ACROSS, "Chinese comes first, as a wrong answer's does"),
        (ABOVE, BELOW, "Chinese comes first, as a wrong answer's does"),
        (BELOW, ACROSS, "English comes first, as a wrong answer's does"),
        (ACROSS, BELOW, "neither comes first; English does more than with a wrong answer"),
        (ACROSS, ACROSS, "neither comes first, as far as these samples tell"),
    ],
)
def test_a_verdict_needs_the_floor_cleared(net: tuple, over: tuple, said: str) -> None:
    assert verdict(row(net), row(over)) == said


def test_without_a_wrong_answer_or_of_one_sample_nothing_follows() -> None:
    assert "nothing follows" in verdict(row(ABOVE), None)
    assert [side(row(ABOVE)), side(row(ABOVE, n=1)), side(None), side(row(BELOW))] == [1, 0, 0, -1]


def lead_table() -> pd.DataFrame:
    """Return leads of one run: asked for English nothing beyond a wrong answer's, Chinese more."""
    rows = []
    for asked, over in (("en", ACROSS), ("zh", ABOVE)):
        for arrival, metric, bounds, n in (
            ("top10", "net_first", ABOVE, 55), ("top10", "net_first_over_other", over, 55),
            ("top10", "lead_layers", (1.0, 3.0), 12), ("top10_other", "net_first", ACROSS, 55),
            ("top10", "share_tie", ABOVE, 55), ("top1", "net_first", ABOVE, 55),
            ("mass", "net_first", ABOVE, 55),
        ):  # fmt: skip
            rows.append(("m", "scenes", asked, "zh", "en", arrival, metric, *row(bounds, n)))
    rows.append(("m", "scenes", "en", "zh", "digit", "top10", "net_first", *row(BELOW)))
    names = ["model", "dataset", "asked", "first", "second", "arrival", "metric"]
    return pd.DataFrame(rows, columns=[*names, "value", "low", "high", "n"])


def test_sentences_tell_how_many_samples_a_lead_is_of() -> None:
    english, chinese = lead_sentences(lead_table())
    assert "asked for `en`: **Chinese comes first, as a wrong answer's does**" in english
    assert "asked for `zh`: **Chinese comes first, more than with a wrong answer**" in chinese
    assert "right less wrong answer 0.05 (-0.10 to 0.20, n = 55)" in english
    assert "clear of 0" not in english
    assert "in which both arrive, 12 of 55, Chinese leads by 2.00 (1.00 to 3.00, n = 12)" in english
    table = lead_table()
    for bounds, n, said in ((ABOVE, 9, ", clear of 0."), (ACROSS, 9, ", not clear of 0."),
                            (ABOVE, 1, ", not clear of 0.")):  # fmt: skip
        more = table.iloc[[0]].assign(metric="lead_over_other", **row(bounds, n).to_dict())
        assert lead_sentences(pd.concat([table, more], ignore_index=True))[0].endswith(said)
    (first, second) = lead_sentences(lead_table(), "top1")
    assert "0 of 55." in first
    assert "no wrong answer" in second


def test_the_table_has_the_floor_beside_each_language_asked_for() -> None:
    table = leads(lead_table())
    assert list(table.columns) == list(LEADS)
    assert table[["asked", "arrival"]].to_numpy().tolist() == [
        ["en", "top10"], ["en", "top1"], ["zh", "top10"], ["zh", "top1"],
    ]  # fmt: skip
    top = table.iloc[0]
    assert top["other_net_first"] == "0.05 (-0.10 to 0.20, n = 55)"
    assert (top["both"], top["other_lead_layers"], top["lead_over_other"]) == ("12 of 55", "–", "–")
    assert table["both"].tolist() == ["12 of 55", "0 of 55"] * 2
    assert leads(lead_table().head(0)).empty


def excess(asked: str, *bounds: tuple[float, float]) -> pd.DataFrame:
    rows = pd.DataFrame([row(each) for each in bounds]).assign(layer=range(len(bounds)))
    return rows.assign(model="m", dataset="d", asked=asked, variant="excess", metric="han_mass")


def test_han_not_asked_for_is_told_first_and_nothing_added_is_no_most() -> None:
    table = pd.concat([
        excess("all", ABOVE), excess("zh", ACROSS, ABOVE, (0.2, 0.4)), excess("not zh", BELOW),
        excess("not zh", ABOVE).assign(variant="native"),
    ])  # fmt: skip
    none, most = excess_sentences(table)
    assert none == (
        "- `m` on `d`, not asked for Chinese: the picture adds no Han mass at any layer."
    )
    assert "asked for Chinese: the picture adds most Han mass at layer 2, 0.30" in most
    assert most.endswith("taken one by one, the interval lies above 0 at the layers 1, 2.")
    (unsure,) = excess_sentences(excess("not zh", ACROSS))
    assert "adds no Han mass, as far as these samples tell" in unsure
    assert unsure.endswith("and the most is 0.05 (-0.10 to 0.20, n = 40) at layer 0.")
