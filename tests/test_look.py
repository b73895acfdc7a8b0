"""The lens for one's own use: its frames hold what was planted, and bad questions are refused."""

from __future__ import annotations

import math
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from tests.looks import lens_of, picture, refuse
from tests.planted import image_model, looking_model, text_model, token_id, written_model

import lensbench
from lensbench import Lens
from lensbench.errors import DataError, GateError, LensbenchError, ModelError


@pytest.fixture(scope="module")
def pictured() -> Lens:
    return lens_of(image_model("qwen2vl"))


# Frames


def test_frame_says_what_was_written_and_how_likely_it_is() -> None:
    loaded = written_model({2: {" three": 1.02}}, n_layers=4)
    look = lens_of(loaded)("How many ?", style="plain", k=3)
    frame = look.to_frame()
    assert list(frame["layer"].unique()) == list(look.layers) == [0, 1, 2, 3, 4]
    assert set(frame["rank"]) == {0, 1, 2}
    assert len(frame) == 5 * 3
    top = frame[frame["rank"] == 0].set_index("layer")
    assert top["token"].tolist() == [" ?"] * 2 + [" three"] * 3
    assert top["final_rank"].tolist() == [1, 1, 0, 0, 0]
    assert set(frame["final_token"]) == {" three"}
    assert set(frame["position"]) == {len(look.prompt_tokens) - 1}
    assert look.prompt_tokens == ("Ho", "w", " many", " ?")
    assert (look.prompt, look.tokens, look.generated) == ("How many ?", (" three",), " three")
    # The state is e(?) + 1.02 e(three); the norm divides by its root mean square, and the output
    # embeddings multiply by 10, so the two logits differ by 0.2 ÷ that root.
    width = loaded.anatomy.hidden_size
    apart = 0.2 / math.sqrt((1 + 1.02**2) / width + 1e-6)
    chance = 1 / (1 + math.exp(-apart))
    second = frame[(frame["rank"] == 1) & (frame["layer"] >= 2)]
    assert second["token"].tolist() == [" ?"] * 3
    assert top.loc[2:, "probability"].to_numpy() == pytest.approx(chance, rel=1e-4)
    assert second["probability"].to_numpy() == pytest.approx(1 - chance, rel=1e-4)
    assert np.exp(frame["logprob"]).to_numpy() == pytest.approx(frame["probability"].to_numpy())
    entropy = -chance * math.log(chance) - (1 - chance) * math.log(1 - chance)
    assert top.loc[2:, "entropy_nats"].to_numpy() == pytest.approx(entropy, rel=1e-3)


def test_steps_stand_one_after_the_other() -> None:
    # Coordinate t speaks for token t + 1: the model counts its vocabulary up from the last token.
    loaded = written_model({}, n_layers=2, successor=True)
    start = token_id(loaded.tokenizer, " red")
    look = lens_of(loaded)("Why red", style="plain", max_new_tokens=3, k=2)
    top = look.to_frame().query("rank == 0")
    assert top["step"].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    last = len(loaded.tokenizer("Why red")["input_ids"]) - 1
    assert top["position"].tolist() == [last + step for step in (0, 0, 0, 1, 1, 1, 2, 2, 2)]
    assert top["token_id"].tolist() == [start + 1 + step for step in (0, 0, 0, 1, 1, 1, 2, 2, 2)]
    assert len(look.tokens) == 3


def test_raw_lens_leaves_the_norm_out() -> None:
    loaded = written_model({2: {" three": 1.02}}, n_layers=4)
    frame = lens_of(loaded)("How many ?", style="plain", k=2, lens="raw").to_frame()
    top = frame.query("rank == 0").set_index("layer")["probability"]
    # Logits 10.2 and 10 above V − 2 zeros; the last layer is read out as the model does it.
    others = (loaded.anatomy.vocab_size - 2) * math.exp(-10.2)
    assert top[2] == pytest.approx(1 / (1 + math.exp(-0.2) + others), rel=1e-4)
    assert top[4] > 0.9


