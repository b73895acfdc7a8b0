"""Where image positions lie: pictures whose pixels tell their place, and what each position saw.

Every pixel of a ramp holds its own place in the picture: red says how far right it is, green how
far down, and blue that it is picture, not padding. What a family's own processor makes of the
ramp, cut into patches and packed by transformers' own code, tells what each position saw.
"""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.prompters import PROMPTERS, llava, llava_next, onevision
from torch.nn.functional import avg_pool2d
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.idefics3.modeling_idefics3 import Idefics3Connector
from transformers.models.internvl.modeling_internvl import InternVLModel
from transformers.models.llava_next.modeling_llava_next import (
    LlavaNextModel,
    get_anyres_image_grid_shape,
)
from transformers.models.llava_onevision.modeling_llava_onevision import LlavaOnevisionModel

from lensbench.models.batches import join, same
from lensbench.models.layouts import layouts_of
from lensbench.models.tiles import split

MADE = {name: make() for name, make in PROMPTERS.items()}
SHAPES = [(64, 64), (120, 90), (90, 120), (200, 41), (33, 150), (384, 384), (57, 311), (300, 9)]
PATCH = {"llava next": 7, "onevision": 8, "gemma 3": 16, "paligemma": 8}


def ramp(width, height):
    pixels = np.full((height, width, 3), 255, dtype=np.uint8)
    pixels[..., 0] = np.rint((np.arange(width) + 0.5) / width * 255)
    pixels[..., 1] = np.rint((np.arange(height)[:, None] + 0.5) / height * 255)
    return Image.fromarray(pixels)


def row(n):
    return {"prompt": "Why " * n + "?", "style": "chat", "image": "a"}


def encoded(prompter, *pictures):
    return prompter.encode([row(n) for n in range(len(pictures))], pictures)


def model_of(side, patch, pins):
    vision = SimpleNamespace(image_size=side, patch_size=patch)
    return SimpleNamespace(config=SimpleNamespace(vision_config=vision, image_grid_pinpoints=pins))


def packed(name, model, features, size):
    """Return features [tiles, patches, d] as the family's model packs them, line ends as NaN."""
    sizes, end = torch.tensor([size[::-1]]), torch.full((features.shape[-1],), torch.nan)
    if name == "onevision":
        found, _ = LlavaOnevisionModel.pack_image_features(model, [features], sizes, end)
    else:
        found, _ = LlavaNextModel.pack_image_features(model, [features], sizes, "default", end)
    return found[0]


def patches(pixels, side):
    """Return the mean of each patch of pictures [n, 3, H, W], row by row: [n, patches, 3]."""
    return avg_pool2d(pixels.float(), side).flatten(2).transpose(1, 2).contiguous()


def seen(name, prompter, inputs, size):
    """Return what each image position of one prompt saw: [n, 3], NaN at line ends."""
    pixels, processor = inputs["pixel_values"], prompter.processor
    if name.startswith("llava") and name != "llava next":
        return patches(pixels, processor.patch_size)[0]
    if name in ("llava next", "onevision"):
        pins, side = processor.image_processor.image_grid_pinpoints, pixels.shape[-1]
        model = model_of(side, PATCH[name], pins)
        return packed(name, model, patches(pixels[0], PATCH[name]), size)
    if name.startswith("qwen"):
        # One row a patch: colors, two equal frames, pixels; four patches make a position.
        return pixels.view(-1, 4, 3, 2 * 8 * 8).mean((1, 3))
    if name in ("gemma 3", "paligemma"):
        return patches(pixels, PATCH[name])[0]
    if name == "internvl":
        fine = patches(pixels, 4).unflatten(1, (8, 8))
        merged = InternVLModel.pixel_shuffle(None, fine, 0.5).flatten(1, 2)
    else:
        merged = Idefics3Connector.pixel_shuffle(None, patches(pixels[0], 4), 2)
    return merged.unflatten(2, (4, 3)).mean(2).flatten(0, 1)


