"""What the notebook on counting says in words of leads and of Han, made from the tables alone."""

from __future__ import annotations

import pandas as pd

from lensbench.metrics.language_lead import PAIRS
from lensbench.prose import interval, quoted

#: The pair that is told of.
FIRST, SECOND = PAIRS[0]
NAMES = {"zh": "Chinese", "en": "English"}
#: The ways to arrive that are told, together.
WAYS = {"top1": "on top", "top10": "among the first 10"}
#: Columns of `leads`, with their headings.
LEADS = {
    "model": "model", "dataset": "dataset", "asked": "asked for", "arrival": "arrival",
    "net_first": "net first", "net_first_paired": "net first, beside a wrong answer",
    "other_net_first_paired": "that wrong answer's",
    "net_first_over_other": "net first, right − wrong", "both": "both arrive in",
    "lead_layers": "lead there (layers)", "lead_paired": "lead, beside a wrong answer",
    "other_lead_paired": "that wrong answer's", "lead_over_other": "lead, right − wrong",
}  # fmt: skip
_RIGHT = (
    "net_first", "net_first_paired", "net_first_over_other", "lead_layers", "lead_paired",
    "lead_over_other",
)  # fmt: skip
_WRONG = ("net_first_paired", "lead_paired")


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
        net: the row of net_first, over the samples of `over` where that is given.
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


def lead_sentences(table: pd.DataFrame) -> list[str]:
    """Return a sentence a run and language asked for: which comes first, on top and in the top 10.

    Both are told in one, and whether they agree: with more tokens looked at, a language with more
    forms comes first more easily.

    Args:
        table: `language_lead`, of one family a run.
    """
    runs: dict[tuple[object, ...], list[tuple[str, str, str]]] = {}
    for labels, rows in _groups(table):
        way = WAYS[str(labels["arrival"])]
        net = rows.get("net_first_paired", rows["net_first"])
        found = verdict(net, rows.get("net_first_over_other"))
        key = (labels["model"], labels["dataset"], labels["asked"])
        runs.setdefault(key, []).append((way, found, _lead(rows)))
    sentences = []
    for (model, dataset, asked), told in runs.items():
        of = "whatever is asked for" if asked == "all" else f"asked for {quoted(asked)}"
        parts = "; ".join(f"{way} **{found}** ({numbers})" for way, found, numbers in told)
        if len(told) < len(WAYS):
            missing = [way for way in WAYS.values() if way not in [each for each, *_ in told]]
            end = f"Of what arrives {missing[0]} nothing is known."
        elif len({found for _, found, _ in told}) > 1:
            end = "The two differ."
        else:
            end = "The two agree."
        sentences.append(f"- {quoted(model)} on {quoted(dataset)}, {of}: {parts}. {end}")
    return sentences


def _lead(rows: dict[str, pd.Series]) -> str:
    """Return the numbers of one way to arrive: shares of all, and leads of those that have both."""
    net = rows.get("net_first_paired", rows["net_first"])
    said = f"net {interval(net)}"
    if "net_first_over_other" in rows:
        said += (
            f", of a wrong answer {interval(rows['other_net_first_paired'])}, right less wrong "
            f"{interval(rows['net_first_over_other'])}"
        )
    said += f"; in {_both(rows)} samples both arrive"
    if "lead_layers" in rows:
        said += f", and {NAMES[FIRST]} leads there by {interval(rows['lead_layers'])} layers"
    if "lead_over_other" in rows:
        paired = rows["lead_over_other"]
        clear = "clear of 0" if side(paired) else "not clear of 0"
        said += (
            f"; where both arrive of the right and of a wrong answer, {NAMES[FIRST]} leads by "
            f"{interval(rows['lead_paired'])} and {interval(rows['other_lead_paired'])}, right "
            f"less wrong {interval(paired)}, {clear}"
        )
    return said


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
            above = rows[[side(row) > 0 for _, row in rows.iterrows()]]
            if above.empty:
                sentences.append(
                    f"{start}no Han mass, as far as these samples tell: the interval lies above "
                    f"0 at no layer, so that there is no peak; the largest mean is "
                    f"{interval(most)}."
                )
                continue
            layers = ", ".join(str(layer) for layer in above["layer"])
            most = above.sort_values("value", ascending=False, kind="stable").iloc[0]
            sentences.append(
                f"{start}Han mass at the layers {layers}, where the interval, taken one by one, "
                f"lies above 0: among them most at layer {most['layer']}, {interval(most)} more "
                f"than a blank one."
            )
    return sentences
