"""From a run to heads switched off: models whose answer hangs on a head that looks, or doesn't."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from tests.planted import looking_model, text_model, written_manifest

from lensbench.ablation import AblationOptions, ablate
from lensbench.errors import DataError, LensbenchError, ModelError
from lensbench.extract import ExtractOptions, extract_shard
from lensbench.inspection import inspect_model
from lensbench.lens.ablation import Replay
from lensbench.metrics.ablations import compute_ablations
from lensbench.metrics.run import MetricOptions, compute_run, write_run
from lensbench.trace import read_table

#: The head that looks at the picture: block 3 is the last, which writes.
LAYER, LOOKS, BLIND = 3, 1, 2
EXTRACT = ExtractOptions(batch_size=2, max_new_tokens=1, top_k=3, floor_directions=4)
ONE = AblationOptions(samples=3, least=1, randoms=5, batch_size=2)


def planted(writer):
    """A model of which one head of the last block alone adds to the answer."""
    loaded = looking_model(LAYER, LOOKS)
    attention = loaded.anatomy.heads.modules[LAYER - 1]
    width = attention.o_proj.weight.shape[1] // 4
    torch.manual_seed(1)
    with torch.no_grad():
        attention.o_proj.weight.zero_()
        attention.v_proj.weight.normal_(std=0.5)
        mine = slice(writer * width, (writer + 1) * width)
        attention.o_proj.weight[:, mine].normal_(std=2.0)
    return loaded


@pytest.fixture
def run(tmp_path):
    """Return a function that takes a model from pictures to the table of its heads switched off."""

    def make(loaded, options=ONE, stages=True):
        data = tmp_path / "data"
        data.mkdir()
        for index in range(4):
            Image.new("RGB", (32, 32), ("red", "blue", "green", "gray")[index]).save(
                data / f"{index}.png"
            )
        written_manifest(
            data,
            ["How many ?", "Why", "How many red stars ?", "Why is the sky"],
            images=[f"{index}.png" for index in range(4)],
            style="chat",
        )
        model, shard, out = tmp_path / "model", tmp_path / "shard", tmp_path / "out.parquet"
        inspect_model(loaded, model)
        extract_shard(loaded, data, 0, 1, EXTRACT, shard, model)
        write_run(tmp_path / "metrics", compute_run([shard], model))
        heads, parts = (tmp_path / "metrics" / f"{n}.parquet" for n in ("heads", "stages"))
        ablate(loaded, data, model, heads, out, options, parts if stages else None)
        return out

    return make


def test_a_head_that_looks_and_writes_is_the_answer(tmp_path, run):
    out = run(planted(LOOKS))
    rows = pd.read_parquet(out)
    # Three samples; the image head, the least and the three others of its block; two places.
    assert rows["group"].unique().tolist() == ["image", "least", "random-0", "random-1", "random-2"]
    assert len(rows) == 3 * 5 * 2
    assert rows["sample_id"].unique().tolist() == ["s-0", "s-1", "s-2"]
    image = rows[rows["group"] == "image"]
    assert set(image["heads"]) == {"[[3, 1]]"}
    assert set(rows["n_heads"]) == {1}
    others = rows[rows["group"] != "image"]
    # No other head writes anything, so not a bit of the answer's probability goes.
    assert (others["final_logprob"] == others["final_logprob_before"]).all()
    assert (others["gold_logprob"] == others["gold_logprob_before"]).all()
    assert not others["top1_changed"].any()
    assert (image["final_logprob"] < image["final_logprob_before"] - 0.1).all()
    # What was before is what the trace says of the same samples.
    trace = read_table(tmp_path / "shard", "trajectory", step=0).query("layer == 3")
    trace = trace.set_index("sample_id")
    for column in ("final_logprob", "gold_logprob"):
        wanted = trace.loc[rows["sample_id"], column].to_numpy()
        assert rows[f"{column}_before"].to_numpy() == pytest.approx(wanted, abs=1e-4)
    # Block 3 is the last: what other positions take from it, no later block reads.
    places = image.pivot(index="sample_id", columns="where", values="final_logprob")
    assert places["all"].to_numpy() == pytest.approx(places["last"].to_numpy(), abs=1e-6)
    found = compute_ablations(out, MetricOptions(seed=1))["ablation_contrast"]
    contrast = found.query("against == 'random'").set_index(["where", "measure"])
    assert contrast.loc[("all", "final_logprob"), "high"] < -0.1
    # The strongest of four groups, itself counted, on either side.
    assert contrast.loc[("all", "final_logprob"), "p"] == 2 / 4
    assert set(contrast["n_random"]) == {3}


def test_a_head_that_looks_and_writes_nothing_is_not_the_answer(run):
    # Its image mass is as large as before: mass says where a head looks, not what it does.
    out = run(planted(BLIND))
    rows = pd.read_parquet(out)
    image = rows[rows["group"] == "image"]
    assert set(image["heads"]) == {"[[3, 1]]"}
    assert (image["final_logprob"] == image["final_logprob_before"]).all()
    writer = rows[rows["heads"] == "[[3, 2]]"]
    assert (writer["final_logprob"] != writer["final_logprob_before"]).all()
    contrast = compute_ablations(out)["ablation_contrast"].query("against == 'random'")
    # Every random group changes at least as much as nothing, and the sum is not below.
    assert (contrast[contrast["measure"] == "top1_changed"]["p"] == 1).all()


def test_a_mean_takes_the_place_of_what_a_head_says_of_each_picture(run):
    # Pictures differ in a trace of 1e-4 here: their mean is next to what each of them gives.
    out = run(planted(LOOKS), AblationOptions(samples=3, least=1, randoms=1, mode="mean"))
    rows = pd.read_parquet(out).query("group == 'image' and where == 'last'")
    assert rows["final_logprob"].to_numpy() == pytest.approx(
        rows["final_logprob_before"].to_numpy(), abs=0.05
    )
    assert set(compute_ablations(out)["ablation"]["mode"]) == {"mean"}


def test_what_it_was_made_with_is_in_the_file_and_nothing_else_changes_it(tmp_path, run):
    out = run(planted(LOOKS), stages=False)
    first = out.read_bytes()
    about = json.loads(pq.read_schema(out).metadata[b"lensbench"])
    assert about["options"]["seed"] == 0
    assert (about["dataset"], about["model"]["model"], about["n_samples"]) == ("data", "looking", 3)
    assert about["model"]["dtype"] == "float32"
    assert set(about) >= {"lensbench", "packages", "device", "machine", "manifest_sha256"}
    assert "heads_sha256" in about
    paths = (tmp_path / "data", tmp_path / "model", tmp_path / "metrics" / "heads.parquet")
    ablate(planted(LOOKS), *paths, out, ONE)
    assert out.read_bytes() == first


def test_pictures_that_can_t_be_read_are_left_out_and_named(tmp_path, run):
    out = run(planted(LOOKS))
    (tmp_path / "data" / "1.png").write_bytes(b"torn")
    paths = (tmp_path / "data", tmp_path / "model", tmp_path / "metrics" / "heads.parquet")
    ablate(planted(LOOKS), *paths, out, ONE)
    assert pd.read_parquet(out)["sample_id"].unique().tolist() == ["s-0", "s-2"]
    about = json.loads(pq.read_schema(out).metadata[b"lensbench"])
    assert (about["rejected"], about["n_samples"]) == (["s-1"], 2)


def test_memory_that_runs_out_halves_the_groups_of_a_pass(monkeypatch, run):
    real, sizes = Replay.logits, []

    def small(replay, off, *more):
        sizes.append(len(off))
        if sizes[-1] > 1:
            raise torch.OutOfMemoryError("no memory")
        return real(replay, off, *more)

    monkeypatch.setattr(Replay, "logits", small)
    rows = pd.read_parquet(run(planted(LOOKS)))
    assert rows["sample_id"].unique().tolist() == ["s-0", "s-1", "s-2"]
    assert len(rows) == 3 * 5 * 2
    assert max(sizes) > 1


def test_a_model_that_a_replay_does_not_equal_runs_whole_for_each_group(monkeypatch, tmp_path, run):
    out = run(planted(LOOKS))
    replayed = pd.read_parquet(out)
    real = Replay.logits
    paths = (tmp_path / "data", tmp_path / "model", tmp_path / "metrics" / "heads.parquet")
    for wrong in (lambda *given: real(*given).roll(1, -1), lambda *_: 1 / 0):
        monkeypatch.setattr(Replay, "logits", wrong)
        ablate(planted(LOOKS), *paths, out, ONE)
        again = pd.read_parquet(out)
        columns = ["final_logprob", "final_logprob_before", "gold_logprob", "gold_logprob_before"]
        np.testing.assert_allclose(again[columns], replayed[columns], atol=1e-5)
        same = again.drop(columns=columns)
        pd.testing.assert_frame_equal(same, replayed.drop(columns=columns))


def test_what_has_no_picture_or_no_such_run_is_refused(tmp_path, run):
    loaded = planted(LOOKS)
    out = run(loaded)
    before = out.read_bytes()
    model, heads = tmp_path / "model", tmp_path / "metrics" / "heads.parquet"
    words = written_manifest(tmp_path / "words", ["Why ?"])
    with pytest.raises(DataError, match="has no picture, so no head looks at one"):
        ablate(loaded, words, model, heads, out, ONE)
    text = text_model("llama")
    inspect_model(text, tmp_path / "text")
    with pytest.raises(DataError, match="has pictures, llama takes none"):
        ablate(text, tmp_path / "data", tmp_path / "text", heads, out, ONE)
    with pytest.raises(ModelError, match="was written for looking, not llama"):
        ablate(text, tmp_path / "data", model, heads, out, ONE)
    with pytest.raises(DataError, match="is of looking on data, not of looking on other"):
        ablate(loaded, tmp_path / "data", model, heads, out, ONE, dataset="other")
    with pytest.raises(DataError, match=r"none\.parquet is missing"):
        ablate(loaded, tmp_path / "data", model, tmp_path / "none.parquet", out, ONE)
    (tmp_path / "torn.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="damaged or out of date"):
        ablate(loaded, tmp_path / "data", model, tmp_path / "torn.parquet", out, ONE)
    assert out.read_bytes() == before


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"samples": 0}, "ablation.samples is 0: use 1 or more."),
        ({"most": 0.6}, "ablation.most is 0.6: use more than 0, at most 0.5."),
        ({"where": ["first"]}, 'ablation.where has "first": there are all, last.'),
        ({"mode": "noise"}, 'ablation.mode is "noise": use zero or mean.'),
    ],
)
def test_options_out_of_range_are_refused(options, sentence):
    with pytest.raises(LensbenchError) as raised:
        AblationOptions(**options)
    assert str(raised.value) == sentence