def check(name, prompter, size):
    batch = encoded(prompter, ramp(*size))
    (layout,) = batch.layouts
    found = seen(name, prompter, batch.inputs, size).numpy()
    assert len(found) == len(layout) == batch.n_image_tokens[0]
    assert layout.views
    assert np.array_equal(np.isnan(found[:, 0]), layout.view < 0)
    assert ((layout.row < 0) == (layout.view < 0)).all()
    assert ((layout.col < 0) == (layout.view < 0)).all()
    for index, view in enumerate(layout.views):
        there = layout.view == index
        places = set(zip(layout.row[there].tolist(), layout.col[there].tolist(), strict=True))
        assert places == {(y, x) for y in range(view.rows) for x in range(view.cols)}
        assert there.sum() == len(places)
        left, top, right, bottom = view.box
        high, wide = (bottom - top) / view.rows, (right - left) / view.cols
        across, down = (
            left + (layout.col[there] + 0.5) * wide,
            top + (layout.row[there] + 0.5) * high,
        )
        inside = found[there, 2] > 0.995
        assert inside.all() or index > 0 or name == "llava padded"
        for axis, (at, length, cell) in enumerate(((across, size[0], wide), (down, size[1], high))):
            # Resizing blurs by a pixel of the picture, rounding by a level or two of 255; 2 of 34
            # pixels of OneVision's tiles here are in no patch.
            allowed = 0.25 * cell + 1.0 / length + 2 / 255
            assert np.abs(at - found[there, axis])[inside].max(initial=0) < allowed, (view, axis)


@pytest.mark.parametrize("size", SHAPES, ids=str)
@pytest.mark.parametrize("name", PROMPTERS)
def test_positions_lie_where_they_saw_the_picture(name, size):
    check(name, MADE[name], size)


@given(size=st.tuples(st.integers(8, 400), st.integers(8, 400)), name=st.sampled_from(list(MADE)))
@settings(deadline=None, max_examples=150)
def test_positions_lie_where_they_saw_a_picture_of_any_shape(size, name):
    check(name, MADE[name], size)


def real(name):
    """Return a prompter with the published tiles, its model's stand-in, and patches a side."""
    if name == "onevision":
        edges = [384 * n for n in range(1, 7)]
        side, patch, pins = 384, 14, [[high, wide] for high in edges for wide in edges]
        return onevision(side, patch, pins), model_of(side, patch, pins), 27
    side, patch = 336, 14
    pins = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]
    return llava_next(side, patch, pins), model_of(side, patch, pins), 24


REAL = {name: real(name) for name in ("onevision", "llava next")}


def planted(each, best):
    """Return features that say (1 for a tile, row, column) over all tiles of a resolution."""
    high, wide = best
    rows = torch.arange(high * each).view(high, 1, each, 1).expand(-1, wide, -1, each)
    cols = torch.arange(wide * each).view(1, wide, 1, each).expand(high, -1, each, -1)
    tiles = torch.stack([torch.ones_like(rows), rows, cols], -1).reshape(high * wide, each**2, 3)
    whole = torch.cartesian_prod(torch.arange(each), torch.arange(each))
    whole = torch.cat([torch.zeros(each**2, 1), whole], 1)[None]
    return torch.cat([whole, tiles]).float()


@given(
    size=st.one_of(
        st.tuples(st.integers(1, 3000), st.integers(1, 3000)),
        st.tuples(st.just(1), st.integers(1, 3000)),
        st.tuples(st.integers(1, 3000), st.just(1)),
    ),
    name=st.sampled_from(list(REAL)),
)
@settings(deadline=None, max_examples=150)
def test_published_tiles_lie_where_the_models_pack_them(size, name):
    prompter, model, each = REAL[name]
    side, pins = model.config.vision_config.image_size, model.config.image_grid_pinpoints
    best = get_anyres_image_grid_shape(torch.tensor(size[::-1]), pins, side)
    found = packed(name, model, planted(each, best), size).numpy()
    inputs = {
        "pixel_values": torch.empty(1, 1, 3, side, side),
        "image_sizes": torch.tensor([size[::-1]]),
    }
    (layout,) = layouts_of(prompter.processor, inputs, [len(found)], [size])
    assert len(layout) == len(found)
    assert layout.views[0].name == "overview"
    overview = layout.view == 0
    assert np.array_equal(overview, found[:, 0] == 0)
    assert (layout.row[overview] == found[overview, 1]).all()
    assert (layout.col[overview] == found[overview, 2]).all()
    assert np.array_equal(layout.view == -1, np.isnan(found[:, 0]))
    tiles = layout.view == 1
    for axis, ours, cut in ((1, layout.row, best[0] * each), (2, layout.col, best[1] * each)):
        if tiles.any():
            kept = layout.views[1].rows if axis == 1 else layout.views[1].cols
            theirs = found[tiles, axis]
            first, last = theirs.min(), theirs.max()
            # As much is cut off at the beginning as at the end, and steps are equal.
            assert first + last == pytest.approx(cut - 1, abs=1e-2)
            step = (last - first) / max(kept - 1, 1)
            np.testing.assert_allclose(first + ours[tiles] * step, theirs, atol=0.6)
            assert set(ours[tiles]) == set(range(kept))


