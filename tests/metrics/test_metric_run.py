"""All metrics of a run: planted truth recovered, against naive readings of the traces."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from metric_runs import Made

from lensbench.errors import DataError, TraceError
from lensbench.metrics import by_layer, depths
from lensbench.metrics.intervals import wilson
from lensbench.metrics.run import MetricOptions, compute_run, write_run
from lensbench.metrics.run import make_run as make_metrics
from lensbench.metrics.tables import RUN_TABLES
from lensbench.trace import read_meta, read_table, write_model_table, write_shard
from synthetic import CONCEPTS, LANGUAGES, SCRIPTS, TOKEN_ID, VOCABULARY, make_run

FEW = MetricOptions(resamples=20)


def metric(made: Made, name: str) -> pd.Series:
    table = made.tables["summary"].set_index("metric")
    return table.loc[name]


def at(table: pd.DataFrame, **labels: object) -> pd.DataFrame:
    for column, value in labels.items():
        table = table[table[column] == value]
    return table


def test_tables_and_columns_are_those_promised(scenes: Made, facts: Made) -> None:
    for made in (scenes, facts):
        assert {k: list(v.columns) for k, v in made.tables.items()} == RUN_TABLES


def test_nothing_is_empty_or_nan_but_what_may_be(scenes: Made, facts: Made) -> None:
    # Planted questions are all simple, so that no kinds can be held against each other.
    without_pictures = {"stages", "head_summary"}
    for made, empty in (
        (scenes, {"matched_kinds"}),
        (facts, {"matched_kinds", *without_pictures}),
    ):
        assert {name for name, table in made.tables.items() if table.empty} == empty
        for name, table in made.tables.items():
            holes = set(table.columns[table.isna().any()]) if len(table) else set()
            allowed = {
                "convergence": {"correct_final"},
                "heads": {"enrichment", "picture_share", "odds_ratio", "odds_low", "odds_high"},
                "answer_way": {"gold_rank"},
            }.get(name, set())
            assert holes <= allowed, name


def test_planted_convergence_is_recovered(scenes: Made, facts: Made) -> None:
    for made in (scenes, facts):
        table = at(made.tables["convergence"], step=0).set_index("sample_id")
        assert table["convergence_layer"].to_dict() == made.truth.convergence
        assert table["first_hit_layer"].to_dict() == made.truth.first_hit
        lost = {key: int(made.truth.first_hit[key] < made.truth.convergence[key]) for key in
                made.truth.convergence}  # fmt: skip
        assert table["found_and_lost"].to_dict() == lost
        correct = table["correct_final"].dropna().astype(bool).to_dict()
        assert correct == made.truth.correct
        assert metric(made, "convergence_layer")["value"] == pytest.approx(
            np.mean(list(made.truth.convergence.values()))
        )
        assert metric(made, "accuracy")["value"] == pytest.approx(
            np.mean(list(made.truth.correct.values()))
        )


def test_convergence_has_every_step(scenes: Made) -> None:
    steps = read_table(scenes.shards, "trajectory", ["sample_id", "step"]).drop_duplicates()
    assert len(scenes.tables["convergence"]) == len(steps)
    assert set(steps["step"]) == {0, 1, 2}


def test_planted_han_layers_are_recovered(scenes: Made) -> None:
    table = at(scenes.tables["han_in_topk"], asked="all", k=1)
    first, last = scenes.truth.han_layers
    # Every sample whose gold has a Chinese form; the one animal has none.
    n = len(scenes.truth.convergence)
    share = (n - 1) / n
    want = [share if first <= layer <= last else 0.0 for layer in table["layer"]]
    assert table["value"].tolist() == pytest.approx(want)
    whole = at(scenes.tables["han_in_topk"], asked="all").pivot(
        index="layer", columns="k", values="value"
    )
    assert list(whole.columns) == [1, 2, 3, 4, 5]
    assert (np.diff(whole.to_numpy(), axis=1) >= 0).all()


def test_planted_stages_and_image_head_are_recovered(scenes: Made) -> None:
    table = scenes.tables["stages"]
    planted = scenes.truth.stages
    assert table[["first_layer", "last_layer"]].values.tolist() == [[a, b] for a, b, _ in planted]
    assert table["image_mass"].tolist() == pytest.approx([m for *_, m in planted], abs=0.03)
    layer, head = scenes.truth.image_head
    heads = scenes.tables["heads"]
    best = heads.loc[heads["image_mass"].idxmax()]
    assert (best["layer"], best["head"], best["kind"]) == (layer, head, "image")
    # 36 of 56 positions are image.
    assert best["enrichment"] == pytest.approx(0.99 * 56 / 36, rel=1e-5)
    assert best["image_mass_no_sink"] == pytest.approx(0.99)
    assert best["separation"] == pytest.approx(0.98)
    # 0.99 against 36 of the 55 positions that are no sink.
    assert best["odds_ratio"] == pytest.approx(99 * 19 / 36, rel=1e-4)
    assert (best["picture_share"], best["odds_n"]) == (pytest.approx(36 / 55), best["n"])
    assert (best["kind"], best["kind_by_mass"]) == ("image", "image")
    assert set(heads["kind_by_mass"]) == {"image", "text", "mixed"}


def test_a_head_that_attends_evenly_is_no_image_head_however_large_the_picture(
    scenes: Made, tmp_path: Path
) -> None:
    # Of 56 positions 36 are the picture's and one is the sink: even attention gives 36/56 of mass.
    share = 36 / 56

    def even(tables: dict[str, pd.DataFrame]) -> None:
        rows = tables["heads"]
        # In block 1 the sink takes most of it first.
        sink = np.where(rows["layer"] == 1, 0.9, 0.0)
        of_head = {
            "sink_mass": sink + (1 - sink) / 56,
            "image_mass": (1 - sink) * share,
            "overview_mass": (1 - sink) * share,
            "text_mass": (1 - sink) * 19 / 56,
        }
        for name, values in of_head.items():
            rows[name] = np.where(rows["head"] == 0, values, rows[name])

    shards = edited(scenes, tmp_path, even)
    found = compute_run(shards, scenes.model_folder, MetricOptions(resamples=50))["heads"]
    first = found[found["head"] == 0]
    assert first["odds_ratio"].to_numpy() == pytest.approx(np.ones(len(first)), rel=1e-4)
    assert set(first["kind"]) == {"mixed"}
    assert (first["odds_low"] <= first["odds_ratio"] * (1 + 1e-9)).all()
    assert first["image_mass"].max() > 0.6


def test_a_sink_that_is_the_pictures_is_left_out_of_mass_and_share(
    scenes: Made, tmp_path: Path
) -> None:
    def first_is_image(tables: dict[str, pd.DataFrame]) -> None:
        # The sink is one of 36 image positions; each head gives the other 35 what it gives the
        # 20 of text: 35/55 of what the sink leaves would be even.
        rows = tables["heads"]
        rows["sink_mass"] = rows["image_sink_mass"] = 0.6
        rows["image_mass"] = rows["overview_mass"] = 0.6 + 0.2
        rows["text_mass"] = 0.2

    shards = edited(scenes, tmp_path, first_is_image)
    heads = compute_run(shards, scenes.model_folder, FEW)["heads"]
    assert heads["image_mass"].to_numpy() == pytest.approx(0.8)
    assert heads["image_mass_no_sink"].to_numpy() == pytest.approx(0.5)
    assert heads["picture_share"].to_numpy() == pytest.approx(35 / 55)
    assert heads["odds_ratio"].to_numpy() == pytest.approx(20 / 35)
    assert set(heads["kind"]) == {"mixed"}


def test_heads_that_leave_the_sink_nothing_over_have_no_odds_ratio(
    scenes: Made, tmp_path: Path
) -> None:
    def all_sink(tables: dict[str, pd.DataFrame]) -> None:
        rows = tables["heads"]
        mine = (rows["head"] == 0) & (rows["layer"] == 1)
        for name in ("image_mass", "overview_mass", "text_mass", "image_max"):
            rows.loc[mine, name] = 0.0
        rows.loc[mine, "sink_mass"] = 1.0

    shards = edited(scenes, tmp_path, all_sink)
    heads = compute_run(shards, scenes.model_folder, FEW)["heads"]
    assert heads["odds_ratio"].isna().tolist() == [True] + [False] * (len(heads) - 1)
    assert heads["kind"][0] == "mixed"


def summed(tables: dict[str, pd.DataFrame]) -> pd.Series:
    return tables["head_summary"].set_index(["among", "metric"])["value"]


def test_the_summary_of_heads_is_a_naive_reading_of_the_trace(scenes: Made) -> None:
    rows = read_table(scenes.shards, "heads", step=0)
    named = rows.merge(read_table(scenes.shards, "samples"), on="sample_id")
    rows["no_sink"] = rows["image_mass"] / (rows["image_mass"] + rows["text_mass"])
    rows["spread"] = rows["image_entropy_nats"] / np.log(named["n_image_tokens"])
    means = rows.groupby(["layer", "head"])["image_mass"].mean()
    found, heads = summed(scenes.tables), scenes.tables["heads"]
    for kind, share in (("image", (means >= 0.8).mean()), ("text", (means <= 0.2).mean())):
        assert found["all", f"share_{kind}_by_mass"] == pytest.approx(share)
        assert share == (heads["kind_by_mass"] == kind).mean()
        assert found["all", f"share_{kind}"] == pytest.approx((heads["kind"] == kind).mean())
    m, s = rows.groupby(["layer", "head"])["no_sink"].mean(), 36 / 55
    ratio = (m / (1 - m) / (s / (1 - s))).to_numpy()
    assert heads["odds_ratio"].to_numpy() == pytest.approx(ratio, rel=1e-5)
    assert (heads["odds_low"] <= heads["odds_ratio"]).all()
    assert (heads["odds_ratio"] <= heads["odds_high"]).all()
    shares = found["all"][["share_image", "share_mixed", "share_text"]]
    assert shares.sum() == pytest.approx(1)
    assert found["all", "separation"] == pytest.approx((2 * rows["image_mass"] - 1).abs().mean())
    called = heads.set_index(["layer", "head"]).query("kind == 'image'").index
    image = rows.set_index(["layer", "head"]).loc[called]
    for among, chosen in (("all", rows), ("image", image)):
        for metric, column in (("image_mass", "image_mass"), ("sink_mass", "sink_mass"),
                               ("image_mass_no_sink", "no_sink"), ("image_max", "image_max"),
                               ("spread", "spread")):  # fmt: skip
            assert found[among, metric] == pytest.approx(chosen[column].mean(), rel=1e-6), metric
        # Pictures are seen once.
        assert (found[among, "overview_share"], found[among, "tiles_share"]) == (1, 0)
    assert found["all", "overview_positions"] == 1
    table = scenes.tables["head_summary"]
    assert ((table["low"] <= table["value"]) & (table["value"] <= table["high"])).all()
    assert set(table["n"]) == {len(rows["sample_id"].unique())}


def test_overview_and_tiles_are_counted_apart(scenes: Made, tmp_path: Path) -> None:
    # Of 36 image positions 12 are the overview's; a fifth of each head's image mass is on them.
    def twice(tables: dict[str, pd.DataFrame]) -> None:
        tables["heads"]["overview_mass"] = 0.2 * tables["heads"]["image_mass"]
        tables["samples"][["grid_h", "grid_w"]] = [3, 4]

    shards = edited(scenes, tmp_path, twice)
    got = compute_run(shards, scenes.model_folder, MetricOptions(resamples=50))
    heads, found = got["heads"], summed(got)
    np.testing.assert_allclose(heads["overview_mass"], 0.2 * heads["image_mass"], rtol=1e-5)
    np.testing.assert_allclose(heads["tiles_mass"], 0.8 * heads["image_mass"], rtol=1e-5)
    assert found["all", "overview_positions"] == pytest.approx(1 / 3)
    for among in ("all", "image"):
        assert found[among, "overview_share"] == pytest.approx(0.2)
        assert found[among, "tiles_share"] == pytest.approx(0.8)
        assert found[among, "tiles_mass"] == pytest.approx(0.8 * found[among, "image_mass"])


def test_a_text_model_has_heads_but_no_stages(facts: Made) -> None:
    heads = facts.tables["heads"]
    assert set(heads["kind"]) == {"none"}
    assert set(heads["kind_by_mass"]) == {"text"}
    assert (heads["image_mass"] == 0).all()
    assert heads["enrichment"].isna().all()
    assert facts.tables["stages"].empty


def frame_of(made: Made) -> pd.DataFrame:
    """Step 0 of the trajectory with the columns of samples, for naive readings."""
    trajectory = read_table(made.shards, "trajectory", step=0)
    return trajectory.merge(read_table(made.shards, "samples"), on="sample_id")


def test_accuracy_tables_against_a_naive_reading(facts: Made) -> None:
    rows = []
    for row in frame_of(facts).itertuples():
        token = VOCABULARY[row.top_id[0]][0]
        spoken = [lang for lang, forms in CONCEPTS[row.gold].items() if token in forms]
        if CONCEPTS[row.gold]:
            rows.append((row.gold, row.language, row.layer, spoken[0] if spoken else None))
    naive = pd.DataFrame(rows, columns=["answer", "asked", "layer", "spoken"])
    naive["right"] = naive["spoken"].notna()
    for answer, layer in [("number:4", 12), ("color:green", 6), ("capital:paris", 0)]:
        here = at(naive, answer=answer, layer=layer)
        table = at(facts.tables["accuracy_by_answer"], answer=answer, layer=layer)
        assert set(table["asked"]) == {"all", *here["asked"]}
        for asked, n, value in table[["asked", "n", "value"]].itertuples(index=False):
            want = here["right"] if asked == "all" else at(here, asked=asked)["right"]
            assert (value, n) == (pytest.approx(want.mean()), len(want))
    by_layer = at(facts.tables["by_layer"], metric="accuracy")["value"]
    assert by_layer.tolist() == pytest.approx(naive.groupby("layer")["right"].mean().tolist())
    table = facts.tables["accuracy_by_language"]
    for asked, language, layer in [("all", "zh", 6), ("zh", "zh", 12), ("en", "zh", 5)]:
        got = at(table, asked=asked, language=language, layer=layer).iloc[0]
        chosen = at(naive, layer=layer)
        chosen = chosen if asked == "all" else at(chosen, asked=asked)
        assert got["value"] == pytest.approx((chosen["spoken"] == language).mean())
        assert got["n"] == len(chosen)
    # Languages without any form of these concepts have no rows; the shares add up to accuracy.
    assert set(table["language"]) == {"digit", "en", "zh", "ja", "ko", "ru", "fr", "de", "es"} & {
        lang for gold in set(naive["answer"]) for lang in CONCEPTS[gold]
    }
    summed = at(table, asked="all").groupby("layer")["value"].sum()
    assert summed.tolist() == pytest.approx(by_layer.tolist())


def test_accuracy_by_family_against_a_naive_reading(facts: Made) -> None:
    samples = read_table(facts.shards, "samples").set_index("sample_id")
    samples = samples[samples["rejected"].isna()]
    table = facts.tables["accuracy_by_family"]
    right = pd.Series(facts.truth.correct)
    assert set(table["family"]) == set(samples["family"])
    for family in samples["family"].unique():
        for asked in ["all", *samples.loc[samples["family"] == family, "language"].unique()]:
            of = samples[samples["family"] == family]
            of = of if asked == "all" else of[of["language"] == asked]
            chosen = right[right.index.intersection(of.index)]
            got = at(table, family=family, asked=asked, metric="accuracy")
            if len(chosen):
                assert got["value"].iloc[0] == pytest.approx(chosen.mean())
                assert got["n"].iloc[0] == len(chosen)
            else:
                assert got.empty
    # The families share the samples out: their hits add up to the run's.
    whole = at(table, asked="all", metric="accuracy_generated")
    expected = metric(facts, "accuracy_generated")
    assert (whole["value"] * whole["n"]).sum() == pytest.approx(expected["value"] * expected["n"])


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("accuracy_by_answer", ["answer", "layer"]), ("han_in_topk", ["k", "layer"]),
        ("script_mass", ["script", "layer"]), ("answer_path", ["family", "metric"]),
        ("by_count", ["group", "metric"]),
    ],
)  # fmt: skip
def test_languages_asked_for_share_the_samples_out(
    scenes: Made, name: str, keys: list[str]
) -> None:
    table = scenes.tables[name]
    if name == "by_count":  # The best of a language's layers is not that of all.
        table = table[table["metric"].isin(["accuracy", "convergence_layer"])]
    table = table.assign(sum=table["value"] * table["n"])
    whole = at(table, asked="all").set_index(keys)
    apart = table[table["asked"] != "all"]
    assert apart["asked"].nunique() > 1
    parts = apart.groupby(keys)[["sum", "n"]].sum().loc[whole.index]
    assert parts["n"].tolist() == whole["n"].tolist()
    assert parts["sum"].tolist() == pytest.approx(whole["sum"].tolist(), abs=1e-6)


def test_masses_against_a_naive_reading(facts: Made) -> None:
    frame = frame_of(facts)
    for script, layer in [("Han", 6), ("Latin", 0), ("Fragment", 12)]:
        table = at(facts.tables["script_mass"], script=script, layer=layer)
        assert set(table["asked"]) == {"all", *frame["language"]}
        for asked, value in table[["asked", "value"]].itertuples(index=False):
            here = (
                at(frame, layer=layer) if asked == "all" else at(frame, layer=layer, language=asked)
            )
            masses = [mass[SCRIPTS.index(script)] for mass in here["script_mass"]]
            assert value == pytest.approx(np.mean(masses))
        got = at(table, asked="all").iloc[0]
        share = np.mean([s == script for _, s in VOCABULARY])
        assert got["floor_vocabulary"] == pytest.approx(share)
        assert got["floor_random"] == pytest.approx(share)
    usable = frame[frame["gold_rank"] >= 0]
    got = at(facts.tables["concept_mass"], asked="zh", language="zh", layer=6).iloc[0]
    here = at(usable, layer=6, language="zh")["concept_mass"]
    assert got["value"] == pytest.approx(np.mean([m[LANGUAGES.index("zh")] for m in here]))
    assert got["n"] == len(here)


def test_by_layer_against_a_naive_reading(scenes: Made) -> None:
    frame = frame_of(scenes)
    table = scenes.tables["by_layer"]
    for name in ("entropy_nats", "kl_to_final_nats", "js_to_final_nats"):
        want = frame.groupby("layer")[name].mean().tolist()
        assert at(table, metric=name)["value"].tolist() == pytest.approx(want, rel=1e-5)
    want = frame.groupby("layer")["final_rank"].median().tolist()
    assert at(table, metric="final_rank_median")["value"].tolist() == want
    gold = frame[frame["gold_rank"] >= 0].groupby("layer")["gold_rank"].median().tolist()
    assert at(table, metric="gold_rank_median")["value"].tolist() == gold
    last = table[table["layer"] == 8].set_index("metric")["value"]
    for name in ("topk_agreement", "early_exit_share", "top1_is_final"):
        assert last[name] == 1
    assert last["final_rank_median"] == 0
    assert at(table, metric="accuracy")["depth"].tolist() == [i / 8 for i in range(9)]


def test_counts_in_the_summary(scenes: Made) -> None:
    # 40 samples, one rejected, one without a usable form; the golds are 6 concepts and the animal.
    assert metric(scenes, "n_samples")[["value", "n"]].tolist() == [39, 40]
    assert metric(scenes, "n_rejected")[["value", "n"]].tolist() == [1, 40]
    assert metric(scenes, "n_without_gold_form")[["value", "n"]].tolist() == [1, 39]
    concepts = [f"number:{i}" for i in range(4)] + ["color:red", "color:blue"]
    kept = sum(len(forms) for c in concepts for forms in CONCEPTS[c].values())
    # Left out: " dog" and " trois".
    assert metric(scenes, "concept_forms_kept")[["value", "n"]].tolist() == [kept, kept + 2]
    assert metric(scenes, "concept_forms_left_out")["value"] == 2
    assert metric(scenes, "accuracy")["n"] == 38


def test_last_block_jump(scenes: Made) -> None:
    frame = at(frame_of(scenes), layer=7).set_index("sample_id")
    table = at(scenes.tables["convergence"], step=0).set_index("sample_id")
    assert table["last_block_js"].to_dict() == pytest.approx(frame["js_to_final_nats"].to_dict())
    change = {key: int(layer == 8) for key, layer in scenes.truth.convergence.items()}
    assert table["last_block_change"].to_dict() == change


def test_intervals_hold_their_value(scenes: Made, facts: Made) -> None:
    for made in (scenes, facts):
        names = ("by_layer", "han_in_topk", "script_mass", "concept_mass", "lenses", "summary")
        for name in names:
            table = made.tables[name]
            assert (table["low"] <= table["value"] + 1e-9).all()
            assert (table["value"] <= table["high"] + 1e-9).all()
            assert (table["n"] > 0).all()


def test_tokens_are_those_of_the_first_samples(scenes: Made) -> None:
    tables = compute_run(scenes.shards, scenes.model_folder, MetricOptions(resamples=5, examples=2))
    table = tables["tokens"]
    assert sorted(set(table["sample_id"])) == ["scenes-00000", "scenes-00001"]
    sample = at(table, sample_id="scenes-00001", step=0).set_index("layer")
    layer = scenes.truth.convergence["scenes-00001"]
    assert sample.loc[layer, "text"] == scenes.truth.final["scenes-00001"]
    assert (sample["generated_text"] == scenes.truth.final["scenes-00001"]).all()
    assert sample.loc[scenes.truth.han_layers[0], "script"] == "Han"
    generated = read_table(scenes.shards, "samples").set_index("sample_id")["generated_ids"]
    assert table["step"].max() > 0
    for row in table.itertuples():
        assert row.generated_text == VOCABULARY[generated[row.sample_id][row.step]][0]
    frame = at(frame_of(scenes), sample_id="scenes-00001").set_index("layer")
    logprob = frame.loc[0, "top_logprob"][0]
    assert sample.loc[0, "probability"] == pytest.approx(np.exp(logprob), rel=1e-5)
    assert sample["final_rank"].tolist() == frame["final_rank"].tolist()


def test_two_computations_and_any_order_of_shards_give_the_same_bytes(
    scenes: Made, tmp_path: Path
) -> None:
    make_metrics(tmp_path / "a", scenes.shards, scenes.model_folder, FEW)
    make_metrics(tmp_path / "b", scenes.shards[::-1], scenes.model_folder, FEW)
    whole = compute_run(scenes.shards, scenes.model_folder, FEW)
    for table in RUN_TABLES:
        one, two = (tmp_path / name / f"{table}.parquet" for name in "ab")
        assert one.read_bytes() == two.read_bytes()
        pd.testing.assert_frame_equal(pd.read_parquet(one), whole[table], check_dtype=False)


def test_how_the_run_was_sharded_does_not_matter(tmp_path: Path) -> None:
    tables = []
    for n_shards in (1, 3):
        root = tmp_path / str(n_shards)
        make_run(root, n_samples=14, n_shards=n_shards)
        shards = sorted((root / "traces/synthetic-llava/scenes").iterdir())
        tables.append(compute_run(shards, root / "models/synthetic-llava", FEW))
    for name, table in tables[0].items():
        pd.testing.assert_frame_equal(table, tables[1][name])


def test_one_sample_has_no_interval_of_means_and_a_wide_one_of_shares(tmp_path: Path) -> None:
    make_run(tmp_path, n_samples=1)
    shards = list((tmp_path / "traces/synthetic-llava/scenes").iterdir())
    tables = compute_run(shards, tmp_path / "models/synthetic-llava", FEW)
    shares = {*depths.SHARES, *by_layer.SHARES, "agreement", "same_top1_as_main"}
    shares |= {"accuracy_lenient", "first_token_accuracy"}
    for name in ("summary", "by_layer", "script_mass", "lenses"):
        table = tables[name].assign(width=tables[name]["high"] - tables[name]["low"])
        of = table.get("metric", pd.Series("", table.index)).isin(shares)
        assert (table["width"][~of] == 0).all()
        # Of none or one of one: from 0 to .793, or from .207 to 1.
        assert table["width"][of].to_numpy() == pytest.approx(0.79346, abs=1e-5)
    assert (tables["heads"]["n"] == 1).all()
    # One picture gives no interval by which a head's kind could be told.
    assert set(tables["heads"]["kind"]) == {"mixed"}


def test_samples_of_one_picture_in_two_shards_are_a_cluster(scenes: Made, tmp_path: Path) -> None:
    """Every picture is shown in both shards: the interval is of the effective n, not of n."""

    def paired(tables: dict[str, pd.DataFrame]) -> None:
        names = tables["samples"]["sample_id"].str[-5:].astype(int) % 20  # of 40
        tables["samples"]["picture"] = [f"p{name:05d}" for name in names]

    shards = edited(scenes, tmp_path, paired)
    tables = compute_run(shards, scenes.model_folder, FEW)
    samples = pd.concat([read_table(shard, "samples") for shard in shards])
    ends = pd.concat([read_table(shard, "trajectory", step=0) for shard in shards])
    ends = ends[ends["layer"] == ends["layer"].max()].set_index("sample_id")
    gold = samples.set_index("sample_id").loc[ends.index]
    usable = (ends["gold_rank"] >= 0).to_numpy()
    right = [
        final in {TOKEN_ID[text] for texts in CONCEPTS[concept].values() for text in texts}
        for final, concept in zip(ends["final_id"], gold["gold"], strict=True)
    ]
    own = pd.Series(right, dtype=float)[usable].groupby(gold["picture"].to_numpy()[usable])
    k, n = own.sum().to_numpy(), own.count().to_numpy()
    assert n.max() > 1
    share, c = k.sum() / n.sum(), len(n)
    v = c / (c - 1) * ((k - share * n) ** 2).sum() / n.sum() ** 2
    low, high = wilson(np.array(share), min(share * (1 - share) / v, n.sum()), 0.95)
    row = tables["summary"].set_index("metric").loc["accuracy"]
    assert (row["value"], row["n"]) == (pytest.approx(share), n.sum())
    assert (row["low"], row["high"]) == pytest.approx((low, high))
    plain = scenes.tables["summary"].set_index("metric").loc["accuracy"]
    assert (plain["low"], plain["high"]) == pytest.approx(wilson(np.array(share), n.sum(), 0.95))


def edited(
    made: Made, root: Path, edit: Callable[[dict[str, pd.DataFrame]], None], **changes: object
) -> list[Path]:
    """Copy a run's shards with their tables, and what they say about themselves, changed."""
    folders = []
    for shard in made.shards:
        names = ("samples", "trajectory", "heads", "lenses", "floors")
        tables = {name: read_table(shard, name) for name in names}
        for frame in tables.values():
            for column in frame.columns.intersection(["image", "rejected"]):
                frame[column] = frame[column].astype(object).where(frame[column].notna(), None)
        edit(tables)
        write_shard(root / shard.name, tables, replace(read_meta(shard), **changes))
        folders.append(root / shard.name)
    return folders


