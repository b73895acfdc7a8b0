"""Which heads are switched off together, on tables whose groups follow by hand."""

from __future__ import annotations

from collections import Counter

import pandas as pd
import pytest

from lensbench.errors import DataError
from lensbench.head_groups import head_groups


def table(mass):
    """Heads with the masses of each block, from block 1."""
    rows = [
        (layer, head, value, "image" if value >= 0.8 else "text" if value <= 0.2 else "mixed")
        for layer, values in enumerate(mass, 1)
        for head, value in enumerate(values)
    ]
    return pd.DataFrame(rows, columns=["layer", "head", "image_mass", "kind"])


def named(groups, kind):
    return [group for group in groups if group.kind == kind]


FEW = [
    [0.90, 0.30, 0.25, 0.10],
    [0.85, 0.95, 0.15, 0.40],
    [0.50, 0.55, 0.05, 0.45],
    [0.60, 0.35, 0.65, 0.70],
]


def test_image_heads_and_their_counterparts_by_hand():
    groups = head_groups(table(FEW), randoms=5, seed=1)
    image, text = groups[0], named(groups, "text")[0]
    assert image.heads == ((1, 0), (2, 0), (2, 1))
    assert image.by_layer == {1: [0], 2: [0, 1]}
    assert image.text == "[[1, 0], [2, 0], [2, 1]]"
    assert image.rule == "mean image mass ≥ 0.8"
    # The three smallest masses: 0.05, 0.10 and 0.15.
    assert text.heads == ((1, 3), (2, 2), (3, 2))
    random = named(groups, "random")
    # Of block 1 one of three, of block 2 both others: three groups there are, and no fourth.
    assert {group.heads for group in random} == {((1, head), (2, 2), (2, 3)) for head in (1, 2, 3)}
    assert [group.name for group in random] == ["random-0", "random-1", "random-2"]
    assert {group.rule for group in random} == {"one for one from the same blocks"}


def test_where_few_are_image_heads_the_largest_masses_stand_in():
    groups = head_groups(table(FEW), least=4, randoms=2)
    assert groups[0].heads == ((1, 0), (2, 0), (2, 1), (4, 3))
    assert groups[0].rule == "largest mean image mass (3 have ≥ 0.8)"
    assert not named(groups, "every")


def test_more_image_heads_than_a_share_leave_the_largest_masses():
    mass = [[0.99, 0.9, 0.1, 0.2], [0.98, 0.95, 0.97, 0.85], [0.3, 0.4, 0.5, 0.6], [0.1] * 4]
    groups = head_groups(table(mass), most=0.25, randoms=40)
    image, every = groups[:2]
    assert image.heads == ((1, 0), (2, 0), (2, 1), (2, 2))
    assert image.rule == "4 of largest mean image mass (6 have ≥ 0.8)"
    assert (every.name, every.kind, len(every.heads)) == ("image-all", "every", 6)
    random = named(groups, "random")
    # Block 2 has no other head: its three come from the nearest blocks, 1 before 3.
    for group in random:
        assert not set(group.heads) & set(every.heads)
        assert Counter(layer for layer, _ in group.heads) == {1: 2, 3: 2}
        assert group.rule == "one for one from the same blocks, 3 of 4 from the nearest"
    # Both of block 1, and two of the four of block 3: six groups.
    assert len({group.heads for group in random}) == len(random) == 6


def test_random_groups_follow_the_seed_and_blocks():
    wide = [[0.9, *[0.3 + 0.01 * head for head in range(19)]] for _ in range(4)]
    first, again = (named(head_groups(table(wide), seed=3), "random") for _ in range(2))
    other = named(head_groups(table(wide), seed=4), "random")
    assert first == again
    assert [group.heads for group in first] != [group.heads for group in other]
    assert len({group.heads for group in first}) == 19
    for group in first:
        assert [layer for layer, _ in group.heads] == [1, 2, 3, 4]
        assert all(head != 0 for _, head in group.heads)


def test_stages_part_the_image_heads():
    stages = pd.DataFrame({"stage": [1, 2, 3], "first_layer": [1, 2, 3], "last_layer": [1, 2, 4]})
    groups = {group.name: group for group in head_groups(table(FEW), stages, randoms=1)}
    assert groups["image-stage-1"].heads == ((1, 0),)
    assert groups["image-stage-2"].heads == ((2, 0), (2, 1))
    assert "image-stage-3" not in groups
    # All in one stage is the image group itself.
    one = stages.assign(first_layer=[1, 3, 4], last_layer=[2, 3, 4])
    assert not named(head_groups(table(FEW), one, randoms=1), "stage")


def test_tables_without_a_picture_or_without_others_are_refused():
    with pytest.raises(DataError, match="none that attends to a picture"):
        head_groups(table([[0.0, 0.0]]))
    with pytest.raises(DataError, match="none that attends to a picture"):
        head_groups(table([]))
    with pytest.raises(DataError, match="All 4 heads are image heads"):
        head_groups(table([[0.9, 0.9], [0.9, 0.9]]))
