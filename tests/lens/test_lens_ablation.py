"""Heads switched off, against weights that are zero, and against hooks on the output projection."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from tests.planted import image_model, text_model
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from lensbench.errors import ModelError
from lensbench.lens.ablation import MeanOutput, Replay, check_layout, switched_off
from lensbench.lens.generate import trace_batch
from lensbench.models.load import load_model
from lensbench.models.prompt import encode

TEXT, IMAGE = ("llama", "mistral", "gpt2"), ("llava", "onevision", "qwen2vl")
HEADS = {1: [0, 3], 3: [2]}
PACKAGED = ("lensbench-llava", "lensbench-onevision", "lensbench-qwen2vl")


def a_model(family):
    return image_model(family, seed=7) if family in IMAGE else text_model(family, seed=7)


def a_batch(loaded, side=32):
    """Two prompts of different lengths, so that one is padded."""
    words = ("How many red stars are there ?", "Why")
    if loaded.task == "text":
        return encode(loaded, [{"prompt": w, "style": "completion", "image": None} for w in words])
    pictures = [
        Image.effect_mandelbrot((side, side), (-2, -1, 1, 1), 20).convert("RGB"),
        Image.radial_gradient("L").resize((side, side)).convert("RGB"),
    ]
    return encode(loaded, [{"prompt": w, "style": "chat", "image": "a"} for w in words], pictures)


def logits(loaded, batch):
    """The logits of the unpadded positions, [n, V]."""
    with torch.inference_mode():
        found = loaded.model(**batch.inputs, use_cache=False).logits
    return found[batch.inputs["attention_mask"].bool()]


def projection(loaded, layer):
    """The output projection of a block, found by its name: what the code under test never asks."""
    names = ("o_proj", "c_proj")
    attention = loaded.anatomy.heads.modules[layer - 1]
    return next(part for name, part in attention.named_children() if name in names)


def columns(loaded, heads):
    """The inputs of the output projection that are the heads'."""
    part = projection(loaded, 1)
    wide = part.weight.shape[0 if type(part).__name__ == "Conv1D" else 1]
    width = wide // loaded.anatomy.n_heads
    return [head * width + place for head in heads for place in range(width)]


@pytest.mark.parametrize("family", TEXT + IMAGE)
def test_a_head_switched_off_is_a_projection_that_does_not_read_it(family):
    loaded = a_model(family)
    batch = a_batch(loaded)
    before = logits(loaded, batch)
    with switched_off(loaded.anatomy, HEADS):
        ours = logits(loaded, batch)
    assert torch.equal(logits(loaded, batch), before)
    with torch.no_grad():
        for layer, heads in HEADS.items():
            part, zero = projection(loaded, layer), columns(loaded, heads)
            if type(part).__name__ == "Conv1D":
                part.weight[zero] = 0
            else:
                part.weight[:, zero] = 0
    theirs = logits(loaded, batch)
    assert (theirs - before).abs().max() > 1e-2
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def hooked(loaded, batch, change):
    """Logits with `change` applied to what the projections of `HEADS` read, [batch, T, columns]."""
    handles = []
    for layer, heads in HEADS.items():
        mine = columns(loaded, heads)

        def before(_, args, mine=mine, layer=layer):
            states = args[0].clone()
            shape = states.shape
            states = states.reshape(shape[0], batch.image.shape[1], -1)
            states[..., mine] = change(layer, states[..., mine])
            return (states.reshape(shape),)

        handles.append(projection(loaded, layer).register_forward_pre_hook(before))
    try:
        return logits(loaded, batch)
    finally:
        for handle in handles:
            handle.remove()


@pytest.mark.parametrize("family", TEXT + IMAGE)
def test_last_is_the_last_position_alone(family):
    loaded = a_model(family)
    batch = a_batch(loaded)

    def silenced(_, part):
        part[:, -1] = 0
        return part

    with switched_off(loaded.anatomy, HEADS, "last"):
        ours = logits(loaded, batch)
    torch.testing.assert_close(ours, hooked(loaded, batch, silenced), atol=1e-5, rtol=1e-5)
    # Causal: no position before a prompt's last can have noticed, and the last one has.
    same = (ours == logits(loaded, batch)).all(-1)
    ends = batch.inputs["attention_mask"].sum(1).cumsum(0) - 1
    assert not same[ends].any()
    same[ends] = True
    assert same.all()


@pytest.mark.parametrize("where", ["all", "last"])
@pytest.mark.parametrize("family", ["gpt2", "qwen2vl"])
def test_a_mean_is_over_the_positions_that_are_no_padding(family, where):
    loaded = a_model(family)
    batch = a_batch(loaded)
    mask = batch.inputs["attention_mask"].bool()
    means = {}

    def noted(layer, part):
        means[layer] = part[:, -1].mean(0) if where == "last" else part[mask].mean(0)
        return part

    hooked(loaded, batch, noted)

    def filled(layer, part):
        if where == "last":
            part[:, -1] = means[layer]
        else:
            part[:] = means[layer]
        return part

    # Block 3's mean is that of a model in which nothing is switched off.
    mean = MeanOutput(loaded.anatomy, where)
    with mean.gathering(batch.first):
        untouched = logits(loaded, batch)
    assert torch.equal(untouched, logits(loaded, batch))
    with switched_off(loaded.anatomy, HEADS, where, mean.of()):
        ours = logits(loaded, batch)
    torch.testing.assert_close(ours, hooked(loaded, batch, filled), atol=1e-5, rtol=1e-5)


