"""What the configurations of single types need beyond the rules of `shrunk`.

`GIVEN` is what a configuration is made with: values from which it derives others, or the kinds of
layer that released models have and the default configuration lacks. `OWN` wins over the rules.
"""

from __future__ import annotations

from typing import Any


def _mrope(*sections: int) -> dict[str, Any]:
    return {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": list(sections)}


_MROPE = {"text_config": {"rope_parameters": _mrope(4, 2, 2)}}
_GROUPED = {"text_config": {"num_key_value_heads": 2}}
# Few heads are often all silent at a key, and which of the equal scores is chosen is arbitrary.
_INDEX = {"index_n_heads": 8}
_CAPPED = {"final_logit_softcapping": 5.0}
# Features of two blocks of the picture's tower are added behind the first two blocks of text.
_DEEP = _GROUPED | {"vision_config": {"deepstack_visual_indexes": [0, 1]}}
_MUSE = {
    "out_hidden_size": 256,
    "text_config": {**_CAPPED, "output_multiplier": 1.5, "qk_scale_factor": 1.5},
}
# Its last layer is never a sliding one.
_GEMMA = {
    "text_config": {"layer_types": ["sliding_attention", "full_attention"] * 15},
    "vision_config": {},
}
_STARTS = {"vision_start_token_id": 120, "vision_end_token_id": 121}
_STRIP = {
    "insert_layer_id": 0,
    "vision_config": {"insert_layer_id": 0},
    "image_token_id": 122,
    "video_token_id": 123,
    "image_start_id": 124,
    "image_end_id": 125,
    "slice_start_id": 126,
    "slice_end_id": 127,
    "newline_id": 119,
}
_NGRAMS = {
    "ple_layer_ids": [1],
    "eos_token_id": 2,
    "heads_per_ngram": 2,
    "ngram_vocab_size_base": 50,
    "make_ngram_vocab_size_divisible_by": 8,
    "indexer_n_heads": 8,
    "indexer_kv_heads": 1,
    "indexer_head_dim": 256,
    "indexer_budget": 4,
    "indexer_compress_ratio": 2,
}

REASONS = {
    "mistral4": "transformers maps it to a text decoder, which takes no picture.",
    "pi0": "It answers with a robot's actions: its class has no logits over tokens.",
}

GIVEN: dict[str, dict[str, Any]] = {
    "dots3_note": {
        "vision_config": {
            "num_hidden_layers": 2,
            "num_local_experts": 4,
            "pyramid_num_routed": [-1, 4],
        }
    },
    "emu3": {
        "vocabulary_map": {
            "<image>": 110,
            "<|extra_200|>": 111,
            **{f"<|visual token {code:06d}|>": 112 + code for code in range(16)},
        }
    },
    "gemma4": _GEMMA,
    "gemma4_unified": _GEMMA,
    "lfm2_vl": {"text_config": {"full_attn_idxs": list(range(2, 32, 3))}},
    "qwen4_exp": {"text_config": _NGRAMS},
    "step3p7": {
        "text_config": {
            "layer_types": ["full_attention", "sliding_attention", "sliding_attention"] * 15,
            "sliding_window": 512,
            "attention_other_setting": {"num_attention_heads": 96},
        }
    },
}

OWN: dict[str, dict[str, Any]] = {
    "cosmos3_omni": _DEEP,
    "dots3_note": {"text_config": {"head_dim": 32, **_INDEX}},
    "emu3": {
        "image_token_id": 110,
        "vq_config": {"base_channels": 32, "num_res_blocks": 1, "hidden_size": 128},
    },
    "ernie4_5_vl_moe": {"text_config": {"rope_parameters": _mrope(3, 3, 2)}},
    "exaone4_5": _GROUPED,
    "gemma4": {
        "text_config": {"num_hidden_layers": 4, "num_kv_shared_layers": 2, **_CAPPED},
    },
    "gemma4_unified": {
        "text_config": {"num_hidden_layers": 4, **_CAPPED},
        "vision_config": {"output_proj_dims": 64},
    },
    "glm46v": _MROPE,
    "glm4v": _MROPE,
    "glm4v_moe": {
        "text_config": {"rope_parameters": _mrope(2, 1, 1) | {"partial_rotary_factor": 0.5}}
    },
    "glm5_next": {"text_config": {"index_kpool": 2, **_INDEX}},
    "glm_ocr": _MROPE,
    "glmga": _MROPE,
    "hunyuan_vl": {
        "im_start_id": 120,
        "im_end_id": 121,
        "im_newline_id": 122,
        "text_config": {
            "rope_parameters": _mrope(2, 2, 2, 2),
            "num_key_value_heads": 2,
            "head_dim": 16,
        },
    },
    "inkling2": {
        "text_config": {"n_layers_per_attn_res_block": 2, "unpadded_vocab_size": 120, **_CAPPED}
    },
    "inkling_mm_model": {
        "text_config": {"unpadded_vocab_size": 120, "logits_mup_width_multiplier": 2.0},
        "vision_config": {"num_hidden_layers": 4, "patch_size": 4},
    },
    "minicpm_ocr": _STRIP,
    "minicpmv4_6": _STRIP,
    "minicpmv4_7": _STRIP,
    "minimax_m3_vl": {
        "merged_hidden_size": 256,
        "text_config": {
            "layer_types": ["full_attention", "minimax_m3_sparse", "minimax_m3_sparse"],
            "mlp_layer_types": ["dense", "sparse", "sparse"],
        },
    },
    "mistral_large4": {"text_config": {**_CAPPED, **_INDEX}},
    "molmo2": {
        "image_patch_id": 128,
        "image_start_token_id": 129,
        "low_res_image_start_token_id": 130,
        "image_end_token_id": 131,
        "image_column_token_id": 132,
        "adapter_config": {"vision_feature_layer": [1, 0]},
        "text_config": {"additional_vocab_size": 8},
        "vision_config": {"image_size": [32, 32], "num_position_embeddings": 16},
    },
    "muse_glimmer": _MUSE,
    "muse_spark": _MUSE
    | {
        "audio_config": {
            "hidden_sizes": [16, 16, 16, 64],
            "depths": [1, 1, 1, 1],
            "num_hidden_layers": 4,
            "out_hidden_size": 64,
        }
    },
    "nemotron_h_omni": {
        "image_token_id": 122,
        "vision_config": {"patch_dim": 192, "video_patch_dim": 384},
        "vision_hidden_size": 64,
    },
    "paddleocr_vl": _MROPE,
    "qianfan_ocr": _GROUPED,
    "qwen2_5_omni_thinker": _MROPE | _STARTS,
    "qwen2_5_vl": _MROPE,
    "qwen2_vl": _MROPE,
    "qwen3_5": {"text_config": {"head_dim": 32}},
    "qwen3_5_moe": {"text_config": {"head_dim": 32}},
    "qwen3_omni_moe_thinker": {"vision_config": _DEEP["vision_config"], **_STARTS},
    "qwen3_vl": _DEEP,
    "qwen3_vl_moe": _DEEP,
    "qwen4_exp": {"text_config": _NGRAMS | {"indexer_head_dim": 16}},
    "step3p7": {"text_config": {"query_pre_attn_scalar": 2.0}, "vision_config": {"image_size": 64}},
    "unlimited_ocr": {"vision_config": {"sam_config": {"image_size": 64}}},
    "video_llama_3": _GROUPED,
}

#: Ends of the names of weights that are shrunk where queries and keys of random weights are so long
#: that each head would look at a single position.
COOLED = {
    "dots3_note": "q_a_layernorm.weight",
    "gemma4": "q_norm.weight",
    "gemma4_unified": "q_norm.weight",
}