def test_image_model_in_memory_equals_transformers_own_states() -> None:
    loaded = image_model("llava")
    given, words = picture(), "How many stars ?"
    lens = lens_of(loaded)
    look = lens(words, given, max_new_tokens=2, k=4)
    chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": words}]}]
    text = loaded.processor.apply_chat_template(chat, add_generation_prompt=True)
    inputs = loaded.processor(images=[given], text=[text], return_tensors="pt")
    inputs.pop("token_type_ids", None)
    ids = look.to_frame().drop_duplicates("step")["final_id"].tolist()
    expected = []
    for step in range(2):
        fed = torch.cat([inputs["input_ids"], torch.tensor([ids[:step]], dtype=torch.int64)], 1)
        mask = torch.ones_like(fed)
        with torch.no_grad():
            out = loaded.model(
                input_ids=fed,
                attention_mask=mask,
                pixel_values=inputs["pixel_values"],
                output_hidden_states=True,
            )
            norm = loaded.model.model.language_model.norm
            # transformers gives the last layer's states with the norm already applied.
            states = [*map(norm, out.hidden_states[:-1]), out.hidden_states[-1]]
            expected.append(
                torch.stack([loaded.model.lm_head(h[0]).log_softmax(-1) for h in states])
            )
    frame = look.to_frame()
    for step, layer in ((0, 0), (0, 2), (1, 1), (1, 3)):
        rows = frame.query("step == @step and layer == @layer")
        value, index = expected[step][layer, -1].topk(4)
        assert rows["token_id"].tolist() == index.tolist()
        assert rows["logprob"].to_numpy() == pytest.approx(value.numpy(), abs=1e-4)
    # Every position of the prompt, and the image positions alone.
    whole = lens(words, given, positions="prompt", k=4)
    read, prompt = whole.to_frame(), expected[0]
    assert read["position"].nunique() == inputs["input_ids"].shape[1] == len(whole.prompt_tokens)
    top = read.query("rank == 0").pivot(index="layer", columns="position", values="logprob")
    assert top.to_numpy() == pytest.approx(prompt.amax(-1).numpy(), abs=1e-4)
    final = prompt[-1].argmax(-1)
    ranks = (prompt > prompt.gather(-1, final[None, :, None].expand(4, -1, 1))).sum(-1)
    found = read.query("rank == 0").pivot(index="layer", columns="position", values="final_rank")
    assert (found.to_numpy() == ranks.numpy()).all()
    places = (inputs["input_ids"][0] == loaded.anatomy.image_token_id).nonzero()[:, 0]
    marked = read[read["is_image"]]["position"].unique()
    assert marked.tolist() == places.tolist()
    patches = lens(words, given, positions="image", k=4).patches_frame()
    top = patches.query("rank == 0").pivot(index="layer", columns="position", values="logprob")
    assert top.columns.tolist() == places.tolist()
    assert top.to_numpy() == pytest.approx(prompt[:, places].amax(-1).numpy(), abs=1e-4)
    grid = patches.drop_duplicates("position")
    assert set(grid["view"]) == {"picture"}
    assert list(zip(grid["row"], grid["col"], strict=True)) == [
        (row, column) for row in range(4) for column in range(4)
    ]


def test_picture_may_be_a_path_bytes_or_a_picture(tmp_path: Path) -> None:
    lens, given = lens_of(image_model("qwen2vl")), picture(64)
    path, stream = tmp_path / "a picture.png", BytesIO()
    given.save(path)
    given.save(stream, "PNG")
    looks = [
        lens("Why ?", shown).to_frame()
        for shown in (given, path, str(path), stream.getvalue(), given.convert("RGBA"))
    ]
    for other in looks[1:]:
        pd.testing.assert_frame_equal(looks[0], other)
    words_only = lens("Why ?").to_frame()
    assert not np.allclose(words_only["logprob"], looks[0]["logprob"])


def test_heads_say_which_one_looks_at_the_picture() -> None:
    lens = lens_of(looking_model(layer=2, head=1))
    look = lens("How many ?", picture())
    heads = look.heads_frame()
    assert heads[["layer", "head"]].drop_duplicates().shape[0] == 3 * 4
    mass = heads.set_index(["layer", "head"])["image_mass"]
    share = 16 / len(look.prompt_tokens)
    assert mass[2, 1] == pytest.approx(1.0, abs=1e-3)
    assert mass.drop((2, 1)).to_numpy() == pytest.approx(share, abs=1e-3)
    total = heads[["image_mass", "sink_mass", "text_mass"]].sum(axis=1)
    assert total.to_numpy() == pytest.approx(1.0, abs=1e-5)


def test_parts_say_which_block_wrote_the_word() -> None:
    loaded = written_model({3: {" three": 3.0}}, n_layers=4)
    look = lens_of(loaded)("How many ?", style="plain", k=2, parts=True)
    frame = look.parts_frame().query("rank == 0")
    parts = frame.set_index(["reading", "layer", "part"]).sort_index()
    assert parts.loc[("own", 3, "MLP"), "token"] == " three"
    assert parts.loc[("own", 3, "MLP"), "written_norm"] == pytest.approx(3.0)
    assert parts.drop(("own", 3, "MLP")).loc["own", "written_norm"].to_numpy() == pytest.approx(0)
    after = frame.query("reading == 'cumulated'")
    assert after["part"].tolist() == ["attention", "MLP"] * 4
    assert after["token"].tolist() == [" ?"] * 5 + [" three"] * 3


