"""Any transformers configuration made tiny: rules that hold for all, with a caller's own values.

Rules go by the names of attributes, and only attributes that a configuration has are touched. The
sizes agree with one another (a width of 64 is 4 heads of 16) across text, vision and audio parts.
"""

from __future__ import annotations

import copy
import re
from typing import Any

WIDTH, HEADS, HEAD, VOCABULARY, POSITIONS = 64, 4, 16, 128, 256
TEXT_LAYERS, TOWER_LAYERS = 3, 2
# Ids under ORDINARY keep their value; those of special tokens move to SPECIAL and above, so that
# ids from ORDINARY to SPECIAL are plain words in every instance.
ORDINARY, SPECIAL = 10, 96

LAYERS = (
    "num_hidden_layers",
    "n_layer",
    "n_layers",
    "num_layers",
    "depth",
    "encoder_layers",
    "decoder_layers",
    "layers",
    "num_encoder_layers",
    "num_decoder_layers",
    "num_blocks",
    "num_global_layers",
    "num_layers_per_stack",
)
_HEADS = re.compile(
    r"^((encoder_|decoder_)?attention_heads|n_heads?|num_heads|resampler_n_heads|"
    r"(conf_|swa_)?num_(encoder_|decoder_)?attention_heads(_per_layer)?)$"
)
_GROUPS = {
    "num_key_value_heads": "num_attention_heads",
    "num_kv_heads": "num_attention_heads",
    "kv_n_heads": "n_heads",
    "swa_num_key_value_heads": "swa_num_attention_heads",
}
# Exact upper bounds, by name.
_AT_MOST = {
    "attention_chunk_size": 4,
    "attention_head_dim": HEAD,
    "chunk_size": 8,
    "codebook_dim": 8,
    "codebook_size": 16,
    "compress_ratio": 2,
    "d_kv": HEAD,
    "d_rel": 4,
    "dim_head": HEAD,
    "first_k_dense_replace": 1,
    "attention_window_size": 4,
    "head_dim": HEAD,
    "hidden_size_global": WIDTH,
    "hidden_size_per_layer_input": HEAD,
    "hc_lowrank": 8,
    "image_size": 32,
    "index_block_size": 4,
    "index_n_heads": 8,  # Few heads give equal scores, and equal scores an arbitrary choice.
    "index_topk": 4,
    "index_topk_blocks": 2,
    "indexer_n_heads": 8,
    "kv_channels": HEAD,
    "linear_head_dim": HEAD,
    "linear_key_head_dim": HEAD,
    "linear_num_heads": HEADS,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_value_head_dim": HEAD,
    "local_attention": 8,
    "mamba_chunk_size": 8,
    "mamba_d_head": HEAD,
    "mamba_d_ssm": 2 * WIDTH,
    "mamba_d_state": 8,
    "mamba_dt_rank": 4,
    "mamba_head_dim": HEAD,
    "mamba_n_groups": 2,
    "mamba_n_heads": 8,
    "mamba_num_heads": 8,
    "max_window_layers": 1,
    "n_group": 2,
    "n_groups": 2,
    "num_dense_layers": 1,
    "num_embeddings": 16,
    "num_expert_group": 2,
    "num_filters": 8,
    "num_mel_bins": 16,
    "num_position_embeddings": 16,
    "num_query_tokens": 4,
    "patch_size": 8,
    "pos_emb_height": 8,
    "pos_emb_width": 8,
    "qk_nope_head_dim": HEAD,
    "qk_rope_head_dim": HEAD // 2,
    "relative_attention_max_distance": 16,
    "relative_attention_num_buckets": 8,
    "rel_extent": 8,
    "resampler_depth": 2,
    "resampler_head_dim": HEAD,
    "resampler_n_latents": 4,
    "rotary_dim": HEAD // 2,
    "shared_intermediate_size": 48,
    "sliding_window": 4,
    "sliding_window_size": 4,
    "ssm_state_size": 8,
    "state_size": 8,
    "swa_head_dim": HEAD,
    "time_step_rank": 4,
    "topk_group": 1,
    "v_head_dim": HEAD,
    "vocab_size_per_layer_input": VOCABULARY,
    "zero_expert_num": 2,
}
# Caps, scales and multipliers that a default switches off or makes too weak to be seen.
_TELLING = {
    "attention_in_multiplier": 1.2,
    "attention_multiplier": 0.3,
    "attention_out_multiplier": 0.7,
    "embedding_multiplier": 1.5,
    "final_logit_softcapping": 3.0,
    "key_multiplier": 0.8,
    "lm_head_multiplier": 0.6,
    "logit_scale": 0.7,
    "logits_mup_width_multiplier": 1.7,
    "logits_scaling": 1.4,
    "logits_soft_cap": 3.0,
    "mlp_multipliers": [0.8, 1.2],
    "output_logit_soft_cap": 3.0,
    "residual_multiplier": 0.6,
    "ssm_in_multiplier": 1.3,
    "ssm_multipliers": [0.9, 1.1, 0.8, 1.2, 0.7],
    "ssm_out_multiplier": 0.8,
}
_POSITIONS = (
    r"max_position_embeddings|n_positions|n_ctx|max_seq_len|max_sequence_length|"
    r"max_source_positions|max_target_positions|model_max_length|original_max_position_embeddings"
)
# What names of sizes without a rule of their own are bounded by, first match first.
_PATTERNS = (
    (re.compile(rf"^({_POSITIONS})$"), POSITIONS),
    (re.compile(r"vocab_size$"), VOCABULARY),
    (re.compile(r"^(num_experts|n_routed_experts|num_local_experts|moe_num_experts)$"), 4),
    (re.compile(r"experts_per_tok(en)?$|^(moe_topk|moe_k|moe_top_k|top_k_experts)$"), 2),
    (re.compile(r"lora_rank$|_rank$"), 12),
    (re.compile(r"^index(er)?_head_dim$"), HEAD),
    (re.compile(r"moe.*(intermediate|hidden)_size|expert.*_size$"), 48),
    (re.compile(r"intermediate_size|ffn_dim$|ffn_hidden_size$|^(d_ff|dff|dim_ff|mlp_dim)$"), 96),
    (re.compile(r"^(d_model|n_embd|dim_model)$|(_size|_dim|_width|_channels?)$"), WIDTH),
)
# Sizes that aren't widths: grids, windows, kernels, groups of a vision tower or of audio.
_KEPT = re.compile(
    r"type_vocab_size$|kernel_size$|group_size$|merge_size$|^(window_size|block_size|crop_size)$|"
    r"^(num_channels|in_channels|out_channels|audio_channels)$|chunk_size_feed_forward$|cache_size$"
)
_TOKEN = re.compile(r"_token_(id|index|ids)$|^token_ids?$|_token$|^(vocab_offset)$")


