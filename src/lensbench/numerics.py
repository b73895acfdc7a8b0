"""Glue: a few samples of a run read again under other conditions, to see how far numbers move.

The conditions are those of `compare.tolerances`. Batch size, threads, dtype and device are changed
in this process; the instruction set of the CPU is chosen when a process begins, so that it gets one
of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import torch

from lensbench.compare.folders import Run, runs_in
from lensbench.compare.numeric_table import not_measured, rows_of, write
from lensbench.compare.runs import compare_run
from lensbench.compare.tolerances import tolerance_of
from lensbench.errors import LensbenchError
from lensbench.extract import extract_shard
from lensbench.models.load import LoadedModel, load_model
from lensbench.tracing import ExtractOptions

#: What keeps the libraries below from using any instructions but those that every x86-64 has.
PLAINEST = {
    "ATEN_CPU_CAPABILITY": "default",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "MKL_CBWR": "COMPATIBLE",
}


@dataclass(frozen=True)
class Request:
    """What is read, and from where.

    Args:
        name: of the model.
        source: of its weights.
        revision: pinned commit of a hub's.
        dataset: folder of the manifest.
        model_folder: written by `inspect_model`.
        place: how it is loaded, as `load_model` takes it.
        options: how it is run; only the first samples are.
    """

    name: str
    source: str
    revision: str
    dataset: str
    model_folder: str
    place: dict[str, Any]
    options: ExtractOptions


@dataclass(frozen=True)
class Reading:
    """A request with the folder its run goes to.

    Args:
        request: what is read.
        folder: where the run goes.
        weights: digest of the model's weights, as its folder notes it; "" for what is loaded.
        threads: how many compute; None for as many as the process was given.
    """

    request: Request
    folder: str
    weights: str = ""
    threads: int | None = None


def measure(request: Request, out: str | Path, on_cpu: bool = True) -> None:
    """Read samples under every condition that can be had here, and write how they differ.

    Args:
        request: what is read.
        out: the Parquet file to write.
        on_cpu: whether a model that runs on a GPU is read on the CPU too.

    Raises:
        LensbenchError: if something can't be read, or a process of its own fails.
    """
    with TemporaryDirectory(prefix="lensbench-numerics-") as place:
        write(out, _Conditions(request, Path(place), on_cpu).rows())


class _Conditions:
    """The conditions, one after the other; only one copy of the model is in memory at a time."""

    def __init__(self, request: Request, work: Path, on_cpu: bool) -> None:
        self._request, self._work, self._on_cpu = request, work, on_cpu
        self._loaded: LoadedModel | None = None
        self._key: tuple[str, str] | None = None
        first = self._model()
        self._device, self._dtype = first.device, first.dtype
        self._weights = first.weights_sha256
        if request.source.startswith("gguf:"):
            # To unpack it takes longer than all conditions together, so it is done once.
            folder = work / "unpacked"
            _unpack(first, folder)
            self._request = replace(request, source=f"folder:{folder}", revision="")
        self._dataset = Path(request.dataset).name
        self._frames: list[pd.DataFrame] = []

    def rows(self) -> list[pd.DataFrame]:
        """Return the rows of all conditions."""
        options = self._request.options
        base = self._read("base", options)
        on_gpu = self._device.startswith("cuda")
        size = 1 if options.batch_size > 1 else 8
        self._hold(
            "batch",
            f"batch size {size} instead of {options.batch_size}",
            base,
            self._read("batch", replace(options, batch_size=size)),
        )
        if on_gpu:
            self._without("threads", "the model ran on a GPU")
            self._without("cpu", "the model ran on a GPU")
        else:
            self._threads(base)
            self._cpu(base)
        self._loaded = None  # Loaded anew, so that nothing lies where it lay.
        self._hold("same", "loaded and read again", base, self._read("same", options))
        if self._request.place.get("quantization"):
            for condition in ("dtype", "device"):
                self._without(condition, "its weights are held in few bits")
            return self._frames
        half = "bfloat16" if self._dtype == "float32" else "float32"
        other = self._read("dtype", options, dtype=half)
        self._hold("dtype", f"{half} instead of {self._dtype}", base, other, "bfloat16")
        self._other_device(base if self._dtype == "float32" else other, on_gpu)
        return self._frames

    def _threads(self, base: Run) -> None:
        before = torch.get_num_threads()
        threads = 2 if before == 1 else 1
        with _threads(threads):
            read = self._read("threads", self._request.options)
        self._hold("threads", f"{threads} threads instead of {before}", base, read)

    def _cpu(self, base: Run) -> None:
        capability = torch.backends.cpu.get_cpu_capability()
        if capability == "DEFAULT":
            self._without("cpu", "this CPU has no other instruction set")
            return
        request = replace(self._request, place=self._place(self._device, self._dtype))
        reading = Reading(request, str(self._work / "cpu"), self._weights)
        told = in_own_process([reading], PLAINEST)
        if told == capability:
            self._without("cpu", "this CPU's instruction set can't be chosen")
            return
        read = _run(self._work / "cpu")
        self._hold("cpu", f"{told.lower()} instructions instead of {capability}", base, read)

    def _other_device(self, base: Run, on_gpu: bool) -> None:
        other = "cpu" if on_gpu else "cuda"
        if other == "cuda" and not torch.cuda.is_available():
            self._without("device", "no CUDA device was there")
            return
        if other == "cpu" and not self._on_cpu:
            self._without("device", "the CPU was not asked for (numerics.on_cpu)")
            return
        read = self._read("device", self._request.options, other, "float32")
        detail = "CPU instead of CUDA" if on_gpu else "CUDA instead of CPU"
        self._hold("device", f"{detail}, in float32", base, read, "float32")

    def _hold(self, condition: str, detail: str, base: Run, read: Run, dtype: str = "") -> None:
        allowed = tolerance_of(condition, dtype or self._dtype)
        self._frames.append(rows_of(compare_run(base, read), condition, detail, allowed))

    def _without(self, condition: str, why: str) -> None:
        self._frames.append(not_measured(self._request.name, self._dataset, condition, why))

    def _read(
        self, condition: str, options: ExtractOptions, device: str = "", dtype: str = ""
    ) -> Run:
        loaded = self._model(device or self._device, dtype or self._dtype)
        return trace(loaded, replace(self._request, options=options), self._work / condition)

    def _model(self, device: str = "", dtype: str = "") -> LoadedModel:
        key = (device, dtype)
        if self._loaded is None or (device and key != self._key):
            self._loaded = None  # Before the next one takes as much again.
            place = self._place(device, dtype) if device else self._request.place
            self._loaded = _loaded(self._request, place, getattr(self, "_weights", ""))
        self._key = (self._loaded.device, self._loaded.dtype)
        return self._loaded

    def _place(self, device: str, dtype: str) -> dict[str, Any]:
        place = self._request.place | {"dtype": dtype}
        # Laid over all GPUs a model has no one device to be put on.
        return place if place.get("device_map") and device != "cpu" else place | {"device": device}


def _loaded(request: Request, place: dict[str, Any], weights: str) -> LoadedModel:
    """Load a model that passed its gate when it was inspected."""
    loaded = load_model(request.name, request.source, request.revision, verify=False, **place)
    return replace(loaded, weights_sha256=weights) if weights else loaded


def _unpack(loaded: LoadedModel, folder: Path) -> None:
    """Write a model that came packed as a folder that loads at once, its weights bit by bit."""
    loaded.model.hf_quantizer = None  # What refuses to be saved; nothing is packed in memory.
    if hasattr(loaded.model.config, "quantization_config"):
        del loaded.model.config.quantization_config
    loaded.model.save_pretrained(folder)
    loaded.processor.save_pretrained(folder)


def trace(loaded: LoadedModel, request: Request, folder: Path) -> Run:
    """Read the samples of a request, and return the run that was written."""
    extract_shard(
        loaded, request.dataset, 0, 1, request.options, folder / "0", request.model_folder
    )
    return _run(folder)


def _run(folder: Path) -> Run:
    (run,) = runs_in(folder).values()
    return run


@contextmanager
def _threads(n: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def in_own_process(readings: Sequence[Reading], environment: Mapping[str, str]) -> str:
    """Read in a process of its own.

    Args:
        readings: what is read there, in this order.
        environment: variables that the process gets beside those that are there.

    Returns:
        The instruction set that it used, such as "AVX2" or "DEFAULT".

    Raises:
        LensbenchError: if the process fails.
    """
    done = subprocess.run(
        [sys.executable, "-m", "lensbench.numerics"],
        input=json.dumps([asdict(reading) for reading in readings]),
        env=os.environ | dict(environment),
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["it gave no reason"])[-1]
        chosen = ", ".join(f"{key}={value}" for key, value in environment.items())
        raise LensbenchError(
            f"{readings[0].request.name} could not be read in a process of its own ({chosen}): "
            f"{said.removeprefix('lensbench: ')[:300]}"
        )
    return done.stdout.strip().splitlines()[-1]


def _own_process() -> None:
    try:
        for order in json.loads(sys.stdin.read()):
            given = order["request"]
            request = Request(**given | {"options": ExtractOptions(**given["options"])})
            loaded = _loaded(request, request.place, order["weights"])
            with _threads(order["threads"] or torch.get_num_threads()):
                trace(loaded, request, Path(order["folder"]))
    except LensbenchError as error:
        print(f"lensbench: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    print(torch.backends.cpu.get_cpu_capability())


if __name__ == "__main__":
    _own_process()
