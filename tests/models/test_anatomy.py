"""What stands between blocks and logits is found from the model itself, whatever it is."""

from __future__ import annotations

import pytest
import torch
from tests.planted import image_model, text_model
from torch import nn

from lensbench.coverage.text import text_instance
from lensbench.errors import ModelError
from lensbench.lens.generate import trace_batch
from lensbench.models.anatomy import find_anatomy
from lensbench.models.gate import run_gate
from lensbench.models.load import prepare
from lensbench.models.prompt import encode


def changed(model, change):
    """Return a model whose logits are changed by a function after its output embeddings."""
    inner = model.forward

    class Changed(type(model)):
        def forward(self, *args, **kwargs):
            output = inner(*args, **kwargs)
            output.logits = change(output.logits)
            return output

    model.__class__ = Changed
    return model


def again(loaded):
    return prepare(loaded.name, loaded.model, loaded.tokenizer, "text")


def test_a_bias_after_the_output_embeddings_is_part_of_the_readout():
    loaded = text_model("llama")
    bias = torch.randn(loaded.anatomy.vocab_size)
    changed(loaded.model, lambda logits: logits + bias)
    found = again(loaded)
    torch.testing.assert_close(found.anatomy.ending.bias, bias, rtol=0, atol=1e-5)
    run_gate(found).require()


def test_tokens_that_are_ruled_out_stay_ruled_out_at_every_layer():
    loaded = text_model("llama")
    ids = torch.tensor([3, 50, 51])

    def rule_out(logits):
        logits = logits * 2.0
        logits[..., ids] = torch.finfo(logits.dtype).min
        return logits

    changed(loaded.model, rule_out)
    found = again(loaded)
    assert found.anatomy.ending.ruled_out.tolist() == ids.tolist()
    assert found.anatomy.logit_scale == pytest.approx(2.0)
    run_gate(found).require()
    batch = encode(found, [{"prompt": "Why", "style": "completion", "image": None}])
    states = trace_batch(found, batch, 1).residuals[0, 0]
    assert float(found.anatomy.logits(states).softmax(-1)[:, ids].sum()) == 0


def test_rows_of_the_output_embeddings_beyond_the_vocabulary_are_left_out():
    loaded = text_model("llama")
    size = loaded.anatomy.vocab_size - 7
    changed(loaded.model, lambda logits: logits[..., :size])
    found = again(loaded)
    assert found.anatomy.vocab_size == size
    run_gate(found).require()


def test_a_soft_cap_after_a_factor():
    loaded = text_model("llama")
    loaded.model.config.final_logit_softcapping = 3.0
    loaded.model.config.logit_scale = 0.5
    changed(loaded.model, lambda logits: 3.0 * torch.tanh(logits * 0.5 / 3.0))
    found = again(loaded)
    assert (found.anatomy.softcap, found.anatomy.logit_scale) == (3.0, 0.5)
    run_gate(found).require()


def test_a_factor_between_the_norm_and_the_output_embeddings():
    loaded = text_model("llama")
    inner = loaded.model.model
    forward = inner.forward

    class Scaled(type(inner)):
        def forward(self, *args, **kwargs):
            output = forward(*args, **kwargs)
            output.last_hidden_state = output.last_hidden_state * 0.25
            return output

    inner.__class__ = Scaled
    found = again(loaded)
    assert found.anatomy.ending.tail_scale == pytest.approx(0.25)
    run_gate(found).require()


def test_a_head_with_an_activation_between_its_layers_is_taken_whole():
    loaded = text_model("llama")
    model = loaded.model

    class Head(nn.Module):
        """As RoBERTa's: a layer, an activation that no module tells of, the output embeddings."""

        def __init__(self, decoder):
            super().__init__()
            self.dense = nn.Linear(32, 32)
            self.decoder = decoder

        def forward(self, states):
            return self.decoder(nn.functional.gelu(self.dense(states)))

    head = Head(model.lm_head).requires_grad_(False)
    model.lm_head = head
    model.get_output_embeddings = lambda: head.decoder
    found = again(loaded)
    assert found.anatomy.unembedding is head
    run_gate(found).require()


def test_output_embeddings_that_are_never_called_as_a_module():
    loaded = text_model("llama")
    weight = loaded.model.lm_head.weight

    class Applied(nn.Linear):
        """The product, without a call that a hook would see."""

        def __call__(self, states):
            return nn.functional.linear(states, self.weight)

    own = Applied(*reversed(weight.shape), bias=False)
    own.weight = weight
    loaded.model.lm_head = own
    found = again(loaded)
    assert type(found.anatomy.unembedding).__name__ == "_Product"
    run_gate(found).require()


def test_a_norm_that_is_also_called_before_the_blocks_is_the_final_norm_once():
    loaded = text_model("llama")
    inner = loaded.model.model
    first = inner.layers[0]
    first.register_forward_pre_hook(
        lambda m, a, k: ((inner.norm(a[0]), *a[1:]), k), with_kwargs=True
    )
    found = again(loaded)
    assert [step.module for step in found.anatomy.ending.tail] == [inner.norm]
    run_gate(found).require()


def test_blocks_are_the_decoders_not_the_picture_towers():
    loaded = image_model("llava")
    assert loaded.anatomy.blocks == tuple(loaded.model.model.language_model.layers)
    assert loaded.anatomy.heads.layers == (1, 2, 3)


def test_blocks_called_twice_are_refused():
    model = text_model("llama").model
    layers = model.model.layers
    layers[2] = layers[1]
    with pytest.raises(ModelError, match=r"calls its \d blocks more than once"):
        find_anatomy(model)


def test_blocks_that_a_prompt_leaves_out_are_refused():
    # Mllama's cross-attention blocks are passed over where there is no picture.
    instance = text_instance("mllama")
    with pytest.raises(ModelError, match="leaves some of its blocks out"):
        find_anatomy(instance.model, instance.singles[0])


def test_a_model_that_can_not_be_run_is_refused_with_its_own_words():
    model = text_model("llama").model

    def fail(*args, **kwargs):
        raise ValueError("needs a sound")

    model.model.layers[0].register_forward_pre_hook(fail)
    with pytest.raises(ModelError, match="can't be run on a probe: needs a sound"):
        find_anatomy(model)
