"""Published ranks of the answer beside ours, layer by layer: a table, not a sentence."""

from __future__ import annotations

import pandas as pd

from lensbench.errors import LensbenchError


def ranks_beside(published: pd.DataFrame, answer_way: pd.DataFrame, gold: str) -> pd.DataFrame:
    """Return the published ranks of the final token, and ours of one sample of each run.

    Of each run it is the first sample whose gold answer is `gold`, read by the raw lens as the
    published one was. Where the same model was run, layers are held against the same layers and
    told apart; another model's layer is the one nearest in depth.

    Args:
        published: model, dataset, layer, top1_token and value (the rank, from 0).
        answer_way: that table of the runs to show.
        gold: the concept, such as "color:red".

    Returns:
        One row a run × published layer: model, dataset, sample_id, layer, depth, token, rank (the
        published), our_layer, our_depth, our_token, our_rank and difference (ours less the
        published, empty where it is another model).

    Raises:
        LensbenchError: if the published table is of more than one run.
    """
    if published.groupby(["model", "dataset"]).ngroups != 1:
        raise LensbenchError("Published ranks are of one run: give the rows of a single one.")
    theirs = published.sort_values("layer")
    last = int(theirs["layer"].max())
    name = theirs["model"].iloc[0]
    raw = answer_way[(answer_way["lens"] == "raw") & (answer_way["gold"] == gold)]
    parts = []
    for (model, dataset), rows in raw.groupby(["model", "dataset"]):
        sample = rows["sample_id"].min()
        ours = rows[rows["sample_id"] == sample].set_index("layer").sort_index()
        deepest, same = int(ours.index.max()), model == name
        if same and deepest != last:
            raise LensbenchError(
                f"{model} has {deepest} layers here and {last} where it was published: it is not "
                "the same model."
            )
        # Half a layer goes to the deeper one, whichever way a float is rounded.
        at = [(2 * layer * deepest + last) // (2 * last) for layer in theirs["layer"].astype(int)]
        found = ours.loc[at]
        rank = found["final_rank"].astype(int).to_numpy()
        difference = pd.Series(rank - theirs["value"].to_numpy(dtype=int), dtype="Int64")
        if not same:
            difference[:] = pd.NA
        parts.append(
            pd.DataFrame(
                {
                    "model": model,
                    "dataset": dataset,
                    "sample_id": sample,
                    "layer": theirs["layer"].astype(int).to_numpy(),
                    "depth": theirs["layer"].to_numpy() / last,
                    "token": theirs["top1_token"].to_numpy(dtype=object),
                    "rank": theirs["value"].astype(int).to_numpy(),
                    "our_layer": at,
                    "our_depth": found["depth"].to_numpy(),
                    "our_token": found["text"].to_numpy(dtype=object),
                    "our_rank": rank,
                    "difference": difference
                    if same
                    else pd.Series(pd.NA, range(len(rank)), "Int64"),
                }
            )
        )
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=_COLUMNS)


_COLUMNS = [
    "model", "dataset", "sample_id", "layer", "depth", "token", "rank", "our_layer", "our_depth",
    "our_token", "our_rank", "difference",
]  # fmt: skip