def test_heads_of_some_layers_alone_or_of_none(scenes: Made, tmp_path: Path) -> None:
    whole = scenes.tables["heads"]
    for head_layers in ((2, 5, 6, 7, 8), (5,), ()):
        keep = set(head_layers)

        def drop(tables: dict[str, pd.DataFrame], keep: set[int] = keep) -> None:
            tables["heads"] = tables["heads"][tables["heads"]["layer"].isin(keep)]

        folder = tmp_path / str(len(head_layers))
        shards = edited(scenes, folder, drop, head_layers=head_layers)
        assert read_meta(shards[0]).head_layers == head_layers
        got = compute_run(shards, scenes.model_folder, MetricOptions(resamples=200))
        wanted = whole[whole["layer"].isin(keep)].reset_index(drop=True)
        pd.testing.assert_frame_equal(got["heads"], wanted, check_dtype=bool(head_layers))
        # Stages end at layers that have heads, and cover them all.
        ends = got["stages"][["first_layer", "last_layer"]].to_numpy().tolist()
        covered = [layer for a, b in ends for layer in head_layers if a <= layer <= b]
        assert covered == list(head_layers)
        assert {layer for end in ends for layer in end} <= keep
        pd.testing.assert_frame_equal(got["summary"], scenes.tables["summary"])
        write_run(folder / "run", got)
        assert pd.read_parquet(folder / "run" / "heads.parquet").shape == got["heads"].shape


