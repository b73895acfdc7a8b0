"""A configuration is held to its weights before anything is built of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from lensbench.errors import ModelError
from lensbench.models.sizes import check_sizes
from lensbench.models.source import PACKAGED


def folder_of(place: Path, config: Any, tensors: int = 3) -> tuple[Path, list[Path]]:
    (place / "config.json").write_text(json.dumps(config), encoding="utf-8")
    file = place / "model.safetensors"
    save_file({f"t{n}": np.zeros(2, np.float32) for n in range(tensors)}, file)
    return place, [file]


@pytest.mark.parametrize(
    "config",
    [
        {"num_hidden_layers": 10**6},
        {"text_config": {"num_hidden_layers": 65}},
        {"vision_config": {"depths": [2, 2, 10**9]}},
        {"text_config": {"num_local_experts": 10**12}},
    ],
)
def test_more_modules_than_tensors_are_refused(tmp_path: Path, config: Any) -> None:
    with pytest.raises(ModelError, match="they are not of one model"):
        check_sizes(*folder_of(tmp_path, config))


def test_what_fits_is_let_pass(tmp_path: Path) -> None:
    config = {
        "num_hidden_layers": 64, "max_window_layers": 10**6, "first_k_dense_replace_layer": 10**6,
        "vocab_size": 10**6, "use_layer_scale": True, "layer_norm_eps": 1e-5,
    }  # fmt: skip
    check_sizes(*folder_of(tmp_path, config))
    check_sizes(*folder_of(tmp_path, {"num_hidden_layers": 300}, tensors=300))


def test_packaged_models_pass() -> None:
    for folder in sorted(PACKAGED.iterdir()):
        if (folder / "config.json").is_file():
            check_sizes(folder, [folder / "model.safetensors"])


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, "9" * 5000, "\ufffe"])
def test_what_is_no_configuration_is_told(tmp_path: Path, text: str) -> None:
    folder, files = folder_of(tmp_path, {})
    (folder / "config.json").write_text(text, encoding="utf-8")
    with pytest.raises(ModelError, match="is no model's configuration"):
        check_sizes(folder, files)
