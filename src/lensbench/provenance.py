"""What every provenance of numbers that a model gave says of its making: packages and machine."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from lensbench import __version__

_PACKAGES = (
    "accelerate",
    "bitsandbytes",
    "lensbench",
    "numpy",
    "pandas",
    "pillow",
    "pyarrow",
    "safetensors",
    "tokenizers",
    "torch",
    "transformers",
)


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that numbers depend on, "" for one that isn't there."""
    return {name: _version(name) for name in _PACKAGES}


def machine(device: str) -> dict[str, Any]:
    """Return what of this machine decides how sums are rounded, as docs/numbers.md tells.

    Args:
        device: where the model runs, as torch names it.

    Returns:
        `instructions`: the set of the CPU that torch took; `threads` of torch; `gpu`: the names of
        the kinds of GPUs that this process sees, "" for a model on the CPU.
    """
    kinds: set[str] = set()
    if device != "cpu":
        kinds = {torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())}
    return {
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "gpu": ", ".join(sorted(kinds)),
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return __version__ if name == "lensbench" else ""