def test_all_rejected_is_one_sentence(scenes: Made, tmp_path: Path) -> None:
    def reject(tables: dict[str, pd.DataFrame]) -> None:
        tables["samples"]["rejected"] = "its picture can't be read"
        for name in ("trajectory", "heads", "lenses", "floors"):
            tables[name] = tables[name][:0]

    shards = edited(scenes, tmp_path, reject)
    said = r"m_1 on scenes: none of 40 samples could be read, the first because its picture"
    with pytest.raises(DataError, match=said):
        compute_run(shards, scenes.model_folder, FEW)


def test_more_rejected_than_may_be_is_one_sentence(scenes: Made) -> None:
    # One sample of 40 is rejected: exactly 2.5 %.
    compute_run(scenes.shards, scenes.model_folder, replace(FEW, max_rejected=0.025))
    said = r"1 of 40 samples are rejected, .* max_rejected \(0\.024\)"
    with pytest.raises(DataError, match=said):
        compute_run(scenes.shards, scenes.model_folder, replace(FEW, max_rejected=0.024))


def test_another_model_s_vocabulary_is_refused(scenes: Made, facts: Made) -> None:
    assert scenes.model_folder.name != facts.model_folder.name
    said = f"holds the vocabulary and forms of {facts.model_folder.name}, but the traces are"
    with pytest.raises(TraceError, match=said):
        compute_run(scenes.shards, facts.model_folder, FEW)


