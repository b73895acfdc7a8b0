"""Patch lens, prompt lens and sub-block lens against plain passes and planted truth."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from tests.planted import image_model, text_model, token_id, written_model

from lensbench.errors import ModelError
from lensbench.lens.generate import trace_batch
from lensbench.lens.parts import read_parts
from lensbench.lens.patches import read_patches, read_positions
from lensbench.lens.positions import read_prompt
from lensbench.models.prompt import encode

PICTURES = [
    Image.effect_mandelbrot((32, 32), (-2, -1, 1, 1), 20).convert("RGB"),
    Image.radial_gradient("L").resize((64, 32)).convert("RGB"),
]


def rows(*prompts, image="a.png", style="chat"):
    return [{"prompt": prompt, "style": style, "image": image} for prompt in prompts]


def plain_lens(loaded, encoded):
    """Log-probabilities [L + 1, T, V] of a prompt alone, from transformers' own hidden states."""
    with torch.no_grad():
        output = loaded.model(**encoded.inputs, output_hidden_states=True)
    decoder = loaded.model.get_decoder()
    normed = [decoder.norm(state) for state in output.hidden_states[:-1]]
    states = torch.cat([*normed, output.hidden_states[-1]])
    return loaded.model.get_output_embeddings()(states).double().log_softmax(-1)


@pytest.mark.parametrize("budget", [1, None])
@pytest.mark.parametrize("family", ["llava", "onevision", "qwen2vl"])
def test_patches_and_prompts_of_a_padded_batch_equal_plain_passes_of_each(family, budget):
    loaded = image_model(family, seed=3)
    asked = rows("How many red stars are there ?", "Why")
    batch = encode(loaded, asked, PICTURES)
    patches = read_patches(loaded, batch, k=4, budget=budget)
    prompts = read_prompt(loaded, batch, k=4, budget=budget)
    for index, picture in enumerate(PICTURES):
        alone = encode(loaded, asked[index : index + 1], [picture])
        logp = plain_lens(loaded, alone)
        found, whole = patches[index], prompts[index]
        where = alone.inputs["input_ids"][0] == loaded.prompter.image_token_id
        assert found.positions.tolist() == where.nonzero()[:, 0].tolist()
        assert found.grid == alone.grids[0]
        assert whole.ids.tolist() == alone.inputs["input_ids"][0].tolist()
        for tops, wanted in ((found, logp[:, where]), (whole, logp)):
            np.testing.assert_allclose(tops.top_logprob, wanted.topk(4).values, atol=1e-4)
            np.testing.assert_allclose(tops.top_logprob, wanted.gather(-1, tops.top_id), atol=1e-4)
            entropy = -(wanted.exp() * wanted).sum(-1)
            np.testing.assert_allclose(tops.entropy_nats, entropy, atol=1e-4)
        last = logp[-1].argmax(-1)
        at_last = logp.gather(-1, last.expand(len(logp), -1)[..., None])
        ranks = (logp > at_last + 1e-5).sum(-1)
        near = (logp > at_last - 1e-5).sum(-1)
        assert ((ranks <= whole.final_rank) & (whole.final_rank < near)).all()
        kl = (logp[-1].exp() * (logp[-1] - logp)).sum(-1)
        np.testing.assert_allclose(whole.kl_to_final_nats, kl, atol=1e-4)


def test_a_prompt_without_a_picture_has_no_patches():
    loaded = text_model("llama")
    (found,) = read_patches(loaded, encode(loaded, rows("Why ?", image=None)), k=3)
    assert found.top_id.shape == (4, 0, 3)
    assert found.positions.tolist() == []


def test_every_position_says_its_own_word_where_blocks_do_nothing():
    loaded = written_model({}, n_layers=3)
    batch = encode(loaded, rows("How many stars ?", "Why ?", image=None, style="completion"))
    for words, found in zip(("How many stars ?", "Why ?"), read_prompt(loaded, batch), strict=True):
        ids = loaded.tokenizer(words)["input_ids"]
        assert found.ids.tolist() == ids
        assert found.top_id[..., 0].tolist() == [ids] * 4
        assert found.final_rank.tolist() == [[0] * len(ids)] * 4


