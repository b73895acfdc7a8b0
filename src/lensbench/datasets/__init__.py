"""The datasets: each a folder with a manifest, one row a sample, and its pictures beside it."""

from __future__ import annotations

from collections.abc import Callable

from lensbench.datasets import facts, fills, flowers, scenes

# name → (kind of its samples, what makes it: make(out, *, n, seed, **options))
DATASETS: dict[str, tuple[str, Callable[..., None]]] = {
    "scenes": ("image", scenes.make),
    "fills": ("image", fills.make),
    "flowers": ("image", flowers.make),
    "facts": ("text", facts.make),
}
