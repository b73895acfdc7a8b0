"""The naive reference against planted truth, and against three families written out by hand."""

import math
from itertools import pairwise

import pytest
import torch
from tests import planted

from lensbench.coverage.instance import Instance
from lensbench.coverage.reference import (
    Unreferenced,
    naive_generated,
    naive_logits,
    naive_rows,
    with_token,
)
from lensbench.coverage.text import text_instance


def prompt(*ids):
    ids = torch.tensor([ids])
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def instance_of(model, *singles, image_token_id=None):
    return Instance("planted", "text", model, singles[0], singles, image_token_id)


# Planted truth


def written(writes, **more):
    loaded = planted.written_model(writes, **more)
    words = loaded.tokenizer("red blue green", add_special_tokens=False)["input_ids"]
    return loaded, prompt(*words)


def test_what_is_written_at_a_layer_is_read_from_that_layer_on():
    writes = {2: {" three": 4.0}, 5: {" four": 9.0, " three": -1.0}}
    loaded, single = written(writes)
    rows = naive_logits(instance_of(loaded.model, single), single)
    size, eps = loaded.model.config.hidden_size, loaded.model.config.rms_norm_eps
    three, four = (planted.token_id(loaded.tokenizer, text) for text in (" three", " four"))
    last = int(single["input_ids"][0, -1])
    for layer in range(7):
        state = torch.zeros(size)
        state[last] = 1.0
        state[three] = 0.0 if layer < 2 else 4.0 if layer < 5 else 3.0
        state[four] = 0.0 if layer < 5 else 9.0
        wanted = 10 * state / (state.pow(2).mean() + eps).sqrt()
        assert torch.allclose(rows[layer], wanted, atol=1e-3), layer
    assert rows.argmax(-1).tolist() == [last, last, three, three, three, four, four]


def test_each_generated_step_is_a_full_pass():
    loaded, single = written({1: {" two": 0.1}}, successor=True, n_layers=2)
    last = int(single["input_ids"][0, -1])
    instance = instance_of(loaded.model, single)
    assert naive_generated(instance, single, 3).argmax(-1).tolist() == [
        last + 1,
        last + 2,
        last + 3,
    ]
    later = with_token(instance, single, last + 1)
    assert naive_logits(instance, later)[-1].argmax() == last + 2


def test_a_head_that_looks_at_the_picture_is_seen_in_its_block_alone():
    model = planted.looking_model(layer=2, head=1).model
    token, size = model.config.image_token_index, planted.SIDE
    torch.manual_seed(0)
    single = prompt(*[11, 12], *[token] * 16, *[13, 14])
    single["pixel_values"] = torch.randn(1, 3, size, size)
    rows = naive_rows(instance_of(model, single, image_token_id=token), single)
    assert list(rows) == [0, 1, 2]
    at_picture = single["input_ids"][0] == token
    for block, row in rows.items():
        assert row.shape == (4, 20)
        for head in range(4):
            mass = float(row[head, at_picture].sum())
            assert mass > 0.999 if (block, head) == (1, 1) else abs(mass - 16 / 20) < 1e-5


# By hand: each layer's state and attention of the last position, from the weights alone


def softmax(scores):
    powers = (scores - scores.amax(-1, keepdim=True)).exp()
    return powers / powers.sum(-1, keepdim=True)


def seen(scores, window=10**6):
    """Hide keys after a query, and those a window or more before it."""
    query, key = torch.arange(scores.shape[-2])[:, None], torch.arange(scores.shape[-1])
    return scores.masked_fill((key > query) | (key <= query - window), -math.inf)


def split(values, heads):
    return values.view(values.shape[0], heads, -1).transpose(0, 1)


def joined(values):
    return values.transpose(0, 1).reshape(values.shape[1], -1)


def rms(state, weight, eps):
    return weight * state / (state.pow(2).mean(-1, keepdim=True) + eps).sqrt()


def centered(state, norm):
    state = state - state.mean(-1, keepdim=True)
    return norm.weight * state / (state.pow(2).mean(-1, keepdim=True) + norm.eps).sqrt() + norm.bias


