"""Tiny transformers models for tests: random ones of every family, and ones whose truth is planted.

In a planted model the residual stream has one coordinate a token: the embedding of token t is the
t-th unit vector, the output embeddings read the coordinates, and blocks do nothing but what is
written into them by hand. What each layer must say follows from that alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    CLIPVisionConfig,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionProcessor,
    LlavaProcessor,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLProcessor,
    SiglipVisionConfig,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import (
    LlavaOnevisionImageProcessorPil,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from lensbench.datasets.manifest import write_manifest
from lensbench.models.load import LoadedModel, prepare
from lensbench.models.processors import without_video

SIDE, PATCH = 32, 8
WORDS = "How many stars are there ? 0 1 2 3 4 5 zero one two three four five red blue green Why sky"
HAN = "零 一 二 三 四 五 红 蓝 绿 有 几 个"
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['content'] is string %}{{ m['content'] }}{% else %}{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}IMAGE{% else %}{{ c['text'] }}{% endif %}{% endfor %}{% endif %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tokenizer(*extra: str) -> PreTrainedTokenizerFast:
    """Return a byte-level tokenizer with a few English words and Han characters as tokens."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *extra]
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=special,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    made.train_from_iterator([" " + WORDS, *[f"{c}\n{c}" for c in HAN.split()]] * 2, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=TEMPLATE,
    )


def _sizes(words: Any, **more: Any) -> dict[str, Any]:
    """Return what every tiny text configuration has in common."""
    ids = {"eos_token_id": words.eos_token_id, "pad_token_id": words.pad_token_id}
    return {
        "vocab_size": len(words),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "bos_token_id": None,
        **ids,
        **more,
    }