def test_means_of_two_batches_are_the_mean_of_their_positions():
    loaded = text_model("llama", seed=7)
    batch = a_batch(loaded)
    whole, parts = MeanOutput(loaded.anatomy), MeanOutput(loaded.anatomy)
    with whole.gathering(batch.first):
        logits(loaded, batch)
    for prompt in ("How many red stars are there ?", "Why"):
        one = encode(loaded, [{"prompt": prompt, "style": "completion", "image": None}])
        with parts.gathering(one.first):
            logits(loaded, one)
    for layer, mean in whole.of().items():
        torch.testing.assert_close(parts.of()[layer], mean, atol=1e-6, rtol=1e-5)


def test_nothing_named_changes_no_bit_and_every_function_comes_back():
    loaded = text_model("llama", seed=7)
    batch = a_batch(loaded)
    before, functions = logits(loaded, batch), dict(ALL_ATTENTION_FUNCTIONS)
    with switched_off(loaded.anatomy, {1: []}):
        assert torch.equal(logits(loaded, batch), before)
    changed = []

    def break_off():
        changed.append(not torch.equal(logits(loaded, batch), before))
        raise RuntimeError("midway")

    with pytest.raises(RuntimeError, match="midway"), switched_off(loaded.anatomy, {2: [1]}):
        break_off()
    assert changed == [True]
    assert dict(ALL_ATTENTION_FUNCTIONS) == functions
    assert torch.equal(logits(loaded, batch), before)


def test_heads_of_one_block_add_up():
    # Up to the output projection a block is linear in its heads: what two take away together is
    # what each takes away alone.
    loaded = text_model("llama", seed=7)
    batch = a_batch(loaded)
    seen = []
    handle = projection(loaded, 2).register_forward_hook(lambda *given: seen.append(given[2]))
    for heads in ([], [0], [3], [0, 3]):
        with switched_off(loaded.anatomy, {2: heads}):
            logits(loaded, batch)
    handle.remove()
    none, first, second, both = seen
    torch.testing.assert_close(none - both, (none - first) + (none - second), atol=1e-5, rtol=1e-5)
    assert (none - both).abs().max() > 1e-2


