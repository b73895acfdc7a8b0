"""Prompters of every family of image-text models: real processors for small pictures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.planted import TEMPLATE, tokenizer
from transformers import (
    Gemma3Processor,
    Idefics3Processor,
    InternVLProcessor,
    LlavaNextProcessor,
    LlavaOnevisionProcessor,
    LlavaProcessor,
    PaliGemmaProcessor,
    Qwen2_5_VLProcessor,
    Qwen2VLProcessor,
    Qwen3VLProcessor,
    SmolVLMProcessor,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil
from transformers.models.llava_next.image_processing_pil_llava_next import (
    LlavaNextImageProcessorPil,
)
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import (
    LlavaOnevisionImageProcessorPil,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

from lensbench.models.processors import without_video
from lensbench.models.prompt import Prompter

#: Rescaled to 0 … 1 and no more, so that pixels can be read.
PLAIN: dict[str, Any] = {"do_normalize": False}


def prompter(processor: Any, image_token: str) -> Prompter:
    """Return the prompter of a processor."""
    words = processor.tokenizer
    words.padding_side = "left"
    place = words.convert_tokens_to_ids(image_token)
    return Prompter("tiny", processor, words, "image-text", place)


def _template(mark: str) -> str:
    return TEMPLATE.replace("IMAGE", mark)


def square(side: int) -> dict[str, int]:
    """Return a size as image processors take it."""
    return {"height": side, "width": side}


def llava(side: int = 28, patch: int = 7, crop: bool = True) -> Prompter:
    """LLaVA-1.5: the shortest edge resized, the middle cut out; or squashed."""
    size = {"shortest_edge": side} if crop else square(side)
    pictures = CLIPImageProcessorPil(
        size=size, do_center_crop=crop, crop_size=square(side), **PLAIN
    )
    return _llava(pictures, patch)


def padded(side: int = 28, patch: int = 7) -> Prompter:
    """LLaVA-1.5 as its authors ran it: padded to a square."""
    size = {"shortest_edge": side}
    pictures = LlavaImageProcessorPil(
        size=size, crop_size=square(side), do_pad=True, do_center_crop=True, **PLAIN
    )
    return _llava(pictures, patch)


def _llava(pictures: Any, patch: int) -> Prompter:
    made = LlavaProcessor(
        pictures, tokenizer("<image>"), patch_size=patch, num_additional_image_tokens=1,
        vision_feature_select_strategy="default", chat_template=_template("<image>\n"),
    )  # fmt: skip
    return prompter(made, "<image>")


def llava_next(side: int = 28, patch: int = 7, pins: Any = None) -> Prompter:
    """LLaVA-NeXT, by default with its pinpoints at a twelfth of their size."""
    pins = pins or [[28, 56], [56, 28], [56, 56], [84, 28], [28, 84]]
    pictures = LlavaNextImageProcessorPil(
        size={"shortest_edge": side}, crop_size=square(side), image_grid_pinpoints=pins, **PLAIN
    )
    made = LlavaNextProcessor(
        pictures, tokenizer("<image>"), patch_size=patch, num_additional_image_tokens=1,
        vision_feature_select_strategy="default", chat_template=_template("<image>\n"),
    )  # fmt: skip
    return prompter(made, "<image>")


def onevision(side: int = 34, patch: int = 8, pins: Any = None) -> Prompter:
    """LLaVA-OneVision; its patches don't fill a tile, as 27 patches of 14 don't fill 384 pixels."""
    edges = [side * n for n in range(1, 7)]
    pins = pins or [[high, wide] for high in edges for wide in edges]
    pictures = LlavaOnevisionImageProcessorPil(
        size=square(side), image_grid_pinpoints=pins, **PLAIN
    )
    made = without_video(LlavaOnevisionProcessor)(
        pictures, tokenizer("<image>", "<video>"), num_image_tokens=(side // patch) ** 2,
        vision_feature_select_strategy="full", chat_template=_template("<image>\n"),
    )  # fmt: skip
    return prompter(made, "<image>")


def _qwen(kind: type) -> Callable[[], Prompter]:
    def make() -> Prompter:
        marks = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
        pictures = Qwen2VLImageProcessorPil(
            patch_size=8, merge_size=2,
            size={"shortest_edge": 32 * 32, "longest_edge": 160 * 160}, **PLAIN,
        )  # fmt: skip
        mark = "<|vision_start|><|image_pad|><|vision_end|>"
        made = without_video(kind)(pictures, tokenizer(*marks), chat_template=_template(mark))
        return prompter(made, "<|image_pad|>")

    return make


def gemma3() -> Prompter:
    """Gemma 3: squashed, the patches pooled to a fixed number of positions."""
    words = tokenizer("<boi>", "<soft>", "<eoi>")
    for name, mark in (("boi", "<boi>"), ("image", "<soft>"), ("eoi", "<eoi>")):
        setattr(words, f"{name}_token", mark)
        setattr(words, f"{name}_token_id", words.convert_tokens_to_ids(mark))
    made = Gemma3Processor(
        Gemma3ImageProcessorPil(size=square(64), **PLAIN), words, image_seq_length=16,
        chat_template=_template("<boi>"),
    )  # fmt: skip
    return prompter(made, "<soft>")


def paligemma() -> Prompter:
    """PaliGemma: squashed."""
    pictures = SiglipImageProcessorPil(size=square(32), **PLAIN)
    pictures.image_seq_length = 16
    words = tokenizer("<image>")
    words.bos_token = words.pad_token
    made = PaliGemmaProcessor(pictures, words, chat_template=_template("<image>"))
    return prompter(made, "<image>")


def _idefics(kind: type, pictures: type, split: bool = True) -> Callable[[], Prompter]:
    def make() -> Prompter:
        places = [f"<row_{row}_col_{col}>" for row in range(1, 7) for col in range(1, 7)]
        words = tokenizer(
            "<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>", *places
        )
        shown = pictures(
            size={"longest_edge": 128}, max_image_size={"longest_edge": 32},
            do_image_splitting=split, **PLAIN,
        )  # fmt: skip
        made = without_video(kind)(
            shown, words, image_seq_len=16, chat_template=_template("<image>")
        )
        return prompter(made, "<image>")

    return make


def internvl() -> Prompter:
    """InternVL: tiles in the shape that fits best, and a thumbnail."""
    words = tokenizer("<img>", "</img>", "<ctx>", "<vid>")
    for name, mark in (
        ("start_image", "<img>"), ("end_image", "</img>"), ("context_image", "<ctx>"),
        ("video", "<vid>"),
    ):  # fmt: skip
        setattr(words, f"{name}_token", mark)
        setattr(words, f"{name}_token_id", words.convert_tokens_to_ids(mark))
    made = without_video(InternVLProcessor)(
        GotOcr2ImageProcessorPil(size=square(32), **PLAIN), words, image_seq_length=16,
        chat_template=_template("<ctx>"),
    )  # fmt: skip
    return prompter(made, "<ctx>")


#: A prompter of each family, by name.
PROMPTERS: dict[str, Callable[[], Prompter]] = {
    "llava": llava,
    "llava squashed": lambda: llava(crop=False),
    "llava padded": padded,
    "llava next": llava_next,
    "onevision": onevision,
    "qwen2-vl": _qwen(Qwen2VLProcessor),
    "qwen2.5-vl": _qwen(Qwen2_5_VLProcessor),
    "qwen3-vl": _qwen(Qwen3VLProcessor),
    "gemma 3": gemma3,
    "paligemma": paligemma,
    "idefics3": _idefics(Idefics3Processor, Idefics3ImageProcessorPil),
    "idefics3 whole": _idefics(Idefics3Processor, Idefics3ImageProcessorPil, split=False),
    "smolvlm": _idefics(SmolVLMProcessor, SmolVLMImageProcessorPil),
    "internvl": internvl,
}