def shrunk(config: Any, **own: Any) -> Any:
    """Return a tiny copy of a configuration.

    Each kind of layer that the original has is kept: lists with one entry a layer are cut to
    layers that hold every kind. Token ids move into the vocabulary, equal ids to equal ids.

    Args:
        config: any transformers configuration; it isn't changed.
        own: values that win over the rules; for a part (`text_config`, `vision_config` ...) a
            dict of values. `num_hidden_layers` bounds the number of layers that are kept.

    Returns:
        The copy. The copy's sizes: width 64, 4 heads of 16, 3–4 decoder layers, 2 layers a tower,
        vocabulary 128, sliding window 4; caps, scales and multipliers differ from 1.
    """
    made = copy.deepcopy(config)
    text = made.get_text_config(decoder=True)
    # Of an encoder-decoder that call gives a copy.
    own = copy.deepcopy(own)
    _shrink(made, own, {}, text if any(text is part for part in _parts(made)) else made)
    return made


def _parts(config: Any) -> list[Any]:
    parts = [part for part in vars(config).values() if _is_config(part)]
    return parts + [inner for part in parts for inner in _parts(part)]


def _shrink(config: Any, own: dict[str, Any], ids: dict[int, int], text: Any) -> None:
    names = {type(config).attribute_map.get(k, k): v for k, v in own.items()}
    before = dict(vars(config))
    _cut_layers(config, before, names, TEXT_LAYERS if config is text else TOWER_LAYERS)
    for name, value in before.items():
        if _is_config(value):
            given = names.pop(name, {})
            _shrink(value, given if isinstance(given, dict) else {}, ids, text)
        elif name not in names and not name.startswith("_"):
            _set(config, name, _smaller(name, vars(config)[name], before, ids))
    for name, value in names.items():
        _set(config, name, value)
    _agree(config, before, names)


