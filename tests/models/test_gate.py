"""The gate: every family passes it, what is broken is refused with the sentence that says so."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import pytest
import torch
from tests.planted import image_model, text_model
from torch import nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from lensbench.errors import GateError, ModelError
from lensbench.lens.generate import trace_batch
from lensbench.models.anatomy import find_anatomy
from lensbench.models.gate import Check, GateReport, run_gate
from lensbench.models.prompt import Prompter, encode, encode_probes


@pytest.mark.parametrize("family", ["llama", "mistral", "gemma2", "gpt2"])
def test_text_families_pass(family):
    report = run_gate(text_model(family)).require()
    values = {check.name: check.value for check in report.checks}
    assert values["hooks_change_nothing"] == 0
    assert values["attention_is_softmax"] < 1e-5


@pytest.mark.parametrize("family", ["llava", "onevision", "qwen2vl"])
def test_image_families_pass(family):
    report = run_gate(image_model(family)).require()
    assert {check.name: check.value for check in report.checks}["image_positions"] == 0


def test_bfloat16_passes_with_its_own_limits():
    loaded = text_model("llama")
    loaded.model.bfloat16()
    report = run_gate(replace(loaded, dtype="bfloat16")).require()
    limit = {check.name: check.limit for check in report.checks}["readout_logprob"]
    batch = encode_probes(loaded.prompter).batch
    logits = trace_batch(loaded, batch, 2, logits=True).logits
    assert 0.05 <= limit <= 2.02 * 2.0**-7 * float(logits.abs().max())  # Two roundings of it.


@pytest.mark.parametrize("family", ["text", "llava"])
def test_a_prompt_that_is_not_the_processors_own_is_refused_by_name(family):
    loaded = text_model("llama") if family == "text" else image_model(family)
    report = run_gate(loaded).require()
    assert report.checks[0].name == "prompt_is_the_processors"

    class Shorter(Prompter):
        def _rendered(self, chat):
            return super()._rendered(chat).removesuffix("\n")

    given = {field.name: getattr(loaded.prompter, field.name) for field in fields(Prompter)}
    other = replace(loaded, prompter=Shorter(**given))
    # One token is missing in two prompts, with a picture and without.
    wanted = 2 if family == "text" else 4
    with pytest.raises(GateError, match=rf'"prompt_is_the_processors": .* is {wanted}, at most 0'):
        run_gate(other).require()


def failing(loaded):
    return [check.name for check in run_gate(loaded).checks if not check.passed]


def test_untied_embeddings_are_refused():
    loaded = text_model("llama")
    head = loaded.model.lm_head
    head.weight = nn.Parameter(head.weight + 0.5)
    with pytest.raises(GateError, match=r'check "tied_embeddings": .* is 0\.5, at most 0 is'):
        run_gate(loaded).require()


def test_a_second_final_norm_in_the_lens_is_refused_by_how_much():
    loaded = text_model("llama")
    norm = loaded.anatomy.final_norm
    with torch.no_grad():
        norm.weight.mul_(torch.linspace(0.5, 2.0, norm.weight.numel()))
    ending = loaded.anatomy.ending
    twice = replace(ending, tail=(*ending.tail, *ending.tail))
    twice = replace(loaded, anatomy=replace(loaded.anatomy, ending=twice))
    with pytest.raises(GateError, match=r'refused by the gate, check "readout_.*is \d.*allowed'):
        run_gate(twice).require()


def test_a_lens_that_is_one_layer_off_is_refused():
    loaded = text_model("llama")
    anatomy, heads = loaded.anatomy, loaded.anatomy.heads
    fewer = replace(heads, layers=heads.layers[:-1], modules=heads.modules[:-1])
    early = replace(anatomy, blocks=anatomy.blocks[:-1], n_layers=anatomy.n_layers - 1, heads=fewer)
    assert "readout_logprob" in failing(replace(loaded, anatomy=early))


def test_an_ending_that_is_right_at_the_last_layer_alone_is_refused():
    # A factor that depends on the state: found as one number on the probe, it is another elsewhere.
    loaded = text_model("llama")
    ending = loaded.anatomy.ending

    class Scaled(nn.Module):
        """The norm, unless the state is shorter than the last layer's are."""

        def __init__(self, norm):
            super().__init__()
            self.norm = norm

        def forward(self, states):
            short = states.norm(dim=-1, keepdim=True) < 5.0
            return torch.where(short, 2.0, 1.0) * self.norm(states)

    odd = replace(ending, tail=(replace(ending.tail[0], module=Scaled(ending.tail[0].module)),))
    broken = replace(loaded, anatomy=replace(loaded.anatomy, ending=odd))
    names = failing(broken)
    assert "readout_elsewhere" in names
    assert "readout_logprob" not in names


