"""The workflow's own entrance: snakemake with configurations of any content, in a process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, seed, settings
from tests.conftest import Snakemake
from tests.fuzz.conftest import PHASES, SEED, N
from tests.fuzz.mutations import mutated_trees
from tests.fuzz.test_fuzz_settings import TREES, dumped


def test_configurations_through_snakemake(snakemake: Snakemake, tree: Path) -> None:
    """A plan takes seconds, so there are few; what is not planned is told in one sentence."""
    ends: list[int] = []

    def one(config: Any) -> None:
        path = tree / "hostile.yaml"
        path.write_bytes(dumped(config))
        before = sorted(p.relative_to(tree) for p in tree.rglob("*") if ".snakemake" not in p.parts)
        done = snakemake("-n", "--quiet", "all", "--configfile", str(path))
        said = done.stdout + done.stderr
        assert "Traceback" not in said, said
        if done.returncode:
            told = [line for line in said.splitlines() if line.startswith("lensbench: ")]
            # What snakemake itself refuses, before the configuration is ours, it tells its way.
            assert len(told) == 1 or "Error" in said, said
        after = sorted(p.relative_to(tree) for p in tree.rglob("*") if ".snakemake" not in p.parts)
        assert after == before
        ends.append(done.returncode)

    settings(
        max_examples=max(3, N // 150),
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=PHASES,
    )(seed(SEED)(given(mutated_trees(TREES, most=2))(one)))()
    assert set(ends) <= {0, 1}
    assert ends
