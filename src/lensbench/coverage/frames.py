"""Tiny instances of the image-text types whose pictures come as frames, not as grids of patches."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForImageTextToText, GenerationConfig

from lensbench.coverage import frame_layouts as layouts
from lensbench.coverage.frame_layouts import Inputs, joined
from lensbench.coverage.frame_values import OWN, REASONS, TOWERS
from lensbench.coverage.instance import Instance, Unbuildable
from lensbench.coverage.shrink import ORDINARY, SPECIAL, shrunk
from lensbench.coverage.weights import shaken, softened

_WORDS = (9, 6)
_BEFORE = 2  # Words before the picture.

#: The inputs of a picture.
_LAYOUTS: dict[Callable[[Any, int], Inputs], str] = {
    layouts.one: (
        "aria blip blip-2 chameleon deepseek_vl fast_vlm florence2 gemma3n git got_ocr2 janus "
        "kosmos-2 llava paligemma pp_chart2table pp_formulanet t5gemma2 udop video_llava vipllava "
        "vision-encoder-decoder"
    ),
    layouts.several: "aya_vision cohere2_vision gemma3 internvl llama4 ovis2 shieldgemma2",
    layouts.stack: "idefics perception_lm",
    layouts.anyres: "granite4_vision llava_next llava_next_video llava_onevision",
    layouts.masked_pixels: "idefics2 idefics3 smolvlm",
    layouts.masked_tiles: "granite_docling",
    layouts.ratio_tiles: "mllama",
    layouts.views: "deepseek_ocr2",
    layouts.resolutions: "deepseek_vl_hybrid",
    layouts.grid: "cohere_compass hyperclovax_vision_v2",
    layouts.flat_patches: "kosmos-2.5",
    layouts.masked_patches: "pix2struct",
    layouts.asked: "instructblip",
    layouts.asked_video: "instructblipvideo",
}
#: The inputs with one entry a position.
_MARKS: dict[Callable[[Inputs, Tensor], Inputs], str] = {
    layouts.image_types: "gemma3 gemma3n shieldgemma2",
    layouts.image_kinds: "cohere_compass",
    layouts.prefix_types: "paligemma",
    layouts.image_places: "kosmos-2 kosmos-2.5",
    layouts.frames_seen: "idefics",
    layouts.tiles_seen: "mllama",
    layouts.boxes: "udop",
}
#: The number of tokens that hold the place of a picture.
_COUNTS: dict[Callable[[Any, Inputs], int], str] = {
    layouts.injected: "granite4_vision",
    layouts.queries: "kosmos-2 kosmos-2.5",
    layouts.mention: "idefics mllama",
    layouts.none: "blip git pix2struct pp_formulanet udop vision-encoder-decoder",
}
#: Types whose prompt is what the decoder begins with; the encoder gets a picture alone.
_PICTURE_ENCODERS = {"pix2struct", "pp_formulanet", "vision-encoder-decoder"}

#: Types without a factor on their scores, whose random attention would be all on one key.
_STEEP = {"pix2struct"}


def _by_type(table: dict[Any, str]) -> dict[str, Any]:
    return {name: value for value, names in table.items() for name in names.split()}


_LAYOUT, _MARK, _COUNT = _by_type(_LAYOUTS), _by_type(_MARKS), _by_type(_COUNTS)
FRAME_TYPES = tuple(sorted([*_LAYOUT, *REASONS]))


def frame_instance(model_type: str, seed: int = 0) -> Instance:
    """Return a tiny random image-text model of a type, with two prompts and their pictures.

    Args:
        model_type: transformers' name, one of `FRAME_TYPES`.
        seed: of the weights, the prompts and the pictures.

    Returns:
        The model and its prompts: 9 and 6 words and a picture each, padded on the left and alone.

    Raises:
        Unbuildable: no tiny instance of the type can be run; the message says why.
    """
    if model_type in REASONS:
        raise Unbuildable(REASONS[model_type])
    torch.manual_seed(seed)
    model = shaken(AutoModelForImageTextToText.from_config(_config(model_type)))
    if model_type in _STEEP:
        softened(model, 0.4)
    pad = _id(_text(model.config), "pad_token_id") or 0
    settings = GenerationConfig(pad_token_id=pad, decoder_start_token_id=_start(model.config))
    for module in model.modules():  # Some models let a part of theirs generate.
        if hasattr(module, "generation_config"):
            module.generation_config = copy.deepcopy(settings)
    singles = tuple(_inputs(model_type, model, index) for index in range(len(_WORDS)))
    beside = _COUNT.get(model_type) in (layouts.none, layouts.mention)
    token = None if beside else _image_token(model.config)
    return Instance(model_type, "image-text", model, joined(singles, pad), singles, token)


def _config(model_type: str) -> Any:
    """Return a type's tiny configuration."""
    config = AutoConfig.for_model(model_type)
    if model_type in TOWERS:
        tower, values = TOWERS[model_type]
        # Set past the checks: some types allow no configuration but timm's here.
        vars(config)["vision_config"] = copy.deepcopy(tower)
        vars(config.vision_config).update(values)
    config = shrunk(config, **OWN.get(model_type, {}))
    text = _text(config)
    if getattr(text, "num_key_value_heads", 0) == text.num_attention_heads:
        text.num_key_value_heads = text.num_attention_heads // 2
    return config


@torch.no_grad()
def _inputs(model_type: str, model: Any, index: int) -> Inputs:
    """Return a prompt with its picture, without padding."""
    picture = _LAYOUT[model_type](model.config, index)
    words = torch.randint(ORDINARY, SPECIAL, (_WORDS[index],))
    names = ("input_ids", "attention_mask")
    if model_type in _PICTURE_ENCODERS:
        words[0] = _start(model.config)
        names = ("decoder_input_ids", "decoder_attention_mask")
    elif (first := _id(_text(model.config), "bos_token_id")) is not None:
        words[0] = first
    token = _image_token(model.config)
    place = torch.full((_COUNT.get(model_type, layouts.features)(model, picture),), token)
    ids = torch.cat([words[:_BEFORE], place, words[_BEFORE:]])[None]
    marks = _MARK.get(model_type, layouts.unmarked)(picture, ids == token)
    return {names[0]: ids, names[1]: torch.ones_like(ids), **picture, **marks}


def _text(config: Any) -> Any:
    """Return the configuration of the text decoder."""
    return config.get_text_config(decoder=True)


def _start(config: Any) -> int:
    """Return the id that a decoder's prompt begins with: its own, or else any word's."""
    found = _id(_text(config), "decoder_start_token_id", "bos_token_id")
    return ORDINARY if found is None else found


def _image_token(config: Any) -> int:
    """Return the id that holds an image position: any special one where the type has none."""
    found = _id(config, "image_token_id", "image_token_index", "video_token_index")
    return SPECIAL if found is None else found


def _id(config: Any, *names: str) -> int | None:
    """Return the first token id that a configuration has under one of the names."""
    found = (getattr(config, name, None) for name in names)
    return next((value for value in found if isinstance(value, int) and value >= 0), None)
