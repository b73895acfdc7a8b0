"""Prompters of every family of image-text models: real processors for small pictures.

Each has the habits of its family's published tokenizer and template: who writes the BOS token (the
template, the tokenizer, both, the processor, none), how spaces and digits are cut, what ends a
turn, and what stands around picture and words.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.planted import tokenizer
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import (
    Gemma3Processor,
    Idefics3Processor,
    InternVLProcessor,
    LlavaNextProcessor,
    LlavaOnevisionProcessor,
    LlavaProcessor,
    PaliGemmaProcessor,
    PreTrainedTokenizerFast,
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


def template(
    user: str,
    image: str,
    answer: str,
    start: str = "",
    text: str = "{{ part['text'] }}",
    given_order: bool = False,
) -> str:
    """Return a chat template: `start`, then `user`, the content and `answer`.

    Pictures stand before the words, or where the chat has them (`given_order`).
    """
    parts = {"image": image, "text": text}
    if given_order:
        body = "{% for part in message['content'] %}" + "".join(
            f"{{% if part['type'] == '{kind}' %}}{written}{{% endif %}}"
            for kind, written in parts.items()
        )
        body += "{% endfor %}"
    else:
        body = "".join(
            f"{{% for part in message['content'] if part['type'] == '{kind}' %}}{written}"
            "{% endfor %}"
            for kind, written in parts.items()
        )
    return (
        f"{start}{{% for message in messages %}}{user}{body}{{% endfor %}}"
        f"{{% if add_generation_prompt %}}{answer}{{% endif %}}"
    )


def byte_words(*extra: str, bos: str | None = None, eos: str = "<|im_end|>") -> Any:
    """Return byte-level pieces with single digits, as Qwen2 and SmolLM2: no BOS token is added."""
    made = tokenizer(*extra)
    made.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), made.backend_tokenizer.pre_tokenizer]
    )
    made.bos_token, made.eos_token = bos, eos
    return made


def sentence_pieces(
    *extra: str, bos: str = "<s>", eos: str = "</s>", prefix: bool = True, text: Any = ()
) -> Any:
    """Return SentencePiece pieces with single digits that begin with BOS, as Llama's and Gemma's.

    Args:
        extra: special tokens.
        bos: put before every text.
        eos: ends an answer.
        prefix: whether a space stands before every text (Llama), or none (Gemma).
        text: added tokens that are no control tokens.
    """
    special = ["<unk>", bos, eos, "<pad>"]
    pieces = [*special, *(f"<0x{n:02X}>" for n in range(256)), "▁"]
    pieces += [chr(n) for n in range(33, 127)]
    words = ["▁How", "▁many", "▁stars", "▁Why", "How", "Why"]
    merges = []
    for word in words:
        for n in range(1, len(word)):
            merges.append((word[:n], word[n]))
            pieces.append(word[: n + 1])
    vocabulary = {piece: n for n, piece in enumerate(dict.fromkeys(pieces))}
    made = Tokenizer(
        models.BPE(
            vocab=vocabulary, merges=list(dict.fromkeys(merges)), unk_token="<unk>",
            fuse_unk=True, byte_fallback=True,
        )
    )  # fmt: skip
    spaced: list[Any] = [normalizers.Prepend("▁")] if prefix else []
    made.normalizer = normalizers.Sequence([*spaced, normalizers.Replace(" ", "▁")])
    made.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            *([decoders.Strip(" ", 1, 0)] if prefix else []),
        ]
    )
    made.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", special_tokens=[(bos, vocabulary[bos])]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token=bos, eos_token=eos, unk_token="<unk>", pad_token="<pad>",
        additional_special_tokens=list(extra),
    )  # fmt: skip
    fast.add_tokens(list(text))
    return fast


#: Vicuna's turns, as LLaVA-1.5 writes them, without a BOS token.
VICUNA = template("USER: ", "<image>\n", "ASSISTANT:", text="{{ part['text'] + ' ' }}")
#: Mistral's, as LLaVA-NeXT writes them, without a BOS token.
MISTRAL = template("[INST] ", "<image>\n", " [/INST]")
#: Qwen2's on one line, as LLaVA-OneVision writes them.
ONEVISION = template(
    "<|im_start|>{{ message['role'] + ' ' }}", "<image>\n", "<|im_end|><|im_start|>assistant\n"
)
#: Gemma's: the BOS token is the template's and the tokenizer's.
GEMMA = template(
    "<start_of_turn>{{ message['role'] }}\n", "<start_of_image>",
    "<end_of_turn>\n<start_of_turn>model\n", start="{{ bos_token }}",
    text="{{ part['text'] | trim }}", given_order=True,
)  # fmt: skip
#: SmolVLM's: its BOS token begins the turn.
SMOLVLM = template(
    "<|im_start|>{{ message['role'] | capitalize }}"
    "{% if message['content'][0]['type'] == 'image' %}:{% else %}: {% endif %}",
    "<image>", "<end_of_utterance>\nAssistant:", given_order=True,
)  # fmt: skip


def chatml(image: str, system: str = "", given_order: bool = True) -> str:
    """Return Qwen's turns, a system prompt before them if there is one."""
    start = f"<|im_start|>system\n{system}<|im_end|>\n" if system else ""
    return template(
        "<|im_start|>{{ message['role'] }}\n", image, "<|im_end|>\n<|im_start|>assistant\n",
        start=start, given_order=given_order,
    )  # fmt: skip


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
        pictures, sentence_pieces("<image>"), patch_size=patch, num_additional_image_tokens=1,
        vision_feature_select_strategy="default", chat_template=VICUNA,
    )  # fmt: skip
    return prompter(made, "<image>")


