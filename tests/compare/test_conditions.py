"""The embedded models read elsewhere, as far as that can be had here, held to what is promised.

Every reading is made in a process of its own, where the environment chooses instruction sets.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lensbench.compare.report import compare, exceeded
from lensbench.compare.tolerances import TOLERANCES
from lensbench.datasets import scenes
from lensbench.inspection import inspect_model
from lensbench.models.load import load_model
from lensbench.models.source import packaged_models
from lensbench.numerics import PLAINEST, Reading, Request, in_own_process
from lensbench.tracing import ExtractOptions

#: The instruction sets that can be had on this CPU beside its own best.
BEST = torch.backends.cpu.get_cpu_capability()
SETS = {
    "plainest": PLAINEST,
    **{
        name: {"ATEN_CPU_CAPABILITY": name, "ONEDNN_MAX_CPU_ISA": isa, "MKL_CBWR": cbwr}
        for name, isa, cbwr, on in (
            ("avx2", "AVX2", "AVX2", ("AVX2", "AVX512")),
            ("avx512", "AVX512_CORE", "AVX512", ("AVX512",)),
        )
        if BEST in on
    },
}
OPTIONS = ExtractOptions(batch_size=4, max_new_tokens=2, floor_directions=4, seed=1)
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}


@pytest.fixture(scope="module")
def readings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a folder of results for each condition."""
    folder = tmp_path_factory.mktemp("elsewhere")
    scenes.make(folder / "scenes", n=10, seed=3)
    bases = []
    for name in packaged_models():
        inspect_model(load_model(name, f"packaged:{name}", device="cpu"), folder / "m" / name)
        place = {"device": "cpu", "dtype": "float32"}
        bases.append(
            Request(
                name, f"packaged:{name}", "", str(folder / "scenes"), str(folder / "m" / name),
                place, OPTIONS,
            )
        )  # fmt: skip

    def of(condition: str, *requests: Request, threads: int | None = None) -> list[Reading]:
        place = folder / condition / "traces"
        return [
            Reading(request, str(place / request.name / "scenes"), "", threads)
            for request in requests
        ]

    half = [replace(base, place=base.place | {"dtype": "bfloat16"}) for base in bases]
    singles = [replace(base, options=replace(OPTIONS, batch_size=1)) for base in bases]
    here = [
        *of("base", *bases),
        *of("threads", *bases, threads=2),
        *of("batch", *singles),
        *of("dtype", *half),
    ]
    assert in_own_process(here, ONE_THREAD) == BEST
    assert in_own_process(of("same", *bases), ONE_THREAD) == BEST
    for name, environment in SETS.items():
        told = in_own_process(of(name, *bases), ONE_THREAD | environment)
        assert told == environment["ATEN_CPU_CAPABILITY"].upper()
    return folder


def faults(readings: Path, condition: str, name: str) -> list[str]:
    """Return what exceeds a class, of all models."""
    runs = compare(readings / "base", readings / condition).runs
    assert len(runs) == len(packaged_models()) == 3
    assert all(run.n_samples == 10 and run.found["top_logprob"].n for run in runs)
    return [f"{run.model}: {fault}" for run in runs for fault in exceeded(run, TOLERANCES[name])]


def largest(readings: Path, condition: str) -> float:
    runs = compare(readings / "base", readings / condition).runs
    return max(run.found["top_logprob"].value for run in runs)


def test_two_processes_write_the_same_bytes(readings: Path) -> None:
    assert faults(readings, "same", "same") == []
    for base in sorted((readings / "base").rglob("*.parquet")):
        other = readings / "same" / base.relative_to(readings / "base")
        assert base.read_bytes() == other.read_bytes(), base
    provenance = [
        (readings / name / "traces/lensbench-llava/scenes/0/provenance.json").read_bytes()
        for name in ("base", "same")
    ]
    assert provenance[0] == provenance[1]


@pytest.mark.parametrize("name", ["threads", "batch", "dtype"])
def test_within_what_is_promised(readings: Path, name: str) -> None:
    assert faults(readings, name, name) == []
    # And there is something to be promised; threads may find one order for sums this small.
    assert name == "threads" or largest(readings, name) > 0


@pytest.mark.parametrize("name", SETS)
def test_other_instruction_sets_are_within_what_is_promised(readings: Path, name: str) -> None:
    assert faults(readings, name, "cpu") == []


def test_the_plainest_instructions_give_other_bits(readings: Path) -> None:
    """If not, nothing was tried: the libraries would not have listened."""
    assert BEST == "DEFAULT" or largest(readings, "plainest") > 0


def test_half_precision_is_not_within_what_float32_promises(readings: Path) -> None:
    told = faults(readings, "dtype", "cpu")
    assert any("log p of top tokens" in fault for fault in told)
    assert any("mass of heads" in fault for fault in told)
