"""The datasets: each a folder with a manifest, one row a sample, and its pictures beside it."""

from __future__ import annotations

from collections.abc import Callable

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