def test_weights_that_no_file_had_are_refused():
    loaded = replace(text_model("llama"), missing=("lm_head.weight",))
    with pytest.raises(GateError, match="weights no file had is 1, at most 0"):
        run_gate(loaded).require()


def test_attention_without_a_mask_is_refused():
    # transformers makes no mask at all for a name it doesn't know one for: padding is attended to.
    AttentionInterface.register("maskless", sdpa_attention_forward)
    try:
        loaded = text_model("llama")
        loaded.model.config._attn_implementation_internal = "maskless"
        assert {"attention_is_softmax", "padding_changes_nothing"} <= set(failing(loaded))
    finally:
        del AttentionInterface._global_mapping["maskless"]


def test_a_hook_that_changes_the_model_is_refused():
    loaded = text_model("llama")
    block = loaded.anatomy.blocks[1]
    calls = []

    def nudge(module, args, output):
        calls.append(1)
        return output * (1.0 if len(calls) <= 2 else 1.001)

    handle = block.register_forward_hook(nudge)
    names = failing(loaded)
    handle.remove()
    assert "hooks_change_nothing" in names


def test_image_positions_that_are_not_features_are_refused():
    loaded = image_model("llava")
    prompter = replace(loaded.prompter, image_token_id=None)
    assert "pictures_stay_in_place" in failing(replace(loaded, prompter=prompter))
    word = loaded.tokenizer.convert_tokens_to_ids("<|im_start|>")
    prompter = replace(loaded.prompter, image_token_id=word)
    names = failing(replace(loaded, prompter=prompter))
    assert {"image_positions", "pictures_stay_in_place"} <= set(names)


def test_a_model_blind_to_its_pictures_is_refused():
    loaded = image_model("llava")
    with torch.no_grad():
        projector = loaded.model.model.multi_modal_projector.linear_2
        projector.weight.zero_()
    assert "pictures_reach_answer" in failing(loaded)


def test_report_says_what_it_is_in_json_even_where_a_value_is_no_number():
    report = GateReport("m", (Check("a", float("inf"), 1.0, False, "x"),))
    tree = json.loads(report.to_json())
    assert tree["passed"] is False
    assert tree["checks"][0]["value"] is None
    again = GateReport.from_json(report.to_json()).checks[0]
    assert again.value != again.value
    assert replace(again, value=0.0) == Check("a", 0.0, 1.0, False, "x")


@pytest.mark.parametrize("change", ["before the head", "after the head"])
def test_anatomy_refuses_what_it_cannot_repeat(change):
    model = text_model("llama").model
    if change == "before the head":
        model.lm_head.register_forward_pre_hook(lambda m, a: (a[0].abs().sqrt(),))
        match = "between its last block and its output embeddings"
    else:
        model.lm_head.register_forward_hook(lambda m, a, out: out)
        inner = model.forward

        class Squared(type(model)):
            def forward(self, *args, **kwargs):
                output = inner(*args, **kwargs)
                output.logits = output.logits**2
                return output

        model.__class__ = Squared
        match = "neither a factor, a soft cap nor a bias"
    with pytest.raises(ModelError, match=match):
        find_anatomy(model)


def test_what_is_added_between_blocks_is_in_the_state_of_that_layer():
    loaded = text_model("llama")
    batch = encode(loaded, [{"prompt": "Why", "style": "completion", "image": None}])
    plain = trace_batch(loaded, batch, 1).residuals[0, 0]
    loaded.model.model.layers[1].register_forward_pre_hook(
        lambda m, a, k: ((a[0] + 1.0, *a[1:]), k), with_kwargs=True
    )
    run_gate(loaded).require()
    added = trace_batch(loaded, batch, 1).residuals[0, 0]
    torch.testing.assert_close(added[0], plain[0], rtol=0, atol=0)
    torch.testing.assert_close(added[1], plain[1] + 1.0)
    assert not torch.allclose(added[2], plain[2])


def test_anatomy_finds_soft_cap_and_factors():
    assert text_model("gemma2").anatomy.softcap == 5.0
    assert text_model("llama").anatomy.softcap is None
    assert text_model("gpt2").anatomy.logit_scale == 1.0
