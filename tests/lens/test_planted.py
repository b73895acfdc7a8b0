"""Planted truth: what was written into a model by hand is found again, exactly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from tests.planted import looking_model, token_id, written_model

from lensbench.lens.generate import trace_batch
from lensbench.models.gate import run_gate
from lensbench.models.prompt import encode


def row(prompt, image=None, style="completion"):
    return {"prompt": prompt, "style": style, "image": image}


@pytest.mark.parametrize("layer", [1, 3, 6])
def test_answer_written_at_layer_k_is_top_from_k_on(layer):
    loaded = written_model({layer: {" three": 3.0}}, n_layers=6)
    run_gate(loaded).require()
    traced = trace_batch(loaded, encode(loaded, [row("How many stars are there ?")]), 1)
    top = loaded.anatomy.logits(traced.residuals[0, 0]).argmax(-1).tolist()
    last = token_id(loaded.tokenizer, " ?")
    answer = token_id(loaded.tokenizer, " three")
    assert top == [last] * layer + [answer] * (7 - layer)
    assert traced.ids == [[answer]]


@pytest.mark.parametrize(("first", "last"), [(1, 1), (2, 4), (3, 5)])
def test_han_token_written_at_layers_a_to_b_is_top_there_alone(first, last):
    writes = {first: {"三": 3.0}, last + 1: {"三": -3.0, " three": 4.0}}
    loaded = written_model(writes, n_layers=6)
    traced = trace_batch(loaded, encode(loaded, [row("How many ?")]), 1)
    top = loaded.anatomy.logits(traced.residuals[0, 0]).argmax(-1).tolist()
    han = token_id(loaded.tokenizer, "三")
    assert [layer for layer, token in enumerate(top) if token == han] == list(
        range(first, last + 1)
    )


def test_each_generated_step_has_its_own_states():
    # Coordinate t speaks for token t + 1: the model counts its vocabulary up from the last token.
    loaded = written_model({}, n_layers=2, successor=True)
    start = token_id(loaded.tokenizer, " red")
    traced = trace_batch(loaded, encode(loaded, [row("Why red")]), 3)
    assert traced.ids == [[start + 1, start + 2, start + 3]]
    assert traced.residuals.shape[:3] == (1, 3, 3)
    size = loaded.anatomy.vocab_size
    for step in range(3):
        unit = torch.eye(size)[start + step]
        assert torch.equal(traced.residuals[0, step], unit.expand(3, size))


def test_steps_after_the_end_are_not_recorded():
    loaded = written_model({}, n_layers=2, successor=True)
    end = loaded.tokenizer.eos_token_id
    batch = encode(loaded, [row("Why red"), row("How many")])
    batch.inputs["input_ids"][0, -1] = end - 1  # No words of a prompt can say it.
    traced = trace_batch(loaded, batch, 3)
    assert traced.ids[0] == [end]
    assert len(traced.ids[1]) == 3
    samples, steps = traced.steps()
    assert list(zip(samples.tolist(), steps.tolist(), strict=True)) == [
        (0, 0), (1, 0), (1, 1), (1, 2),
    ]  # fmt: skip


@pytest.mark.parametrize(("layer", "head"), [(1, 0), (2, 3), (3, 1)])
def test_head_that_attends_to_image_positions_alone_is_found(layer, head):
    loaded = looking_model(layer, head)
    run_gate(loaded).require()
    rows = [row("How many stars are there ?", "a.png", "chat"), row("Why", "b.png", "chat")]
    pictures = [Image.new("RGB", (32, 32), color) for color in ("red", "blue")]
    encoded = encode(loaded, rows, pictures)
    heads = trace_batch(loaded, encoded, 2).heads.numpy()
    assert encoded.n_image_tokens == [16, 16]
    image, sink, text = (heads[..., column] for column in range(3))
    np.testing.assert_allclose(image[:, :, layer - 1, head], 1.0, atol=1e-6)
    np.testing.assert_allclose(heads[:, :, layer - 1, head, 3], np.log(16), atol=1e-5)
    np.testing.assert_allclose(heads[:, :, layer - 1, head, 4], 1 / 16, atol=1e-6)
    others = np.ones(heads.shape[2:4], dtype=bool)
    others[layer - 1, head] = False
    for sample, n_tokens in enumerate(encoded.n_tokens):
        for step in range(2):
            # Every other head attends to each of the positions so far alike, padding to none.
            n = n_tokens + step
            where = (sample, step)
            np.testing.assert_allclose(image[where][others], 16 / n, rtol=1e-5)
            np.testing.assert_allclose(sink[where][others], 1 / n, rtol=1e-5)
            np.testing.assert_allclose(text[where][others], (n - 17) / n, rtol=1e-5)
