"""Which heads are switched off together: image heads, text heads, and random others to compare."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lensbench.errors import DataError

Head = tuple[int, int]
#: Draws a random group that is wanted may take: a group drawn before is drawn again.
_TRIES = 50


@dataclass(frozen=True)
class HeadGroup:
    """Heads that are switched off together.

    Args:
        name: "image", "image-all", "image-stage-1" …, "text", "random-0" ….
        kind: "image", "every", "stage", "text" or "random".
        heads: (block from 1, head from 0) of each, sorted.
        rule: how they were chosen, in words.
    """

    name: str
    kind: str
    heads: tuple[Head, ...]
    rule: str

    @property
    def by_layer(self) -> dict[int, list[int]]:
        """Heads by the number of their block."""
        found: dict[int, list[int]] = {}
        for layer, head in self.heads:
            found.setdefault(layer, []).append(head)
        return found

    @property
    def text(self) -> str:
        """The heads as JSON: [[block, head], …]."""
        return json.dumps([list(head) for head in self.heads])


def head_groups(
    heads: pd.DataFrame,
    stages: pd.DataFrame | None = None,
    seed: int = 0,
    randoms: int = 19,
    least: int = 3,
    most: float = 0.25,
) -> list[HeadGroup]:
    """Return the groups of a run: image heads, and as many others of each kind.

    The image group holds the heads of kind "image"; a tenth of all heads, those with the largest
    image mass, where fewer than `least` are of that kind; and of more than `most` of all heads
    those with the largest mass, so that there are others to compare with (all of them are the
    group "image-all" then). Random groups are drawn from the heads outside of it that aren't image
    heads either, as many in each block as the image group has there, and what a block lacks from
    the nearest blocks; no two are the same, so that there are fewer where there are no others.

    Args:
        heads: columns layer, head, image_mass, kind of a run's table `heads`.
        stages: columns stage, first_layer, last_layer of its `stages`; None for no groups by stage.
        seed: of the random groups.
        randoms: how many random groups at most.
        least: image heads that are a group.
        most: share of all heads that the image group may have.

    Raises:
        DataError: if there are no heads, or none with a picture to attend to.
    """
    if heads.empty or not (heads["image_mass"] > 0).any():
        raise DataError(
            "The table of heads has none that attends to a picture, so none can be switched off "
            "for it: take a run on pictures of a model whose attention can be read."
        )
    order = heads.sort_values(["image_mass", "layer", "head"], ascending=[False, True, True])
    ranked: list[Head] = list(zip(order["layer"].tolist(), order["head"].tolist(), strict=True))
    called = [head for head, kind in zip(ranked, order["kind"], strict=True) if kind == "image"]
    n, groups = len(ranked), []
    if len(called) >= least:
        size, rule = len(called), "mean image mass ≥ 0.8"
    else:
        size = max(least, round(n / 10))
        rule = f"largest mean image mass ({len(called)} have ≥ 0.8)"
    outside = n - max(size, len(called))
    room = max(1, min(int(most * n), outside // 2))
    if outside < 1:
        raise DataError(f"All {n} heads are image heads, so there are none to compare with.")
    if size > room:
        size, rule = room, f"{room} of largest mean image mass ({len(called)} have ≥ 0.8)"
    image = ranked[:size]
    groups.append(_group("image", "image", image, rule))
    if len(called) > size:
        groups.append(_group("image-all", "every", called, "mean image mass ≥ 0.8"))
    groups += _by_stage(image, stages)
    pool = [head for head in ranked[size:] if head not in set(called)]
    groups.append(_group("text", "text", pool[-size:], "smallest mean image mass"))
    groups += _random(image, pool, randoms, np.random.default_rng(seed))
    return groups


def _group(name: str, kind: str, heads: Sequence[Head], rule: str) -> HeadGroup:
    return HeadGroup(name, kind, tuple(sorted(heads)), rule)


def _by_stage(image: Sequence[Head], stages: pd.DataFrame | None) -> list[HeadGroup]:
    """Return the image group's heads by stage, if they lie in more than one."""
    if stages is None:
        return []
    found = []
    columns = (stages[name].tolist() for name in ("stage", "first_layer", "last_layer"))
    for stage, first, last in zip(*columns, strict=True):
        heads = [head for head in image if first <= head[0] <= last]
        if heads:
            rule = f"of the image group, in blocks {first}–{last}"
            found.append(_group(f"image-stage-{stage}", "stage", heads, rule))
    return found if len(found) > 1 else []


def _random(
    image: Sequence[Head], pool: Sequence[Head], n: int, rng: np.random.Generator
) -> list[HeadGroup]:
    """Return n different groups of others, or fewer where no more are found."""
    found: dict[tuple[Head, ...], int] = {}
    for _ in range(_TRIES * n):
        drawn, moved = _matched(image, pool, rng)
        found.setdefault(tuple(sorted(drawn)), moved)
        if len(found) == n:
            break
    groups = []
    for number, (heads, moved) in enumerate(found.items()):
        rule = "one for one from the same blocks"
        if moved:
            rule += f", {moved} of {len(heads)} from the nearest"
        groups.append(_group(f"random-{number}", "random", heads, rule))
    return groups


def _matched(
    image: Sequence[Head], pool: Sequence[Head], rng: np.random.Generator
) -> tuple[list[Head], int]:
    """Draw as many heads of the pool in each block as the image group has; say how many moved."""
    left: dict[int, list[Head]] = {}
    for head in sorted(pool):
        left.setdefault(head[0], []).append(head)
    left = {layer: [some[i] for i in rng.permutation(len(some))] for layer, some in left.items()}
    wanted = Counter(layer for layer, _ in image)
    drawn: list[Head] = []
    lacking: list[int] = []
    for layer in sorted(wanted):
        for _ in range(wanted[layer]):
            if left.get(layer):
                drawn.append(left[layer].pop())
            else:
                lacking.append(layer)
    for layer in lacking:
        near = min((other for other in left if left[other]), key=lambda o: (abs(o - layer), o))
        drawn.append(left[near].pop())
    return drawn, len(lacking)
