"""The Slurm that the tests bring up: a node that was taken away comes back, however soon."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from tests.cluster.slurm import Node, Slurm, check, slurm


@pytest.fixture(scope="module")
def small() -> Iterator[Slurm]:
    """A Slurm of one node."""
    check()
    with slurm([Node("node1", "cpu", cpus=2)]) as running:
        yield running


@pytest.mark.parametrize("pause_s", [0, 3])
def test_a_lost_node_comes_back(small: Slurm, pause_s: float) -> None:
    for _ in range(3):
        small.kill_node("node1")
        time.sleep(pause_s)
        assert not small.is_up("node1")
        small.return_node("node1")
        assert small.ask("srun", "echo", "works").strip() == "works"
