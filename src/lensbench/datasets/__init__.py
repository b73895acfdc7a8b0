"""The datasets: each a folder with a manifest, one row a sample, and its pictures beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lensbench.datasets import (
    facts,
    fills,
    flowers,
    own,
    oxford_flowers,
    scenes,
    tallyqa,
    tf_flowers,
)

# name → (kind of its samples, what makes it: make(out, *, n, seed, **options))
DATASETS: dict[str, tuple[str, Callable[..., None]]] = {
    "scenes": ("image", scenes.make),
    "fills": ("image", fills.make),
    "flowers": ("image", flowers.make),
    "facts": ("text", facts.make),
    "tallyqa": ("image", tallyqa.make),
    "oxford_flowers": ("image", oxford_flowers.make),
    "tf_flowers": ("image", tf_flowers.make),
    "own": ("image", own.make),
}


def kinds_of(settings: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return name → kind of the samples of each dataset, "image" or "text".

    Args:
        settings: the configuration's group `datasets`.
    """
    kinds = {name: kind for name, (kind, _) in DATASETS.items()}
    # Without pictures, somebody's own questions are words alone.
    if not settings.get("own", {}).get("folder"):
        kinds["own"] = "text"
    return kinds
