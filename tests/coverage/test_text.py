"""The text instances: small, of every kind of layer, not flat; and the rules that shrink."""

import pytest
import torch
from tests.generations import generated
from transformers import CONFIG_MAPPING, LlamaConfig, LlavaConfig, MllamaConfig, Qwen2VLConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from lensbench.coverage.instance import Unbuildable
from lensbench.coverage.shrink import ORDINARY, SPECIAL, shrunk
from lensbench.coverage.text import TEXT_TYPES, text_instance

UNBUILDABLE = {
    "gemma4_assistant": "drafts",
    "gemma4_unified_assistant": "drafts",
    "musicgen": "audio codes",
    "musicgen_melody": "audio codes",
}

# Positions counted from the start of the padded row, or a recurrence that runs over the padding.
PADDING_CHANGES = {
    *("bart", "bigbird_pegasus", "blenderbot", "blenderbot-small", "blt", "deepseek_v4", "marian"),
    *("mbart", "minimax_m3_vl_text", "mvp", "pegasus", "plbart", "prophetnet", "recurrent_gemma"),
    *("reformer", "rwkv", "trocr", "whisper", "xlm", "xlnet", "xlstm"),
}

KINDS = {
    "bamba": {"linear_attention", "full_attention"},
    "cohere_compass_text": {"sliding_attention", "full_attention"},
    "deepseek_v4": {"heavily_compressed_attention", "compressed_sparse_attention"},
    "dots3_note_text": {"indexed_attention", "sliding_attention"},
    "gemma3n": {"sliding_attention", "full_attention"},
    "inkling_text": {"hybrid", "hybrid_sliding"},
    "lfm3": {"conv", "full_attention", "sliding_attention"},
    "nemotron_h": {"linear_attention", "moe", "full_attention", "mlp"},
    "qwen3_next": {"linear_attention", "full_attention"},
    "zamba2": {"linear_attention", "hybrid"},
}

# One type of each way to be special: caps, scales, windows, experts, recurrences, compressed keys.
VARIED = (
    *("bert", "bloom", "cohere2", "deepseek_v3", "deepseek_v32", "falcon_h1", "gemma2", "gemma3n"),
    *("gemma4", "gpt2", "gpt_oss", "granitemoehybrid", "jamba", "lfm2", "llama", "longcat_flash"),
    *("mamba2", "minicpm3", "mistral", "mllama", "nemotron_h", "opt", "qwen3_5", "roberta"),
    *("roformer", "rwkv", "whisper", "xlstm", "zamba2"),
)


def test_every_type_is_there():
    assert set(TEXT_TYPES) == set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    assert len(TEXT_TYPES) == 189


@pytest.mark.parametrize("model_type", [name for name in TEXT_TYPES if name not in UNBUILDABLE])
def test_instances_are_small_and_quiet(model_type):
    instance = text_instance(model_type)
    assert sum(p.numel() for p in instance.model.parameters()) < 3e6
    assert not any(p.requires_grad for p in instance.model.parameters())
    assert {p.dtype for p in instance.model.parameters()} == {torch.float32}
    assert not instance.model.training
    assert instance.model.generation_config.eos_token_id is None
    assert [single["input_ids"].shape[1] for single in instance.singles] == [9, 6]
    for row, single in zip(instance.batch["input_ids"], instance.singles, strict=True):
        ids = single["input_ids"][0]
        assert ORDINARY <= int(ids.min()) <= int(ids.max()) < SPECIAL
        assert row[-len(ids) :].tolist() == ids.tolist()
    assert instance.batch["attention_mask"].tolist() == [[1] * 9, [0] * 3 + [1] * 6]
    assert not instance.image.any()


@pytest.mark.parametrize(("model_type", "reason"), UNBUILDABLE.items())
def test_unbuildable_types_say_why(model_type, reason):
    with pytest.raises(Unbuildable, match=reason):
        text_instance(model_type)


@pytest.mark.parametrize("model_type", VARIED)
def test_prompts_run_padded_as_they_run_alone(model_type):
    instance = text_instance(model_type)
    together = generated(instance.model, instance.batch)
    alone = torch.cat([generated(instance.model, single) for single in instance.singles])
    assert torch.isfinite(together).all()
    apart = (together[:, 0] - alone[:, 0]).abs().amax(-1)
    assert apart[0] < 1e-4  # The long prompt has no padding.
    assert (apart[1] > 1e-2) if model_type in PADDING_CHANGES else (apart[1] < 1e-4)


