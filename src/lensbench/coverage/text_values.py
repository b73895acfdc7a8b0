"""What single types of language models need beside the rules of `shrunk`."""

from __future__ import annotations

from typing import Any

_ROPE = {"rope_type": "default", "rope_theta": 10000.0}
_WINDOWS = ["sliding_attention", "full_attention", "sliding_attention", "full_attention"]
_LINEAR = ["linear_attention", "full_attention", "linear_attention", "full_attention"]

_DRAFTER = (
    "it drafts tokens for another model: its forward pass needs that model's embeddings, keys and "
    "values, so it doesn't run alone"
)
_CODES = (
    "it speaks audio codes: a prompt is four rows of codes, one a codebook, each with an output "
    "embedding of its own, so there is no text to run and no vocabulary of words to read"
)
REASONS = {
    "gemma4_assistant": _DRAFTER,
    "gemma4_unified_assistant": _DRAFTER,
    "musicgen": _CODES,
    "musicgen_melody": _CODES,
}
# Types that don't scale their attention by the width of a head, or scale it up.
SOFTENED = {
    "dots3_note": 0.4,
    "dots3_note_text": 0.4,
    "gemma3n": 0.3,
    "gemma3n_text": 0.3,
    "gemma4": 0.3,
    "gemma4_text": 0.3,
    "gemma4_unified": 0.3,
    "gemma4_unified_text": 0.3,
    "gpt_neo": 0.4,
    "nemotron": 0.4,
}

_INDEXER = {
    "indexer_n_heads": 8,
    "indexer_kv_heads": 1,
    "indexer_head_dim": 16,
    "indexer_budget": 4,
    "indexer_compress_ratio": 2,
}

_GEMMA3N = {
    "num_hidden_layers": 4,
    "num_kv_shared_layers": 2,
    "layer_types": _WINDOWS,
    "intermediate_size": [96] * 4,
    "activation_sparsity_pattern": [0.5, 0.0, 0.0, 0.0],
}

OWN: dict[str, dict[str, Any]] = {
    "bamba": {"num_hidden_layers": 4, "attn_layer_indices": [1, 3]},
    "blenderbot": {"encoder_layers": 3},
    "bloom": {"n_layer": 3},
    "blt": {
        "encoder_hash_byte_group_vocab": 64,
        "num_hidden_layers": 3,
        "encoder_config": {"hidden_size": 32, "num_attention_heads": 2, "num_key_value_heads": 2},
        "decoder_config": {"hidden_size": 32, "num_attention_heads": 2, "num_key_value_heads": 2},
    },
    "cohere_compass_text": {
        "num_hidden_layers": 4,
        "layer_types": _WINDOWS,
        "rope_parameters": {"sliding_attention": dict(_ROPE), "full_attention": None},
    },
    "cpmant": {"init_std": 0.02},
    "dbrx": {"attn_config": {"rope_theta": 10000.0, "clip_qkv": 2.0}, "num_key_value_heads": 1},
    "deepseek_v2": {"num_experts_per_tok": 2, "first_k_dense_replace": 1},
    "deepseek_v4": {"o_groups": 2, "head_dim": 64},
    "dots1": {
        "n_shared_experts": 1,
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "first_k_dense_replace": 1,
    },
    "electra": {"embedding_size": 32},
    "gemma3n": {"text_config": _GEMMA3N},
    "gemma3n_text": _GEMMA3N,
    "granitemoehybrid": {"num_hidden_layers": 4, "layer_types": _LINEAR},
    "hrm_text": {
        "num_layers_per_stack": 2,
        "H_cycles": 2,
        "L_cycles": 1,
        "num_hidden_layers": 8,
        "embedding_scale": 2.0,
    },
    "hunyuan_v1_dense": {"head_dim": 16},
    "hunyuan_v1_moe": {"head_dim": 16, "num_experts": 4, "moe_topk": 2},
    "jamba": {
        "num_hidden_layers": 4,
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "expert_layer_period": 4,
        "expert_layer_offset": 1,
    },
    "laguna": {
        "num_hidden_layers": 4,
        "layer_types": _WINDOWS,
        "sliding_window": 4,
        "num_attention_heads_per_layer": [4] * 4,
    },
    "lfm2": {"num_hidden_layers": 4, "layer_types": ["conv", "full_attention"] * 2},
    "lfm2_moe": {"num_hidden_layers": 4, "layer_types": ["conv", "full_attention"] * 2},
    "mamba2": {"num_heads": 8},
    "mellum": {"num_hidden_layers": 4, "layer_types": _WINDOWS, "sliding_window": 4},
    "minicpm3": {"scale_emb": 2, "dim_model_base": 32},
    # Its default has no sparse layers; what is published has them.
    "minimax_m3_vl_text": {
        "num_hidden_layers": 4,
        "layer_types": ["full_attention", "minimax_m3_sparse"] * 2,
        "mlp_layer_types": ["dense", "sparse", "sparse", "sparse"],
    },
    "ministral": {"head_dim": 16},
    # Its full pass has no window, its cache has one; they agree while prompts are shorter.
    "moshi": {"sliding_window": 256},
    "nemotron": {"num_key_value_heads": 2},
    "olmo": {"clip_qkv": 2.0},
    "qwen4_exp": {"text_config": _INDEXER},
    "qwen4_exp_text": _INDEXER,
    "reformer": {
        "axial_pos_shape": (16, 16),
        "axial_pos_embds_dim": (16, 48),
        "is_decoder": True,
        "attention_head_size": 16,
    },
    "xlstm": {"qk_dim_factor": 1.0},
    "xmod": {"default_language": "en_XX"},
    "zaya": {
        "num_hidden_layers": 4,
        "layer_types": ["hybrid_sliding", "hybrid"] * 2,
        "sliding_window": 4,
    },
    "zamba": {
        "num_hidden_layers": 4,
        "layers_block_type": ["linear_attention", "hybrid"] * 2,
        "attention_hidden_size": 128,
        "attention_head_dim": 32,
    },
    "zamba2": {
        "num_hidden_layers": 4,
        "layers_block_type": ["linear_attention", "hybrid"] * 2,
        "hybrid_layer_ids": [1, 3],
        "attention_hidden_size": 128,
        "attention_head_dim": 32,
        "mamba_headdim": 16,
        "kv_channels": 16,
        "num_query_groups": 4,
    },
}
