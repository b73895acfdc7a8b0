"""What the processors of image-text types make of a picture: patches with their grid, crops, codes.

Each layout is a function of a tiny configuration and of a picture's size: `rows` times `columns`
positions of the prompt. It gives the ids of the tokens that hold the picture's place, and the
model's inputs for this picture alone; `joined` makes one batch of several pictures' inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from lensbench.coverage.shrink import SPECIAL

#: Ends a row of image tokens where a type's processor ends rows; a word that no prompt uses.
BREAK = SPECIAL - 1

Values = dict[str, Tensor]
Layout = Callable[[Any, int, int], tuple[list[int], Values]]


def size_of(value: Any) -> int:
    """Return a size that is given as a number, or as equal height and width."""
    return int(value[0] if isinstance(value, list | tuple) else value)


def _side(config: Any) -> int:
    return size_of(config.vision_config.patch_size)


def _first(config: Any, names: str, default: int) -> int:
    """Return the first of these sizes that a configuration, or its part for pictures, has."""
    for part in (config.vision_config, config):
        for name in names.split():
            if getattr(part, name, None) is not None:
                return size_of(getattr(part, name))
    return default


def _merge(config: Any) -> int:
    names = "spatial_merge_size merge_size merge_kernel_size downsample_factor"
    return _first(config, names, 2)


def _places(config: Any, count: int) -> list[int]:
    return [config.image_token_id] * count


def _grid(config: Any, rows: int, columns: int, *patch: int) -> tuple[list[int], Values]:
    high, wide = rows * _merge(config), columns * _merge(config)
    return _places(config, rows * columns), {
        "pixel_values": torch.randn(high * wide, *patch),
        "image_grid_thw": torch.tensor([[1, high, wide]]),
    }


def flat(config: Any, rows: int, columns: int) -> tuple[list[int], Values]:
    """Patches as rows of numbers, a group of them for a position, and their grid."""
    frames = _first(config, "temporal_patch_size patch_temporal", 1)
    return _grid(config, rows, columns, 3 * frames * _side(config) ** 2)


def square(config: Any, rows: int, columns: int) -> tuple[list[int], Values]:
    """Patches as small pictures, and their grid."""
    return _grid(config, rows, columns, 3, _side(config), _side(config))


def merging(config: Any, rows: int, columns: int) -> tuple[list[int], Values]:
    """Patches, their grid, and how many of them are merged."""
    places, values = flat(config, rows, columns)
    return places, values | {"image_merge_sizes": torch.tensor([_merge(config)])}


def columned(config: Any, rows: int, columns: int) -> tuple[list[int], Values]:
    """Patches and their grid; rows end with a feature of their own, as does the whole."""
    _, values = flat(config, rows, columns)
    return _places(config, rows * (columns + 1) + 2), values


def packed(config: Any, rows: int, columns: int) -> tuple[list[int], Values]:
    """Patches, and their height and width."""
    places, values = flat(config, rows, columns)
    return places, {
        "pixel_values": values["pixel_values"],
        "image_grid_hw": values["image_grid_thw"][:, 1:],
    }


def merged(config: Any, rows: int, columns: int) -> tuple[list[int], Values]:
    """One large patch a position, colours last, and their grid."""
    side = _side(config) * _merge(config)
    return _places(config, rows * columns), {
        "pixel_values": torch.randn(rows * columns, side, side, 3),
        "image_grid_thw": torch.tensor([[1, rows, columns]]),
    }


def still(config: Any, rows: int, columns: int) -> tuple[list[int], Values]:
    """One patch a position, repeated as frames, colours last."""
    patches = torch.randn(rows * columns, 1, _side(config), _side(config), 3)
    frames = config.vision_config.temporal_patch_size
    return _places(config, rows * columns), {"pixel_values": patches.repeat(1, frames, 1, 1, 1)}


def masked(config: Any, rows: int, columns: int) -> tuple[list[int], Values]:
    """Patches padded to one number, with a mask and the true height and width."""
    high, wide = rows * _merge(config), columns * _merge(config)
    room = 6 * _merge(config) ** 2
    values = pad(torch.randn(1, high * wide, 3 * _side(config) ** 2), (0, 0, 0, room - high * wide))
    return _places(config, rows * columns), {
        "pixel_values": values,
        "spatial_shapes": torch.tensor([[high, wide]]),
        "pixel_attention_mask": (torch.arange(room) < high * wide).long()[None],
    }


def strip(config: Any, rows: int, columns: int) -> tuple[list[int], Values]:
    """Patches side by side in one long strip, and their height and width."""
    factor = 2 if config.downsample_mode == "4x" else 4
    high, wide, side = factor * rows, factor * columns, _side(config)
    return _places(config, rows * columns), {
        "pixel_values": torch.randn(1, 3, side, high * wide * side),
        "target_sizes": torch.tensor([[high, wide]], dtype=torch.int32),
    }


def pooled(config: Any, rows: int, columns: int) -> tuple[list[int], Values]:
    """Patches padded to one number, each with its place, that the model pools."""
    return _placed(config, rows, columns, config.vision_config.pooling_kernel_size, _side(config))


def placed(config: Any, rows: int, columns: int) -> tuple[list[int], Values]:
    """Patches padded to one number, each with its place and a position of its own."""
    return _placed(config, rows, columns, 1, config.vision_config.model_patch_size)


def _placed(
    config: Any, rows: int, columns: int, factor: int, side: int
) -> tuple[list[int], Values]:
    high, wide = factor * rows, factor * columns
    spots = torch.cartesian_prod(torch.arange(high), torch.arange(wide)).flip(-1)[None]
    missing = (0, 0, 0, 6 * factor**2 - high * wide)
    return _places(config, rows * columns), {
        "pixel_values": pad(torch.rand(1, high * wide, 3 * side**2), missing),
        "image_position_ids": pad(spots, missing, value=-1),
    }


def sized(config: Any, rows: int, columns: int) -> tuple[list[int], Values]:
    """One picture and its height and width."""
    side = _side(config) * _merge(config)
    return _picture(_places(config, rows * columns), rows * side, columns * side)


def broken(config: Any, rows: int, columns: int) -> tuple[list[int], Values]:
    """One picture and its height and width; a token ends each row."""
    side = _side(config) * _merge(config)
    places = [*_places(config, columns), BREAK] * rows
    return _picture(places, rows * side, columns * side)


def coded(config: Any, rows: int, columns: int) -> tuple[list[int], Values]:
    """One picture that the model turns into codes, and a code that ends each row."""
    # All pictures have one size: the codes see the padding of smaller ones, also in real use.
    side = rows * 2 ** (len(config.vq_config.channel_multiplier) - 1)
    return _picture(_places(config, rows * (rows + 1)), side, side)


def _picture(places: list[int], high: int, wide: int) -> tuple[list[int], Values]:
    return places, {
        "pixel_values": torch.randn(1, 3, high, wide),
        "image_sizes": torch.tensor([[high, wide]]),
    }


def tiles(config: Any, rows: int, columns: int) -> tuple[list[int], Values]:
    """Tiles of one size, one of them for a picture of two columns, two for one of three."""
    side, count = size_of(config.vision_config.image_size), columns - 1
    each = int(side / _side(config) * config.downsample_ratio) ** 2
    return _places(config, count * each), {"pixel_values": torch.randn(count, 3, side, side)}


def crops(config: Any, rows: int, columns: int) -> tuple[list[int], Values]:
    """One whole view, and crops beside it, as many as `tiles`."""
    side, count = size_of(config.vision_config.image_size), columns - 1
    each = (side // _side(config) // 4) ** 2
    return _places(config, (count + 1) * each), {
        "pixel_values": torch.randn(1, 3, side, side),
        "pixel_values_local": torch.randn(count, 3, side, side),
        "num_local_patches": torch.tensor([count]),
    }


def view(config: Any, rows: int, columns: int) -> tuple[list[int], Values]:
    """One whole view; each row ends with a feature of its own, as does the whole."""
    sam = config.vision_config.sam_config
    each = size_of(sam.image_size) // size_of(sam.patch_size) // 4
    values = torch.randn(1, 3, size_of(sam.image_size), size_of(sam.image_size))
    return _places(config, each * (each + 1) + 1), {"pixel_values": values}


def lines(config: Any, rows: int, columns: int) -> tuple[list[int], Values]:
    """Patches as rows of numbers, without a grid; a token ends each row."""
    places = [*_places(config, columns), BREAK] * rows
    return places, {"pixel_values": torch.randn(rows * columns, 3 * config.patch_size**2)}


def pooling(config: Any, rows: int, columns: int) -> tuple[list[int], Values]:
    """A small view and two crops as patches, and which patches make each position."""
    vision, column = config.vision_config, config.image_column_token_id
    patches = vision.num_position_embeddings
    small = size_of(vision.image_size) // _side(config) // 2
    low = [*_places(config, small), column] * small
    high = [*_places(config, columns), column] * rows
    ends = [config.image_end_token_id, config.image_start_token_id]
    count = small**2 + rows * columns
    return low + ends + high, {
        "pixel_values": torch.randn(3, patches, 3 * _side(config) ** 2),
        "image_token_pooling": torch.arange(4 * count).view(count, 4),
        "image_grids": torch.tensor([[small, small, rows, columns]]),
        "image_num_crops": torch.tensor([3]),
    }


def joined(pictures: list[Values]) -> Values:
    """Return the inputs of several prompts' pictures as one batch."""
    batch = {name: [picture[name] for picture in pictures] for name in pictures[0]}
    values, axis = batch["pixel_values"], 0
    if "target_sizes" in batch:
        axis = -1
    elif "image_sizes" in batch:
        high, wide = (max(value.shape[side] for value in values) for side in (2, 3))
        values = [pad(v, (0, wide - v.shape[3], 0, high - v.shape[2])) for v in values]
    elif "image_token_pooling" in batch:
        # Patches are counted over all the pictures of a batch.
        first = torch.tensor([0, *(value.shape[:2].numel() for value in values)]).cumsum(0)
        places = batch["image_token_pooling"]
        batch["image_token_pooling"] = [p + f for p, f in zip(places, first, strict=False)]
    batch["pixel_values"] = values
    return {
        name: torch.cat(parts, dim=axis if name == "pixel_values" else 0)
        for name, parts in batch.items()
    }


LAYOUTS: dict[Layout, str] = {
    flat: "cosmos3_edge cosmos3_omni dots3_note ernie4_5_vl_moe exaone4_5 glm46v glm4v glm4v_moe "
    "glm5_next glm_ocr glmga lfm3_vl minimax_m3_vl muse_glimmer muse_spark qwen2_5_omni_thinker "
    "qwen2_5_vl qwen2_vl qwen3_5 qwen3_5_moe qwen3_omni_moe_thinker qwen3_vl qwen3_vl_moe "
    "qwen4_exp",
    square: "kimi_k25 paddleocr_vl",
    merging: "video_llama_3",
    columned: "hunyuan_vl",
    packed: "nemotron_h_omni",
    merged: "inkling2",
    still: "inkling_mm_model",
    masked: "lfm2_vl",
    strip: "minicpm_ocr minicpmv4_6 minicpmv4_7",
    pooled: "gemma4",
    placed: "gemma4_unified",
    sized: "lighton_ocr",
    broken: "mistral3 mistral_large4",
    coded: "emu3",
    tiles: "qianfan_ocr",
    crops: "step3p7",
    view: "unlimited_ocr",
    lines: "fuyu",
    pooling: "molmo2",
}
