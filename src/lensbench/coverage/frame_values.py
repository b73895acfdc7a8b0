"""What single image-text types with frames need beside the rules of `shrunk`."""

from __future__ import annotations

from typing import Any

from transformers import CLIPVisionConfig, ResNetConfig

from lensbench.coverage.shrink import SPECIAL
from lensbench.coverage.text_values import OWN as _TEXT

_RESNET = ResNetConfig(embedding_size=16, hidden_sizes=[32, 64], depths=[1, 1], layer_type="basic")

#: Towers in the place of timm's, which can't be imported without torchvision; the same shapes come
#: out of them. The values that a type looks up in timm's configuration are beside them.
TOWERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "fast_vlm": (_RESNET, {"hidden_size": 64}),
    "gemma3n": (
        _RESNET,
        {"hidden_size": 64, "rms_norm_eps": 1e-6, "vocab_offset": 120, "vocab_size": 8},
    ),
    "perception_lm": (CLIPVisionConfig(), {"model_args": {"embed_dim": 64}}),
}

_ANYRES = {"image_grid_pinpoints": [[32, 64], [64, 32], [64, 64]]}
_CAPPED = {"mm_tokens_per_image": 4, "text_config": {"final_logit_softcapping": 3.0}}
_GRANITE = {
    "num_hidden_layers": 4,
    "embedding_multiplier": 3.0,
    "residual_multiplier": 0.7,
    "attention_multiplier": 0.3,
    "logits_scaling": 1.5,
}
_COMPASS_ROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 2, 2]}
# Chameleon spells the number of a picture's code in letters: BCZ is code 12.
_CODES = {f"IMGIMG{chr(65 + code // 10)}{chr(65 + code % 10)}Z": 100 + code for code in range(16)}

OWN: dict[str, dict[str, Any]] = {
    "aria": {
        "projector_patch_to_query_dict": {16: 4},
        "max_value_projector_patch_to_query_dict": 4,
    },
    # Its generation ends at this id, whatever the settings of generation say.
    "blip": {"text_config": {"sep_token_id": None}},
    "blip-2": {"image_token_index": SPECIAL},
    "chameleon": {
        "vocabulary_map": {"<image>": SPECIAL, **_CODES},
        "image_token_id": SPECIAL,
        "vq_config": {"base_channels": 32, "channel_multiplier": (1, 1, 1, 1), "resolution": 32},
    },
    "cohere_compass": {
        "text_config": {
            "num_hidden_layers": 4,
            "layer_types": ["sliding_attention"] * 3 + ["full_attention"],
            "rope_parameters": {"sliding_attention": _COMPASS_ROPE, "full_attention": None},
            "logit_scale": 0.5,
        }
    },
    "deepseek_ocr2": {
        "text_config": {
            "mlp_layer_types": ["dense", "sparse", "sparse"],
            "num_experts_per_tok": 2,
            "max_position_embeddings": 1024,
        },
        "vision_config": {"sam_config": {"downsample_channels": [32, 64]}},
    },
    "gemma3": _CAPPED,
    "gemma3n": {"vision_soft_tokens_per_image": 16, "text_config": _TEXT["gemma3n_text"]},
    "granite4_vision": {
        **_ANYRES,
        "text_config": _GRANITE,
        "downsample_rate": "1/2",
        "deepstack_layer_map": [(0, 0), (1, 1)],
        "spatial_target_layers": [2, 3, 2, 3],
    },
    "granite_docling": {"text_config": _GRANITE},
    "hyperclovax_vision_v2": {"text_config": _GRANITE},
    "idefics": {"num_hidden_layers": 4, "cross_layer_interval": 2, "alpha_initializer": "ones"},
    "instructblip": {"image_token_index": SPECIAL},
    "instructblipvideo": {"video_token_index": SPECIAL},
    "janus": {"vq_config": {"base_channels": 32, "channel_multiplier": (1, 1)}},
    "kosmos-2": {"latent_query_num": 4},
    "kosmos-2.5": {"latent_query_num": 4},
    "llama4": {
        "text_config": {"num_hidden_layers": 4},
        "vision_config": {"intermediate_size": 256},
    },
    "llava_next": _ANYRES,
    "llava_next_video": _ANYRES,
    "llava_onevision": _ANYRES,
    "mllama": {"vision_config": {"intermediate_layers_indices": [0], "vision_output_dim": 128}},
    "paligemma": {"text_config": {"final_logit_softcapping": 3.0}},
    "shieldgemma2": _CAPPED,
    "t5gemma2": {
        "encoder": {"mm_tokens_per_image": 4},
        "decoder": {"final_logit_softcapping": 3.0},
    },
    "udop": {"relative_attention_num_buckets": 32, "relative_attention_max_distance": 128},
    "vipllava": {"vision_feature_layer": (-1, -2)},
}

REASONS = {
    "diffusion_gemma": (
        "it writes a block of tokens at once, by denoising it, so its generation has no step at "
        "which the logits of one next token could be read"
    ),
    "evolla": (
        "it answers questions about proteins, not pictures, and AutoModelForImageTextToText "
        "doesn't take its configuration"
    ),
}