def test_all_heads_off_leave_what_a_model_without_attention_says():
    # Nothing of other positions arrives: every position says what it says as the only one.
    loaded = text_model("llama", seed=7)
    batch = a_batch(loaded)
    with switched_off(loaded.anatomy, dict.fromkeys((1, 2, 3), range(4))):
        ours = logits(loaded, batch)
        single = {"input_ids": batch.inputs["input_ids"][:1, -1:]}
        with torch.inference_mode():
            alone = loaded.model(**single, use_cache=False).logits[0, 0]
    end = int(batch.inputs["attention_mask"][0].sum()) - 1
    torch.testing.assert_close(ours[end], alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", PACKAGED)
def test_packaged_models_lose_a_head_as_if_its_weights_were_zero(name):
    loaded = load_model(name, f"packaged:{name}", device="cpu", verify=False)
    batch = a_batch(loaded, side=112)
    heads = {4: [1, 5], 8: [0]}
    with switched_off(loaded.anatomy, heads):
        ours = logits(loaded, batch)
        # Attention is read as ever while heads are off, and each step of a generation has them off.
        traced = trace_batch(loaded, batch, 2)
    with torch.no_grad():
        for layer, some in heads.items():
            projection(loaded, layer).weight[:, columns(loaded, some)] = 0
    torch.testing.assert_close(ours, logits(loaded, batch), atol=1e-4, rtol=1e-4)
    edited = trace_batch(loaded, batch, 2)
    assert edited.ids == traced.ids
    torch.testing.assert_close(edited.residuals, traced.residuals, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(edited.heads, traced.heads, atol=1e-4, rtol=1e-4)


def test_what_can_t_be_switched_off_is_refused():
    loaded = text_model("llama", seed=7)
    for heads, reason in (
        ({4: [0]}, "no heads to switch off in block 4"),
        ({0: [0]}, "no heads to switch off in block 0"),
        ({1: [4]}, "Block 1 has 4 heads, counted from 0: there is no head 4"),
        ({1: [-1]}, "there is no head -1"),
    ):
        with pytest.raises(ModelError, match=reason), switched_off(loaded.anatomy, heads):
            pass
    with (
        pytest.raises(ModelError, match='not "first"'),
        switched_off(loaded.anatomy, {1: [0]}, "first"),
    ):
        pass
    with (
        pytest.raises(ModelError, match="Nothing was switched off in blocks 1, 2"),
        switched_off(loaded.anatomy, {1: [0], 2: [0]}),
    ):
        pass
    # Gemma 2 is run with eager attention here, which no interface function computes.
    eager = text_model("gemma2", seed=7)
    with (
        pytest.raises(ModelError, match="without transformers' AttentionInterface"),
        switched_off(eager.anatomy, {1: [0]}),
    ):
        pass


def test_an_output_of_another_layout_is_refused():
    torch.manual_seed(0)
    # As many positions as heads: the shape is that of the right layout.
    query, value = torch.randn(2, 4, 4, 8), torch.randn(2, 2, 4, 8)
    row = torch.softmax(torch.randn(2, 4, 4), -1)
    right = torch.randn(2, 4, 4, 8)
    for head in range(4):
        right[:, -1, head] = (row[:, head, :, None] * value[:, head // 2]).sum(1)
    check_layout(1, right, query, row, value)
    with pytest.raises(ModelError, match="something else than its heads' weights"):
        check_layout(1, right.transpose(1, 2), query, row, value)
    with pytest.raises(ModelError, match=r"gives \(2, 4, 32\), not \[2, 4, 4, width\]"):
        check_layout(1, right.flatten(2), query, row, value)


def alone(loaded, side=32):
    """One prompt, without padding."""
    row = {"prompt": "How many red stars are there ?", "style": "completion", "image": None}
    if loaded.task == "text":
        return encode(loaded, [row])
    picture = Image.effect_mandelbrot((side, side), (-2, -1, 1, 1), 20).convert("RGB")
    return encode(loaded, [{**row, "style": "chat", "image": "a"}], [picture])


#: Rows that begin in different blocks, share heads at first, or have none switched off.
ROWS = ({1: [0, 3], 3: [2]}, {1: [0, 3], 2: [1]}, {}, {3: [0, 1, 2, 3]}, {1: [0, 3], 3: [1]})


def off_of(loaded, rows):
    off = np.zeros((len(rows), loaded.anatomy.n_layers, loaded.anatomy.n_heads), dtype=bool)
    for place, heads in enumerate(rows):
        for layer, some in heads.items():
            off[place, layer - 1, some] = True
    return off


def without_columns(loaded, batch, heads):
    """The last position's logits with the projections' weights of these heads zero, [V]."""
    parts = {layer: projection(loaded, layer) for layer in heads}
    kept = {layer: part.weight.detach().clone() for layer, part in parts.items()}
    with torch.no_grad():
        for layer, part in parts.items():
            zero = columns(loaded, heads[layer])
            if type(part).__name__ == "Conv1D":
                part.weight[zero] = 0
            else:
                part.weight[:, zero] = 0
        found = logits(loaded, batch)[-1]
        for layer, part in parts.items():
            part.weight.copy_(kept[layer])
    return found


@pytest.mark.parametrize("family", TEXT + IMAGE)
def test_each_row_of_a_replay_is_a_model_whose_projections_lack_its_heads(family):
    loaded = a_model(family)
    batch = alone(loaded)
    replay = Replay(loaded, batch)
    ours = replay.logits(off_of(loaded, ROWS))
    for row, heads in zip(ours, ROWS, strict=True):
        theirs = without_columns(loaded, batch, heads)
        torch.testing.assert_close(row, theirs, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(replay.untouched, ours[2:3], atol=1e-5, rtol=1e-5)
    # Rows that begin in a later block start there, and say the same.
    late = replay.logits(off_of(loaded, ROWS[3:4]))
    torch.testing.assert_close(late, ours[3:4], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", TEXT + IMAGE)
def test_a_replay_of_the_last_position_is_the_whole_model_with_heads_off_there(family):
    loaded = a_model(family)
    batch = alone(loaded)
    fill = {layer: torch.full((4, 64), 0.1) for layer in (1, 2, 3)}
    fill = {layer: part[:, : len(columns(loaded, [0]))] for layer, part in fill.items()}
    for given in (None, fill):
        ours = Replay(loaded, batch).logits(off_of(loaded, ROWS), "last", given)
        for row, heads in zip(ours, ROWS, strict=True):
            with switched_off(loaded.anatomy, heads, "last", given):
                theirs = logits(loaded, batch)[-1]
            torch.testing.assert_close(row, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", PACKAGED)
def test_a_replay_of_packaged_models_is_the_whole_model(name):
    loaded = load_model(name, f"packaged:{name}", device="cpu", verify=False)
    batch = alone(loaded, side=112)
    replay, rows = Replay(loaded, batch), ({4: [1, 5], 8: [0]}, {8: [3]}, {4: [1, 5], 6: [7]})
    for where in ("all", "last"):
        ours = replay.logits(off_of(loaded, rows), where)
        for row, heads in zip(ours, rows, strict=True):
            with switched_off(loaded.anatomy, heads, where):
                theirs = logits(loaded, batch)[-1]
            torch.testing.assert_close(row, theirs, atol=1e-4, rtol=1e-4)
            if where == "all":
                naive = without_columns(loaded, batch, heads)
                torch.testing.assert_close(row, naive, atol=1e-4, rtol=1e-4)