def turned(values):
    """Turn pairs (i, i + width / 2) of each head by position / 10000 ** (2 i / width)."""
    width = values.shape[-1]
    speed = 10000.0 ** (-torch.arange(0, width, 2) / width)
    angle = torch.arange(values.shape[-2])[:, None] * speed
    one, two = values[..., : width // 2], values[..., width // 2 :]
    turned_one = one * angle.cos() - two * angle.sin()
    return torch.cat([turned_one, two * angle.cos() + one * angle.sin()], dim=-1)


def gelu(values):
    inner = math.sqrt(2 / math.pi) * (values + 0.044715 * values**3)
    return 0.5 * values * (1 + inner.tanh())


def gpt2_by_hand(model, ids):
    body, heads = model.transformer, model.config.n_head
    state = body.wte.weight[ids] + body.wpe.weight[: len(ids)]
    states, rows = [state], []
    for block in body.h:
        inside = centered(state, block.ln_1)
        mixed = inside @ block.attn.c_attn.weight + block.attn.c_attn.bias
        query, key, value = (split(part, heads) for part in mixed.chunk(3, dim=-1))
        weights = softmax(seen(query @ key.mT / math.sqrt(query.shape[-1])))
        out = joined(weights @ value) @ block.attn.c_proj.weight + block.attn.c_proj.bias
        state = state + out
        inside = centered(state, block.ln_2) @ block.mlp.c_fc.weight + block.mlp.c_fc.bias
        state = state + gelu(inside) @ block.mlp.c_proj.weight + block.mlp.c_proj.bias
        states.append(state)
        rows.append(weights[:, -1])
    logits = [centered(s[-1], body.ln_f) @ body.wte.weight.T for s in states]
    return torch.stack(logits), rows


def llama_by_hand(model, ids):
    body, config = model.model, model.config
    heads, groups, eps = config.num_attention_heads, config.num_key_value_heads, config.rms_norm_eps
    state = body.embed_tokens.weight[ids]
    states, rows = [state], []
    for block in body.layers:
        part = block.self_attn
        inside = rms(state, block.input_layernorm.weight, eps)
        query = turned(split(inside @ part.q_proj.weight.T, heads))
        key = turned(split(inside @ part.k_proj.weight.T, groups))
        value = split(inside @ part.v_proj.weight.T, groups)
        key, value = (v.repeat_interleave(heads // groups, dim=0) for v in (key, value))
        weights = softmax(seen(query @ key.mT / math.sqrt(config.head_dim)))
        state = state + joined(weights @ value) @ part.o_proj.weight.T
        inside = rms(state, block.post_attention_layernorm.weight, eps)
        gate = inside @ block.mlp.gate_proj.weight.T
        wide = gate * gate.sigmoid() * (inside @ block.mlp.up_proj.weight.T)
        state = state + wide @ block.mlp.down_proj.weight.T
        states.append(state)
        rows.append(weights[:, -1])
    logits = [rms(s[-1], body.norm.weight, eps) @ model.lm_head.weight.T for s in states]
    return torch.stack(logits), rows


def gemma2_by_hand(model, ids):
    body, config = model.model, model.config
    heads, groups, eps = config.num_attention_heads, config.num_key_value_heads, config.rms_norm_eps
    state = body.embed_tokens.weight[ids] * math.sqrt(config.hidden_size)
    states, rows = [state], []

    def norm(values, part):
        return rms(values, 1 + part.weight, eps)

    for place, block in enumerate(body.layers):
        part = block.self_attn
        inside = norm(state, block.input_layernorm)
        query = turned(split(inside @ part.q_proj.weight.T, heads))
        key = turned(split(inside @ part.k_proj.weight.T, groups))
        value = split(inside @ part.v_proj.weight.T, groups)
        key, value = (v.repeat_interleave(heads // groups, dim=0) for v in (key, value))
        scores = query @ key.mT / math.sqrt(config.query_pre_attn_scalar)
        cap = config.attn_logit_softcapping
        window = 4 if place % 2 == 0 else 10**6
        weights = softmax(seen(cap * (scores / cap).tanh(), window))
        out = joined(weights @ value) @ part.o_proj.weight.T
        state = state + norm(out, block.post_attention_layernorm)
        inside = norm(state, block.pre_feedforward_layernorm)
        wide = gelu(inside @ block.mlp.gate_proj.weight.T) * (inside @ block.mlp.up_proj.weight.T)
        state = state + norm(wide @ block.mlp.down_proj.weight.T, block.post_feedforward_layernorm)
        states.append(state)
        rows.append(weights[:, -1])
    cap = config.final_logit_softcapping
    logits = [norm(s[-1], body.norm) @ body.embed_tokens.weight.T for s in states]
    return cap * (torch.stack(logits) / cap).tanh(), rows


@pytest.mark.parametrize(
    ("family", "by_hand"),
    [("gpt2", gpt2_by_hand), ("llama", llama_by_hand), ("gemma2", gemma2_by_hand)],
)
@pytest.mark.parametrize("place", [0, 1])
def test_families_written_out_by_hand(family, by_hand, place):
    instance = text_instance(family)
    single = instance.singles[place]
    logits, rows = by_hand(instance.model, single["input_ids"][0])
    assert torch.allclose(naive_logits(instance, single), logits, atol=2e-5)
    naive = naive_rows(instance, single)
    assert list(naive) == list(range(len(rows)))
    for block, row in enumerate(rows):
        assert torch.allclose(naive[block], row, atol=1e-6), block


def test_generated_steps_by_hand():
    instance = text_instance("llama")
    ids = instance.singles[1]["input_ids"][0].tolist()
    rows = naive_generated(instance, instance.singles[1], 3)
    for row in rows:
        wanted, _ = llama_by_hand(instance.model, torch.tensor(ids))
        assert torch.allclose(row, wanted[-1], atol=2e-5)
        ids.append(int(row.argmax()))


# What single kinds of models need


def test_rows_lie_in_the_blocks_that_have_attention():
    for model_type, blocks in {"bamba": [1, 3], "nemotron_h": [2], "mamba": [], "rwkv": []}.items():
        instance = text_instance(model_type)
        rows = naive_rows(instance, instance.singles[1])
        assert list(rows) == blocks
        for row in rows.values():
            assert torch.allclose(row.sum(-1), torch.ones(4), atol=1e-5)


def test_a_sink_takes_a_share_of_attention():
    instance = text_instance("gpt_oss")
    for block, row in naive_rows(instance, instance.singles[1]).items():
        sinks = instance.model.model.layers[block].self_attn.sinks
        assert sinks.shape == row.shape[:1]
        assert (row.sum(-1) < 0.99).any()
        assert (row.sum(-1) <= 1).all()


def test_states_are_what_enters_a_block_where_transformers_lists_what_leaves():
    instance = text_instance("mamba")
    single = instance.singles[1]
    model, body = instance.model, instance.model.backbone
    embedded = body.embeddings.weight[single["input_ids"][0, -1]]
    wanted = rms(embedded, body.norm_f.weight, body.norm_f.variance_epsilon)
    assert torch.allclose(naive_logits(instance, single)[0], model.lm_head(wanted), atol=2e-5)


def test_a_block_that_is_left_out_keeps_the_state():
    instance = text_instance("mllama")  # Its second block needs a picture.
    rows = naive_logits(instance, instance.singles[1])
    same = [torch.equal(before, after) for before, after in pairwise(rows)]
    assert same == [False, True, False, False]
    assert list(naive_rows(instance, instance.singles[1])) == [0, 2, 3]


@pytest.mark.parametrize(
    ("model_type", "reason"),
    [("hrm_text", "decides the logits"), ("inkling2_text", "decides"), ("reformer", "decides")],
)
def test_models_without_a_last_block_have_no_reference(model_type, reason):
    instance = text_instance(model_type)
    with pytest.raises(Unreferenced, match=reason):
        naive_logits(instance, instance.singles[1])


def test_two_attentions_in_a_block_have_no_rows():
    instance = text_instance("longcat_flash")
    with pytest.raises(Unreferenced, match="more than one self-attention"):
        naive_rows(instance, instance.singles[1])


def test_the_model_is_left_as_it_was():
    instance = text_instance("llama")
    single = instance.singles[1]
    before = instance.model(**single).logits
    naive_logits(instance, single)
    naive_rows(instance, single)
    assert torch.equal(instance.model(**single).logits, before)
    assert instance.model.config._attn_implementation == "sdpa"
    for module in instance.model.modules():
        hooks = [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]
        assert not any(hook.__module__.startswith("lensbench") for hook in hooks)


def test_inputs_with_an_entry_a_token_grow_with_the_prompt():
    instance = text_instance("llama")
    single = {
        **prompt(20, 21, 22),
        "mm_token_type_ids": torch.tensor([[0, 1, 1]]),
        "cross_attention_mask": torch.tensor([[[1, 0], [0, 1], [1, 1]]]),
        "image_patches_indices": torch.tensor([[-1, 0, 1]]),
        "pixel_attention_mask": torch.ones(1, 3),
        "image_grid_thw": torch.tensor([[1, 2, 2]]),
    }
    grown = with_token(instance, single, 23)
    assert grown["input_ids"].tolist() == [[20, 21, 22, 23]]
    assert grown["attention_mask"].tolist() == [[1, 1, 1, 1]]
    assert grown["mm_token_type_ids"].tolist() == [[0, 1, 1, 0]]
    assert grown["cross_attention_mask"].tolist() == [[[1, 0], [0, 1], [1, 1], [1, 1]]]
    assert grown["image_patches_indices"].tolist() == [[-1, 0, 1, -1]]
    assert grown["pixel_attention_mask"].shape == (1, 3)
    assert grown["image_grid_thw"].tolist() == [[1, 2, 2]]
    assert single["input_ids"].tolist() == [[20, 21, 22]]
