"""Models by name: SmolLM2 as published, and random ones of a named size, alike in every process."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    CLIPVisionConfig,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
)


@dataclass(frozen=True)
class Asked:
    """What every contender is given, whatever is timed: a model by name, and how many prompts."""

    contender: str
    model: str
    dtype: str
    device: str
    seed: int
    batch: int


ROOT = Path(__file__).resolve().parents[1]
GGUF = ROOT / "resources/models/smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf"
#: SmolLM2 with its weights as float32, so that every contender reads the very same ones.
SMOLLM2 = ROOT / "resources/benchmarks/smollm2-135m"
#: Whose tokenizer, template and processor the random models borrow: no file has to be fetched.
LENT = ROOT / "src/lensbench/models/packaged"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def _text(hidden: int, wide: int, layers: int, heads: int, groups: int, words: int) -> dict:
    return {
        "hidden_size": hidden,
        "intermediate_size": wide,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": groups,
        "vocab_size": words,
        "max_position_embeddings": 8192,
    }


_SMALL = _text(896, 4864, 24, 14, 2, 151936)
_MIDDLE = _text(1536, 8960, 28, 12, 2, 151936)
_TINY = _text(64, 128, 4, 4, 2, 1024)

#: Random text models: transformers' class of configuration, and sizes.
TEXT = {
    "tiny": (Qwen2Config, _TINY),
    "qwen2-0.5b": (Qwen2Config, _SMALL),
    "qwen2-1.5b": (Qwen2Config, _MIDDLE),
    "llama-7b": (LlamaConfig, _text(4096, 11008, 32, 32, 32, 32064)),
}
#: Random image-text models: the text part's sizes, and the picture part's. "qwen2-vl-0.5b" has a
#: small picture part of its own: it stands for the text part's work on a machine without a GPU.
QWEN2_VL = {
    "tiny-vl": (_TINY, {"depth": 2, "embed_dim": 32, "num_heads": 2}),
    "qwen2-vl-0.5b": (_SMALL, {"depth": 4, "embed_dim": 320, "num_heads": 4}),
    "qwen2-vl-2b": (_MIDDLE, {"depth": 32, "embed_dim": 1280, "num_heads": 16}),
}
LLAVA = {"llava-1.5-7b": _text(4096, 11008, 32, 32, 32, 32064)}
NAMES = ("smollm2-135m", *TEXT, *QWEN2_VL, *LLAVA)


def ready(name: str) -> dict[str, str]:
    """Save SmolLM2 as float32 once; returns what the weights are, for the record."""
    if name != "smollm2-135m":
        return {"weights": "random, from the seed"}
    from lensbench.files import atomic_path, sha256_of
    from lensbench.models.load import load_model
    from lensbench.models.source import fetch_smollm2

    if not GGUF.is_file():
        fetch_smollm2(GGUF)
    if not (SMOLLM2 / "config.json").is_file():
        loaded = load_model(name, f"gguf:{GGUF}", dtype="float32", device="cpu", verify=False)
        # transformers doesn't save what it has read from a GGUF file, so into a new model with it.
        known = loaded.model.config.to_dict()
        known.pop("quantization_config")
        config = type(loaded.model.config).from_dict(known)
        model = type(loaded.model)._from_config(config, dtype=torch.float32)
        model.load_state_dict(loaded.model.state_dict())
        with atomic_path(SMOLLM2) as folder:
            model.save_pretrained(folder)
            loaded.tokenizer.save_pretrained(folder)
    return {"weights": sha256_of(SMOLLM2 / "model.safetensors"), "gguf": sha256_of(GGUF)}


def build(
    name: str,
    dtype: str,
    device: str,
    seed: int,
    attention: str = "sdpa",
    layers: int | None = None,
) -> Any:
    """Return a model without gradients, in eval mode.

    Args:
        name: one of `NAMES`.
        dtype: "float32", "bfloat16" or "float16".
        device: "cpu", "cuda", …; random weights are drawn on it.
        seed: of the random weights.
        attention: "sdpa" or "eager".
        layers: another number of blocks than the size has; of random models only.
    """
    options: dict[str, Any] = {"attn_implementation": attention, "dtype": DTYPES[dtype]}
    if name == "smollm2-135m":
        model = AutoModelForCausalLM.from_pretrained(SMOLLM2, **options).to(device)
    else:
        torch.manual_seed(seed)
        kind, config = _config(name)
        if layers is not None:
            config.get_text_config().num_hidden_layers = layers
            config.get_text_config().layer_types = ["full_attention"] * layers
        with torch.device(device):
            model = kind._from_config(config, **options)
    return model.eval().requires_grad_(False)


def outline(name: str) -> Any:
    """Return a model without weights, to count what it is made of."""
    kind, config = _config(name)
    with torch.device("meta"):
        return kind._from_config(config)


def _config(name: str) -> tuple[Any, Any]:
    if name == "smollm2-135m":
        return LlamaForCausalLM, AutoConfig.from_pretrained(SMOLLM2)
    special = {"bos_token_id": 0, "eos_token_id": None, "pad_token_id": 0}
    if name in TEXT:
        kind, sizes = TEXT[name]
        tied = kind is Qwen2Config
        model = Qwen2ForCausalLM if tied else LlamaForCausalLM
        return model, kind(**sizes, **special, tie_word_embeddings=tied)
    ids = tokenizer(name).convert_tokens_to_ids
    if name in QWEN2_VL:
        sizes, sight = QWEN2_VL[name]
        quarter = sizes["hidden_size"] // sizes["num_attention_heads"] // 8
        rope = {"rope_type": "default", "rope_theta": 1e6}
        rope["mrope_section"] = [quarter, quarter * 3 // 2, quarter * 3 // 2]
        config = Qwen2VLConfig(
            text_config={**sizes, **special, "rope_parameters": rope, "tie_word_embeddings": True},
            vision_config={**sight, "hidden_size": sizes["hidden_size"]},
            image_token_id=ids("<|image_pad|>"),
            video_token_id=ids("<|video_pad|>"),
            vision_start_token_id=ids("<|vision_start|>"),
            vision_end_token_id=ids("<|vision_end|>"),
            tie_word_embeddings=True,
        )
        return Qwen2VLForConditionalGeneration, config
    vision = CLIPVisionConfig(
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        image_size=336,
        patch_size=14,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=LlamaConfig(**LLAVA[name], **special, tie_word_embeddings=False),
        image_token_index=ids("<image>"),
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        image_seq_length=576,
        tie_word_embeddings=False,
    )
    return LlavaForConditionalGeneration, config


@lru_cache
def tokenizer(name: str) -> Any:
    """Return a model's tokenizer; random models borrow one, whose tokens they all have."""
    folder = "lensbench-llava" if name in LLAVA else "lensbench-qwen2vl"
    return AutoTokenizer.from_pretrained(SMOLLM2 if name == "smollm2-135m" else LENT / folder)


def processor(name: str) -> Any:
    """Return an image-text model's processor, with pictures as large as the model takes them."""
    from lensbench.models.processors import load_processor

    made = load_processor(str(LENT / ("lensbench-llava" if name in LLAVA else "lensbench-qwen2vl")))
    pictures = type(made.image_processor)
    if name in LLAVA:
        side = {"height": 336, "width": 336}
        made.image_processor = pictures(size={"shortest_edge": 336}, crop_size=side)
        made.patch_size = 14
    else:
        size = {"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 1280}
        made.image_processor = pictures(patch_size=14, merge_size=2, size=size)
    return made


def token_ids(vocabulary: int, batch: int, tokens: int, seed: int) -> torch.Tensor:
    """Return random ids [batch, tokens], none of the first hundred: special tokens stand there."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(100, vocabulary, (batch, tokens), generator=generator)
