"""The check of the gate on prompts: a chat has the token ids that its processor gives it."""

from __future__ import annotations

from itertools import zip_longest
from typing import Any

from PIL import Image

from lensbench.models.checks import Check, check
from lensbench.models.load import LoadedModel
from lensbench.models.pictures import PROBE_PROMPTS, probe_pictures
from lensbench.models.prompt import Prompter, dated


def prompts(loaded: LoadedModel) -> list[Check]:
    """Compare chats, with a picture and without, with transformers' one call for a chat's ids.

    A model without a chat template is given the words alone, so nothing is compared.
    """
    prompter = loaded.prompter
    if not getattr(prompter.processor, "chat_template", None):
        return []
    shown: list[Image.Image | None] = [None]
    shown += probe_pictures()[:1] if prompter.task == "image-text" else []
    apart = 0
    for words in PROBE_PROMPTS:
        for picture in shown:
            theirs = _processors(prompter, words, picture)
            if theirs is None:
                continue
            row = {"prompt": words, "style": "chat", "image": picture and "probe.png"}
            made = prompter.encode([row], [picture] if picture else [])
            ours = made.inputs["input_ids"][0].tolist()
            apart += sum(a != b for a, b in zip_longest(ours, theirs))
    detail = "the number of token ids of a chat that are not those of its processor's"
    return [check("prompt_is_the_processors", apart, 0, f"{detail} apply_chat_template")]


def _processors(prompter: Prompter, words: str, picture: Image.Image | None) -> list[int] | None:
    """Return the ids that transformers gives a chat; None if it takes none without a picture."""
    content: Any = words
    if prompter.task == "image-text":
        content = [{"type": "image", "image": picture}] if picture else []
        content = [*content, {"type": "text", "text": words}]
    try:
        with dated(prompter.date):
            batch = prompter.processor.apply_chat_template(
                [{"role": "user", "content": content}],
                add_generation_prompt=True,
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
            )
    # Processors and templates that need a picture raise what they like without one.
    except Exception:
        if picture is None and prompter.task == "image-text":
            return None
        raise
    ids: list[int] = batch["input_ids"][0].tolist()
    return ids
