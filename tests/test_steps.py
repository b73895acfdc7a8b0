"""At which step an answer's first word begins."""

from __future__ import annotations

import pytest

from lensbench.steps import content_step


@pytest.mark.parametrize(
    ("tokens", "step"),
    [
        (["3"], 0),
        (["", "3"], 1),  # a blank that the decoder strips, or a special token
        (["\n", "\n", " three"], 2),
        (["**", "3", "**"], 1),
        ([' "', "red", '"'], 1),
        (['"3'], 0),
        (["-", " ", "\u4e09"], 2),
        (["\u00bd"], 0),
        (["..."], None),
        ([], None),
    ],
)
def test_the_content_step_by_hand(tokens: list[str], step: int | None) -> None:
    ends = [len("".join(tokens[: place + 1])) for place in range(len(tokens))]
    assert content_step("".join(tokens), ends) == step