def _shaken(model: Any, scale: float = 0.3) -> Any:
    """Give every weight a size that makes attention and logits far from uniform."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" not in name:
                parameter.add_(torch.randn_like(parameter) * scale)
    model.tie_weights()
    return model


def text_model(family: str, seed: int = 0, **more: Any) -> LoadedModel:
    """Return a random tiny text model: "llama", "mistral" (window of 4), "gemma2" or "gpt2"."""
    torch.manual_seed(seed)
    words = tokenizer()
    options: dict[str, Any] = {"attn_implementation": "sdpa"}
    if family == "llama":
        config, kind = (
            LlamaConfig(**_sizes(words, tie_word_embeddings=True, **more)),
            LlamaForCausalLM,
        )
    elif family == "mistral":
        config, kind = MistralConfig(**_sizes(words, sliding_window=4, **more)), MistralForCausalLM
    elif family == "gemma2":
        sizes = _sizes(words, head_dim=8, sliding_window=4, query_pre_attn_scalar=8, **more)
        config = Gemma2Config(final_logit_softcapping=5.0, attn_logit_softcapping=2.0, **sizes)
        kind, options = Gemma2ForCausalLM, {"attn_implementation": "eager"}
    else:
        ids = {"eos_token_id": words.eos_token_id, "pad_token_id": words.pad_token_id}
        config = GPT2Config(
            vocab_size=len(words),
            n_embd=32,
            n_layer=3,
            n_head=4,
            **({"n_positions": 128} | more),
            bos_token_id=None,
            **ids,
        )
        kind = GPT2LMHeadModel
    return prepare(family, _shaken(kind._from_config(config, **options)), words, "text")


def image_model(
    family: str, seed: int = 0, pins: Any = ((32, 32), (32, 64), (64, 32)), **more: Any
) -> LoadedModel:
    """Return a random tiny image-text model: "llava", "onevision" or "qwen2vl"."""
    torch.manual_seed(seed)
    make = {"llava": _llava, "onevision": _onevision, "qwen2vl": _qwen2vl}[family]
    model, processor = make(pins, more)
    model.config._attn_implementation = "sdpa"
    return prepare(family, _shaken(model), processor, "image-text")


def _llava(_: Any, more: dict[str, Any]) -> tuple[Any, Any]:
    words = tokenizer("<image>")
    vision = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=SIDE,
        patch_size=PATCH,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=Qwen2Config(**_sizes(words, **more)),
        image_token_index=words.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        image_seq_length=(SIDE // PATCH) ** 2,
        tie_word_embeddings=more.get("tie_word_embeddings", True),
    )
    size = {"height": SIDE, "width": SIDE}
    pictures = CLIPImageProcessorPil(size=size, do_center_crop=False, crop_size=size)
    processor = LlavaProcessor(
        pictures,
        words,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE.replace("IMAGE", "<image>\n"),
    )
    return LlavaForConditionalGeneration(config), processor


def _onevision(pins: Any, more: dict[str, Any]) -> tuple[Any, Any]:
    words = tokenizer("<image>", "<video>")
    vision = SiglipVisionConfig(
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=SIDE,
        patch_size=PATCH,
        vision_use_head=False,
    )
    pins = [list(pin) for pin in pins]
    config = LlavaOnevisionConfig(
        vision_config=vision,
        text_config=Qwen2Config(**_sizes(words, **more)),
        image_token_index=words.convert_tokens_to_ids("<image>"),
        video_token_index=words.convert_tokens_to_ids("<video>"),
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        image_grid_pinpoints=pins,
        tie_word_embeddings=True,
    )
    pictures = LlavaOnevisionImageProcessorPil(
        size={"height": SIDE, "width": SIDE}, image_grid_pinpoints=pins
    )
    processor = without_video(LlavaOnevisionProcessor)(
        pictures,
        words,
        num_image_tokens=(SIDE // PATCH) ** 2,
        vision_feature_select_strategy="full",
        chat_template=TEMPLATE.replace("IMAGE", "<image>\n"),
    )
    return LlavaOnevisionForConditionalGeneration(config), processor


def _qwen2vl(_: Any, more: dict[str, Any]) -> tuple[Any, Any]:
    words = tokenizer("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
    ids = words.convert_tokens_to_ids
    rope = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0}
    vision = {
        "depth": 2,
        "embed_dim": 16,
        "hidden_size": 32,
        "num_heads": 2,
        "mlp_ratio": 2,
        "patch_size": PATCH,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
    }
    text = _sizes(words, rope_parameters=rope, tie_word_embeddings=True, **more)
    config = Qwen2VLConfig(
        vision_config=vision,
        text_config=text,
        image_token_id=ids("<|image_pad|>"),
        video_token_id=ids("<|video_pad|>"),
        vision_start_token_id=ids("<|vision_start|>"),
        vision_end_token_id=ids("<|vision_end|>"),
        tie_word_embeddings=True,
    )
    pictures = Qwen2VLImageProcessorPil(
        patch_size=PATCH,
        temporal_patch_size=2,
        merge_size=2,
        size={"shortest_edge": SIDE * SIDE, "longest_edge": 4 * SIDE * SIDE},
    )
    mark = "<|vision_start|><|image_pad|><|vision_end|>"
    processor = without_video(Qwen2VLProcessor)(
        pictures, words, chat_template=TEMPLATE.replace("IMAGE", mark)
    )
    return Qwen2VLForConditionalGeneration(config), processor


# Planted truth


def written_manifest(
    folder: Path,
    prompts: Sequence[str],
    gold: str = "number:3",
    images: Sequence[str] | None = None,
    style: str = "completion",
) -> Path:
    """Write the manifest of samples s-0, s-1 … to a folder that is made if need be; return it."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "sample_id": f"s-{index}",
            "kind": "text" if images is None else "image",
            "image": None if images is None else images[index],
            "prompt": prompt,
            "style": style,
            "gold": gold,
            "language": "en",
            "family": "count",
            "objects": "[]",
            "source": "test",
            "rejected": "",
        }
        for index, prompt in enumerate(prompts)
    ]
    write_manifest(folder, pd.DataFrame(rows))
    return folder


