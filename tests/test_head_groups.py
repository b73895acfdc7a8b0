"""Which heads are switched off together, on tables whose groups follow by hand."""

from __future__ import annotations

from collections import Counter

import pandas as pd
import pytest

from lensbench.errors import DataError
from lensbench.head_groups import head_groups


def table(mass):
    """Heads with the masses of each block, from block 1; four of five positions are text."""
    rows = [
        (layer, head, value, odds, "image" if odds > 2 else "text" if odds < 0.5 else "mixed")
        for layer, values in enumerate(mass, 1)
        for head, value in enumerate(values)
        for odds in [4 * value / (1 - value)]
    ]
    return pd.DataFrame(rows, columns=["layer", "head", "image_mass", "odds_ratio", "kind"])


def named(groups, kind):
    return [group for group in groups if group.kind == kind]


FEW = [
    [0.90, 0.30, 0.25, 0.10],
    [0.85, 0.95, 0.15, 0.20],
    [0.30, 0.15, 0.05, 0.25],
    [0.20, 0.15, 0.25, 0.30],
]


def test_image_heads_and_their_counterparts_by_hand():
    groups = head_groups(table(FEW), randoms=5, seed=1)
    image, least = groups[0], named(groups, "least")[0]
    assert image.heads == ((1, 0), (2, 0), (2, 1))
    assert image.by_layer == {1: [0], 2: [0, 1]}
    assert image.text == "[[1, 0], [2, 0], [2, 1]]"
    assert image.rule == "odds ratio above 2"
    # The three smallest: 0.05, 0.10 and, of three with 0.15, the last.
    assert least.heads == ((1, 3), (3, 2), (4, 1))
    random = named(groups, "random")
    # Of block 1 one of three, of block 2 both others: three groups there are, and no fourth.
    assert {group.heads for group in random} == {((1, head), (2, 2), (2, 3)) for head in (1, 2, 3)}
    assert [group.name for group in random] == ["random-0", "random-1", "random-2"]
    assert {group.rule for group in random} == {
        "as many in each block, from its other heads: all 3 such groups"
    }


def test_where_few_are_image_heads_the_largest_odds_ratios_stand_in():
    groups = head_groups(table(FEW), least=4, randoms=2)
    # Block 1's 0.30 is before those of blocks 3 and 4.
    assert groups[0].heads == ((1, 0), (1, 1), (2, 0), (2, 1))
    assert groups[0].rule == "4 of largest odds ratio, at most half of a block (3 are image heads)"
    assert not named(groups, "every")


def test_a_block_of_image_heads_keeps_half_of_them_to_compare_with():
    mass = [[0.99, 0.9, 0.1, 0.2], [0.98, 0.95, 0.97, 0.85], [0.3, 0.1, 0.2, 0.3], [0.1] * 4]
    groups = head_groups(table(mass), most=0.5, randoms=250)
    image, every = groups[:2]
    assert image.heads == ((1, 0), (1, 1), (2, 0), (2, 2))
    assert image.rule == "4 of largest odds ratio, at most half of a block (6 are image heads)"
    assert (every.name, every.kind, len(every.heads)) == ("image-all", "every", 6)
    # Blocks match exactly, though two of the heads that stand against them are image heads too.
    [random] = named(groups, "random")
    assert random.heads == ((1, 2), (1, 3), (2, 1), (2, 3))
    assert random.rule.endswith("all 1 such groups")
    # At most a share of all heads, those of the largest odds ratio.
    assert head_groups(table(mass), most=0.2)[0].heads == ((1, 0), (2, 0), (2, 2))


def test_every_group_there_is_or_as_many_different_ones_as_are_wanted():
    wide = [[0.9, *[0.05 + 0.01 * head for head in range(9)]] for _ in range(3)]
    all_there_are = named(head_groups(table(wide), randoms=1000), "random")
    assert len({group.heads for group in all_there_are}) == len(all_there_are) == 9**3
    for n in (250, 9**3 - 1):
        random = named(head_groups(table(wide), randoms=n, seed=3), "random")
        assert len({group.heads for group in random}) == len(random) == n
        assert random[0].rule.endswith(f"{n} of 729 such groups")
        for group in random:
            assert [layer for layer, _ in group.heads] == [1, 2, 3]
            assert all(head != 0 for _, head in group.heads)
    # Each head is drawn about as often as the others: 250 · 1/9 of the time.
    often = Counter(head for group in named(head_groups(table(wide)), "random")
                    for head in group.heads)  # fmt: skip
    assert set(often) == {(layer, head) for layer in (1, 2, 3) for head in range(1, 10)}
    assert 12 < min(often.values()) <= max(often.values()) < 46


def test_random_groups_follow_the_seed():
    wide = [[0.9, *[0.05 + 0.01 * head for head in range(19)]] for _ in range(4)]
    first, again, other = (
        named(head_groups(table(wide), seed=seed, randoms=20), "random") for seed in (3, 3, 4)
    )
    assert first == again
    assert [group.heads for group in first] != [group.heads for group in other]


def test_a_head_that_attends_to_the_sink_alone_has_no_preference():
    frame = table(FEW)
    frame.loc[:1, "odds_ratio"] = float("nan")
    groups = head_groups(frame.assign(kind="mixed"), least=2)
    assert groups[0].heads == ((2, 0), (2, 1))
    assert (1, 0) not in named(groups, "least")[0].heads


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
    with pytest.raises(DataError, match="Each block has one head"):
        head_groups(table([[0.9], [0.9]]))