def test_no_samples_at_all_is_one_sentence(scenes: Made, tmp_path: Path) -> None:
    shards = edited(scenes, tmp_path, lambda t: t.update({k: v[:0] for k, v in t.items()}))
    with pytest.raises(DataError, match="none of 0 samples could be read"):
        compute_run(shards, scenes.model_folder, FEW)


def test_without_any_usable_gold_there_are_no_gold_rows(facts: Made, tmp_path: Path) -> None:
    def forget(tables: dict[str, pd.DataFrame]) -> None:
        tables["trajectory"] = tables["trajectory"].assign(gold_rank=-1, gold_logprob=0.0)

    shards = edited(facts, tmp_path / "traces", forget)
    # The model's folder still has the forms: then the two don't belong together.
    with pytest.raises(TraceError, match="made with other forms of the answers"):
        compute_run(shards, facts.model_folder, FEW)
    model = tmp_path / "model"
    shutil.copytree(facts.model_folder, model)
    forms = read_table(model, "forms").assign(kept=False, reason="unknown")
    write_model_table(model, "forms", forms, read_meta(model))
    tables = compute_run(shards, model, FEW)
    for name in ("accuracy_by_answer", "accuracy_by_language", "concept_mass"):
        assert tables[name].empty
        assert list(tables[name].columns) == RUN_TABLES[name]
    for name in ("summary", "by_layer", "lenses"):
        assert not set(tables[name]["metric"]) & {"accuracy", "gold_rank_median"}
    assert tables["convergence"]["correct_final"].isna().all()


