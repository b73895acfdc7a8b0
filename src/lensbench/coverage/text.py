"""A tiny random instance of every type that transformers maps to causal language models."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, GenerationConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from lensbench.coverage.instance import Instance, Unbuildable
from lensbench.coverage.shrink import ORDINARY, SPECIAL, VOCABULARY, shrunk
from lensbench.coverage.text_values import OWN, REASONS, SOFTENED
from lensbench.coverage.weights import shaken, softened

TEXT_TYPES: tuple[str, ...] = tuple(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
LENGTHS = (9, 6)


def text_instance(model_type: str, seed: int = 0) -> Instance:
    """Return a tiny random language model of a type, with two prompts of text.

    Args:
        model_type: transformers' name, one of `TEXT_TYPES`.
        seed: of the weights and of the prompts.

    Returns:
        The model and its prompts, of 9 and 6 tokens, padded on the left and alone.

    Raises:
        Unbuildable: no tiny instance of the type can be built; the message says why.
    """
    torch.manual_seed(seed)
    if model_type in REASONS:
        raise Unbuildable(REASONS[model_type])
    config = shrunk(CONFIG_MAPPING[model_type](), **OWN.get(model_type, {}))
    if model_type == "gemma3n":  # Its own tower needs timm; prompts of text never reach a tower.
        kind: Any = CONFIG_MAPPING["siglip_vision_model"]
        tower = kind(rms_norm_eps=1e-6, vocab_size=16, vocab_offset=VOCABULARY)
        vars(config)["vision_config"] = shrunk(tower, vocab_offset=VOCABULARY)
        config.audio_config.vocab_offset = VOCABULARY + 16
    if getattr(config, "is_decoder", True) is False:
        config.is_decoder = True
    model = shaken(AutoModelForCausalLM.from_config(config))
    model = softened(model, SOFTENED.get(model_type, 1.0))
    pad = getattr(config.get_text_config(), "pad_token_id", None)
    pad = pad if isinstance(pad, int) and pad >= 0 else 0
    model.generation_config = GenerationConfig(pad_token_id=pad)
    prompts = [torch.randint(ORDINARY, SPECIAL, (length,)) for length in LENGTHS]
    singles = tuple(_inputs([prompt], pad) for prompt in prompts)
    return Instance(model_type, "text", model, _inputs(prompts, pad), singles)


def _inputs(prompts: list[Tensor], pad: int) -> dict[str, Tensor]:
    """Return prompts as one batch, padded on the left."""
    longest = max(len(prompt) for prompt in prompts)
    ids = torch.full((len(prompts), longest), pad)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :] = prompt
        mask[row, longest - len(prompt) :] = 1
    return {"input_ids": ids, "attention_mask": mask}
