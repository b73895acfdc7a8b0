"""Where an answer is: the generated step at which its first word begins.

Models write blanks, quotes or markup before they answer ("▁" and then "3", "**"), so that step 0
need not be the answer's.
"""

from __future__ import annotations

from collections.abc import Sequence


def content_start(text: str) -> int | None:
    """Return the place of the first letter, number or ideograph of a text; None if it has none."""
    return next((place for place, one in enumerate(text) if one.isalnum()), None)


def step_of(place: int, ends: Sequence[int]) -> int | None:
    """Return the step whose token begins a character; None if no step has it.

    Args:
        place: of the character in the text generated.
        ends: where the text of each step's token ends (`text_ends`).
    """
    return next((step for step, end in enumerate(ends) if end > place), None)


def content_step(text: str, ends: Sequence[int]) -> int | None:
    """Return the first step whose token begins a letter, number or ideograph; None if none does.

    Args:
        text: what was generated, special tokens left out.
        ends: where the text of each step's token ends (`text_ends`).
    """
    place = content_start(text)
    return None if place is None else step_of(place, ends)
