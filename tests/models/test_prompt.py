"""Prompts: template, padding on the left, image positions and their grid, pictures opened."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from tests.planted import image_model, text_model

from lensbench.errors import DataError
from lensbench.models.prompt import encode, open_picture


def row(prompt, style="chat", image=None):
    return {"prompt": prompt, "style": style, "image": image}


def test_chat_and_completion():
    loaded = text_model("llama")
    wanted = "<|im_start|>user\nWhy ?<|im_end|>\n<|im_start|>assistant\n"
    assert loaded.prompter.text(row("Why ?")) == wanted
    assert loaded.prompter.text(row("Why ?", "completion")) == "Why ?"
    loaded.tokenizer.chat_template = None
    assert loaded.prompter.text(row("Why ?")) == "Why ?"


def test_padding_is_on_the_left():
    loaded = text_model("llama")
    encoded = encode(loaded, [row("Why", "completion"), row("How many stars", "completion")])
    first = int(encoded.first[0])
    assert first == max(encoded.n_tokens) - encoded.n_tokens[0] > 0
    assert encoded.inputs["attention_mask"][0].tolist() == [0] * first + [1] * encoded.n_tokens[0]
    assert not encoded.image.any()
    assert encoded.grids == [(0, 0)] * 2


@pytest.mark.parametrize(
    ("family", "grid", "count"),
    [
        ("llava", (4, 4), 16),
        # The whole picture's 16 positions, its one tile's 16 and a line end after each row of 4.
        ("onevision", (4, 4), 16 + 16 + 4),
        # 32 × 32 pixels in patches of 8, merged by 2 × 2.
        ("qwen2vl", (2, 2), 4),
    ],
)
def test_image_positions_and_grid(family, grid, count):
    loaded = image_model(family)
    picture = Image.new("RGB", (32, 32), "red")
    rows = [row("Why", image="a.png"), row("How many stars are there ?", image="b.png")]
    encoded = encode(loaded, rows, [picture, picture])
    assert encoded.grids == [grid] * 2
    assert encoded.n_image_tokens == [count] * 2
    assert encoded.prompts[0].index("<") < encoded.prompts[0].index("Why")
    ids = encoded.inputs["input_ids"]
    assert torch.equal(encoded.image, ids == loaded.anatomy.image_token_id)
    # One stretch, before the words.
    for mask in encoded.image:
        where = mask.nonzero()[:, 0]
        assert int(where[-1] - where[0]) == count - 1


def test_a_wide_picture_has_a_wide_grid_where_the_model_keeps_its_shape():
    loaded = image_model("qwen2vl")
    encoded = encode(loaded, [row("Why", image="a.png")], [Image.new("RGB", (64, 32))])
    assert encoded.grids == [(2, 4)]
    assert encoded.n_image_tokens == [8]


def test_what_can_not_be_a_batch_is_refused():
    loaded = image_model("llava")
    picture = Image.new("RGB", (32, 32))
    with pytest.raises(DataError, match="which stands for a picture"):
        encode(loaded, [row("What is <image> ?", image="a.png")], [picture])
    with pytest.raises(DataError, match="2 samples and 1 pictures"):
        encode(loaded, [row("Why", image="a.png")] * 2, [picture])
    with pytest.raises(DataError, match="can't be one batch: give each its own"):
        encode(text_model("llama"), [row("Why"), row("Why", "completion")])
    with pytest.raises(DataError, match="takes no picture"):
        encode(text_model("llama"), [row("Why", image="a.png")], [picture])


def test_pictures_become_rgb_and_stand_upright(tmp_path):
    pixels = np.zeros((2, 3), dtype=np.uint8)
    pixels[0, 0] = 255
    picture = Image.fromarray(pixels, "L")
    exif = picture.getexif()
    exif[0x0112] = 3  # Turned by half a circle.
    picture.save(tmp_path / "a.png", exif=exif)
    found = open_picture(tmp_path / "a.png")
    assert (found.mode, found.size) == ("RGB", (3, 2))
    assert found.getpixel((2, 1)) == (255, 255, 255)


def test_a_picture_too_large_to_be_one_is_refused(tmp_path, monkeypatch):
    Image.new("RGB", (40, 40)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(DataError, match=r"bomb\.png has more than 1000 pixels"):
        open_picture(tmp_path / "bomb.png")
