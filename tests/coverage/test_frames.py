"""Every type with frames: it runs, padding and pictures do to it what they should."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from tests.generations import generated_logits
from transformers import AutoConfig, AutoModelForImageTextToText
from transformers.generation import GenerationMixin
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
from transformers.models.diffusion_gemma import DiffusionGemmaForBlockDiffusion

from lensbench.coverage.frame_layouts import joined
from lensbench.coverage.frames import FRAME_TYPES, frame_instance
from lensbench.coverage.instance import Instance, Unbuildable

UNBUILDABLE = ("diffusion_gemma", "evolla")
BUILT = [name for name in FRAME_TYPES if name not in UNBUILDABLE]
# Learned positions that count from the first slot, padding or not.
COUNTS_PADDING = {"florence2", "pp_formulanet", "vision-encoder-decoder"}
# Positions are right in the prompt, but count padding when tokens are generated after it.
COUNTS_PADDING_LATER = {"kosmos-2", "kosmos-2.5"}

# By hand: both prompts' pictures. Frames have 32 × 32 pixels, patches 8 × 8, so 16 patches.
POSITIONS = {
    "llava": 16 + 16,
    "vipllava": 16 + 16,
    "blip-2": 4 + 4,  # query tokens
    "kosmos-2": 4 + 4,
    "instructblipvideo": 4 * 4 + 4 * 4,  # four frames
    "idefics2": 2 * 4 + 4,  # two frames and one, of 4 latents each
    "idefics3": 2 * 4 + 4,  # 2 × 2 patches become one
    "internvl": 2 * 4 + 4,
    "ovis2": 2 * 16 + 16,
    "gemma3": 2 * 4 + 4,
    "perception_lm": 2 * 16 + 2 * 16,
    "deepseek_ocr2": 2 * (3 * 144 + 1),  # 144 queries each of three views, and a separator
    "hyperclovax_vision_v2": 4 * 6 // 4 + 4 * 4 // 4,
    # 52 × 64 of 64 × 64 pixels: 6 of 8 rows are no padding, and each row ends with a newline.
    "llava_next": (16 + 6 * 9) + (16 + 4 * 9),
    # A quarter of the patches: 4 rows of 4, then 2 of 4.
    "granite4_vision": (4 + 4 * 5) + (4 + 2 * 5),
}


@cache
def built(name: str) -> Instance:
    return frame_instance(name)


def apart(name: str) -> list[float]:
    """How far the padded prompt is from itself alone, at each step with the same tokens."""
    instance = built(name)
    padded = generated_logits(instance.model, instance.batch, 2)[1]
    alone = generated_logits(instance.model, instance.singles[1], 2)[0]
    count = 2 if int(padded[0].argmax()) == int(alone[0].argmax()) else 1
    return [float((padded[step] - alone[step]).abs().max()) for step in range(count)]


def test_types_are_image_text_types() -> None:
    assert set(FRAME_TYPES) <= set(MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES)
    assert len(FRAME_TYPES) == len(set(FRAME_TYPES)) == 49


@pytest.mark.parametrize("name", BUILT)
def test_two_tokens_are_read_and_pictures_reach_them(name: str) -> None:
    instance = built(name)
    logits = generated_logits(instance.model, instance.batch, 2)
    assert logits.shape[:2] == (2, 2)
    assert logits.log_softmax(-1).isfinite().all()
    other = dict(instance.batch)
    pixels = "pixel_values" if "pixel_values" in other else "flattened_patches"
    moved = other[pixels] + torch.randn_like(other[pixels])
    if pixels == "flattened_patches":  # A patch's row and column stay.
        moved[..., :2] = other[pixels][..., :2]
    # Zeros are frames that aren't there.
    other[pixels] = torch.where(other[pixels] == 0, other[pixels], moved)
    change = (generated_logits(instance.model, other, 1) - logits[:, :1]).abs().amax(-1)
    assert float(change.min()) > 0.01


@pytest.mark.parametrize("name", [n for n in BUILT if n not in COUNTS_PADDING])
def test_padding_changes_nothing_in_the_prompt(name: str) -> None:
    assert apart(name)[0] < 1e-4


@pytest.mark.parametrize("name", sorted(COUNTS_PADDING))
def test_padding_changes_models_that_count_it(name: str) -> None:
    assert apart(name)[0] > 1e-2


@pytest.mark.parametrize("name", sorted(COUNTS_PADDING_LATER))
def test_padding_changes_later_tokens_of_models_that_count_it_then(name: str) -> None:
    first, second = apart(name)
    assert first < 1e-4
    assert second > 1e-2


@pytest.mark.parametrize("name", sorted(POSITIONS))
def test_image_positions_are_as_many_as_counted_by_hand(name: str) -> None:
    instance = built(name)
    assert int(instance.image.sum()) == POSITIONS[name]
    for row, single in enumerate(instance.singles):
        alone = single["input_ids"] == instance.image_token_id
        assert int(instance.image[row].sum()) == int(alone.sum())


@pytest.mark.parametrize("name", ["blip", "git", "idefics", "mllama", "udop"])
def test_pictures_beside_the_prompt_have_no_image_positions(name: str) -> None:
    assert built(name).image_token_id is None
    assert not built(name).image.any()


def test_seed_decides_weights_and_prompts() -> None:
    first, again, other = (frame_instance("llava", seed) for seed in (3, 3, 4))
    assert torch.equal(first.batch["input_ids"], again.batch["input_ids"])
    assert torch.equal(first.batch["pixel_values"], again.batch["pixel_values"])
    assert torch.equal(
        generated_logits(first.model, first.batch, 1), generated_logits(again.model, again.batch, 1)
    )
    assert not torch.equal(
        generated_logits(first.model, first.batch, 1), generated_logits(other.model, other.batch, 1)
    )


def test_codes_of_chameleon_are_never_spoken() -> None:
    logits = generated_logits(built("chameleon").model, built("chameleon").batch, 1)[:, 0]
    lowest = (logits == torch.finfo(torch.float32).min).nonzero()[:, 1].reshape(2, -1)
    assert lowest.tolist() == [list(range(100, 116))] * 2


@pytest.mark.parametrize("name", UNBUILDABLE)
def test_unbuildable_types_say_why(name: str) -> None:
    with pytest.raises(Unbuildable, match=r"denoising|proteins"):
        frame_instance(name)


def test_reasons_of_unbuildable_types_are_true() -> None:
    assert not issubclass(DiffusionGemmaForBlockDiffusion, GenerationMixin)
    evolla = AutoConfig.for_model("evolla")
    with pytest.raises(ValueError, match="Unrecognized configuration class"):
        AutoModelForImageTextToText.from_config(evolla)


def test_joined_pads_prompts_on_the_left_and_frames_on_the_right() -> None:
    long = {
        "input_ids": torch.tensor([[5, 6, 7]]),
        "attention_mask": torch.ones(1, 3, dtype=torch.long),
        "pixel_values": torch.full((1, 1, 2), 1.0),
    }
    short = {
        "input_ids": torch.tensor([[8]]),
        "attention_mask": torch.ones(1, 1, dtype=torch.long),
        "pixel_values": torch.full((1, 2, 2), 2.0),
    }
    batch = joined([long, short], pad=9)
    assert batch["input_ids"].tolist() == [[5, 6, 7], [9, 9, 8]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [0, 0, 1]]
    assert batch["pixel_values"].tolist() == [[[1.0, 1.0], [0.0, 0.0]], [[2.0, 2.0], [2.0, 2.0]]]


def test_joined_lays_patches_of_pictures_in_one_row() -> None:
    batch = joined([{"pixel_values": torch.zeros(4, 3)}, {"pixel_values": torch.ones(2, 3)}], pad=0)
    assert batch["pixel_values"].sum(-1).tolist() == [0.0] * 4 + [3.0] * 2
