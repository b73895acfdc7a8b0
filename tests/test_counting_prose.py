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
            ("top10", "net_first", ABOVE, 55), ("top10", "net_first_paired", (0.2, 0.4), 40),
            ("top10", "net_first_over_other", over, 40), ("top10", "lead_layers", (1.0, 3.0), 12),
            ("top10_other", "net_first", BELOW, 55),
            ("top10_other", "net_first_paired", ACROSS, 40),
            ("top10", "share_tie", ABOVE, 55), ("top1", "net_first", ABOVE, 55),
            ("mass", "net_first", ABOVE, 55),
        ):  # fmt: skip
            rows.append(("m", "scenes", asked, "zh", "en", arrival, metric, *row(bounds, n)))
    rows.append(("m", "scenes", "en", "zh", "digit", "top10", "net_first", *row(BELOW)))
    names = ["model", "dataset", "asked", "first", "second", "arrival", "metric"]
    return pd.DataFrame(rows, columns=[*names, "value", "low", "high", "n"])


def test_both_ways_to_arrive_are_told_in_one_sentence() -> None:
    english, chinese = lead_sentences(lead_table())
    first, second = "among the first 10 **Chinese comes first", "on top **there is no wrong answer"
    assert f"asked for `en`: {first}, as a wrong answer's does**" in english
    assert f"asked for `zh`: {first}, more than with a wrong answer**" in chinese
    assert second in english
    assert english.endswith(" The two differ.")
    one = lead_table().query("arrival != 'top1'")
    assert lead_sentences(one)[0].endswith(" Of what arrives on top nothing is known.")
    alike = one[~one["metric"].str.endswith("_other")].query("arrival == 'top10'")
    both = pd.concat([one, alike.assign(arrival="top1")], ignore_index=True)
    wrong = one.query("arrival == 'top10_other'").assign(arrival="top1_other")
    over = one[one["metric"] == "net_first_over_other"].assign(arrival="top1")
    both = pd.concat([both, wrong, over], ignore_index=True)
    assert all(said.endswith(" The two agree.") for said in lead_sentences(both))


def test_sentences_tell_how_many_samples_a_lead_is_of() -> None:
    english, _ = lead_sentences(lead_table())
    # The three beside each other are of the same 40 samples, not of the 55 that have an answer.
    assert (
        "(net 0.30 (0.20 to 0.40, n = 40), of a wrong answer 0.05 (-0.10 to 0.20, n = 40), "
        "right less wrong 0.05 (-0.10 to 0.20, n = 40); "
    ) in english
    assert "clear of 0" not in english
    assert (
        "in 12 of 55 samples both arrive, and Chinese leads there by 2.00 (1.00 to 3.00, n = 12)"
        in english
    )
    assert "in 0 of 55 samples both arrive)" in english
    table = lead_table()
    pair = [
        table.iloc[[0]].assign(
            arrival=arrival, metric="lead_paired", **row((1.0, 3.0), 9).to_dict()
        )
        for arrival in ("top10", "top10_other")
    ]
    for bounds, n, said in ((ABOVE, 9, ", clear of 0)"), (ACROSS, 9, ", not clear of 0)"),
                            (ABOVE, 1, ", not clear of 0)")):  # fmt: skip
        more = table.iloc[[0]].assign(metric="lead_over_other", **row(bounds, n).to_dict())
        text = lead_sentences(pd.concat([table, *pair, more], ignore_index=True))[0]
        assert said in text
        assert "Chinese leads by 2.00 (1.00 to 3.00, n = 9) and 2.00 (1.00 to 3.00, n = 9)" in text


def test_the_table_has_the_floor_beside_each_language_asked_for() -> None:
    table = leads(lead_table())
    assert list(table.columns) == list(LEADS)
    assert table[["asked", "arrival"]].to_numpy().tolist() == [
        ["en", "top10"], ["en", "top1"], ["zh", "top10"], ["zh", "top1"],
    ]  # fmt: skip
    top = table.iloc[0]
    assert top["net_first_paired"] == "0.30 (0.20 to 0.40, n = 40)"
    assert top["other_net_first_paired"] == "0.05 (-0.10 to 0.20, n = 40)"
    assert (top["both"], top["other_lead_paired"], top["lead_over_other"]) == ("12 of 55", "–", "–")
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
    assert "asked for Chinese: the picture adds Han mass at the layers 1, 2, where" in most
    assert "most at layer 2, 0.30" in most
    (unsure,) = excess_sentences(excess("not zh", ACROSS))
    assert "adds no Han mass, as far as these samples tell" in unsure
    assert "no peak; the largest mean is 0.05 (-0.10 to 0.20, n = 40)." in unsure
    # The layer with the largest mean is no peak where its own interval holds 0.
    (second,) = excess_sentences(excess("not zh", ABOVE, (-0.1, 0.9)))
    assert "Han mass at the layers 0, where" in second
    assert "most at layer 0, 0.20" in second
