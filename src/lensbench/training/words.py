"""The embedded models' tokenizer: byte-level BPE in which every word they use is one token."""

from __future__ import annotations

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from lensbench.datasets.drawing import COLORS, SHAPES

NUMBERS_EN = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
NUMBERS_ZH = ("零", "一", "二", "三", "四", "五", "六", "七", "八", "九")
COLORS_ZH = {
    "red": "红",
    "orange": "橙",
    "yellow": "黄",
    "green": "绿",
    "blue": "蓝",
    "purple": "紫",
    "pink": "粉",
    "white": "白",
    "black": "黑",
}
SHAPES_ZH = {"circle": "圆", "square": "方", "triangle": "三角", "star": "星", "flower": "花"}
# Every word of every prompt, with its leading space where it has one in running text.
PROMPT_WORDS = (
    "user assistant system How many What color is are there the in a of picture flower shapes "
    "Answer with digits English Chinese Output Answer single word exact number one question using"
)
SPECIAL = ("<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
# As short as a chat can be: every token of it is paid for at every step of the training.
CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}IMAGE{% elif part['type'] == 'text' %}{{ part['text'] }}"
    "{% endif %}{% endfor %}{% endif %}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def corpus() -> list[str]:
    """Return the texts from which the merges are learned, in a fixed order."""
    english = [
        *NUMBERS_EN,
        *COLORS,
        *SHAPES,
        *(f"{shape}s" for shape in SHAPES),
        "flower",
        "flowers",
    ]
    chinese = [*NUMBERS_ZH, *COLORS_ZH.values(), *SHAPES_ZH.values()]
    words = PROMPT_WORDS.split()
    texts = [*words, *(f" {word}" for word in words), *english, *(f" {word}" for word in english)]
    texts += [*(word.capitalize() for word in english), *chinese, *"0123456789.?!,:\n"]
    return texts


def build_tokenizer(extra_special: tuple[str, ...]) -> PreTrainedTokenizerFast:
    """Learn the tokenizer: any text can be encoded, known words are one token each.

    Args:
        extra_special: the placeholders of the family, such as `<image>`.

    Returns:
        A fast tokenizer with padding on the left and a chat end token.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=4096,
        min_frequency=1,
        special_tokens=[*SPECIAL, *extra_special],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=[*SPECIAL[1:4], *extra_special],
        padding_side="left",
        model_max_length=1024,
        clean_up_tokenization_spaces=False,
    )
