"""The models that golden outputs are of, each loaded once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lensbench.config import ROOT
from lensbench.models.load import LoadedModel, load_model
from lensbench.models.source import fetch_smollm2

SMOLLM2 = ROOT / "resources/models/smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture(scope="session")
def smollm2_path() -> Path:
    """Return the GGUF file of SmolLM2, fetched as the workflow does if it isn't there yet."""
    if not SMOLLM2.is_file():
        fetch_smollm2(SMOLLM2)
    return SMOLLM2


@pytest.fixture(scope="module")
def load(request: pytest.FixtureRequest) -> Callable[[str], LoadedModel]:
    """Return what loads a default model by its name; only the last one is kept in memory."""
    kept: dict[str, LoadedModel] = {}

    def loaded(name: str) -> LoadedModel:
        if name not in kept:
            kept.clear()
            packaged = name.startswith("lensbench-")
            source = (
                f"packaged:{name}"
                if packaged
                else f"gguf:{request.getfixturevalue('smollm2_path')}"
            )
            kept[name] = load_model(name, source, dtype="float32", device="cpu", verify=False)
        return kept[name]

    return loaded