def test_what_was_not_asked_for_is_said() -> None:
    look = lens_of(text_model("llama"))("Why ?")
    with pytest.raises(LensbenchError, match="has no image positions: ask for them with positions"):
        look.patches_frame()
    with pytest.raises(LensbenchError, match="has no parts of blocks: ask for them with parts"):
        look.parts_frame()
    with pytest.raises(LensbenchError, match='A layer is chosen for positions="image" alone'):
        look.plot(layer=1)


# What can't be asked


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"text": ""}, "There is nothing to ask"),
        ({"text": None}, "There is nothing to ask"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0: use a whole number, 1 or more"),
        ({"max_new_tokens": 1.5}, "max_new_tokens is 1.5"),
        ({"k": -1}, "k is -1"),
        ({"k": True}, "k is True"),
        ({"lens": "tuned"}, 'lens is \'tuned\': use "normed" or "raw"'),
        ({"style": "poem"}, "style is 'poem'"),
        ({"positions": "all"}, "positions is 'all'"),
        ({"positions": "image", "image": None}, "no image positions without a picture"),
        ({"image": "nope.png"}, "The picture nope.png is missing"),
        ({"image": __file__}, "test_look.py can't be read: it is damaged or no picture"),
        ({"image": b"GIF89a"}, "The picture given as bytes can't be read"),
        ({"image": 3}, "not int"),
        ({"image": "https://example.org/cat.png"}, "is an address: download the picture"),
        ({"image": picture().resize((1, 400))}, "The processor of qwen2vl can't take this"),
        ({"text": "What is <|image_pad|> ?"}, "which stands for a picture"),
    ],
)
def test_bad_questions_are_one_sentence(
    pictured: Lens, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(LensbenchError) as caught:
        pictured(**{"text": "Why ?", "image": picture(64), **options})
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_text_model_refuses_pictures_and_prompts_that_are_too_long() -> None:
    lens = lens_of(text_model("gpt2"))
    with pytest.raises(DataError, match="gpt2 takes text only: leave the picture out"):
        lens("Why ?", picture())
    with pytest.raises(DataError, match="the model takes 128"):
        lens("Why " * 200)


def test_k_beyond_the_vocabulary_is_the_vocabulary() -> None:
    loaded = text_model("llama")
    frame = lens_of(loaded)("Why ?", k=10**6).to_frame()
    assert frame["rank"].max() == loaded.anatomy.vocab_size - 1
    total = frame.groupby("layer")["probability"].sum()
    assert total.to_numpy() == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("lensbench-llava",), r'Lens\.from_pretrained\("lensbench-llava"\)'),
        ((torch.nn.Linear(2, 2), None), "Lens takes a transformers model .* not Linear"),
    ],
)
def test_what_is_no_model_is_refused(given: Any, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        Lens(*given)


def test_model_without_its_processor_is_refused() -> None:
    words, pictured = text_model("llama"), image_model("qwen2vl")
    with pytest.raises(ModelError, match="Lens needs LlamaForCausalLM with its tokenizer"):
        Lens(words.model)
    with pytest.raises(ModelError, match=r"needs its tokenizer .*, not str"):
        Lens(words.model, "x")
    with pytest.raises(ModelError, match="with its processor"):
        Lens(pictured.model)
    with pytest.raises(ModelError, match=r"needs its processor .*, not"):
        Lens(pictured.model, pictured.tokenizer)


def test_model_that_fails_the_gate_is_refused_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded = text_model("llama")
    assert Lens(loaded.model, loaded.processor).check().passed
    refuse(monkeypatch)
    with pytest.raises(GateError, match=r"is 0\.5, at most 0\.1 is allowed"):
        Lens(loaded.model, loaded.processor)
    assert not Lens(loaded.model, loaded.processor, verify=False).check().passed


# As a library


def test_package_is_imported_without_torch() -> None:
    code = (
        "import sys, lensbench; print('torch' in sys.modules, 'Lens' in dir(lensbench)); "
        "from lensbench import Lens; print(Lens.__name__, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["False True", "Lens True"]
    with pytest.raises(AttributeError, match="has no attribute 'Lense'"):
        _ = lensbench.Lense  # type: ignore[attr-defined]