def _is_config(value: Any) -> bool:
    return hasattr(value, "get_text_config")


def _set(config: Any, name: str, value: Any) -> None:
    if name not in vars(config) or vars(config)[name] is not value:
        setattr(config, name, value)


def _smaller(name: str, value: Any, before: dict[str, Any], ids: dict[int, int]) -> Any:
    """Return what an attribute's value becomes; unchanged where no rule knows the name."""
    if isinstance(value, dict):
        return value
    if name in _TELLING:
        return copy.copy(_TELLING[name])
    if _TOKEN.search(name) and not name.endswith("_per_token"):
        return _moved(value, ids)
    if isinstance(value, list | tuple):
        return type(value)(_smaller(name, v, before, ids) for v in value)
    if isinstance(value, bool) or not isinstance(value, int) or name in LAYERS:
        return value
    if _HEADS.search(name):
        return min(value, HEADS)
    if name in _GROUPS:
        full = before.get(_GROUPS[name], value)
        return HEADS if value == full else min(value, HEADS // 2)
    if name in _AT_MOST:
        return min(value, _AT_MOST[name])
    if _KEPT.search(name):
        return value
    for pattern, bound in _PATTERNS:
        if pattern.search(name):
            return min(value, bound)
    return value


def _moved(value: Any, ids: dict[int, int]) -> Any:
    """Return token ids inside the tiny vocabulary."""
    if isinstance(value, list | tuple):
        return type(value)(_moved(v, ids) for v in value)
    if isinstance(value, bool) or not isinstance(value, int) or value < ORDINARY:
        return value
    return ids.setdefault(value, min(SPECIAL + len(ids), VOCABULARY - 1))


def _cut_layers(config: Any, before: dict[str, Any], own: dict[str, Any], least: int) -> None:
    """Cut layers, and every list with one entry a layer, to a few that hold each kind."""
    names = [n for n in ("decoder_layers", *LAYERS) if isinstance(before.get(n), int)]
    name = names[0] if names else None
    for other in LAYERS:
        if other != name and isinstance(before.get(other), int):
            _set(config, other, own.get(other, min(before[other], least)))
    if name is None:
        return
    count = before[name]
    lists = {k: v for k, v in before.items() if _per_layer(v, count)}
    indices = {k: v for k, v in before.items() if k not in lists and _of_layers(k, v, count)}
    spec = before.get("_heterogeneity_spec")
    overrides = spec.per_layer_overrides if spec is not None else {}
    kinds = [tuple((k, str(v[layer])) for k, v in lists.items()) for layer in range(count)]
    for layer in range(count):
        kinds[layer] += tuple((k, str(layer in v)) for k, v in indices.items())
        kinds[layer] += (("override", str(sorted(overrides.get(layer, {})))),)
    kept = _chosen(kinds, least, own.get(name))
    _set(config, name, len(kept))
    for key, values in lists.items():
        if key not in own:
            _set(config, key, type(values)(values[layer] for layer in kept))
    for key, values in indices.items():
        if key not in own:
            places = [place for place, layer in enumerate(kept) if layer in values]
            _set(config, key, type(values)(places))
    if overrides:
        _override(config, before, {p: overrides.get(layer, {}) for p, layer in enumerate(kept)})


def _per_layer(value: Any, count: int) -> bool:
    if not isinstance(value, list | tuple) or len(value) != count or count < 3:
        return False
    return list(value) != list(range(count))


def _of_layers(name: str, value: Any, count: int) -> bool:
    """Tell whether a value is a list of layers' places."""
    if not isinstance(value, list | tuple) or not re.search("layer|index|idx", name):
        return False
    if name.startswith("vision_feature") or _TOKEN.search(name):
        return False
    return all(isinstance(v, int) and 0 <= v < count for v in value)


def _chosen(kinds: list[tuple[tuple[str, str], ...]], least: int, exactly: int | None) -> list[int]:
    """Return the layers to keep, in order: the first of each kind, then those that follow."""
    seen: set[tuple[str, str]] = set()
    kept: list[int] = []
    for layer, kind in enumerate(kinds):
        if not seen.issuperset(kind):
            kept.append(layer)
            seen.update(kind)
    if len(kept) > 1:
        least += 1
    wanted = min(exactly or max(least, len(kept)), len(kinds))
    rest = list(range(kept[-1] + 1, len(kinds)))
    rest += [layer for layer in range(kept[-1]) if layer not in kept]
    kept = (kept + rest)[:wanted] if len(kept) < wanted else kept[:wanted]
    if exactly and len(kept) < exactly:
        kept += [kept[-1]] * (exactly - len(kept))
    return sorted(kept)


def _override(config: Any, before: dict[str, Any], layers: dict[int, dict[str, Any]]) -> None:
    """Give single layers values of their own, in the original's proportion to the common ones."""
    spec = vars(config).pop("_heterogeneity_spec")
    smaller: dict[int, dict[str, Any]] = {}
    for place, values in layers.items():
        smaller[place] = {}
        for key, value in values.items():
            common = before.get(key)
            if isinstance(value, int) and isinstance(common, int) and common and key != "skip":
                tiny = _smaller(key, common, before, {})
                value = max(1, round(tiny * value / common))
            smaller[place][key] = value
    spec.per_layer_overrides = {p: v for p, v in smaller.items() if v}
    vars(config)["_heterogeneity_spec"] = spec


def _agree(config: Any, before: dict[str, Any], own: dict[str, Any]) -> None:
    """Make values that follow from others follow from the tiny ones."""
    have = vars(config)
    if {"qk_head_dim", "qk_nope_head_dim", "qk_rope_head_dim"} <= set(have):
        _set(config, "qk_head_dim", have["qk_nope_head_dim"] + have["qk_rope_head_dim"])
    if {"head_dim", "qk_rope_head_dim"} <= set(have) and "head_dim" not in own:
        head, turned = before["head_dim"], before["qk_rope_head_dim"]
        if head and head == before.get("qk_head_dim"):
            _set(config, "head_dim", have["qk_head_dim"])
        elif head and turned and before.get("qk_nope_head_dim"):
            _set(config, "head_dim", have["qk_rope_head_dim"] * head // turned)
    if {"mamba_d_ssm", "mamba_n_heads", "mamba_d_head"} <= set(have):
        _set(config, "mamba_d_ssm", have["mamba_n_heads"] * have["mamba_d_head"])
    rope = have.get("rope_parameters")
    if isinstance(rope, dict) and "rope_parameters" not in own:
        for part in [rope, *[v for v in rope.values() if isinstance(v, dict)]]:
            if isinstance(part.get("mrope_section"), list | tuple):
                _sections(config, part, own)


def _sections(config: Any, rope: dict[str, Any], own: dict[str, Any]) -> None:
    """Share half of the rotary width among the sections of a rotary embedding of positions."""
    have = vars(config)
    share = rope.get("partial_rotary_factor", have.get("partial_rotary_factor", 1.0)) or 1.0
    if isinstance(have.get("head_dim"), int) and "head_dim" not in own and share < 1:
        _set(config, "head_dim", int(HEAD / share))
    width = have.get("head_dim") or WIDTH // HEADS
    pairs, count = int(width * share) // 2, len(rope["mrope_section"])
    if count == 3:
        side = pairs // 4 if pairs >= 4 else 1
        parts = [pairs - 2 * side, side, side]
    else:
        parts = [pairs // count + (place < pairs % count) for place in range(count)]
    rope["mrope_section"] = type(rope["mrope_section"])(parts)
