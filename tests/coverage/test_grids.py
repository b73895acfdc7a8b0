"""The instances with grids and crops: they run, they pad, and their pictures reach the answer."""

import inspect
import math

import pytest
import torch
from tests.generations import generated
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from lensbench.coverage.grid_layouts import joined
from lensbench.coverage.grids import GRID_TYPES, grid_instance
from lensbench.coverage.instance import Unbuildable

UNBUILDABLE = {"mistral4": "takes no picture", "pi0": "robot"}
BUILDABLE = [name for name in GRID_TYPES if name not in UNBUILDABLE]

# Two models that answer a prompt differently when it is padded on the left, by their own doing:
# hunyuan_vl counts pictures over the whole batch in its positions, minimax_m3_vl compares places
# in the padded row with positions that leave padding out when it chooses blocks of keys.
PADDING_CHANGES = {"hunyuan_vl", "minimax_m3_vl"}

# Positions of a picture of 2 × 3 and of one of 2 × 2, counted by hand; 6 + 4 elsewhere.
POSITIONS = {
    "emu3": 2 * (2 * 2 + 2),  # Both pictures 2 × 2, and an end of each row.
    "hunyuan_vl": (2 * 4 + 2) + (2 * 3 + 2),  # An end of each row, a beginning and an end.
    "molmo2": (4 + 6) + (4 + 4),  # A small view of 2 × 2 first.
    "qianfan_ocr": 2 * 4 + 1 * 4,  # Two tiles and one, 2 × 2 each.
    "step3p7": (1 + 2) * 4 + (1 + 1) * 4,  # A view, two crops and one, 2 × 2 each.
    "unlimited_ocr": 2 * (2 * 3 + 1),  # 2 × 2, an end of each row, an end.
}

KINDS = {
    "dots3_note": {"indexed_attention", "sliding_attention"},
    "exaone4_5": {"sliding_attention", "full_attention"},
    "gemma4": {"sliding_attention", "full_attention"},
    "gemma4_unified": {"sliding_attention", "full_attention"},
    "glm5_next": {"linear_attention", "indexed_attention"},
    "inkling2": {"hybrid", "hybrid_sliding"},
    "lfm2_vl": {"conv", "full_attention"},
    "minicpmv4_6": {"linear_attention", "full_attention"},
    "minimax_m3_vl": {"full_attention", "minimax_m3_sparse"},
    "muse_spark": {"sliding_attention", "full_attention"},
    "nemotron_h_omni": {"linear_attention", "moe", "full_attention", "mlp"},
    "qwen3_5_moe": {"linear_attention", "full_attention"},
    "qwen4_exp": {"linear_attention", "indexed_attention"},
    "step3p7": {"full_attention", "sliding_attention"},
}


@torch.inference_mode()
def n_features(model, inputs):
    """Return how many features a model makes of a batch's pictures."""
    make = model.base_model.get_image_features
    wanted = inspect.signature(make).parameters
    output = make(**{name: value for name, value in inputs.items() if name in wanted})
    found = getattr(output, "pooler_output", None)
    found = output.last_hidden_state if found is None else found
    parts = [found] if isinstance(found, torch.Tensor) else found
    return sum(part[..., 0].numel() for part in parts)


def test_the_types_are_image_text_types():
    assert len(GRID_TYPES) == len(set(GRID_TYPES)) == 48
    assert set(GRID_TYPES) <= set(MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES)


