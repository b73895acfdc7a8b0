"""Which samples of many: by a seed, groups taking turns, and a larger number only adds."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np


def take_turns(groups: Sequence[Hashable], n: int, seed: int) -> list[int]:
    """Return the places of n things, their groups taking turns, sorted.

    Each turn takes one thing of every group that has one left. So groups are equally often among
    the chosen as far as they go, and the rest comes evenly from those that go further.

    Args:
        groups: the group of each thing; all equal for a plain random choice.
        n: how many to choose; all if there are no more.
        seed: decides which ones; equal seeds choose equally, and a larger n only adds.
    """
    turns: dict[Hashable, int] = {}
    queue = []
    for place in np.random.default_rng(seed).permutation(len(groups)):
        group = groups[place]
        turns[group] = turns.get(group, -1) + 1
        queue.append((turns[group], int(place)))
    # Python's sort is stable: within a turn the groups stay in their random order.
    queue.sort(key=lambda entry: entry[0])
    return sorted(place for _, place in queue[:n])