def _silent(config: Any) -> LlamaForCausalLM:
    """Return a Llama whose blocks pass the residual stream on untouched."""
    model = LlamaForCausalLM._from_config(config, attn_implementation="sdpa")
    with torch.no_grad():
        for block in model.model.layers:
            for part in (block.self_attn.o_proj, block.mlp.down_proj):
                part.weight.zero_()
                part.bias.zero_()
    return model


def written_model(
    writes: dict[int, dict[str, float]], n_layers: int = 6, successor: bool = False
) -> LoadedModel:
    """Return a model into whose residual stream tokens are written at known layers.

    The embedding of token t is the t-th unit vector. Block l adds `writes[l][text]` to the
    coordinate of each text's token (a single token each), so the write is in the states from layer
    l on. The output embeddings read the coordinates (times 10); with `successor`, coordinate t
    speaks for token t + 1, so the model counts its vocabulary up.
    """
    words = tokenizer()
    size = -(-len(words) // 4) * 4  # A width that the heads divide; the last ids are no tokens.
    config = LlamaConfig(
        **_sizes(
            words,
            vocab_size=size,
            hidden_size=size,
            head_dim=8,
            num_hidden_layers=n_layers,
            mlp_bias=True,
            attention_bias=True,
            tie_word_embeddings=False,
        )
    )
    torch.manual_seed(0)
    model = _silent(config)
    with torch.no_grad():
        model.model.embed_tokens.weight.copy_(torch.eye(size))
        model.lm_head.weight.copy_(10 * torch.eye(size).roll(1 if successor else 0, 0))
        for layer, tokens in writes.items():
            for text, amount in tokens.items():
                model.model.layers[layer - 1].mlp.down_proj.bias[token_id(words, text)] += amount
    return prepare("written", model, words, "text")


def looking_model(layer: int, head: int, n_layers: int = 3) -> LoadedModel:
    """Return a LLaVA in which one head of one block attends to image positions alone.

    Every other head has no queries and no keys, so it attends to all positions alike. Image
    features are the unit vector of the last coordinate, which no word has. The head's query is
    constant and its key reads that coordinate, both in the rotary pair that hardly turns.
    """
    torch.manual_seed(0)
    width, heads = 16, 4
    rope = {"rope_type": "default", "rope_theta": 1e12}
    more = {
        "num_hidden_layers": n_layers,
        "hidden_size": width * heads,
        "rope_parameters": rope,
        "num_attention_heads": heads,
        "num_key_value_heads": 2,
    }
    model, processor = _llava(None, more)
    text = model.model.language_model
    slow = width // 2 - 1
    with torch.no_grad():
        for block in text.layers:
            attention = block.self_attn
            for part in (attention.q_proj, attention.k_proj):
                part.weight.zero_()
                part.bias.zero_()
            attention.o_proj.weight.zero_()
        text.embed_tokens.weight[:, -1] = 0.0
        projector = model.model.multi_modal_projector.linear_2
        projector.weight.zero_()
        projector.bias.zero_()
        projector.bias[-1] = 1.0
        # A trace of the picture itself, which the last block passes on to the answer.
        projector.weight[-2] = 1e-4
        text.layers[-1].self_attn.o_proj.weight.normal_(std=0.1)
        attention = text.layers[layer - 1].self_attn
        attention.q_proj.bias[head * width + slow] = 20.0
        group = head // (heads // 2)
        attention.k_proj.weight[group * width + slow, -1] = 20.0
        for block in text.layers:
            block.mlp.down_proj.weight.zero_()
    model.tie_weights()
    return prepare("looking", model, processor, "image-text")


def token_id(words: Any, text: str) -> int:
    """Return the id of a text that is a single token."""
    ids = words(text, add_special_tokens=False)["input_ids"]
    assert len(ids) == 1, (text, ids)
    return int(ids[0])
