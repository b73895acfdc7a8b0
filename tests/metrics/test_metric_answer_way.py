"""The answer's way: every cell against the trace itself, and planted layers found in the table."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest
from metric_runs import Made
from test_metric_run import at, edited

from lensbench.errors import TraceError
from lensbench.metrics.run import MetricOptions, compute_run
from lensbench.trace import read_table
from synthetic import CONCEPTS, VOCABULARY

FEW = MetricOptions(resamples=20, examples=3)


def rows(made: Made, lens: str) -> pd.DataFrame:
    return at(made.tables["answer_way"], lens=lens)


def test_both_lenses_have_every_layer_of_the_first_samples(scenes: Made, facts: Made) -> None:
    for made, last in ((scenes, 8), (facts, 12)):
        table = made.tables["answer_way"]
        assert table["lens"].unique().tolist() == ["normed", "raw"]
        kept = sorted(made.truth.convergence)[:12]
        for lens in ("normed", "raw"):
            of_lens = rows(made, lens)
            assert of_lens["sample_id"].tolist() == [s for s in kept for _ in range(last + 1)]
            assert of_lens["layer"].tolist() == list(range(last + 1)) * len(kept)
            assert of_lens["depth"].max() == 1


def test_planted_layers_are_in_the_table(scenes: Made) -> None:
    truth = scenes.truth
    for sample, table in rows(scenes, "normed").groupby("sample_id"):
        hit = (table["text"] == truth.final[sample]).tolist()
        start = truth.convergence[sample]
        assert all(hit[start:])
        assert not hit[start - 1]
        assert table["final_text"].unique().tolist() == [truth.final[sample]]
        assert ((table["final_rank"] == 0) == hit).all()
    for sample, table in rows(scenes, "raw").groupby("sample_id"):
        hit = (table["text"] == truth.final[sample]).tolist()
        start = truth.raw_convergence[sample]
        assert all(hit[start:-1])
        assert hit[-1] == truth.raw_last[sample]


def test_every_cell_is_the_trace_s(facts: Made) -> None:
    trace = read_table(facts.shards, "lenses")
    trace = trace[trace["lens"] == "raw"].set_index(["sample_id", "layer"])
    main = read_table(facts.shards, "trajectory")
    main = main[main["step"] == 0].set_index(["sample_id", "layer"])
    for row in facts.tables["answer_way"].itertuples():
        key = (row.sample_id, row.layer)
        if row.lens == "raw":
            token, chance = trace.loc[key, "top_id"], trace.loc[key, "top_logprob"]
            source = trace
        else:
            token, chance = main.loc[key, "top_id"][0], main.loc[key, "top_logprob"][0]
            source = main
        assert (row.top_id, row.text, row.script) == (token, *VOCABULARY[token])
        assert row.probability == pytest.approx(math.exp(chance), rel=1e-6)
        assert row.final_rank == source.loc[key, "final_rank"]
        if CONCEPTS[row.gold]:
            assert row.gold_rank == source.loc[key, "gold_rank"]
        else:
            assert pd.isna(row.gold_rank)
    assert len(facts.tables["answer_way"]) == 12 * 13 * 2


def test_a_gold_answer_without_a_form_has_no_rank(scenes: Made, tmp_path: Path) -> None:
    def lose(tables: dict[str, pd.DataFrame]) -> None:
        for name in ("trajectory", "lenses"):
            tables[name].loc[tables[name]["sample_id"] == "scenes-00001", "gold_rank"] = -1
        # An animal, which has no usable form.
        samples = tables["samples"]
        samples.loc[samples["sample_id"] == "scenes-00001", "gold"] = "animal:dog"

    got = compute_run(edited(scenes, tmp_path, lose), scenes.model_folder, FEW)["answer_way"]
    assert got["sample_id"].nunique() == 3
    lost = got["sample_id"] == "scenes-00001"
    assert got.loc[lost, "gold_rank"].isna().all()
    assert got.loc[~lost, "gold_rank"].notna().all()


def test_without_the_raw_lens_there_is_the_main_one(scenes: Made, tmp_path: Path) -> None:
    def forget(tables: dict[str, pd.DataFrame]) -> None:
        tables["lenses"] = tables["lenses"][tables["lenses"]["lens"] != "raw"]

    got = compute_run(edited(scenes, tmp_path, forget), scenes.model_folder, FEW)
    assert got["answer_way"]["lens"].unique().tolist() == ["normed"]
    assert "same_top1_as_main" not in set(got["lenses"]["metric"])
    raw = edited(scenes, tmp_path / "raw", lambda tables: None, lens="raw")
    main = compute_run(raw, scenes.model_folder, FEW)["answer_way"]
    assert main["lens"].unique().tolist() == ["raw"]
    assert (main["text"].to_numpy() == got["answer_way"]["text"].to_numpy()).all()


def test_a_raw_lens_cut_short_everywhere_is_refused(scenes: Made, tmp_path: Path) -> None:
    def cut(tables: dict[str, pd.DataFrame]) -> None:
        frame = tables["lenses"]
        tables["lenses"] = frame[(frame["lens"] != "raw") | (frame["layer"] < 8)]

    with pytest.raises(TraceError, match=r"m_1 on scenes has not the same layers.* raw"):
        compute_run(edited(scenes, tmp_path, cut), scenes.model_folder, FEW)


def test_share_of_samples_with_one_top_token_under_both_lenses(scenes: Made) -> None:
    lens = read_table(scenes.shards, "lenses")
    lens = lens[lens["lens"] == "raw"].set_index(["sample_id", "layer"])["top_id"]
    main = read_table(scenes.shards, "trajectory")
    main = main[main["step"] == 0].set_index(["sample_id", "layer"])["top_id"].str[0]
    same = (lens == main).groupby(level="layer").mean()
    got = at(scenes.tables["lenses"], lens="raw", metric="same_top1_as_main")
    assert got["value"].tolist() == pytest.approx(same.tolist())
    assert 0 < same.max() < 1
    assert (got["n"] == len(scenes.truth.convergence)).all()
