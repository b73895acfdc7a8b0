"""Random pictures in the layouts in which processors hand frames to image-text models.

A layout takes a configuration and the number of a prompt (0 or 1), and gives the inputs of that
prompt's picture as a batch of one; `joined` makes a batch of several. Where a processor cuts a
picture into frames, prompt 0 gets one frame more. A mark takes those inputs and the image positions
[1, T], and gives the inputs that have one entry a position. A count takes a model and a picture's
inputs, and gives the number of image positions.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lensbench.coverage.shrink import ORDINARY, SPECIAL

Inputs = dict[str, Tensor]

#: Inputs with one entry a position of a prompt, which is padded on the left.
_ALONG = {
    "input_ids",
    "attention_mask",
    "decoder_input_ids",
    "decoder_attention_mask",
    "token_type_ids",
    "mm_token_type_ids",
    "image_embeds_position_mask",
    "cross_attention_mask",
    "image_attention_mask",
    "bbox",
}


def frames(config: Any, *counts: int) -> Tensor:
    """Return [counts ..., 3, H, W] random frames of the size a configuration asks for."""
    part: Any = config
    for name in ("encoder", "vision_config", "sam_config", "vq_config"):
        part = getattr(part, name, part)
    size = getattr(part, "image_size", getattr(part, "resolution", 32))
    side = size if isinstance(size, int) else size[0]
    return torch.randn(*counts, 3, side, side)


def one(config: Any, index: int) -> Inputs:
    """Return one frame, [1, 3, H, W]."""
    return {"pixel_values": frames(config, 1)}


def several(config: Any, index: int) -> Inputs:
    """Return the frames that a picture is cut into, two or one, [N, 3, H, W]."""
    return {"pixel_values": frames(config, 2 - index)}


def stack(config: Any, index: int) -> Inputs:
    """Return two frames of a picture, [1, 2, 3, H, W]."""
    return {"pixel_values": frames(config, 1, 2)}


def anyres(config: Any, index: int) -> Inputs:
    """Return a picture and the tiles of the best grid for its size: 2 × 2 or 1 × 2 of 32 pixels."""
    count, size = ((5, [52, 64]), (3, [32, 64]))[index]
    return {"pixel_values": frames(config, 1, count), "image_sizes": torch.tensor([size])}


def masked_pixels(config: Any, index: int) -> Inputs:
    """Return two frames or one, [1, N, 3, H, W], and the mask of their pixels."""
    pixels = frames(config, 1, 2 - index)
    mask = torch.ones(1, 2 - index, *pixels.shape[-2:], dtype=torch.bool)
    return {"pixel_values": pixels, "pixel_attention_mask": mask}


def masked_tiles(config: Any, index: int) -> Inputs:
    """Return two frames or one, [1, N, 3, H, W], and the mask of the frames."""
    mask = torch.ones(1, 2 - index, dtype=torch.bool)
    return {"pixel_values": frames(config, 1, 2 - index), "pixel_attention_mask": mask}


def views(config: Any, index: int) -> Inputs:
    """Return a whole picture and two parts of it."""
    made = {"pixel_values": frames(config, 1), "pixel_values_local": frames(config, 2)}
    return made | {"num_local_patches": torch.tensor([2])}


def resolutions(config: Any, index: int) -> Inputs:
    """Return a picture in a low and a high resolution."""
    side = config.high_res_vision_config.image_size
    return one(config, index) | {"high_res_pixel_values": torch.randn(1, 3, side, side)}


def grid(config: Any, index: int) -> Inputs:
    """Return the patches of a picture in a row, and the height and width of their grid."""
    part = config.vision_config
    rows, columns = ((4, 6), (4, 4))[index]
    width = 3 * part.temporal_patch_size * part.patch_size**2
    pixels = torch.randn(rows * columns, width)
    return {"pixel_values": pixels, "image_grid_thw": torch.tensor([[1, rows, columns]])}


def flat_patches(config: Any, index: int) -> Inputs:
    """Return 6 patches of a picture in a row, each after its own row and column."""
    width = config.vision_config.patch_embed_hidden_size
    places = torch.tensor([[row + 1.0, column + 1.0] for row in range(2) for column in range(3)])
    return {"flattened_patches": torch.cat([places, torch.randn(6, width)], dim=-1)[None]}


def masked_patches(config: Any, index: int) -> Inputs:
    """Return 6 patches, and the mask of the patches."""
    return flat_patches(config, index) | {"attention_mask": torch.ones(1, 6)}


def asked(config: Any, index: int) -> Inputs:
    """Return one frame, and the question about it that the query tokens read."""
    return one(config, index) | _question()


def asked_video(config: Any, index: int) -> Inputs:
    """Return four frames of a video, and the question that the query tokens read."""
    return {"pixel_values": frames(config, 1, 4)} | _question()


def _question() -> Inputs:
    ids = torch.randint(ORDINARY, SPECIAL, (1, 5))
    return {"qformer_input_ids": ids, "qformer_attention_mask": torch.ones_like(ids)}


def ratio_tiles(config: Any, index: int) -> Inputs:
    """Return two tiles or one, padded to as many as the tower takes, and the mask of the tiles."""
    most = config.vision_config.max_num_tiles
    pixels = torch.zeros(1, 1, most, *frames(config).shape)
    pixels[:, :, : 2 - index] = frames(config, 1, 1, 2 - index)
    mask = (torch.arange(most) < 2 - index).long()[None, None]
    return {
        "pixel_values": pixels,
        "aspect_ratio_ids": torch.tensor([[2 - index]]),
        "aspect_ratio_mask": mask,
    }


# Marks


def unmarked(inputs: Inputs, image: Tensor) -> Inputs:
    """Return no inputs."""
    return {}


def image_types(inputs: Inputs, image: Tensor) -> Inputs:
    """Return 1 at image positions, as `token_type_ids`."""
    return {"token_type_ids": image.long()}


def image_kinds(inputs: Inputs, image: Tensor) -> Inputs:
    """Return 1 at image positions, as `mm_token_type_ids`."""
    return {"mm_token_type_ids": image.long()}


def prefix_types(inputs: Inputs, image: Tensor) -> Inputs:
    """Return 0 everywhere: the whole prompt is a prefix, without an answer."""
    return {"token_type_ids": torch.zeros_like(image, dtype=torch.long)}


def image_places(inputs: Inputs, image: Tensor) -> Inputs:
    """Return 1 at image positions, as `image_embeds_position_mask`."""
    return {"image_embeds_position_mask": image.long()}


def frames_seen(inputs: Inputs, image: Tensor) -> Inputs:
    """Return 1 from the image position on, [1, T, N]."""
    seen = (image.cumsum(-1) > 0).long()[..., None]
    return {"image_attention_mask": seen.expand(-1, -1, inputs["pixel_values"].shape[1])}


def tiles_seen(inputs: Inputs, image: Tensor) -> Inputs:
    """Return 1 for the tiles that are there, from the image position on, [1, T, 1, N]."""
    seen = (image.cumsum(-1) > 0).long()
    return {"cross_attention_mask": seen[..., None, None] * inputs["aspect_ratio_mask"][:, None]}


def boxes(inputs: Inputs, image: Tensor) -> Inputs:
    """Return where each word stands on the page, [1, T, 4], in parts of its sides.

    The first word stands nowhere, like padding: the box of both is 0.
    """
    corner = torch.rand(*image.shape, 2) / 2
    box = torch.cat([corner, corner + 0.25], dim=-1)
    box[:, 0] = 0.0
    return {"bbox": box}


# Numbers of image positions


def features(model: Any, inputs: Inputs) -> int:
    """Return how many features a model makes of a prompt's picture."""
    makers = (
        getattr(part, name, None)
        for name in ("get_image_features", "get_video_features")
        for part in (model, getattr(model, "model", None))
    )
    make = next(maker for maker in makers if maker is not None)
    wanted = inspect.signature(make).parameters
    output = make(**{key: value for key, value in inputs.items() if key in wanted})
    found = output if isinstance(output, Tensor) else getattr(output, "pooler_output", None)
    if found is None:
        found = output.last_hidden_state
    parts = [found] if isinstance(found, Tensor) else list(found)
    return sum(part.numel() // part.shape[-1] for part in parts)


def injected(model: Any, inputs: Inputs) -> int:
    """Return how many features a model adds to the residual stream at each of some layers."""
    _, packed = model.get_image_features(**inputs).deepstack_features[0]
    return sum(len(part) for part in packed)


def queries(model: Any, inputs: Inputs) -> int:
    """Return the number of latent queries that a picture becomes."""
    return int(model.config.latent_query_num)


def mention(model: Any, inputs: Inputs) -> int:
    """Return 1: a token says where the picture stands; its features come by cross-attention."""
    return 1


def none(model: Any, inputs: Inputs) -> int:
    """Return 0: the model itself puts the picture before the prompt, or beside it."""
    return 0


def joined(singles: Sequence[Inputs], pad: int) -> Inputs:
    """Return batches of one as one batch, padded with zeros (`input_ids` with `pad`).

    Args:
        singles: the inputs of each prompt.
        pad: the id of the padding token.

    Returns:
        The batch: along a prompt padded on the left, along other dimensions on the right.
    """
    made = {}
    for name in singles[0]:
        values = [single[name] for single in singles]
        shape = [max(sizes) for sizes in zip(*(value.shape for value in values), strict=True)]
        shape[0] = sum(len(value) for value in values)
        whole = values[0].new_full(shape, pad if name.endswith("input_ids") else 0)
        start = 0
        for value in values:
            place = [slice(start, start + len(value)), *map(slice, value.shape[1:])]
            if name in _ALONG:
                place[1] = slice(shape[1] - value.shape[1], None)
            whole[tuple(place)] = value
            start += len(value)
        made[name] = whole
    return made
