"""Which writing systems the middle layers speak: Han in the top k, and mass on each script."""

from __future__ import annotations

import numpy as np

from lensbench.metrics.rundata import Vocabulary

#: Han in top-k is reported for k = 1 … this.
MOST_K = 5


def script_in_topk(top_id: np.ndarray, vocabulary: Vocabulary, script: str = "Han") -> np.ndarray:
    """Return whether a token of the script is among the first k, for k = 1 … min(5, k).

    Args:
        top_id: the k likeliest tokens, [n, L+1, k], likeliest first.
        vocabulary: the model's tokens.
        script: the script looked for.

    Returns:
        [n, L+1, min(5, k)] booleans; along the last axis once true, always true.
    """
    found = vocabulary.is_script(top_id[:, :, :MOST_K], script)
    return np.logical_or.accumulate(found, axis=2)