@pytest.mark.parametrize("model_type", BUILDABLE)
def test_an_instance_runs_pads_and_sees(model_type):
    instance = grid_instance(model_type)
    model, batch = instance.model, instance.batch
    together = generated(model, batch)
    assert torch.isfinite(together).all()
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    # Answers are neither a single token nor any token alike.
    entropy = -(together.exp() * together).sum(-1)
    assert entropy.min() > 1.0
    assert entropy.max() < math.log(together.shape[-1]) - 0.05

    apart = []
    for row, single in enumerate(instance.singles):
        length = single["input_ids"].shape[1]
        assert batch["attention_mask"][row].sum() == length
        assert torch.equal(batch["input_ids"][row, -length:], single["input_ids"][0])
        alone = generated(model, single)
        apart.append(float((alone[0, 0] - together[row, 0]).abs().max()))
        other = {**single, "pixel_values": torch.randn_like(single["pixel_values"])}
        assert (generated(model, other, 1)[0, 0] - alone[0, 0]).abs().max() > 0.05
    assert (max(apart) > 1e-3) if model_type in PADDING_CHANGES else (max(apart) < 1e-4)

    assert (batch["attention_mask"][:, 0] == 0).sum() == 1
    assert int(instance.image.sum()) == POSITIONS.get(model_type, 10)
    assert n_features(model, batch) == POSITIONS.get(model_type, 10)
    assert not (instance.image & (batch["attention_mask"] == 0)).any()


@pytest.mark.parametrize("model_type", BUILDABLE)
def test_an_instance_is_tiny(model_type):
    model = grid_instance(model_type).model
    text = model.config.get_text_config(decoder=True)
    assert text.hidden_size <= 64
    assert text.vocab_size <= 128
    assert text.num_hidden_layers in (3, 4)
    assert sum(parameter.numel() for parameter in model.parameters()) < 4e6


@pytest.mark.parametrize("model_type", sorted(KINDS))
def test_an_instance_has_each_kind_of_layer(model_type):
    text = grid_instance(model_type).model.config.get_text_config(decoder=True)
    assert set(text.layer_types) == KINDS[model_type]
    if "sliding_attention" in KINDS[model_type]:
        assert text.sliding_window == 4


def test_the_seed_decides():
    first, again, other = (grid_instance("qwen2_vl", seed) for seed in (3, 3, 4))
    for name, value in first.batch.items():
        assert torch.equal(value, again.batch[name])
    assert not torch.equal(first.batch["pixel_values"], other.batch["pixel_values"])
    assert torch.equal(generated(first.model, first.batch), generated(again.model, again.batch))
    assert not torch.allclose(
        generated(first.model, first.batch), generated(other.model, first.batch)
    )


@pytest.mark.parametrize("model_type", sorted(UNBUILDABLE))
def test_what_cannot_be_built_says_why(model_type):
    with pytest.raises(Unbuildable, match=UNBUILDABLE[model_type]):
        grid_instance(model_type)


def test_kinds_of_positions_are_marked():
    instance = grid_instance("ernie4_5_vl_moe")
    config, row = instance.model.config, instance.singles[1]
    start, end = config.image_start_token_id, config.image_end_token_id
    image = config.image_token_id
    assert row["input_ids"][0, 2:8].tolist() == [start, image, image, image, image, end]
    assert row["mm_token_type_ids"].tolist() == [[0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 0]]
    assert row["moe_mm_token_type_ids"].tolist() == [[0, 0, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0]]


def test_pictures_of_a_batch_are_joined_as_processors_join_them():
    sizes = [torch.tensor([[2, 4]]), torch.tensor([[2, 2]])]
    pictures = [torch.ones(1, 3, 2, 4), torch.ones(1, 3, 2, 2)]
    padded = joined(
        [{"pixel_values": p, "image_sizes": s} for p, s in zip(pictures, sizes, strict=True)]
    )
    assert padded["pixel_values"][1, 0].tolist() == [[1, 1, 0, 0], [1, 1, 0, 0]]
    assert padded["image_sizes"].tolist() == [[2, 4], [2, 2]]
    beside = joined(
        [{"pixel_values": p, "target_sizes": s} for p, s in zip(pictures, sizes, strict=True)]
    )
    assert beside["pixel_values"].shape == (1, 3, 2, 6)
    places = torch.tensor([[0, 1], [2, 3]])
    counted = joined([{"pixel_values": torch.ones(2, 4, 5), "image_token_pooling": places}] * 2)
    assert counted["image_token_pooling"].tolist() == [[0, 1], [2, 3], [8, 9], [10, 11]]