@pytest.mark.parametrize("model_type", VARIED)
def test_logits_are_far_from_uniform_and_from_certain(model_type):
    instance = text_instance(model_type)
    found = generated(instance.model, instance.batch)
    entropy = -(found.exp() * found).sum(-1)
    assert (entropy > 1.0).all()
    assert (entropy < torch.tensor(found.shape[-1]).log() - 0.1).all()


@pytest.mark.parametrize(("model_type", "kinds"), KINDS.items())
def test_every_kind_of_layer_is_kept(model_type, kinds):
    config = text_instance(model_type).model.config.get_text_config()
    assert set(config.layer_types) == kinds
    assert len(config.layer_types) == config.num_hidden_layers <= 4


def test_the_seed_decides_everything():
    one, same, other = (text_instance("qwen3_moe", seed) for seed in (3, 3, 4))
    assert torch.equal(one.batch["input_ids"], same.batch["input_ids"])
    assert torch.equal(generated(one.model, one.batch), generated(same.model, same.batch))
    assert not torch.equal(one.batch["input_ids"], other.batch["input_ids"])
    assert not torch.equal(one.model.lm_head.weight, other.model.lm_head.weight)


def test_caps_and_scales_can_be_seen():
    gemma, granite = (shrunk(CONFIG_MAPPING[name]()) for name in ("gemma3_text", "granite"))
    assert gemma.final_logit_softcapping == 3.0
    assert (granite.embedding_multiplier, granite.logits_scaling) == (1.5, 1.4)
    instance = text_instance("gemma3_text")
    raw = instance.model(**instance.singles[0]).logits
    assert 1.5 < float(raw.abs().max()) < 3.0


def test_sizes_agree_and_groups_stay_groups():
    made = shrunk(LlamaConfig(hidden_size=4096, num_attention_heads=32, num_key_value_heads=8))
    assert (made.hidden_size, made.num_attention_heads, made.head_dim) == (64, 4, 16)
    assert made.num_key_value_heads == 2
    whole = shrunk(LlamaConfig(num_attention_heads=32, num_key_value_heads=32))
    assert whole.num_key_value_heads == whole.num_attention_heads == 4
    latent = shrunk(CONFIG_MAPPING["deepseek_v3"]())
    assert latent.qk_head_dim == latent.qk_nope_head_dim + latent.qk_rope_head_dim == 24


def test_the_original_is_not_changed():
    config = LlamaConfig(hidden_size=4096)
    shrunk(config)
    assert config.hidden_size == 4096


def test_lists_of_layers_are_cut_together():
    config = CONFIG_MAPPING["afmoe"](
        num_hidden_layers=6, layer_types=["sliding_attention"] * 4 + ["full_attention"] * 2
    )
    config.some_values = [10, 11, 12, 13, 14, 15]
    made = shrunk(config, num_hidden_layers=4, some_values=[0, 0, 0, 0])
    assert made.some_values == [0, 0, 0, 0]
    made = shrunk(config)
    assert made.num_hidden_layers == len(made.layer_types) == len(made.some_values)
    for kind, value in zip(made.layer_types, made.some_values, strict=True):
        assert kind == config.layer_types[value - 10]


def test_places_of_layers_follow_their_layers():
    made = shrunk(MllamaConfig()).text_config
    assert made.num_hidden_layers == 4
    assert made.cross_attention_layers == [1]  # Layers 0, 3 (the first of its kind), 4 and 5.


def test_ids_move_into_the_vocabulary_together():
    made = shrunk(LlavaConfig(image_token_index=32000), text_config={"vocab_size": 100})
    assert made.text_config.vocab_size == 100
    assert SPECIAL <= made.image_token_index < 128
    config = Qwen2VLConfig()
    made = shrunk(config)
    names = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
    assert len({getattr(made, name) for name in names}) == len(names)
    assert all(SPECIAL <= getattr(made, name) < made.text_config.vocab_size for name in names)


def test_rotary_sections_fill_half_a_head():
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [16, 24, 24]}
    made = shrunk(Qwen2VLConfig(text_config={"rope_parameters": rope})).text_config
    head = made.hidden_size // made.num_attention_heads
    assert sum(made.rope_parameters["mrope_section"]) == head // 2
    assert min(made.rope_parameters["mrope_section"]) > 0
