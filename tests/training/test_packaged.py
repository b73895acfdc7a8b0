"""The models that ship with lensbench: small, plain transformers folders, right where promised."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForImageTextToText

import lensbench
from lensbench.training.evaluation import evaluate

PACKAGED = Path(lensbench.__file__).parent / "models" / "packaged"
CLASSES = {
    "lensbench-llava": "LlavaForConditionalGeneration",
    "lensbench-onevision": "LlavaOnevisionForConditionalGeneration",
    "lensbench-qwen2vl": "Qwen2VLForConditionalGeneration",
}


def test_all_of_them_take_at_most_ten_megabytes() -> None:
    files = [path for path in PACKAGED.rglob("*") if path.is_file() and path.suffix != ".py"]
    assert {path.parent.name for path in files} == set(CLASSES)
    assert sum(path.stat().st_size for path in files) <= 10_000_000


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_a_model_is_an_unmodified_class_with_eight_layers_and_bfloat16_weights(name: str) -> None:
    folder = PACKAGED / name
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
    assert type(model).__name__ == CLASSES[name]
    assert type(model).__module__.startswith("transformers.")
    assert AutoConfig.from_pretrained(folder).get_text_config().num_hidden_layers >= 8
    assert not list(folder.glob("*.py"))
    assert not list(folder.glob("*.bin"))
    tied = model.get_output_embeddings().weight, model.get_input_embeddings().weight
    assert tied[0] is tied[1]
    with safe_open(folder / "model.safetensors", framework="pt") as weights:
        names = list(weights.keys())
        assert not [name for name in names if "lm_head" in name]
        assert {weights.get_tensor(name).dtype for name in names} == {torch.bfloat16}


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_a_processor_folder_names_a_video_half_where_its_class_has_one(name: str) -> None:
    # With torchvision installed, AutoProcessor insists on it.
    described = json.loads((PACKAGED / name / "processor_config.json").read_text("utf-8"))
    assert ("video_processor" in described) == (name != "lensbench-llava")


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_held_out_pictures_are_answered_as_well_as_promised(name: str) -> None:
    measured = evaluate(PACKAGED / name, 800)
    assert measured["count"]["accuracy"] >= 0.80
    for family in ("color", "fill color", "flower color"):
        assert measured[family]["accuracy"] >= 0.90
    # What a model blind to the picture could reach is far below.
    assert measured["count"]["prior"] < 0.30