def test_a_picture_of_a_tiles_size_is_seen_twice_by_onevision():
    batch = encoded(REAL["onevision"][0], Image.new("RGB", (384, 384)))
    (layout,) = batch.layouts
    assert batch.grids == [(27, 27)]
    assert [(v.name, v.rows, v.cols) for v in layout.views] == [
        ("overview", 27, 27), ("tiles", 27, 27),
    ]  # fmt: skip
    assert [int((layout.view == at).sum()) for at in (0, 1, -1)] == [729, 729, 27]
    assert (layout.view[:729] == 0).all()
    ends = np.flatnonzero(layout.view < 0)
    assert ends.tolist() == [729 + 28 * row + 27 for row in range(27)]
    # 27 patches of 14 pixels: the last 6 of 384 pixels are in none.
    for view in layout.views:
        assert view.box == pytest.approx((0, 0, 378 / 384, 378 / 384))


def check_tiles(size, longest, tile):
    pictures = Idefics3ImageProcessorPil(
        size={"longest_edge": longest}, max_image_size={"longest_edge": tile}
    )
    made = pictures(Image.new("RGB", size), return_row_col_info=True)
    rows, cols = made["rows"][0][0], made["cols"][0][0]
    layout = split(SimpleNamespace(image_processor=pictures, image_seq_len=4), size)
    sizes = [(view.rows, view.cols) for view in layout.views]
    assert sizes == ([(2, 2), (2 * rows, 2 * cols)] if rows else [(2, 2)])


@given(
    size=st.tuples(st.integers(8, 400), st.integers(8, 400)),
    longest=st.integers(60, 130),
    tile=st.integers(25, 60),
)
@settings(deadline=None, max_examples=200)
def test_as_many_tiles_as_the_image_processor_of_idefics_makes(size, longest, tile):
    check_tiles(size, longest, tile)


@pytest.mark.parametrize("size", [(400, 4), (3, 333), (4200, 40)])
def test_a_picture_longer_than_idefics_allows_is_shrunk(size):
    check_tiles(size, 5000, 500)


def test_llava_sees_the_middle_of_a_wide_picture():
    prompter = llava(336, 14)
    pictures = Image.new("RGB", (640, 480)), Image.new("RGB", (300, 900))
    wide, tall = encoded(prompter, *pictures).layouts
    assert [(v.name, v.rows, v.cols) for v in wide.views] == [("picture", 24, 24)]
    # 448 × 336 of which 56 pixels are cut off on both sides.
    assert wide.views[0].box == pytest.approx((1 / 8, 0, 7 / 8, 1))
    # 336 × 1008: a third is left.
    assert tall.views[0].box == pytest.approx((0, 1 / 3, 1, 2 / 3))


def test_marks_in_the_corners_of_the_box_are_in_the_corners_of_what_llava_sees():
    prompter = llava(336, 14)
    (view,) = encoded(prompter, Image.new("RGB", (640, 480))).layouts[0].views
    left, right = round(view.box[0] * 640), round(view.box[2] * 640)
    picture = np.zeros((480, 640, 3), dtype=np.uint8)
    picture[:20, left : left + 20, 0] = picture[-20:, right - 20 : right, 1] = 255
    pixels = encoded(prompter, Image.fromarray(picture)).inputs["pixel_values"][0]
    assert pixels[0, :14, :14].mean() > 0.95
    assert pixels[1, -14:, -14:].mean() > 0.95
    assert pixels[0].sum() == pytest.approx(14 * 14, rel=0.02)