def llava_next(side: int = 28, patch: int = 7, pins: Any = None) -> Prompter:
    """LLaVA-NeXT, by default with its pinpoints at a twelfth of their size."""
    pins = pins or [[28, 56], [56, 28], [56, 56], [84, 28], [28, 84]]
    pictures = LlavaNextImageProcessorPil(
        size={"shortest_edge": side}, crop_size=square(side), image_grid_pinpoints=pins, **PLAIN
    )
    made = LlavaNextProcessor(
        pictures, sentence_pieces("<image>"), patch_size=patch, num_additional_image_tokens=1,
        vision_feature_select_strategy="default", chat_template=MISTRAL,
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
        pictures, byte_words("<image>", "<video>"), num_image_tokens=(side // patch) ** 2,
        vision_feature_select_strategy="full", chat_template=ONEVISION,
    )  # fmt: skip
    return prompter(made, "<image>")


def _qwen(kind: type, system: str = "") -> Callable[[], Prompter]:
    def make() -> Prompter:
        marks = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
        pictures = Qwen2VLImageProcessorPil(
            patch_size=8, merge_size=2,
            size={"shortest_edge": 32 * 32, "longest_edge": 160 * 160}, **PLAIN,
        )  # fmt: skip
        mark = "<|vision_start|><|image_pad|><|vision_end|>"
        made = without_video(kind)(pictures, byte_words(*marks), chat_template=chatml(mark, system))
        return prompter(made, "<|image_pad|>")

    return make


def gemma3() -> Prompter:
    """Gemma 3: squashed, the patches pooled to a fixed number of positions."""
    words = sentence_pieces(
        "<start_of_turn>", "<end_of_turn>", "<start_of_image>", "<soft>", "<end_of_image>",
        bos="<bos>", eos="<eos>", prefix=False, text=("\n", "\n\n"),
    )  # fmt: skip
    for name, mark in (
        ("boi", "<start_of_image>"), ("image", "<soft>"), ("eoi", "<end_of_image>"),
    ):  # fmt: skip
        setattr(words, f"{name}_token", mark)
        setattr(words, f"{name}_token_id", words.convert_tokens_to_ids(mark))
    made = Gemma3Processor(
        Gemma3ImageProcessorPil(size=square(64), **PLAIN), words, image_seq_length=16,
        chat_template=GEMMA,
    )  # fmt: skip
    return prompter(made, "<soft>")


def paligemma() -> Prompter:
    """PaliGemma: squashed."""
    pictures = SiglipImageProcessorPil(size=square(32), **PLAIN)
    pictures.image_seq_length = 16
    words = sentence_pieces("<image>", bos="<bos>", eos="<eos>", prefix=False)
    # The processor writes it, between picture and words; its own tokenizer is told to add none.
    words.backend_tokenizer.post_processor = processors.TemplateProcessing(single="$A")
    asked = template("", "<image>", "", text="answer en {{ part['text'] }}")
    made = PaliGemmaProcessor(pictures, words, chat_template=asked)
    return prompter(made, "<image>")


def _idefics(kind: type, pictures: type, split: bool = True) -> Callable[[], Prompter]:
    def make() -> Prompter:
        places = [f"<row_{row}_col_{col}>" for row in range(1, 7) for col in range(1, 7)]
        words = byte_words(
            "<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>", *places,
            bos="<|im_start|>", eos="<end_of_utterance>",
        )  # fmt: skip
        shown = pictures(
            size={"longest_edge": 128}, max_image_size={"longest_edge": 32},
            do_image_splitting=split, **PLAIN,
        )  # fmt: skip
        made = without_video(kind)(shown, words, image_seq_len=16, chat_template=SMOLVLM)
        return prompter(made, "<image>")

    return make


def internvl() -> Prompter:
    """InternVL: tiles in the shape that fits best, and a thumbnail."""
    words = byte_words("<img>", "</img>", "<ctx>", "<vid>")
    for name, mark in (
        ("start_image", "<img>"), ("end_image", "</img>"), ("context_image", "<ctx>"),
        ("video", "<vid>"),
    ):  # fmt: skip
        setattr(words, f"{name}_token", mark)
        setattr(words, f"{name}_token_id", words.convert_tokens_to_ids(mark))
    made = without_video(InternVLProcessor)(
        GotOcr2ImageProcessorPil(size=square(32), **PLAIN), words, image_seq_length=16,
        chat_template=chatml("<ctx>\n", given_order=False),
    )  # fmt: skip
    return prompter(made, "<ctx>")


#: A prompter of each family, by name.
PROMPTERS: dict[str, Callable[[], Prompter]] = {
    "llava": llava,
    "llava squashed": lambda: llava(crop=False),
    "llava padded": padded,
    "llava next": llava_next,
    "onevision": onevision,
    "qwen2-vl": _qwen(Qwen2VLProcessor, "You are a helpful assistant."),
    "qwen2.5-vl": _qwen(Qwen2_5_VLProcessor, "You are a helpful assistant."),
    "qwen3-vl": _qwen(Qwen3VLProcessor),
    "gemma 3": gemma3,
    "paligemma": paligemma,
    "idefics3": _idefics(Idefics3Processor, Idefics3ImageProcessorPil),
    "idefics3 whole": _idefics(Idefics3Processor, Idefics3ImageProcessorPil, split=False),
    "smolvlm": _idefics(SmolVLMProcessor, SmolVLMImageProcessorPil),
    "internvl": internvl,
}
