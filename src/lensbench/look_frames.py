"""From what one prompt left behind to tidy tables: one row a position, layer and place in the list.

Logarithms are natural; ranks count from 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd


class TokenTexts:
    """What every token id says by itself.

    Args:
        texts: by id; an id beyond them says nothing.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = np.array([*texts, ""], dtype=object)

    def of(self, ids: Any) -> np.ndarray:
        """Return the texts of ids of any shape."""
        index = np.asarray(ids, dtype=np.int64)
        last = len(self._texts) - 1
        return self._texts[np.where((index >= 0) & (index < last), index, last)]


def top_frame(
    top_id: Any,
    top_logprob: Any,
    texts: TokenTexts,
    positions: Mapping[str, Any],
    scalars: Mapping[str, Any],
    first_layer: int = 0,
) -> pd.DataFrame:
    """Return the top tokens of n positions at M layers.

    Args:
        top_id: [n, M, k] ids, likeliest first.
        top_logprob: [n, M, k] log-probabilities, nats.
        texts: what the tokens say.
        positions: columns that say which position it is, n values each.
        scalars: columns with one number a position and layer, [n, M] each.
        first_layer: number of the first of the layers.

    Returns:
        n·M·k rows: the columns of `positions`, layer, rank, token_id, token, probability, logprob,
        the columns of `scalars`.
    """
    ids, logprob = np.asarray(top_id), np.asarray(top_logprob, dtype=np.float64)
    n, layers, k = ids.shape
    frame = pd.DataFrame({name: _each(values, layers * k) for name, values in positions.items()})
    frame["layer"] = np.tile(np.repeat(np.arange(layers) + first_layer, k), n)
    frame["rank"] = np.tile(np.arange(k), n * layers)
    frame["token_id"] = ids.reshape(-1)
    frame["token"] = texts.of(ids).reshape(-1)
    frame["probability"] = np.exp(logprob).reshape(-1)
    frame["logprob"] = logprob.reshape(-1)
    for name, values in scalars.items():
        frame[name] = np.repeat(np.asarray(values).reshape(-1), k)
    return frame


def _each(values: Any, times: int) -> pd.Series:
    return pd.Series(values).repeat(times).reset_index(drop=True)


def head_frame(
    heads: Any, steps: Sequence[int], layers: Sequence[int], columns: Sequence[str]
) -> pd.DataFrame:
    """Return what each head's attention from the last position says of picture, sink and text.

    Args:
        heads: [n, M, heads, 7] as `head_statistics` gives them.
        steps: [n] number of each step.
        layers: [M] number of each layer that has attention, from 1.
        columns: names of the 7 statistics.
    """
    values = np.asarray(heads, dtype=np.float64)
    n, m, width, _ = values.shape
    frame = pd.DataFrame({"step": np.repeat(np.asarray(steps, dtype=np.int64), m * width)})
    frame["layer"] = np.tile(np.repeat(np.asarray(layers, dtype=np.int64), width), n)
    frame["head"] = np.tile(np.arange(width), n * m)
    for column, name in enumerate(columns):
        frame[name] = values[..., column].reshape(-1)
    return frame


def part_frame(
    own: tuple[Any, Any],
    cumulated: tuple[Any, Any],
    norm: Any,
    parts: Sequence[str],
    texts: TokenTexts,
) -> pd.DataFrame:
    """Return what the parts of each block write to the residual stream.

    Args:
        own: ids and log-probabilities [L, P, k] of what each writes, read out by itself.
        cumulated: the same of the residual stream after it has been added.
        norm: [L, P] L2 norm of what it writes.
        parts: names of the P parts, in the order in which they write.
        texts: what the tokens say.

    Returns:
        Rows layer (from 1) × part × reading ("own", "cumulated") × rank.
    """
    frames = []
    lengths = np.asarray(norm, dtype=np.float64).T
    for reading, (ids, logprob) in (("own", own), ("cumulated", cumulated)):
        # [P, L, k]: a part is to `top_frame` what a position is.
        by_part = (np.swapaxes(np.asarray(ids), 0, 1), np.swapaxes(np.asarray(logprob), 0, 1))
        columns = {"part": parts, "reading": [reading] * len(parts)}
        scalars = {"written_norm": lengths}
        frames.append(top_frame(*by_part, texts, columns, scalars, first_layer=1))
    joined = pd.concat(frames, ignore_index=True)
    order = {name: place for place, name in enumerate((*parts, "own", "cumulated"))}
    return joined.sort_values(
        ["layer", "part", "reading", "rank"],
        key=lambda column: column.map(order) if column.name in ("part", "reading") else column,
        ignore_index=True,
    )
