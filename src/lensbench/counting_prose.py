"""What the notebook on counting says in words of leads and of Han, made from the tables alone."""

from __future__ import annotations

import pandas as pd

from lensbench.metrics.language_lead import PAIRS
from lensbench.prose import interval, quoted

#: The pair that is told of.
FIRST, SECOND = PAIRS[0]
NAMES = {"zh": "Chinese", "en": "English"}
#: Columns of `leads`, with their headings.
LEADS = {
    "model": "model", "dataset": "dataset", "asked": "asked for", "arrival": "arrival",
    "net_first": "net first", "other_net_first": "a wrong answer's",
    "net_first_over_other": "net first, right − wrong", "both": "both arrive in",
    "lead_layers": "lead there (layers)", "other_lead_layers": "a wrong answer's",
    "lead_over_other": "lead, right − wrong",
}  # fmt: skip
_RIGHT = ("net_first", "net_first_over_other", "lead_layers", "lead_over_other")
_WRONG = ("net_first", "lead_layers")


def side(row: pd.Series | None) -> int:
    """Return 1 where an interval lies above 0, −1 below it, 0 where it doesn't or is of one sample.

    Args:
        row: low, high and n, or None.
    """
    if row is None or row["n"] < 2:
        return 0
    return int(row["low"] > 0) - int(row["high"] < 0)


def verdict(net: pd.Series, over: pd.Series | None) -> str:
    """Return which language comes first of the right answer, if more than of a wrong one.

    Args:
        net: the row of net_first.
        over: that of net_first_over_other; None where there is no wrong answer.
    """
    own, beyond = side(net), side(over)
    name = {1: NAMES[FIRST], -1: NAMES[SECOND]}
    if over is None:
        return "there is no wrong answer to hold it against, so nothing follows"
    if own and own == beyond:
        return f"{name[own]} comes first, more than with a wrong answer"
    if own:
        return f"{name[own]} comes first, as a wrong answer's does"
    if beyond:
        return f"neither comes first; {name[beyond]} does more than with a wrong answer"
    return "neither comes first, as far as these samples tell"


def _groups(table: pd.DataFrame) -> list[tuple[dict[str, object], dict[str, pd.Series]]]:
    """Return labels of each group with its rows: by metric, of the wrong answer "other_" before."""
    table = table[(table["first"] == FIRST) & (table["second"] == SECOND)]
    of_wrong = table["arrival"].str.endswith("_other")
    right = table[~of_wrong & table["arrival"].str.startswith("top")]
    wrong = table[of_wrong].assign(arrival=table["arrival"].str.removesuffix("_other"))
    keys = ["model", "dataset", "asked", "arrival"]
    floors = dict(list(wrong.groupby(keys, sort=False)))
    found = []
    for labels, rows in right.groupby(keys, sort=False):
        own = {str(row["metric"]): row for _, row in rows.iterrows()}
        if labels in floors:
            own |= {f"other_{row['metric']}": row for _, row in floors[labels].iterrows()}
        found.append((dict(zip(keys, labels, strict=True)), own))
    return found


def _both(rows: dict[str, pd.Series]) -> str:
    met = int(rows["lead_layers"]["n"]) if "lead_layers" in rows else 0
    return f"{met} of {int(rows['net_first']['n'])}"


def leads(table: pd.DataFrame) -> pd.DataFrame:
    """Return a row a run, language asked for and way to arrive, right and wrong answers in words.

    Args:
        table: `language_lead`, of one family a run.

    Returns:
        Columns as in `LEADS`: values with interval and n, "–" where there is none.
    """
    metrics = [*_RIGHT, *(f"other_{metric}" for metric in _WRONG)]
    told = [
        {
            **labels,
            "both": _both(rows),
            **{m: interval(rows[m]) if m in rows else "–" for m in metrics},
        }
        for labels, rows in _groups(table)
    ]
    return pd.DataFrame(told, columns=list(LEADS))


def lead_sentences(table: pd.DataFrame, arrival: str = "top10") -> list[str]:
    """Return a sentence a run and language asked for: which comes first, and if that says much.

    Args:
        table: `language_lead`, of one family a run.
        arrival: the way to arrive.
    """
    sentences = []
    for labels, rows in _groups(table):
        if labels["arrival"] != arrival:
            continue
        over = rows.get("net_first_over_other")
        said = f"net {interval(rows['net_first'])}"
        if over is not None:
            said += f"; right less wrong answer {interval(over)}"
        led = f"Among samples in which both arrive, {_both(rows)}"
        if "lead_layers" in rows:
            led += f", {NAMES[FIRST]} leads by {interval(rows['lead_layers'])} layers"
        if "lead_over_other" in rows:
            paired = rows["lead_over_other"]
            clear = "clear of 0" if side(paired) else "not clear of 0"
            led += f", {interval(paired)} more than with a wrong answer, {clear}"
        asked = "whatever is asked for"
        if labels["asked"] != "all":
            asked = f"asked for {quoted(labels['asked'])}"
        sentences.append(
            f"- {quoted(labels['model'])} on {quoted(labels['dataset'])}, {asked}: "
            f"**{verdict(rows['net_first'], over)}** ({said}). {led}."
        )
    return sentences


def excess_sentences(table: pd.DataFrame) -> list[str]:
    """Return what native pictures have of Han mass beyond blank ones, not asked for Chinese first.

    Args:
        table: `han_floor`, of one family a run.
    """
    groups = {"not zh": "not asked for Chinese", "zh": "asked for Chinese"}
    excess = table[(table["variant"] == "excess") & (table["metric"] == "han_mass")]
    sentences = []
    for (model, dataset), of_run in excess.groupby(["model", "dataset"]):
        for asked, said in groups.items():
            rows = of_run[of_run["asked"] == asked]
            if rows.empty:
                continue
            most = rows.sort_values("value", ascending=False, kind="stable").iloc[0]
            start = f"- {quoted(model)} on {quoted(dataset)}, {said}: the picture adds "
            if most["value"] <= 0:
                sentences.append(f"{start}no Han mass at any layer.")
                continue
            above = rows[rows["low"] > 0]["layer"]
            layers = ", ".join(str(layer) for layer in above)
            sentences.append(
                f"{start}most Han mass at layer {most['layer']}, {interval(most)} more than a "
                f"blank one; taken one by one, the interval lies above 0 at the layers {layers}."
                if layers
                else f"{start}no Han mass, as far as these samples tell: the interval lies above "
                f"0 at no layer, and the most is {interval(most)} at layer {most['layer']}."
            )
    return sentences
