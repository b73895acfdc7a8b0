"""Whether a model's configuration speaks of what its weights hold, told before it is built."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from lensbench.errors import ModelError
from lensbench.models.gguf_header import header_of

#: Characters that a configuration or a tokenizer's settings may have.
_LONGEST = 2**24
#: How a configuration calls a number of modules that are built one by one, and how it does not.
_LIMITS = ("max_", "first_")
_COUNTS = ("layer", "depth", "expert", "block", "stage", "codebook")
#: How the keys of such numbers end in a GGUF file.
_GGUF_COUNTS = ("block_count", "expert_count")


def check_sizes(folder: str | Path, files: Sequence[Path]) -> None:
    """Refuse a folder whose configuration would have more modules built than it has weights.

    Such parts would be made up at random, however many there are said to be.

    Args:
        folder: the model's, with its config.json.
        files: its weights, safetensors.

    Raises:
        ModelError: if it would, or config.json or a file of weights can't be read.
    """
    path = Path(folder) / "config.json"
    try:
        if path.stat().st_size > _LONGEST:
            raise ValueError("too long")
        config = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise ValueError("no object")
        counts = list(_counts(config))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} is no model's configuration: copy it anew.") from error
    _hold(path, counts, sum(len(names_of(file)) for file in files), "the weights beside it are")


def check_gguf(path: str | Path) -> None:
    """Refuse a GGUF file that would have more modules built than it has tensors.

    Raises:
        ModelError: if it would, or its header can't be read.
    """
    try:
        tensors, numbers = header_of(path)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{path} can't be loaded: it is no GGUF file or is damaged, so copy it anew."
        ) from error
    counts = [(key, number) for key, number in numbers if key.endswith(_GGUF_COUNTS)]
    _hold(Path(path), counts, tensors, "it holds")


def _hold(path: Path, counts: Iterable[tuple[str, int]], tensors: int, where: str) -> None:
    for name, count in counts:
        if count > max(tensors, 64):
            raise ModelError(
                f"{path} has {name} = {count:,}, but {where} {tensors:,} tensors: they are not of "
                "one model."
            )


def names_of(file: Path) -> list[str]:
    """Return the names of a safetensors file's tensors.

    Raises:
        ModelError: if it is damaged.
    """
    from safetensors import safe_open

    try:
        with safe_open(file, framework="numpy") as opened:
            return list(opened.keys())
    # SafetensorError, OSError, and whatever else a damaged header gives.
    except Exception as error:
        raise ModelError(
            f"{file} can't be loaded: it is no safetensors file or is damaged, so copy it anew."
        ) from error


def _counts(tree: Any, name: str = "") -> Iterator[tuple[str, int]]:
    """Yield the whole numbers of a configuration that say how many of something are built."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from _counts(value, str(key))
    elif isinstance(tree, list):
        if name == "depths":
            for value in tree:
                yield from _counts(value, name)
    elif type(tree) is int and not name.startswith(_LIMITS) and any(w in name for w in _COUNTS):
        yield name, tree
