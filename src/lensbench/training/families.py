"""The embedded families: unmodified transformers classes, small, with their own processors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    CLIPVisionConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionProcessor,
    LlavaProcessor,
    PreTrainedModel,
    ProcessorMixin,
    Qwen2Config,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLProcessor,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import (
    LlavaOnevisionImageProcessorPil,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from lensbench.models.processors import without_video
from lensbench.training.words import CHAT_TEMPLATE, build_tokenizer

SIDE = 56  # pixels the processors shrink a picture to
CELL = 8  # pixels of one image token's side, so a picture is 7 × 7 of them
GRID = SIDE // CELL
HALF = [0.5, 0.5, 0.5]
TEXT: dict[str, Any] = {
    "hidden_size": 128,
    "intermediate_size": 224,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "max_position_embeddings": 1024,
    "tie_word_embeddings": True,
    "use_sliding_window": False,
}


@dataclass(frozen=True)
class Family:
    """How one family is built: its special tokens, its image placeholder and its parts."""

    name: str
    special: tuple[str, ...]
    image_text: str
    build: Callable[[Any], tuple[PreTrainedModel, ProcessorMixin]]


def text_config(tokenizer: Any, **more: Any) -> dict[str, Any]:
    """Return the language model's configuration, the same in every family."""
    return TEXT | {
        "vocab_size": len(tokenizer),
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        **more,
    }


def _clip() -> CLIPVisionConfig:
    """Return the vision tower's configuration of the two LLaVA families."""
    return CLIPVisionConfig(
        hidden_size=96,
        intermediate_size=192,
        image_size=SIDE,
        patch_size=CELL,
        projection_dim=96,
        num_hidden_layers=4,
        num_attention_heads=4,
    )


def _llava(tokenizer: Any) -> tuple[PreTrainedModel, ProcessorMixin]:
    config = LlavaConfig(
        vision_config=_clip(),
        text_config=Qwen2Config(**text_config(tokenizer)),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        image_seq_length=GRID * GRID,
        tie_word_embeddings=True,
    )
    images = CLIPImageProcessorPil(
        size={"height": SIDE, "width": SIDE},
        do_center_crop=False,
        crop_size={"height": SIDE, "width": SIDE},
        image_mean=HALF,
        image_std=HALF,
    )
    processor = LlavaProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=CELL,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE.replace("IMAGE", "<image>"),
    )
    return LlavaForConditionalGeneration(config), processor


def _onevision(tokenizer: Any) -> tuple[PreTrainedModel, ProcessorMixin]:
    config = LlavaOnevisionConfig(
        vision_config=_clip(),
        text_config=Qwen2Config(**text_config(tokenizer)),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=[[SIDE, SIDE]],
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        tie_word_embeddings=True,
    )
    images = LlavaOnevisionImageProcessorPil(
        size={"height": SIDE, "width": SIDE},
        image_grid_pinpoints=[[SIDE, SIDE]],
        image_mean=HALF,
        image_std=HALF,
    )
    processor = without_video(LlavaOnevisionProcessor)(
        image_processor=images,
        tokenizer=tokenizer,
        # The processor takes off the class token that this strategy leaves out.
        num_image_tokens=GRID * GRID + 1,
        vision_feature_select_strategy="default",
        chat_template=CHAT_TEMPLATE.replace("IMAGE", "<image>"),
    )
    return LlavaOnevisionForConditionalGeneration(config), processor


def _qwen2vl(tokenizer: Any) -> tuple[PreTrainedModel, ProcessorMixin]:
    ids = tokenizer.convert_tokens_to_ids
    head_dim = TEXT["hidden_size"] // TEXT["num_attention_heads"]
    rope = {"rope_type": "default", "type": "default", "rope_theta": 10000.0}
    sections = [head_dim // 2 - 2 * (head_dim // 6), head_dim // 6, head_dim // 6]
    config = Qwen2VLConfig(
        text_config=text_config(tokenizer, rope_parameters={**rope, "mrope_section": sections}),
        vision_config={
            "depth": 4,
            "embed_dim": 80,
            "hidden_size": TEXT["hidden_size"],
            "num_heads": 4,
            "mlp_ratio": 2,
            "patch_size": CELL // 2,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
        },
        image_token_id=ids("<|image_pad|>"),
        video_token_id=ids("<|video_pad|>"),
        vision_start_token_id=ids("<|vision_start|>"),
        vision_end_token_id=ids("<|vision_end|>"),
        tie_word_embeddings=True,
    )
    images = Qwen2VLImageProcessorPil(
        size={"shortest_edge": SIDE * SIDE, "longest_edge": SIDE * SIDE},
        patch_size=CELL // 2,
        merge_size=2,
        temporal_patch_size=2,
        image_mean=HALF,
        image_std=HALF,
    )
    image_text = "<|vision_start|><|image_pad|><|vision_end|>"
    processor = without_video(Qwen2VLProcessor)(
        image_processor=images,
        tokenizer=tokenizer,
        chat_template=CHAT_TEMPLATE.replace("IMAGE", image_text),
    )
    return Qwen2VLForConditionalGeneration(config), processor


FAMILIES = {
    family.name: family
    for family in (
        Family("llava", ("<image>",), "<image>", _llava),
        Family("onevision", ("<image>", "<video>"), "<image>", _onevision),
        Family(
            "qwen2vl",
            ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"),
            "<|vision_start|><|image_pad|><|vision_end|>",
            _qwen2vl,
        ),
    )
}


def build(name: str, seed: int) -> tuple[PreTrainedModel, ProcessorMixin]:
    """Build a family's model, untrained, and its processor.

    Args:
        name: a key of `FAMILIES`.
        seed: of the first weights.
    """
    family = FAMILIES[name]
    torch.manual_seed(seed)
    model, processor = family.build(build_tokenizer(family.special))
    return model, processor