def test_a_missing_shard_is_named(scenes: Made) -> None:
    with pytest.raises(TraceError, match=r"2 shards, but 1 were given \(missing: \[1\]\)"):
        compute_run(scenes.shards[:1], scenes.model_folder, FEW)


def test_a_sample_in_two_shards_is_named(scenes: Made, tmp_path: Path) -> None:
    shutil.copytree(scenes.shards[0], tmp_path / "0")
    shutil.copytree(scenes.shards[0], tmp_path / "1")
    for name in ("samples", "trajectory", "heads", "lenses", "floors"):
        path = tmp_path / "1" / f"{name}.parquet"
        table = pq.read_table(path)
        meta = {
            key: value.replace(b'"shard": 0', b'"shard": 1')
            for key, value in table.schema.metadata.items()
        }
        pq.write_table(table.replace_schema_metadata(meta), path)
    with pytest.raises(TraceError, match=r"scenes-00000 of .* the shards overlap"):
        compute_run([tmp_path / "0", tmp_path / "1"], scenes.model_folder, FEW)


def test_a_token_that_the_vocabulary_lacks_is_named(scenes: Made, tmp_path: Path) -> None:
    def stray(tables: dict[str, pd.DataFrame]) -> None:
        frame = tables["trajectory"]
        ids = frame["top_id"].map(lambda row: np.append(row[:-1], 999))
        tables["trajectory"] = frame.assign(top_id=ids)

    # k = 10, so the stray last one is only met where all of the top k are looked at: no label is
    # ever needed for it. As top-1 of a middle layer it is.
    def stray_first(tables: dict[str, pd.DataFrame]) -> None:
        frame = tables["trajectory"]
        ids = [
            np.append(999, row[1:]) if layer == 1 else row
            for row, layer in zip(frame["top_id"], frame["layer"], strict=True)
        ]
        tables["trajectory"] = frame.assign(top_id=ids)

    with pytest.raises(TraceError, match="lacks token id 999"):
        compute_run(edited(scenes, tmp_path / "1", stray_first), scenes.model_folder, FEW)
    compute_run(edited(scenes, tmp_path / "2", stray), scenes.model_folder, FEW)


