"""Other lenses: by hand, against naive readings of the traces, and planted truth found again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from metric_runs import Made
from test_metric_run import at, edited, metric
from tests.planted import token_id, written_manifest, written_model

from lensbench.errors import TraceError
from lensbench.extract import ExtractOptions, extract_shard
from lensbench.inspection import inspect_model
from lensbench.metrics import lenses
from lensbench.metrics.convergence import convergence_layer, hits
from lensbench.metrics.run import MetricOptions, compute_run
from lensbench.models.load import LoadedModel
from lensbench.trace import read_table
from synthetic import CONCEPTS, VOCABULARY

FEW = MetricOptions(resamples=20)
Y, A, B = 7, 1, 2
#   layer   0  1  2  3   L = 3, y = 7
RAW = np.array(
    [
        [A, Y, Y, Y],  # on top from 1 on
        [A, Y, Y, B],  # the same, but lost at the last layer, which the model reads itself
        [A, B, A, A],  # never, so only at the last
        [Y, Y, A, Y],  # lost at 2
        [Y, Y, Y, B],  # from the embeddings on
    ]
)


def reading(top1: np.ndarray, first: int = 0) -> lenses.Reading:
    return lenses.Reading(np.arange(first, first + top1.shape[1]), top1, {})


def test_raw_convergence_layer_by_hand() -> None:
    raw, final = reading(RAW), np.full(5, Y)
    assert lenses.raw_convergence_layer(raw, final).tolist() == [1, 1, 3, 3, 0]
    # Where the lens keeps y to the end, nothing is special about the raw one.
    kept = RAW[:, -1] == Y
    plain = convergence_layer(hits(RAW, final))
    assert lenses.raw_convergence_layer(raw, final)[kept].tolist() == plain[kept].tolist()


def test_summary_by_hand() -> None:
    main = np.array([[A, B, Y, Y], [Y, Y, Y, Y]])
    found = {
        "normed": reading(main),
        "attention": reading(np.array([[Y, Y, A], [A, A, A]]), first=1),
        "raw": reading(RAW[:2]),
    }
    got = lenses.summarised(found, np.full(2, Y))
    assert {name: values.tolist() for name, values in got.items()} == {
        "raw_convergence_layer": [1, 1],
        "raw_minus_normed_convergence_layer": [-1, 1],
        "raw_last_layer_agreement": [True, False],
        "attention_blocks_on_final": [2, 0],
    }
    # A main lens that is raw has its convergence layer already.
    assert lenses.summarised({"raw": reading(RAW)}, np.full(5, Y)) == {}


def test_planted_layers_are_recovered(scenes: Made, facts: Made) -> None:
    for made, n_layers in ((scenes, 8), (facts, 12)):
        truth = made.truth
        got = metric(made, "raw_convergence_layer")
        assert got["value"] == pytest.approx(np.mean(list(truth.raw_convergence.values())))
        assert got["n"] == len(truth.convergence)
        paired = metric(made, "raw_minus_normed_convergence_layer")
        differences = [
            layer - truth.convergence[sample] for sample, layer in truth.raw_convergence.items()
        ]
        assert paired["value"] == pytest.approx(np.mean(differences))
        assert paired["n"] == len(differences)
        low, high = paired["low"], paired["high"]
        assert min(differences) <= low <= paired["value"] <= high <= max(differences)
        kept = metric(made, "raw_last_layer_agreement")["value"]
        assert kept == pytest.approx(np.mean(list(truth.raw_last.values())))
        table = at(made.tables["lenses"], metric="agreement")
        raw = at(table, lens="raw")
        assert raw["layer"].tolist() == list(range(n_layers + 1))
        planted = list(truth.raw_convergence.values())
        want = [np.mean([layer >= start for start in planted]) for layer in range(n_layers)]
        assert raw["value"].tolist() == pytest.approx([*want, kept])
        for lens, blocks in truth.writes.items():
            of_lens = at(table, lens=lens)
            assert of_lens["layer"].tolist() == list(range(1, n_layers + 1))
            assert of_lens["value"].tolist() == [
                float(layer in blocks) for layer in range(1, n_layers + 1)
            ]
            assert metric(made, f"{lens}_blocks_on_final")["value"] == len(blocks)


def test_the_main_lens_has_the_numbers_of_by_layer(scenes: Made) -> None:
    table, by_layer = at(scenes.tables["lenses"], lens="normed"), scenes.tables["by_layer"]
    names = {"agreement": "top1_is_final"}
    for name in ("agreement", "entropy_nats", "kl_to_final_nats", "final_rank_median"):
        own, other = at(table, metric=name), at(by_layer, metric=names.get(name, name))
        for column in ("layer", "depth", "value", "low", "high", "n"):
            assert own[column].tolist() == other[column].tolist(), (name, column)
    assert set(table["metric"]) == {
        "agreement", "first_token_accuracy", "entropy_nats", "kl_to_final_nats",
        "final_rank_median",
    }  # fmt: skip


def test_lenses_against_a_naive_reading(facts: Made) -> None:
    samples = read_table(facts.shards, "samples").set_index("sample_id")
    rows = read_table(facts.shards, "lenses")
    rows["gold"] = samples["gold"].loc[rows["sample_id"]].to_numpy()
    final = facts.truth.final
    rows["text"] = [VOCABULARY[token][0] for token in rows["top_id"]]
    rows["hit"] = [row.text == final[row.sample_id] for row in rows.itertuples()]
    rows["right"] = [
        any(row.text in forms for forms in CONCEPTS[row.gold].values()) for row in rows.itertuples()
    ]
    for lens, layer in [("raw", 0), ("raw", 9), ("raw", 12), ("attention", 2), ("mlp", 12)]:
        here = at(rows, lens=lens, layer=layer)
        table = at(facts.tables["lenses"], lens=lens, layer=layer).set_index("metric")
        usable = here[[bool(CONCEPTS[gold]) for gold in here["gold"]]]
        assert table.loc["agreement", "value"] == pytest.approx(here["hit"].mean())
        assert table.loc["first_token_accuracy", "value"] == pytest.approx(usable["right"].mean())
        # No two tokens of the synthetic logits are equal, so that rank and top token agree.
        assert ((usable["gold_rank"] == 0) == usable["right"]).all()
        for name in ("entropy_nats", "kl_to_final_nats"):
            assert table.loc[name, "value"] == pytest.approx(here[name].mean(), rel=1e-5)
        assert table.loc["final_rank_median", "value"] == here["final_rank"].median()
        assert table["n"].to_dict() == {
            name: len(usable) if name == "first_token_accuracy" else len(here)
            for name in table.index
        }
        assert table["depth"].tolist() == pytest.approx([layer / 12] * len(table))
        assert ("same_top1_as_main" in table.index) == (lens == "raw")


def test_a_run_without_other_lenses_has_the_main_one(scenes: Made, tmp_path: Path) -> None:
    def forget(tables: dict[str, pd.DataFrame]) -> None:
        tables["lenses"] = tables["lenses"][:0]

    got = compute_run(edited(scenes, tmp_path, forget), scenes.model_folder, FEW)
    assert set(got["lenses"]["lens"]) == {"normed"}
    named = got["summary"]["metric"]
    assert not named.str.contains("raw|blocks").any()
    # All else is as it was.
    whole = compute_run(scenes.shards, scenes.model_folder, FEW)
    for name in ("by_layer", "convergence", "heads"):
        pd.testing.assert_frame_equal(got[name], whole[name])


def test_a_model_whose_blocks_cannot_be_told_apart_has_the_raw_lens_alone(
    scenes: Made, tmp_path: Path
) -> None:
    def forget(tables: dict[str, pd.DataFrame]) -> None:
        tables["lenses"] = tables["lenses"][tables["lenses"]["lens"] == "raw"]

    got = compute_run(edited(scenes, tmp_path, forget), scenes.model_folder, FEW)
    assert set(got["lenses"]["lens"]) == {"normed", "raw"}
    assert not got["summary"]["metric"].str.contains("blocks").any()
    found = got["summary"].set_index("metric").loc["raw_convergence_layer", "value"]
    assert found == metric(scenes, "raw_convergence_layer")["value"]


def test_a_main_lens_that_is_raw_is_called_so(scenes: Made, tmp_path: Path) -> None:
    shards = edited(scenes, tmp_path, lambda tables: None, lens="raw")
    got = compute_run(shards, scenes.model_folder, FEW)
    assert set(got["lenses"]["lens"]) == {"raw", "attention", "mlp"}
    raw = at(got["lenses"], lens="raw", metric="agreement")
    own = at(got["by_layer"], metric="top1_is_final")
    assert raw["value"].tolist() == own["value"].tolist()
    assert "raw_convergence_layer" not in set(got["summary"]["metric"])


@pytest.mark.parametrize("which", ["layer", "sample"])
def test_a_lens_with_a_hole_is_refused(scenes: Made, tmp_path: Path, which: str) -> None:
    def tear(tables: dict[str, pd.DataFrame]) -> None:
        frame = tables["lenses"]
        hole = frame["lens"] == "mlp"
        hole &= frame["sample_id"] == "scenes-00002"
        if which == "layer":
            hole &= frame["layer"] == 3
        tables["lenses"] = frame[~hole]

    shards = edited(scenes, tmp_path, tear)
    with pytest.raises(TraceError, match=r"lenses of m_1 on scenes has not the same layers.* mlp"):
        compute_run(shards, scenes.model_folder, FEW)


# Planted truth: from a model to the table.


def measured(loaded: LoadedModel, folder: Path, others: tuple[str, ...]) -> dict[str, pd.DataFrame]:
    """Return the metrics of three prompts, in two shards, read through some other lenses."""
    prompts = ("How many stars are there ?", "Why ?", "How many sky ?")
    data = written_manifest(folder / "data", prompts)
    inspect_model(loaded, folder / "model")
    options = ExtractOptions(
        shard_samples=2,
        batch_size=2,
        max_new_tokens=2,
        top_k=5,
        floor_directions=4,
        lenses=others,
    )
    shards = [folder / str(shard) for shard in range(2)]
    for shard, out in enumerate(shards):
        extract_shard(loaded, data, shard, len(shards), options, out, folder / "model")
    return compute_run(shards, folder / "model", FEW)


def test_what_an_mlp_writes_is_found_at_its_block_alone(tmp_path: Path) -> None:
    # 三 at layers 2 to 3, " three" from 4 on, written by MLPs; attention writes nothing.
    loaded = written_model({2: {"三": 3.0}, 4: {"三": -3.0, " three": 4.0}}, n_layers=5)
    got = measured(loaded, tmp_path, ("raw", "attention", "mlp", "mid"))
    table = got["lenses"]
    agreement = at(table, metric="agreement").pivot(index="lens", columns="layer", values="value")
    assert agreement.loc["normed"].tolist() == [0, 0, 0, 0, 1, 1]
    assert agreement.loc["raw"].tolist() == [0, 0, 0, 0, 1, 1]
    assert agreement.loc["mlp", 1:].tolist() == [0, 0, 0, 1, 0]
    assert agreement.loc["attention", 1:].tolist() == [0, 0, 0, 0, 0]
    # Before the MLP adds its write, the stream is what the block below left.
    assert agreement.loc["mid", 1:].tolist() == [0, 0, 0, 0, 1]
    accuracy = at(table, metric="first_token_accuracy").pivot(
        index="lens", columns="layer", values="value"
    )
    assert accuracy.loc["mlp", 1:].tolist() == [0, 1, 0, 1, 0]
    assert accuracy.loc["attention", 1:].tolist() == [0] * 5
    assert accuracy.loc["normed"].tolist() == [0, 0, 1, 1, 1, 1]
    summary = got["summary"].set_index("metric")["value"]
    assert summary["raw_convergence_layer"] == summary["convergence_layer"] == 4
    assert summary["mlp_blocks_on_final"] == 1
    assert summary["attention_blocks_on_final"] == 0
    # What writes nothing says nothing: every token is as likely as any other.
    entropy = at(table, metric="entropy_nats", lens="attention")["value"]
    assert entropy.tolist() == pytest.approx([np.log(loaded.anatomy.vocab_size)] * 5, rel=1e-5)


def test_what_the_norm_hides_the_raw_lens_sees(tmp_path: Path) -> None:
    # The norm halves the coordinate of " three", 1.5 from layer 2 on and 3 from 4 on, beside the 1
    # of the prompt's last token: on top from 2 on without the norm, from 4 on with it.
    loaded = written_model({2: {" three": 1.5}, 4: {" three": 1.5}}, n_layers=6)
    loaded.model.model.norm.weight[token_id(loaded.tokenizer, " three")] = 0.5
    got = measured(loaded, tmp_path, ("raw",))
    summary = got["summary"].set_index("metric")
    for name, value in (("convergence_layer", 4), ("raw_convergence_layer", 2)):
        assert summary.loc[name, ["value", "low", "high"]].tolist() == [value] * 3
    assert summary.loc["raw_last_layer_agreement", "value"] == 1
    agreement = at(got["lenses"], metric="agreement")
    assert at(agreement, lens="raw")["value"].tolist() == [0, 0, 1, 1, 1, 1, 1]
    assert at(agreement, lens="normed")["value"].tolist() == [0, 0, 0, 0, 1, 1, 1]


def test_a_norm_that_decides_the_answer_is_missed_at_the_last_layer(tmp_path: Path) -> None:
    # " three" is written as 2 beside 3 of " two", and the norm doubles it: the model says " three",
    # the raw lens " two", at the last layer too.
    loaded = written_model({3: {" three": 2.0, " two": 3.0}}, n_layers=4)
    loaded.model.model.norm.weight[token_id(loaded.tokenizer, " three")] = 2.0
    got = measured(loaded, tmp_path, ("raw",))
    summary = got["summary"].set_index("metric")["value"]
    assert summary["accuracy"] == 1
    assert summary["convergence_layer"] == 3
    assert summary["raw_convergence_layer"] == 4
    assert summary["raw_last_layer_agreement"] == 0
    raw = at(got["lenses"], lens="raw")
    assert at(raw, metric="agreement")["value"].tolist() == [0] * 5
    assert at(raw, metric="final_rank_median")["value"].tolist()[3:] == [1, 1]
    assert at(raw, metric="kl_to_final_nats")["value"].iloc[-1] > 0.5
