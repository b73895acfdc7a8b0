"""Which heads are switched off together: image heads, and matched random others to compare."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, combinations, product
from math import comb, prod

import numpy as np
import pandas as pd

from lensbench.errors import DataError

Head = tuple[int, int]
#: More possible groups than this are not counted out.
_MANY = 1_000_000


@dataclass(frozen=True)
class HeadGroup:
    """Heads that are switched off together.

    Args:
        name: "image", "image-all", "image-stage-1" …, "least", "random-0" ….
        kind: "image", "every", "stage", "least" or "random".
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
    randoms: int = 250,
    least: int = 3,
    most: float = 0.25,
) -> list[HeadGroup]:
    """Return the groups of a run: image heads, those that look least, and random ones.

    The image group holds the heads of kind "image", those of the largest odds ratio first, at most
    `most` of all heads and half of those of a block, so that each block has others to compare with
    (all of them are the group "image-all" where it lacks some). Where fewer than `least` are of
    that kind, it is a tenth of all heads by the same order. Each random group has as many heads in
    each block as the image group, drawn from the block's other heads, whatever their kind; no two
    are the same, and where there are no more than `randoms` such groups, they are all of them. The
    group "least" has as many heads, those of the smallest odds ratio, whatever their block.

    Args:
        heads: columns layer, head, image_mass, odds_ratio, kind of a run's table `heads`.
        stages: columns stage, first_layer, last_layer of its `stages`; None for no groups by stage.
        seed: of the random groups.
        randoms: how many random groups.
        least: image heads that are a group.
        most: share of all heads that the image group may have.

    Raises:
        DataError: if there are no heads, none with a picture to attend to, or one a block.
    """
    if heads.empty or not (heads["image_mass"] > 0).any():
        raise DataError(
            "The table of heads has none that attends to a picture, so none can be switched off "
            "for it: take a run on pictures of a model whose attention can be read."
        )
    # A head that leaves the sink nothing over has no preference.
    order = heads.assign(odds_ratio=heads["odds_ratio"].fillna(1.0)).sort_values(
        ["odds_ratio", "layer", "head"], ascending=[False, True, True]
    )
    ranked: list[Head] = list(zip(order["layer"].tolist(), order["head"].tolist(), strict=True))
    called = [head for head, kind in zip(ranked, order["kind"], strict=True) if kind == "image"]
    half = {layer: n // 2 for layer, n in Counter(layer for layer, _ in ranked).items()}
    n = len(ranked)
    enough = len(called) >= least
    size = min(len(called) if enough else max(least, round(n / 10)), max(1, int(most * n)))
    image: list[Head] = []
    taken: Counter[int] = Counter()
    for layer, head in called if enough else ranked:
        if len(image) < size and taken[layer] < half[layer]:
            image.append((layer, head))
            taken[layer] += 1
    if not image:
        raise DataError("Each block has one head, so there are none to compare with.")
    rule = "odds ratio above 2"
    if set(image) != set(called):
        rule = (
            f"{len(image)} of largest odds ratio, at most half of a block "
            f"({len(called)} are image heads)"
        )
    groups = [_group("image", "image", image, rule)]
    if set(called) > set(image):
        groups.append(_group("image-all", "every", called, "odds ratio above 2"))
    groups += _by_stage(image, stages)
    others = [head for head in ranked if head not in set(image)]
    groups.append(_group("least", "least", others[-len(image) :], "smallest odds ratio"))
    groups += _random(image, others, randoms, np.random.default_rng(seed))
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
    image: Sequence[Head], others: Sequence[Head], n: int, rng: np.random.Generator
) -> list[HeadGroup]:
    """Return n different groups with as many heads in each block, or all where there are fewer."""
    wanted = sorted(Counter(layer for layer, _ in image).items())
    pools = [[head for head in sorted(others) if head[0] == layer] for layer, _ in wanted]
    sizes = [size for _, size in wanted]
    total = prod(comb(len(pool), size) for pool, size in zip(pools, sizes, strict=True))
    if total <= n:
        choices = (combinations(pool, size) for pool, size in zip(pools, sizes, strict=True))
        drawn = [tuple(chain.from_iterable(parts)) for parts in product(*choices)]
        of = f"all {total}"
    else:
        found: dict[tuple[Head, ...], None] = {}
        while len(found) < n:
            places = (
                sorted(rng.choice(len(pool), size, replace=False))
                for pool, size in zip(pools, sizes, strict=True)
            )
            heads = (pool[i] for pool, some in zip(pools, places, strict=True) for i in some)
            found[tuple(heads)] = None
        drawn = list(found)
        of = f"{n} of {total}" if total <= _MANY else f"{n} of more than {_MANY}"
    rule = f"as many in each block, from its other heads: {of} such groups"
    return [_group(f"random-{i}", "random", heads, rule) for i, heads in enumerate(drawn)]
