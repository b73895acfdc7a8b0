"""Published numbers beside ours of the same model on the same data: a table of differences."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from lensbench.errors import LensbenchError


def beside(published: pd.DataFrame, ours: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Return every published number, and ours where the same model was run on the same data.

    Args:
        published: model, dataset, the keys and value.
        ours: model, dataset, the keys, value, low and high.
        keys: columns that tell the numbers of one run apart, such as layer.

    Returns:
        model, dataset, the keys, published, ours, difference (ours less the published), low and
        high (our interval) and inside (1 where the published number lies in it, else 0); empty
        where there is no run of ours.

    Raises:
        LensbenchError: if one run has two numbers under the same keys.
    """
    names = ["model", "dataset", *keys]
    for table, whose in ((published, "published"), (ours, "our")):
        if table.duplicated(names).any():
            raise LensbenchError(
                f"The {whose} table has two numbers for one {' and '.join(keys)}: choose one "
                "metric."
            )
    left = published[[*names, "value"]].rename(columns={"value": "published"})
    right = ours[[*names, "value", "low", "high"]].rename(columns={"value": "ours"})
    found = left.merge(right, on=names, how="left", sort=False)
    found["difference"] = found["ours"] - found["published"]
    inside = (found["low"] <= found["published"]) & (found["published"] <= found["high"])
    found["inside"] = inside.astype("Int64").mask(found["ours"].isna())
    return found[[*names, "published", "ours", "difference", "low", "high", "inside"]]
