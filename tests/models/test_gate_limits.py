"""The gate's limits grow with what is rounded: true models pass at any size, wrong ones at none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.planted import image_model, text_model, tokenizer
from torch import Tensor, nn
from transformers import AttentionInterface, Qwen2Config, Qwen2ForCausalLM
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from lensbench.errors import DataError, ModelError
from lensbench.lens import attention as rows
from lensbench.models.gate import readout_apart, run_gate
from lensbench.models.gate_attention import attention
from lensbench.models.gate_runs import pads, readout_limit
from lensbench.models.load import LoadedModel, prepare
from lensbench.models.prompt import encode, encode_probes

HALVES = ["bfloat16", "float16"]
DTYPES = ["float32", *HALVES]


def qwen2(dtype: str, bias: float) -> LoadedModel:
    """Return a Qwen2 whose block 1 has scores of bias²/4, of which softmax cancels nearly all.

    The bias is in the slowest rotary pair of each query and key, as in the real Qwen2.5.
    """
    torch.manual_seed(0)
    words = tokenizer()
    sizes = {"hidden_size": 64, "intermediate_size": 128, "max_position_embeddings": 512}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": 3}
    config = Qwen2Config(vocab_size=len(words), **sizes, **heads)
    model = Qwen2ForCausalLM._from_config(config, attn_implementation="sdpa")
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.2)
        for projection in (
            model.model.layers[1].self_attn.q_proj,
            model.model.layers[1].self_attn.k_proj,
        ):
            projection.bias.zero_().view(-1, 16)[:, 7] = bias
    return prepare("qwen2", model.to(getattr(torch, dtype)), words, "text", dtype=dtype)


def checks(loaded: LoadedModel) -> dict[str, Any]:
    probes = encode_probes(loaded.prompter).to(loaded.model.device, loaded.model.dtype)
    return {check.name: check for check in attention(loaded, probes.batch)}


def failing(loaded: LoadedModel) -> set[str]:
    return {check.name for check in run_gate(loaded).checks if not check.passed}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_scores_of_thousands_pass_though_eager_is_far_off(dtype: str) -> None:
    loaded = qwen2(dtype, 110.0)
    run_gate(loaded).require()
    found = checks(loaded)
    # What the queries and keys say is known to float32's rounding of a score of 3,000.
    assert found["attention_is_softmax"].value < 3025 * 2.0**-23
    if dtype == "bfloat16":
        error = float(found["attention_is_eager"].detail.split("up to ")[1].split()[0])
        assert error > 0.05


def unrotated(states: Tensor, first: int) -> Tensor:
    """Return queries or keys [..., T, d] without their rotary turn, by the formula of its paper."""
    width = states.shape[-1]
    turns = 10000.0 ** (-torch.arange(0, width, 2) / width)
    angles = (torch.arange(states.shape[-2])[:, None] + first) * turns
    cos, sin = angles.cos(), angles.sin()
    left, right = states.float().chunk(2, dim=-1)
    return torch.cat([left * cos + right * sin, right * cos - left * sin], dim=-1)


def wrong_rows(name: str) -> Any:
    """Return `last_rows` with one thing wrong in it."""
    right = rows.last_rows

    def wrong(query: Tensor, key: Tensor, mask: Tensor, scaling: float, *more: Any) -> Tensor:
        keys = key.shape[2]
        if name == "scaling":
            scaling = scaling * 1.01
        elif name == "no scaling":
            scaling = 1.0
        elif name == "mask":
            mask = mask.roll(1, dims=-1)
        elif name == "no mask":
            mask = None
        elif name == "key heads":
            key = key.flip(1)
        elif name == "query heads":
            return right(query, key, mask, scaling, *more).flip(1)
        elif name == "keys":
            return right(query, key, mask, scaling, *more).roll(1, dims=-1)
        elif name == "rotary":
            query, key = unrotated(query[:, :, -1:], keys - 1), unrotated(key, 0)
        return right(query, key, mask, scaling, *more)

    return wrong


@pytest.mark.parametrize("bias", [1.0, 110.0])
@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_that_are_wrong_are_refused_at_any_size(
    monkeypatch: pytest.MonkeyPatch, dtype: str, bias: float
) -> None:
    loaded = qwen2(dtype, bias)
    assert all(check.passed for check in checks(loaded).values())
    names = ["scaling", "no scaling", "mask", "no mask", "key heads", "query heads", "keys"]
    for name in [*names, "rotary"]:
        monkeypatch.setattr(rows, "last_rows", wrong_rows(name))
        assert not checks(loaded)["attention_is_softmax"].passed, name
        monkeypatch.undo()


def test_a_row_that_is_wrong_in_the_block_of_large_scores_alone_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded, right = qwen2("bfloat16", 110.0), rows.last_rows
    wrong = wrong_rows("key heads")

    def sometimes(query: Tensor, *more: Any) -> Tensor:
        return (wrong if float(query.abs().max()) > 100 else right)(query, *more)

    monkeypatch.setattr(rows, "last_rows", sometimes)
    assert not checks(loaded)["attention_is_softmax"].passed


def large(loaded: LoadedModel, what: str, dtype: str) -> LoadedModel:
    """Return a model with a habit that real ones have, in a dtype."""
    blocks = loaded.anatomy.blocks
    with torch.no_grad():
        if what == "logits":
            loaded.anatomy.unembedding.weight.mul_(30)
        for name, weight in blocks[0].named_parameters():
            if what == "states" and name in ("mlp.down_proj.weight", "mlp.c_proj.weight"):
                weight[:2].mul_(3000)
        for name, weight in blocks[1].named_parameters():
            if what == "scores" and name.endswith(("q_proj.weight", "k_proj.weight")):
                weight.mul_(15)
    loaded.model.to(getattr(torch, dtype))
    loaded = replace(loaded, dtype=dtype)
    probes = encode_probes(loaded.prompter).to("cpu", loaded.model.dtype)
    return pads(loaded, probes.batch, probes.singles)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("family", "what"),
    [("gpt2", "logits"), ("llama", "logits"), ("llama", "states"), ("mistral", "scores")],
)
def test_true_models_with_large_numbers_pass(family: str, what: str, dtype: str) -> None:
    loaded = large(text_model(family), what, dtype)
    assert loaded.pads
    run_gate(loaded).require()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_true_image_model_with_large_logits_passes(dtype: str) -> None:
    run_gate(large(image_model("qwen2vl"), "logits", dtype)).require()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("what", ["", "logits", "states", "scores"])
def test_wrong_models_are_refused_at_any_size(what: str, dtype: str) -> None:
    loaded = large(text_model("llama"), what, dtype)
    anatomy, ending = loaded.anatomy, loaded.anatomy.ending
    with torch.no_grad():
        anatomy.final_norm.weight.mul_(torch.linspace(0.5, 2.0, anatomy.hidden_size))
    twice = replace(ending, tail=(*ending.tail, *ending.tail))
    halved = replace(ending, logit_scale=0.9)
    for wrong in (twice, halved):
        found = failing(replace(loaded, anatomy=replace(anatomy, ending=wrong)))
        assert "readout_logprob" in found
    heads = replace(
        anatomy.heads, layers=anatomy.heads.layers[:-1], modules=anatomy.heads.modules[:-1]
    )
    early = replace(anatomy, blocks=anatomy.blocks[:-1], n_layers=2, heads=heads)
    assert "readout_logprob" in failing(replace(loaded, anatomy=early))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("what", ["", "logits"])
def test_padding_that_is_attended_to_is_refused_at_any_size(what: str, dtype: str) -> None:
    AttentionInterface.register("maskless", sdpa_attention_forward)
    try:
        loaded = large(text_model("llama"), what, dtype)
        loaded.model.config._attn_implementation_internal = "maskless"
        assert {"attention_is_softmax", "padding_changes_nothing"} <= failing(loaded)
    finally:
        del AttentionInterface._global_mapping["maskless"]


def test_a_near_tie_in_bfloat16_is_no_other_top_token() -> None:
    loaded = large(text_model("llama"), "logits", "bfloat16")
    states = torch.randn(3, loaded.anatomy.hidden_size, generator=torch.Generator().manual_seed(0))
    ours = loaded.anatomy.logits(states.bfloat16())
    best, second = (index[:, None] for index in ours.topk(2).indices.T)
    top = ours.gather(-1, best)
    tied = ours.scatter(-1, second, top)
    ulp = 2.0 ** (top.abs().log2().floor() - 7)
    for theirs in (tied, tied.scatter(-1, second, top + ulp)):
        assert readout_apart(loaded, states.bfloat16(), theirs)[1] == 0
    over = tied.scatter(-1, second, top + 8 * ulp)
    assert readout_apart(loaded, states.bfloat16(), over)[1] == 3


def test_what_a_readout_may_differ_by_is_what_float64_says_it_does() -> None:
    """Sums that cancel: logits of 1 that are made of numbers of a million."""
    loaded = text_model("llama")
    ending = loaded.anatomy.ending
    chance = torch.Generator().manual_seed(1)
    common = 1e6 * torch.randn(32, generator=chance)  # Of all tokens, and the states are across it.
    weight = torch.randn(50, 32, generator=chance) + common
    head = nn.Linear(32, 50, bias=False)
    head.weight = nn.Parameter(weight)
    loaded = replace(
        loaded,
        anatomy=replace(
            loaded.anatomy, ending=replace(ending, tail=(), unembedding=head, vocab_size=50)
        ),
    )
    states = torch.randn(64, 32, generator=chance)
    states -= (states @ common)[:, None] * common / (common @ common)
    exact = states.double() @ weight.double().T
    apart = (loaded.anatomy.logits(states).log_softmax(-1) - exact.log_softmax(-1)).abs().amax(-1)
    limit = readout_limit(loaded, states, exact.float())
    assert float(apart.max()) > 1e-2
    assert bool((apart <= limit).all())


def test_a_token_without_an_embedding_is_named() -> None:
    loaded = text_model("llama")
    loaded.tokenizer.add_tokens(["stranger"])
    with pytest.raises(DataError, match=r"the token 'stranger' \(id \d+\), but llama has \d+ emb"):
        encode(loaded, [{"prompt": "Why stranger", "style": "completion", "image": None}])
    loaded.tokenizer.add_special_tokens({"pad_token": "<more>"})
    with pytest.raises(DataError, match=r"its padding holds the token '<more>'"):
        encode_probes(loaded.prompter)


def test_a_short_context_gets_short_probes_or_a_sentence() -> None:
    usual = max(encode_probes(text_model("gpt2").prompter).batch.n_tokens)
    short = text_model("gpt2", n_positions=usual)
    assert max(encode_probes(short.prompter).batch.n_tokens) < usual
    run_gate(short).require()
    with pytest.raises(ModelError, match=r"gpt2 takes 8 positions, but the gate's shortest probe"):
        text_model("gpt2", n_positions=8)


def test_tokens_that_are_ruled_out_by_minus_infinity_are_no_difference() -> None:
    loaded = text_model("llama")
    model, inner = loaded.model, loaded.model.forward

    class Without(type(model)):  # type: ignore[misc]
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            output = inner(*args, **kwargs)
            output.logits[..., 5] = -torch.inf
            return output

    model.__class__ = Without
    run_gate(prepare("without", model, loaded.tokenizer, "text")).require()