def test_a_vocabulary_without_tokens_is_refused(scenes: Made, tmp_path: Path) -> None:
    shutil.copytree(scenes.model_folder, tmp_path / "model")
    path = tmp_path / "model" / "vocabulary.parquet"
    pq.write_table(pq.read_table(path).slice(0, 0), path)
    with pytest.raises(TraceError, match=r"vocabulary\.parquet has no token"):
        compute_run(scenes.shards, tmp_path / "model", FEW)


def test_floors_of_shards_weigh_as_their_samples(scenes: Made, tmp_path: Path) -> None:
    number = iter([1.0, 0.0])

    def plant(tables: dict[str, pd.DataFrame]) -> None:
        latin = next(number)
        mass = np.zeros((9, len(SCRIPTS)))
        mass[:, 0], mass[:, 1] = latin, 1 - latin
        tables["floors"]["script_mass"] = list(mass)

    tables = compute_run(edited(scenes, tmp_path, plant), scenes.model_folder, FEW)
    # Shard 0 has 20 samples read, shard 1 has 19.
    got = at(tables["script_mass"], asked="all", script="Latin")["floor_random"]
    assert got.tolist() == pytest.approx([20 / 39] * 9)


def test_synthetic_vocabulary_agrees_with_the_scripts_module() -> None:
    from lensbench.scripts import script_of

    for text, script in VOCABULARY:
        if script not in ("Fragment", "Special"):
            assert script_of(text) == script, text
    assert len(TOKEN_ID) == len(VOCABULARY)


def test_labels_are_those_of_the_code() -> None:
    from lensbench import lexicon, scripts

    assert scripts.SCRIPTS == SCRIPTS
    assert lexicon.LANGUAGES == LANGUAGES


def test_no_torch() -> None:
    code = (
        "import sys, pkgutil, importlib, lensbench.trace, lensbench.metrics as m\n"
        "for info in pkgutil.iter_modules(m.__path__): "
        "importlib.import_module('lensbench.metrics.' + info.name)\n"
        "print(sorted(n for n in sys.modules if n.split('.')[0] in ('torch', 'transformers')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