def test_views_are_written_as_the_trace_holds_them():
    (layout,) = encoded(MADE["smolvlm"], Image.new("RGB", (60, 30))).layouts
    assert json.loads(layout.to_json()) == [
        {"name": "overview", "rows": 4, "cols": 4, "box": [0, 0, 1, 1]},
        {"name": "tiles", "rows": 8, "cols": 16, "box": [0, 0, 1, 1]},
    ]
    # The tiles come first in the prompt: four positions of the second tile's first row.
    assert layout.view[16:20].tolist() == [1] * 4
    assert layout.row[16:20].tolist() == [0] * 4
    assert layout.col[16:20].tolist() == [4, 5, 6, 7]
    assert (layout.view[-16:] == 0).all()


@pytest.mark.parametrize("name", PROMPTERS)
def test_a_batch_and_joined_prompts_have_the_layouts_of_each_alone(name):
    prompter, pictures = MADE[name], [ramp(64, 64), ramp(120, 40)]
    batch = encoded(prompter, *pictures)
    singles = [prompter.encode([row(n)], [pictures[n]]) for n in range(2)]
    assert batch.layouts == [single.layouts[0] for single in singles]
    assert batch.layouts != batch.layouts[::-1] or name not in ("internvl", "onevision", "smolvlm")
    assert "labels" not in batch.inputs
    joined = join(singles, prompter.tokenizer.pad_token_id)
    assert joined.layouts == batch.layouts
    assert joined.grids == [layout.grid for layout in batch.layouts]


@pytest.mark.parametrize("name", PROMPTERS)
def test_another_number_of_positions_has_no_views(name):
    prompter = MADE[name]
    batch = encoded(prompter, ramp(64, 64))
    for count in (batch.n_image_tokens[0] - 1, batch.n_image_tokens[0] + 1):
        (layout,) = layouts_of(prompter.processor, batch.inputs, [count], [(64, 64)])
        assert layout.views == ()
        assert layout.grid == (0, 0)
        assert layout.to_json() == "[]"
        assert layout.view.tolist() == layout.row.tolist() == layout.col.tolist() == [-1] * count


@pytest.mark.parametrize("more", ["image_sizes", "spatial_shapes", "pixel_attention_mask"])
def test_a_square_number_of_positions_is_no_square_where_shapes_may_differ(more):
    processor = SimpleNamespace(image_processor=SimpleNamespace())
    inputs = {"input_ids": torch.zeros(1, 40), "pixel_values": torch.zeros(1, 3, 8, 8)}
    (plain,) = layouts_of(processor, inputs, [36], [(50, 40)])
    assert plain.grid == (6, 6)
    (other,) = layouts_of(processor, inputs | {more: torch.ones(1, 2)}, [36], [(50, 40)])
    assert other.views == ()


def test_learned_queries_have_no_place():
    class Idefics2Processor(SimpleNamespace):
        pass

    inputs = {"input_ids": torch.zeros(1, 70), "pixel_values": torch.zeros(1, 3, 8, 8)}
    processor = Idefics2Processor(image_processor=SimpleNamespace())
    assert layouts_of(processor, inputs, [64], [(50, 40)])[0].views == ()


def test_layouts_differ_by_views_and_by_places():
    (one,) = encoded(MADE["qwen2-vl"], ramp(64, 32)).layouts
    (other,) = encoded(MADE["qwen2-vl"], ramp(32, 64)).layouts
    assert one != other
    assert one == encoded(MADE["qwen2-vl"], ramp(64, 32)).layouts[0]
    a, b = encoded(MADE["qwen2-vl"], ramp(64, 32)), encoded(MADE["qwen2-vl"], ramp(32, 64))
    assert same(a, a)
    assert not same(a, b)
