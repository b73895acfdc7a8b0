"""Synthetic runs, each written once a session; the tests only read them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from metric_runs import Made

from synthetic import make_run


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Made:
    root = tmp_path_factory.mktemp("scenes")
    truth = make_run(
        root, "m_1", "scenes", n_samples=40, n_steps=3, n_shards=2, asked=("digit", "en")
    )
    return Made(root, "m_1", "scenes", truth)


@pytest.fixture(scope="session")
def facts(tmp_path_factory: pytest.TempPathFactory) -> Made:
    root = tmp_path_factory.mktemp("facts")
    truth = make_run(root, "t-2", "facts", n_samples=25, n_layers=12, n_steps=2)
    return Made(root, "t-2", "facts", truth)
