"""From a manifest and a model to a shard on disk: planted truth, rejected samples, same bytes."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from tests.planted import (
    image_model,
    looking_model,
    text_model,
    token_id,
    written_manifest,
    written_model,
)

from lensbench.datasets.manifest import read_manifest, write_manifest
from lensbench.errors import DataError, GateError, LensbenchError, ModelError, TraceError
from lensbench.extract import ExtractOptions, extract_shard
from lensbench.inspection import inspect_model
from lensbench.lens.attention import implementation
from lensbench.lens.patches import read_patches
from lensbench.lexicon import LANGUAGES
from lensbench.models.prompt import encode
from lensbench.scripts import SCRIPTS
from lensbench.trace import read_meta, read_table, stack

OPTIONS = ExtractOptions(batch_size=2, max_new_tokens=2, top_k=3, floor_directions=4)


@pytest.fixture
def extracted(tmp_path):
    """Return a function that inspects a model and extracts all of a manifest as one shard."""

    def run(loaded, data, options=OPTIONS, shard=0, n_shards=1, name="shard"):
        model = tmp_path / "model"
        if not (model / "model.json").exists():
            inspect_model(loaded, model)
        out = tmp_path / f"{name}-{shard}"
        extract_shard(loaded, data, shard, n_shards, options, out, model)
        return out

    return run


def test_planted_layers_are_in_the_trace(tmp_path, extracted):
    # 三 at layers 2 to 3, " three" from layer 4 on, over the last token of the prompt.
    loaded = written_model({2: {"三": 3.0}, 4: {"三": -3.0, " three": 4.0}}, n_layers=5)
    data = written_manifest(
        tmp_path / "data", ["How many stars are there ?", "Why ?", "How many sky ?"]
    )
    out = extracted(loaded, data)
    rows = read_table(out, "trajectory", step=0)
    assert len(rows) == 3 * 6
    han, three = (token_id(loaded.tokenizer, text) for text in ("三", " three"))
    last = token_id(loaded.tokenizer, " ?")
    for _, sample in rows.groupby("sample_id"):
        top = stack(sample, "top_id")[:, 0].tolist()
        assert top == [last, last, han, han, three, three]
        assert sample["final_id"].tolist() == [three] * 6
        # From layer 2 on a form of the gold answer is on top, in one language or the other.
        assert sample["gold_rank"].tolist()[2:] == [0] * 4
        mass = stack(sample, "concept_mass")
        zh, en = LANGUAGES.index("zh"), LANGUAGES.index("en")
        np.testing.assert_allclose(mass[2:4, zh], 1, atol=1e-3)
        np.testing.assert_allclose(mass[4:, en], 1, atol=1e-3)
        scripts = stack(sample, "script_mass")
        np.testing.assert_allclose(scripts[2:4, SCRIPTS.index("Han")], 1, atol=1e-3)
        np.testing.assert_allclose(scripts[4:, SCRIPTS.index("Latin")], 1, atol=1e-3)
    samples = read_table(out, "samples")
    assert samples["generated"].tolist() == [" three three"] * 3
    # A first word without a space before it takes two tokens, every other one its own.
    assert samples["n_tokens"].tolist() == [7, 3, 5]
    assert samples["prompt"].tolist()[1] == "Why ?"


def test_numbers_of_a_trace_are_those_of_the_model_itself(tmp_path, extracted):
    # Against a plain forward pass with output_hidden_states and transformers' own norm and head.
    import torch

    loaded = text_model("llama", seed=4)
    data = written_manifest(
        tmp_path / "data", ["How many stars ?", "Why is the sky blue"], gold="number:2"
    )
    rows = read_table(extracted(loaded, data), "trajectory", step=0)
    for index, prompt in enumerate(["How many stars ?", "Why is the sky blue"]):
        ids = loaded.tokenizer(prompt, return_tensors="pt")
        with torch.no_grad():
            output = loaded.model(**ids, output_hidden_states=True)
            states = [state[0, -1] for state in output.hidden_states]
            normed = [loaded.model.model.norm(state) for state in states[:-1]]
            # transformers' last hidden state has the norm already.
            logits = torch.stack([loaded.model.lm_head(state) for state in [*normed, states[-1]]])
        assert torch.allclose(logits[-1], output.logits[0, -1], atol=1e-5)
        logp = logits.double().log_softmax(-1)
        own = rows[rows["sample_id"] == f"s-{index}"]
        top = stack(own, "top_id")
        np.testing.assert_array_equal(top[:, 0], logits.argmax(-1))
        np.testing.assert_allclose(own["entropy_nats"], -(logp.exp() * logp).sum(-1), atol=1e-4)
        kl = (logp[-1].exp() * (logp[-1] - logp)).sum(-1)
        np.testing.assert_allclose(own["kl_to_final_nats"], kl, atol=1e-4)


def test_floors_have_the_mean_norm_of_each_layer(tmp_path, extracted):
    loaded = written_model({2: {" three": 3.0}}, n_layers=2)
    out = extracted(loaded, written_manifest(tmp_path / "data", ["Why ?"]))
    floors = read_table(out, "floors")
    np.testing.assert_allclose(floors["norm"], [1, 1, math.sqrt(10)], rtol=1e-6)
    assert floors["n_directions"].tolist() == [4] * 3
    np.testing.assert_allclose(stack(floors, "script_mass").sum(1), 1, atol=1e-5)
    # The final norm takes a state's length away, so every layer's floor is that of the directions.
    np.testing.assert_allclose(*stack(floors, "script_mass")[:2], atol=1e-4)


def test_raw_lens_leaves_the_last_layer_the_model_s_own(tmp_path, extracted):
    loaded = written_model({2: {" three": 3.0}}, n_layers=3)
    data = written_manifest(tmp_path / "data", ["Why ?"])
    raw = ExtractOptions(batch_size=2, max_new_tokens=1, top_k=3, floor_directions=4, lens="raw")
    rows = read_table(extracted(loaded, data, raw, name="raw"), "trajectory")
    # One-hot states read by 10·identity: p = e^10 ÷ (e^10 + V - 1) at layer 0 without a norm.
    size = loaded.anatomy.vocab_size
    wanted = 10 - math.log(math.exp(10) + size - 1)
    assert stack(rows, "top_logprob")[0, 0] == pytest.approx(wanted, rel=1e-4)
    assert stack(rows, "top_logprob")[3, 0] == pytest.approx(0, abs=1e-6)


def test_head_that_looks_at_the_picture_is_in_the_trace(tmp_path, extracted):
    loaded = looking_model(layer=2, head=1)
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        Image.new("RGB", (32, 32), "red").save(folder / name)
    data = written_manifest(folder, ["How many ?", "Why"], images=["a.png", "b.png"], style="chat")
    out = extracted(loaded, data)
    heads = read_table(out, "heads", step=0)
    looking = heads[heads["image_mass"] > 0.99][["layer", "head"]].drop_duplicates()
    assert looking.to_numpy().tolist() == [[2, 1]]
    samples = read_table(out, "samples")
    assert samples["n_image_tokens"].tolist() == [16, 16]
    assert samples[["grid_h", "grid_w"]].to_numpy().tolist() == [[4, 4]] * 2


def test_pictures_that_can_not_be_read_are_rows_with_their_reason(tmp_path, extracted):
    loaded = image_model("llava")
    folder = tmp_path / "data"
    folder.mkdir()
    Image.new("RGB", (32, 32), "red").save(folder / "good.png")
    (folder / "torn.png").write_bytes((folder / "good.png").read_bytes()[:60])
    (folder / "text.png").write_text("no picture")
    images = ["good.png", "torn.png", "missing.png", "text.png", "good.png", "good.png"]
    prompts = ["How many ?"] * 4 + ["<image> <image>", "Why ?<|im_end|>"]
    out = extracted(loaded, written_manifest(folder, prompts, images=images, style="chat"))
    samples = read_table(out, "samples").set_index("sample_id")
    assert samples["rejected"].isna().tolist() == [True, *[False] * 5]
    assert samples.loc["s-2", "rejected"] == "The picture missing.png is missing."
    assert "torn.png can't be read" in samples.loc["s-1", "rejected"]
    assert "text.png can't be read" in samples.loc["s-3", "rejected"]
    assert "<image>" in samples.loc["s-4", "rejected"]
    assert "<|im_end|>, which is a control token" in samples.loc["s-5", "rejected"]
    assert set(read_table(out, "trajectory")["sample_id"]) == {"s-0"}


def test_a_picture_that_the_dataset_could_not_read_keeps_its_reason(tmp_path, extracted):
    folder = tmp_path / "data"
    folder.mkdir()
    Image.new("RGB", (32, 32), "red").save(folder / "good.png")
    data = written_manifest(
        folder, ["How many ?"] * 2, images=["good.png", "gone.png"], style="chat"
    )
    reasons = {"source": ["good.jpg", "gone.jpg"], "rejected": ["", "truncated or damaged"]}
    write_manifest(data, read_manifest(data).assign(**reasons))
    samples = read_table(extracted(image_model("llava"), data), "samples").set_index("sample_id")
    assert samples.loc["s-1", "rejected"] == "gone.jpg can't be read: truncated or damaged."


def test_a_shard_of_nothing_but_rejected_samples_is_written(tmp_path, extracted):
    folder = tmp_path / "data"
    data = written_manifest(folder, ["How many ?"], images=["missing.png"], style="chat")
    out = extracted(image_model("llava"), data)
    assert len(read_table(out, "samples")) == 1
    assert read_table(out, "trajectory").empty


def test_two_runs_give_the_same_bytes(tmp_path, extracted):
    loaded = text_model("llama")
    data = written_manifest(
        tmp_path / "data", ["How many stars ?", "Why", "red blue green"], style="chat"
    )
    left, right = (extracted(loaded, data, name=name) for name in ("left", "right"))
    names = sorted(path.name for path in left.iterdir())
    assert names == [
        "floors.parquet",
        "heads.parquet",
        "lenses.parquet",
        "provenance.json",
        "samples.parquet",
        "trajectory.parquet",
    ]
    for name in names:
        assert (left / name).read_bytes() == (right / name).read_bytes(), name


def test_shards_are_contiguous_and_together_the_whole(tmp_path, extracted):
    loaded = text_model("llama")
    data = written_manifest(tmp_path / "data", [f"How many stars {n} ?" for n in range(5)])
    whole = extracted(loaded, data)
    cut = replace(OPTIONS, shard_samples=2)
    parts = [extracted(loaded, data, cut, shard, n_shards=4, name="part") for shard in range(4)]
    ids = [read_table(part, "samples")["sample_id"].tolist() for part in parts]
    # Counted by hand; one shard more than there are samples for.
    assert ids == [["s-0", "s-1"], ["s-2", "s-3"], ["s-4"], []]
    for part, first, n in zip(parts, (0, 2, 4, 5), (2, 2, 1, 0), strict=True):
        noted = json.loads((part / "provenance.json").read_text())
        assert (noted["first_sample"], noted["n_samples"], noted["n_shards"]) == (first, n, 4)
    left, right = read_table(whole, "trajectory"), read_table(parts, "trajectory")
    np.testing.assert_array_equal(stack(left, "top_id"), stack(right, "top_id"))
    np.testing.assert_allclose(left["entropy_nats"], right["entropy_nats"], atol=1e-4)


def test_unknown_gold_concept_keeps_its_sample(tmp_path, extracted):
    data = written_manifest(tmp_path / "data", ["Why ?"], gold="spell:abracadabra")
    rows = read_table(extracted(text_model("llama"), data), "trajectory")
    assert set(rows["gold_rank"]) == {-1}
    assert set(rows["gold_logprob"]) == {0.0}
    assert not stack(rows, "concept_mass").any()


def test_what_is_noted_of_a_model(tmp_path, extracted):
    loaded = text_model("llama")
    out = extracted(loaded, written_manifest(tmp_path / "data", ["Why ?"]))
    model = json.loads((tmp_path / "model" / "model.json").read_text())
    assert model["architecture"] == "LlamaForCausalLM"
    assert (model["n_layers"], model["n_heads"], model["dtype"]) == (3, 4, "float32")
    gate = json.loads((tmp_path / "model" / "gate.json").read_text())
    assert gate["passed"] is True
    provenance = json.loads((out / "provenance.json").read_text())
    assert provenance["options"]["seed"] == 0
    assert provenance["model"]["date"] == "2024-07-26"
    assert provenance["n_samples"] == 1
    assert set(provenance["packages"]) >= {"torch", "transformers"}
    meta = read_meta(out)
    assert (meta.dataset, meta.k, meta.n_layers, meta.n_heads) == ("data", 3, 3, 4)


def test_a_model_that_fails_the_gate_leaves_its_report_and_nothing_else(tmp_path):
    from dataclasses import replace

    loaded = replace(text_model("llama"), missing=("lm_head.weight",))
    with pytest.raises(GateError):
        inspect_model(loaded, tmp_path / "model")
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["gate.json"]


def test_bad_input_is_met_with_a_sentence(tmp_path, extracted):
    loaded = text_model("llama")
    data = written_manifest(tmp_path / "data", ["Why ?"])
    with pytest.raises(LensbenchError, match="Shard 3 does not exist: the run has 2, numbered"):
        extracted(loaded, data, replace(OPTIONS, shard_samples=1), shard=3, n_shards=2)
    more = written_manifest(tmp_path / "more", ["Why ?"] * 3)
    for options, n_shards in ((replace(OPTIONS, shard_samples=2), 1), (OPTIONS, 0)):
        with pytest.raises(LensbenchError, match=r"3 samples, too many for|Shard 0 does not"):
            extracted(loaded, more, options, n_shards=n_shards)
    with pytest.raises(LensbenchError, match=r"extraction\.shard_samples is 0: use 1 or more"):
        ExtractOptions(shard_samples=0)
    with pytest.raises(LensbenchError, match=r'extraction\.lens is "logit": use'):
        ExtractOptions(lens="logit")
    with pytest.raises(LensbenchError, match=r"extraction\.batch_size is 0: use 1 or more"):
        ExtractOptions(batch_size=0)
    pictures = written_manifest(tmp_path / "pictures", ["Why ?"], images=["a.png"])
    with pytest.raises(DataError, match="takes no picture"):
        extracted(loaded, pictures)
    with pytest.raises(TraceError, match=r"nowhere.*\.parquet is missing"):
        extract_shard(loaded, data, 0, 1, OPTIONS, tmp_path / "out", tmp_path / "nowhere")
    assert not (tmp_path / "out").exists()
    inspect_model(text_model("gpt2"), tmp_path / "other")
    with pytest.raises(LensbenchError, match="other was written for gpt2, not llama: run inspect"):
        extract_shard(loaded, data, 0, 1, OPTIONS, tmp_path / "out", tmp_path / "other")


def test_memory_running_out_halves_the_batch_and_goes_on_saying_so(tmp_path, extracted, capsys):
    loaded = text_model("llama", seed=1)
    words = ("Why ?", "How many stars ?", "Why is the sky blue ?", "How many ?", "Why red ?")
    data = written_manifest(tmp_path / "data", words)
    options = ExtractOptions(batch_size=5, max_new_tokens=2, top_k=3, floor_directions=4)
    wanted = read_table(extracted(loaded, data, options), "trajectory")
    sizes = []

    def crowded(module, args, kwargs):
        sizes.append(len(kwargs["input_ids"]))
        if sizes[-1] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")

    handle = loaded.model.register_forward_pre_hook(crowded, with_kwargs=True)
    # The probes of the gate are two prompts, so they pass.
    found = read_table(extracted(loaded, data, options, name="small"), "trajectory")
    handle.remove()
    said = capsys.readouterr().err
    assert "Memory ran out at a batch of 5: going on with batches of 2" in said
    assert sizes[0] == 5
    assert max(sizes[1:]) == 2
    for column in ("sample_id", "step", "layer"):
        assert wanted[column].tolist() == found[column].tolist()
    np.testing.assert_array_equal(stack(wanted, "top_id"), stack(found, "top_id"))
    np.testing.assert_allclose(stack(wanted, "top_logprob"), stack(found, "top_logprob"), atol=1e-5)


def test_a_sample_that_does_not_fit_alone_is_named(tmp_path, extracted):
    loaded = text_model("llama")
    data = written_manifest(tmp_path / "data", ["Why ?", "How many ?"])
    extracted(loaded, data)

    def crowded(module, args, kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    loaded.model.register_forward_pre_hook(crowded, with_kwargs=True)
    with pytest.raises(ModelError, match=r"Sample s-\d alone doesn't fit into the memory of cpu"):
        extracted(loaded, data, name="again")
    assert not (tmp_path / "again-0").exists()


def test_patches_that_are_asked_for_are_a_table(tmp_path, extracted):
    loaded = image_model("qwen2vl", seed=4)
    folder = tmp_path / "data"
    folder.mkdir()
    for index, size in enumerate([(32, 32), (64, 32)]):
        Image.effect_noise(size, 80).convert("RGB").save(folder / f"{index}.png")
    images = ["0.png", "1.png"]
    data = written_manifest(folder, ["How many ?", "Why"], images=images, style="chat")
    options = ExtractOptions(
        batch_size=2, max_new_tokens=1, top_k=3, floor_directions=4, patches=True
    )
    out = extracted(loaded, data, options)
    patches, samples = read_table(out, "patches"), read_table(out, "samples")
    for index, name in enumerate(images):
        own = patches[patches["sample_id"] == f"s-{index}"]
        height, width = samples.loc[index, ["grid_h", "grid_w"]]
        assert len(own) == 4 * height * width
        first = own[own["layer"] == 0]
        assert first["row"].tolist() == [r for r in range(height) for _ in range(width)]
        assert first["col"].tolist() == list(range(width)) * height
        row = {"prompt": samples.loc[index, "asked"], "style": "chat", "image": name}
        alone = encode(loaded, [row], [Image.open(folder / name)])
        (wanted,) = read_patches(loaded, alone, k=3)
        logprob = stack(own, "top_logprob").reshape(4, -1, 3)
        np.testing.assert_allclose(logprob, wanted.top_logprob, atol=1e-4)
    plain = extracted(loaded, data, name="plain")
    with pytest.raises(TraceError, match=r"patches.parquet is missing"):
        read_table(plain, "patches")


@pytest.mark.parametrize("family", ["llava", "onevision", "qwen2vl"])
def test_a_closeup_says_of_each_position_what_a_plain_pass_says(tmp_path, extracted, family):
    # The independent reference: the eager model's own hidden states and attention, one by one.
    loaded = image_model(family, seed=4)
    folder = tmp_path / "data"
    folder.mkdir()
    for index, size in enumerate([(32, 32), (64, 32), (40, 40)]):
        Image.effect_noise(size, 80).convert("RGB").save(folder / f"{index}.png")
    asked, images = ["How many ?", "Why", "What ?"], ["0.png", "1.png", "2.png"]
    data = written_manifest(folder, asked, images=images, style="chat")
    options = ExtractOptions(
        batch_size=2, max_new_tokens=2, top_k=3, floor_directions=4, patches=True, words=True,
        attention=True, samples=2,
    )  # fmt: skip
    out = extracted(loaded, data, options)
    samples = read_table(out, "samples")
    assert samples["sample_id"].tolist() == ["s-0", "s-1"]  # The first two of three.
    tables = {name: read_table(out, name) for name in ("patches", "words", "attention", "heads")}
    for index, name in enumerate(images[:2]):
        row = {"prompt": asked[index], "style": "chat", "image": name}
        alone = encode(loaded, [row], [Image.open(folder / name)])
        with implementation(loaded.anatomy.configs, "eager"), torch.inference_mode():
            plain = loaded.model(**alone.inputs, output_hidden_states=True, output_attentions=True)
        own = {key: frame[frame["sample_id"] == f"s-{index}"] for key, frame in tables.items()}
        depth = loaded.anatomy.n_layers
        head, norm = loaded.model.get_output_embeddings(), loaded.model.model.language_model.norm
        image = alone.image[0].numpy()
        for layer, states in enumerate(plain.hidden_states):
            # transformers gives the last states after the norm.
            logits = head(states[0] if layer == depth else norm(states[0]))
            values, ids = logits.log_softmax(-1).topk(3)
            for key, mask in (("patches", image), ("words", ~image)):
                here = own[key][own[key]["layer"] == layer]
                assert here["position"].tolist() == mask.nonzero()[0].tolist()
                np.testing.assert_array_equal(stack(here, "top_id"), ids[mask])
                np.testing.assert_allclose(stack(here, "top_logprob"), values[mask], atol=1e-4)
                entropy = -(logits.log_softmax(-1).exp() * logits.log_softmax(-1)).sum(-1)
                np.testing.assert_allclose(here["entropy_nats"], entropy[mask], atol=1e-4)
        first = own["words"][own["words"]["layer"] == 0]
        assert first["token_id"].tolist() == alone.inputs["input_ids"][0][~image].tolist()
        weights = stack(own["attention"], "weights").reshape(depth, -1, int(image.sum()))
        wanted = torch.stack(plain.attentions)[:, 0, :, -1, image]
        np.testing.assert_allclose(weights, wanted, atol=1e-5)
        # What the table of heads sums up is the same attention; a sink in the picture is no part.
        heads = own["heads"][own["heads"]["step"] == 0]
        mass = heads["image_mass"].to_numpy().reshape(depth, -1)
        np.testing.assert_allclose(mass, weights.sum(-1), atol=1e-5)
        layout = alone.layouts[0]
        whole = weights[..., layout.view == 0].sum(-1) if layout.views else mass
        over = heads["overview_mass"].to_numpy().reshape(depth, -1)
        np.testing.assert_allclose(over, whole, atol=1e-5)
        assert json.loads(samples.loc[index, "views"]) == json.loads(layout.to_json())


def test_a_variant_of_a_dataset_shows_other_pictures(tmp_path, extracted):
    loaded = image_model("qwen2vl", seed=4)
    folder = tmp_path / "data"
    folder.mkdir()
    for index in range(2):
        Image.effect_noise((64, 48), 80 + index).convert("RGB").save(folder / f"{index}.png")
    data = written_manifest(folder, ["Why", "Why"], images=["0.png", "1.png"], style="chat")
    found = {
        picture: read_table(
            extracted(loaded, data, replace(OPTIONS, picture=picture), name=picture), "samples"
        )
        for picture in ("native", "50", "blank")
    }
    grids = {key: frame[["grid_h", "grid_w"]].to_numpy().tolist() for key, frame in found.items()}
    assert grids["native"] == grids["blank"] == [[3, 4]] * 2
    assert grids["50"] == [[2, 3]] * 2  # 50 × 38 pixels
    blank = read_table(tmp_path / "blank-0", "trajectory")
    one, two = (stack(blank[blank["sample_id"] == f"s-{i}"], "top_logprob") for i in range(2))
    np.testing.assert_array_equal(one, two)  # Both pictures are the same gray.
    with pytest.raises(LensbenchError, match="can't be shown as '0'"):
        ExtractOptions(picture="0")


def test_a_folder_written_for_other_weights_is_refused(tmp_path):
    loaded = text_model("llama")
    data = written_manifest(tmp_path / "data", ["Why ?"])
    inspect_model(loaded, tmp_path / "model")
    other = replace(loaded, weights_sha256="0" * 64)
    with pytest.raises(ModelError, match="written for other weights of llama: run inspect again"):
        extract_shard(other, data, 0, 1, OPTIONS, tmp_path / "out", tmp_path / "model")


def test_a_model_without_heads_to_read_has_a_trace_without_them(tmp_path, extracted):
    loaded = text_model("llama", seed=1)
    data = written_manifest(tmp_path / "data", ["Why ?", "How many stars ?"])
    heads = replace(loaded.anatomy.heads, layers=(), modules=(), tellers=(), n_heads=0)
    silent = replace(loaded, anatomy=replace(loaded.anatomy, heads=heads, n_heads=0))
    out = extracted(silent, data)
    assert read_table(out, "heads").empty
    assert read_meta(out).head_layers == ()
    assert len(read_table(out, "trajectory", step=0)) == 2 * 4
    some = replace(
        loaded.anatomy.heads,
        layers=loaded.anatomy.heads.layers[1:2],
        modules=loaded.anatomy.heads.modules[1:2],
    )
    hybrid = replace(loaded, anatomy=replace(loaded.anatomy, heads=some))
    shutil.rmtree(tmp_path / "model")
    rows = read_table(extracted(hybrid, data, name="hybrid"), "heads", step=0)
    assert rows["layer"].unique().tolist() == [2]
    assert len(rows) == 2 * 4
