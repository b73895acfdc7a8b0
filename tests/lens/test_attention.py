"""The last attention row against a naive reference, and what is said of it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image
from tests.planted import image_model, text_model
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from lensbench.errors import ModelError
from lensbench.lens.attention import head_statistics, implementation, last_rows
from lensbench.lens.generate import trace_batch
from lensbench.models.prompt import encode


def naive_row(query, key, allowed, scale, cap=None):
    """Softmax over the allowed keys, head by head, in float64."""
    heads, groups = query.shape[0], key.shape[0]
    out = np.zeros((heads, key.shape[1]))
    for head in range(heads):
        scores = key[head // (heads // groups)] @ query[head] * scale
        if cap is not None:
            scores = cap * np.tanh(scores / cap)
        weights = np.where(allowed, np.exp(scores - scores.max()), 0.0)
        out[head] = weights / weights.sum()
    return out


@pytest.mark.parametrize("cap", [None, 1.5])
@pytest.mark.parametrize("kind", ["bool", "added", "none"])
def test_rows_with_grouped_queries_and_mask(kind, cap):
    torch.manual_seed(3)
    query, key = torch.randn(2, 6, 5, 8), torch.randn(2, 2, 7, 8)
    allowed = torch.tensor([[False, False, True, True, True, True, True], [True] * 7])
    if kind == "none":
        allowed[:] = True
    boolean = allowed[:, None, None].expand(2, 1, 5, 7).clone()
    boolean[:, :, 0] = False  # Only the last query's row of the mask counts.
    added = torch.zeros(2, 1, 5, 7).masked_fill(~boolean, torch.finfo(torch.float32).min)
    mask = {"bool": boolean, "added": added, "none": None}[kind]
    rows = last_rows(query, key, mask, scaling=0.4, softcap=cap)
    for sample in range(2):
        wanted = naive_row(
            query[sample, :, -1].double().numpy(),
            key[sample].double().numpy(),
            allowed[sample].numpy(),
            0.4,
            cap,
        )
        np.testing.assert_allclose(rows[sample].numpy(), wanted, atol=1e-6)


def test_default_scale_is_one_over_the_root_of_the_width():
    query, key = torch.tensor([[[[4.0, 0, 0, 0]]]]), torch.tensor([[[[1.0, 0, 0, 0], [0.0] * 4]]])
    rows = last_rows(query, key, None)
    np.testing.assert_allclose(rows[0, 0], [1 / (1 + np.exp(-2)), 1 / (1 + np.exp(2))], rtol=1e-6)


def test_statistics_of_a_row_by_hand():
    # Positions: padding, sink, picture, picture, text.
    rows = torch.tensor([[[0.0, 0.1, 0.3, 0.1, 0.5], [0.0, 1.0, 0.0, 0.0, 0.0]]])
    image = torch.tensor([[False, False, True, True, False]])
    found = head_statistics(rows, image, [1])
    entropy = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25))
    np.testing.assert_allclose(found[0, 0], [0.4, 0.1, 0.5, entropy, 0.3, 0.4, 0], atol=1e-6)
    np.testing.assert_allclose(found[0, 1], [0, 1, 0, 0, 0, 0, 0], atol=1e-7)


def test_an_image_position_that_is_the_sink_counts_as_both():
    # Positions: padding, sink (a picture's), picture, picture, text.
    rows = torch.tensor([[[0.0, 0.1, 0.3, 0.1, 0.5], [0.0, 1.0, 0.0, 0.0, 0.0]]])
    image = torch.tensor([[False, True, True, True, False]])
    found = head_statistics(rows, image, [1])[0]
    entropy = -(0.6 * np.log(0.6) + 2 * 0.2 * np.log(0.2))
    np.testing.assert_allclose(found[0], [0.5, 0.1, 0.5, entropy, 0.3, 0.5, 0.1], atol=1e-6)
    np.testing.assert_allclose(found[1], [1, 1, 0, 0, 1, 1, 1], atol=1e-7)
    image_mass, sink, text, both = found[:, [0, 1, 2, 6]].T
    np.testing.assert_allclose(image_mass + sink + text - both, 1, atol=1e-6)


def test_what_falls_on_the_overview_is_told_apart():
    # Positions: padding, sink (of the overview), overview, tile, line end, text.
    rows = torch.tensor([[[0.0, 0.1, 0.3, 0.15, 0.05, 0.4]]])
    image = torch.tensor([[False, True, True, True, True, False]])
    overview = torch.tensor([[False, True, True, False, False, False]])
    found = head_statistics(rows, image, [1], overview)[0, 0]
    wanted = [0.6, 0.1, 0.4, 0.3, 0.4, 0.1]
    np.testing.assert_allclose(found[[0, 1, 2, 4, 5, 6]], wanted, atol=1e-6)


def test_keys_of_a_window_are_the_last_positions():
    rows = torch.tensor([[[0.25, 0.75]]])
    image = torch.tensor([[True, True, True, False]])
    wanted = [0.25, 0, 0.75, 0, 0.25, 0.25, 0]
    np.testing.assert_allclose(head_statistics(rows, image, [0])[0, 0], wanted)
    overview = torch.tensor([[True, True, False, False]])
    assert head_statistics(rows, image, [0], overview)[0, 0, 5] == 0


@pytest.mark.parametrize("family", ["llama", "mistral", "gpt2", "gemma2"])
def test_rows_equal_transformers_own_attentions_with_padding(family):
    # The independent reference: output_attentions of the eager model, step by step.
    loaded = text_model(family, seed=5)
    rows = [
        {"prompt": text, "style": "completion", "image": None}
        for text in ("How many stars are there in the sky ?", "Why ?")
    ]
    batch = encode(loaded, rows)
    traced = trace_batch(loaded, batch, 3, keep_rows=True)
    with implementation(loaded.anatomy.configs, "eager"), torch.inference_mode():
        output = loaded.model.generate(
            **batch.inputs,
            max_new_tokens=3,
            min_new_tokens=3,
            do_sample=False,
            return_dict_in_generate=True,
            output_attentions=True,
        )
    for step in range(2):
        for layer in range(3):
            theirs = output.attentions[step][layer][:, :, -1]
            ours = traced.capture.rows[step][layer + 1]
            np.testing.assert_allclose(ours, theirs[..., -ours.shape[-1] :], atol=1e-5)
            # The keys are the last positions: a window's cache has dropped the first ones.
            dropped = batch.image.shape[1] + step - ours.shape[-1]
            assert float(ours[1, :, : max(0, int(batch.first[1]) - dropped)].abs().sum()) == 0


@pytest.mark.parametrize("family", ["llava", "onevision", "qwen2vl"])
def test_a_padded_batch_of_pictures_gives_what_single_samples_give(family):
    loaded = image_model(family, seed=2)
    rows = [
        {"prompt": text, "style": "chat", "image": "a.png"}
        for text in ("How many red stars are there ?", "Why", "How many")
    ]
    pictures = [
        Image.effect_mandelbrot((32, 32), (-2, -1, 1, 1), 20).convert("RGB"),
        Image.radial_gradient("L").resize((32, 32)).convert("RGB"),
        Image.linear_gradient("L").resize((64, 32)).convert("RGB"),
    ]
    together = trace_batch(loaded, encode(loaded, rows, pictures), 2)
    for index, picture in enumerate(pictures):
        alone = trace_batch(loaded, encode(loaded, rows[index : index + 1], [picture]), 2)
        assert together.ids[index] == alone.ids[0]
        steps = len(alone.ids[0])
        ours, theirs = (
            loaded.anatomy.logits(t.residuals[i, :steps].flatten(0, 1))
            for t, i in ((together, index), (alone, 0))
        )
        np.testing.assert_allclose(ours.log_softmax(-1), theirs.log_softmax(-1), atol=1e-4)
        np.testing.assert_allclose(together.heads[index, :steps], alone.heads[0, :steps], atol=1e-4)


@pytest.mark.parametrize("mask", ["none", "padded"])
def test_a_flash_kernels_mask_and_window_are_kept(mask):
    # Flash kernels are told padding as [batch, keys] and their window as a number.
    torch.manual_seed(1)
    query, key = torch.randn(1, 2, 6, 4), torch.randn(1, 2, 6, 4)
    padding = torch.tensor([[0, 0, 0, 1, 1, 1]]) if mask == "padded" else None
    rows = last_rows(query, key, padding, window=4)
    allowed = np.array([False, False, mask == "none", True, True, True])
    wanted = naive_row(query[0, :, -1].double().numpy(), key[0].double().numpy(), allowed, 0.5)
    np.testing.assert_allclose(rows[0], wanted, atol=1e-6)


def test_a_learned_sink_takes_its_share():
    query, key = torch.zeros(1, 2, 1, 4), torch.zeros(1, 2, 3, 4)
    rows = last_rows(query, key, None, sinks=torch.tensor([0.0, math.log(3.0)]))
    np.testing.assert_allclose(rows[0, 0], [1 / 4] * 3, rtol=1e-6)
    np.testing.assert_allclose(rows[0, 1], [1 / 6] * 3, rtol=1e-6)


def test_the_models_own_kernel_is_put_back_whatever_happens():
    loaded = text_model("llama")
    batch = encode(loaded, [{"prompt": "Why", "style": "completion", "image": None}])
    before = dict(ALL_ATTENTION_FUNCTIONS)
    trace_batch(loaded, batch, 1)
    assert dict(ALL_ATTENTION_FUNCTIONS) == before
    loaded.model.config._attn_implementation_internal = "no such kernel"
    with pytest.raises(KeyError, match="no such kernel"):
        trace_batch(loaded, batch, 1)
    assert dict(ALL_ATTENTION_FUNCTIONS) == before


def test_attention_that_can_not_be_read_is_refused():
    # A kernel that returns no weights and is not in the interface: eager, found silent.
    loaded = text_model("llama")
    batch = encode(loaded, [{"prompt": "Why", "style": "completion", "image": None}])
    loaded.model.config._attn_implementation_internal = "eager"
    with pytest.raises(ModelError, match="in another way when it generates"):
        trace_batch(loaded, batch, 1)
