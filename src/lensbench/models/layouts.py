"""How processors lay a picture out: the places of a prompt's image positions, family by family."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from lensbench.models.tiles import anyres, cropped, split
from lensbench.models.views import Box, Layout, single, unplaced

#: Inputs that say nothing of a picture's shape.
_PLAIN = {
    "input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids", "num_crops",
    "pixel_values",
}  # fmt: skip
#: Processors of models whose image positions are learned queries: they have no place.
_QUERIES = {"Blip2Processor", "Idefics2Processor", "Kosmos2Processor", "Kosmos2_5Processor"}


def layouts_of(
    processor: Any,
    inputs: Mapping[str, Tensor],
    counts: Sequence[int],
    sizes: Sequence[tuple[int, int]],
) -> list[Layout]:
    """Return where the image positions of each prompt lie, as the processor laid them out.

    A layout with another number of positions than the prompt has is none: rather no place than a
    wrong one.

    Args:
        processor: the model's processor.
        inputs: what it made of the prompts.
        counts: image positions of each prompt.
        sizes: (width, height) of each opened picture, one a prompt, or none at all.
    """
    if not any(counts) or len(sizes) != len(counts):
        return [unplaced(count) for count in counts]
    layouts = []
    for index, (count, size) in enumerate(zip(counts, sizes, strict=True)):
        found = _layout(processor, inputs, index, len(counts), count, size)
        layouts.append(found if found is not None and len(found) == count else unplaced(count))
    return layouts


def _layout(
    processor: Any,
    inputs: Mapping[str, Tensor],
    index: int,
    prompts: int,
    count: int,
    size: tuple[int, int],
) -> Layout | None:
    """Return the layout of one picture; None if its family is not known."""
    pictures, pixels = getattr(processor, "image_processor", None), inputs.get("pixel_values")
    if pictures is None or pixels is None or type(processor).__name__ in _QUERIES:
        return None
    if "image_grid_thw" in inputs:
        return _merged(pictures, inputs["image_grid_thw"], index, prompts)
    if getattr(pictures, "image_grid_pinpoints", None) and "image_sizes" in inputs:
        return anyres(processor, pixels.shape[-2:], size)
    if hasattr(pictures, "do_image_splitting") and hasattr(pictures, "max_image_size"):
        return split(processor, size)
    if hasattr(pictures, "crop_to_patches") and hasattr(processor, "image_seq_length"):
        return cropped(processor, count, size)
    if not set(inputs) <= _PLAIN or pixels.dim() != 4 or len(pixels) != prompts:
        return None
    return _once(processor, (int(pixels.shape[2]), int(pixels.shape[3])), count, size)


def _merged(pictures: Any, grids: Tensor, index: int, prompts: int) -> Layout | None:
    """Return the layout of patches in a grid of any shape, merged before they become positions."""
    merge = getattr(pictures, "merge_size", None)
    if not isinstance(merge, int) or len(grids) != prompts:
        return None
    _, high, wide = grids[index].tolist()
    return single(high // merge, wide // merge)


def _once(
    processor: Any, pixels: tuple[int, int], count: int, size: tuple[int, int]
) -> Layout | None:
    """Return the layout of a picture that is resized to pixels (height, width) and seen once."""
    high, wide = pixels
    patch = getattr(processor, "patch_size", None)
    box = shown_box(processor.image_processor, size)
    if not isinstance(patch, int):
        side = math.isqrt(count)
        return single(side, side, box) if high == wide else None
    rows, cols = high // patch, wide // patch
    # What is left of the pixels at the right and below makes no patch.
    left, top, right, bottom = box
    right = left + (right - left) * cols * patch / wide
    bottom = top + (bottom - top) * rows * patch / high
    return single(rows, cols, (left, top, right, bottom))


def shown_box(pictures: Any, size: tuple[int, int]) -> Box:
    """Return which part of a picture is left after padding to a square, resizing and cropping.

    Args:
        pictures: the image processor.
        size: (width, height) of the picture.
    """
    edges = []
    for length, other, name in ((size[0], size[1], "width"), (size[1], size[0], "height")):
        first, extent = 0.0, float(length)
        if getattr(pictures, "do_pad", None) and hasattr(pictures, "pad_to_square"):
            extent = float(max(length, other))
            first = -float((max(length, other) - length) // 2)
            other = max(length, other)
        resized = _resized(pictures, int(extent), other, name)
        if getattr(pictures, "do_center_crop", None):
            kept = pictures.crop_size.get(name)
            first += (resized - kept) // 2 * extent / resized
            extent = kept * extent / resized
        edges.append((first / length, (first + extent) / length))
    (left, right), (top, bottom) = edges
    return left, top, right, bottom


def _resized(pictures: Any, length: int, other: int, name: str) -> int:
    """Return what the image processor resizes an edge to, given the other one."""
    size = getattr(pictures, "size", None)
    if not getattr(pictures, "do_resize", True) or size is None:
        return length
    shortest = size.get("shortest_edge")
    if shortest and not size.get("longest_edge"):
        return shortest if length <= other else int(shortest * length / other)
    return size.get(name) or length
