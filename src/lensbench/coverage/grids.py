"""Tiny instances of the image-text types whose pictures come as grids of patches or as crops."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForImageTextToText, GenerationConfig

from lensbench.coverage.grid_layouts import BREAK, LAYOUTS, Values, joined
from lensbench.coverage.grid_values import COOLED, GIVEN, OWN, REASONS
from lensbench.coverage.instance import Instance, Unbuildable
from lensbench.coverage.shrink import ORDINARY, shrunk
from lensbench.coverage.weights import shaken

_LAYOUT = {name: layout for layout, names in LAYOUTS.items() for name in names.split()}
GRID_TYPES = tuple(sorted({*_LAYOUT, *REASONS}))

# Words of the two prompts, and rows and columns of their pictures.
_WORDS = (9, 6)
_SIZES = ((2, 3), (2, 2))
_BEFORE = 2  # Words before the picture.
# What a configuration may call the tokens around a picture.
_AROUND = (
    ("vision_start_token_id", "vision_end_token_id"),
    ("image_start_token_id", "image_end_token_id"),
    ("im_start_id", "im_end_id"),
    ("image_start_id", "image_end_id"),
    ("boi_token_id", "eoi_token_id"),
)


def grid_instance(model_type: str, seed: int = 0) -> Instance:
    """Return a tiny random image-text model of a type, with two prompts of a picture and words.

    Args:
        model_type: transformers' name, one of `GRID_TYPES`.
        seed: of the weights, the pictures and the words.

    Returns:
        The model and its prompts, of 9 and 6 words and a picture each, padded on the left and
        alone.

    Raises:
        Unbuildable: no tiny instance of the type can be built; the message says why.
    """
    if model_type in REASONS:
        raise Unbuildable(REASONS[model_type])
    torch.manual_seed(seed)
    made = AutoConfig.for_model(model_type, **GIVEN.get(model_type, {}))
    config = shrunk(made, **OWN.get(model_type, {}))
    model = shaken(AutoModelForImageTextToText.from_config(config))
    _cool(model, COOLED.get(model_type))
    pad = getattr(config.get_text_config(decoder=True), "pad_token_id", None) or 0
    model.generation_config = GenerationConfig(pad_token_id=pad)
    pictures = [_LAYOUT[model_type](config, *size) for size in _SIZES]
    prompts = [
        _prompt(config, words, places) for words, (places, _) in zip(_WORDS, pictures, strict=True)
    ]
    values = [value for _, value in pictures]
    singles = tuple(
        _inputs(model, [prompt], [value], pad)
        for prompt, value in zip(prompts, values, strict=True)
    )
    batch = _inputs(model, prompts, values, pad)
    return Instance(model_type, "image-text", model, batch, singles, config.image_token_id)


def _cool(model: Any, ending: str | None) -> None:
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ending is not None and name.endswith(ending):
                parameter.mul_(0.4)


def _around(config: Any) -> list[int]:
    """Return the ids of the tokens before and behind a picture; none if a type has none."""
    for names in _AROUND:
        found = [getattr(config, name, None) for name in names]
        if None not in found:
            return [int(mark) for mark in found if mark is not None]
    return []


def _prompt(config: Any, words: int, places: list[int]) -> list[int]:
    text = torch.randint(ORDINARY, BREAK, (words,)).tolist()
    around = _around(config)
    return [*text[:_BEFORE], *around[:1], *places, *around[1:], *text[_BEFORE:]]


def _inputs(
    model: Any, prompts: list[list[int]], pictures: list[Values], pad: int
) -> dict[str, Tensor]:
    """Return prompts with their pictures as one batch, padded on the left."""
    longest = max(len(prompt) for prompt in prompts)
    missing = [longest - len(prompt) for prompt in prompts]
    rows = zip(missing, prompts, strict=True)
    ids = torch.tensor([[pad] * count + prompt for count, prompt in rows])
    mask = (torch.arange(longest) >= torch.tensor(missing)[:, None]).long()
    marks = _marks(model, ids)
    return {"input_ids": ids, "attention_mask": mask, **marks, **joined(pictures)}


def _marks(model: Any, ids: Tensor) -> dict[str, Tensor]:
    """Return the inputs that say which positions are the picture's, those that a model takes."""
    config, wanted = model.config, inspect.signature(model.forward).parameters
    image = ids == config.image_token_id
    column = getattr(config, "image_column_token_id", None)
    whole = image | torch.isin(ids, torch.tensor([*_around(config), -1]))
    if column is not None:  # Everything between the marks counts as the picture.
        image = whole = whole | (ids == column)
    marks = {"mm_token_type_ids": image, "moe_mm_token_type_ids": whole}
    return {name: value.long() for name, value in marks.items() if name in wanted}