def test_the_raw_lens_differs_at_all_layers_but_the_last():
    loaded = image_model("llava", seed=1)
    with torch.no_grad():
        norm = loaded.anatomy.final_norm
        norm.weight.mul_(torch.linspace(0.2, 3.0, norm.weight.numel()))
    batch = encode(loaded, rows("Why"), PICTURES[:1])
    normed, raw = (read_patches(loaded, batch, 4, lens)[0] for lens in ("normed", "raw"))
    assert torch.equal(normed.top_id[-1], raw.top_id[-1])
    assert torch.equal(normed.entropy_nats[-1], raw.entropy_nats[-1])
    assert all(not torch.allclose(normed.entropy_nats[i], raw.entropy_nats[i]) for i in range(3))


@pytest.mark.parametrize("layer", [1, 3])
def test_what_an_mlp_writes_is_found_in_that_part_alone(layer):
    loaded = written_model({layer: {"三": 3.0}, 4: {" three": 5.0}}, n_layers=5)
    (found,) = read_parts(loaded, encode(loaded, rows("Why ?", image=None, style="completion")))
    han, three, last = (token_id(loaded.tokenizer, text) for text in ("三", " three", " ?"))
    assert found.top_id[layer - 1, 1, 0] == han
    assert found.top_id[3, 1, 0] == three
    norms = torch.zeros(5, 2)
    norms[layer - 1, 1], norms[3, 1] = 3.0, 5.0
    torch.testing.assert_close(found.norm, norms)
    # After attention the stream is as before; after the MLP the write is in it.
    said = [last] * layer + [han] * (4 - layer) + [three, three]
    assert found.cumulated_top_id[:, 1, 0].tolist() == said[1:]
    assert found.cumulated_top_id[:, 0, 0].tolist() == said[:-1]


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
def test_parts_add_up_to_the_stream(family):
    loaded = text_model(family, seed=7)
    batch = encode(loaded, rows("How many stars ?", "Why", image=None))
    traced = trace_batch(loaded, batch, 1, writes=True)
    states, written = traced.residuals[:, 0], traced.capture.written(0)
    torch.testing.assert_close(states[:, :-1] + written.sum(2), states[:, 1:], rtol=0, atol=1e-5)
    # The first part is attention: with its output put to 0, it writes nothing.
    block = loaded.model.get_decoder().layers[1] if family != "gpt2" else None
    block = loaded.model.transformer.h[1] if block is None else block
    attention = block.attn.c_proj if family == "gpt2" else block.self_attn.o_proj
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.zero_()
    silent = trace_batch(loaded, batch, 1, writes=True).capture.written(0)
    assert float(silent[:, 1, 0].norm()) == 0
    assert float(silent[:, 1, 1].norm()) > 0


def test_blocks_that_do_not_add_are_refused_with_the_reason():
    loaded = text_model("llama")
    block = loaded.model.model.layers[1]
    block.register_forward_hook(lambda module, args, output: output * 1.5)
    from lensbench.models.load import prepare

    again = prepare("odd", loaded.model, loaded.tokenizer, "text")
    batch = encode(again, rows("Why", image=None))
    with pytest.raises(ModelError, match="in block 2 otherwise than by adding"):
        read_parts(again, batch)


def test_positions_that_are_asked_for_are_those_that_are_read():
    loaded = text_model("llama", seed=2)
    batch = encode(loaded, rows("How many stars ?", "Why", image=None, style="completion"))
    wanted = torch.zeros_like(batch.image)
    wanted[0, 1] = wanted[0, 2] = wanted[1, -1] = True
    found = read_positions(loaded, batch, wanted, k=3)
    whole = read_prompt(loaded, batch, k=3)
    assert found[0].positions.tolist() == [1, 2]
    assert found[1].positions.tolist() == [len(whole[1].ids) - 1]
    torch.testing.assert_close(found[0].top_logprob, whole[0].top_logprob[:, 1:3])
    torch.testing.assert_close(found[1].top_logprob, whole[1].top_logprob[:, -1:])
