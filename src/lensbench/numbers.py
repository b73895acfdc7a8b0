"""LaTeX macros for every number that the paper prints, so that none is typed by hand.

`\\lbnum{model}{dataset}{metric}` prints a value of summary.csv; `\\lbpct` the same in percent,
`\\lbci` value and interval, `\\lblow`, `\\lbhigh`, `\\lbn` the parts. The columns of the tables
language and heads are there too, under `language:column` and `heads:column`.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from lensbench.errors import LensbenchError
from lensbench.figures.frames import read_tables
from lensbench.figures.style import runs_of
from lensbench.files import atomic_path
from lensbench.tables import build
from lensbench.tables.latex import latex_escape
from lensbench.tables.render import number, scientific

INPUTS = (
    "summary", "gates", "models", "han_in_topk", "script_mass", "concept_mass", "heads", "stages",
)  # fmt: skip

_PREAMBLE = r"""% Written by lensbench.numbers: every number that the paper prints. Do not edit.
\makeatletter
\newcommand\lb@get[1]{\ifcsname lb@#1\endcsname\csname lb@#1\endcsname\else
  \PackageError{lensbench}{There is no number #1}{Name a model, dataset and metric of this run.}%
  \textbf{??}\fi}
\newcommand\lb@set[2]{\expandafter\gdef\csname lb@#1\endcsname{#2}}
% \lbnum{model}{dataset}{metric}, and in percent, with its interval, and its parts
\newcommand\lbnum[3]{\lb@get{num/#1/#2/#3}}
\newcommand\lbpct[3]{\lb@get{pct/#1/#2/#3}}
\newcommand\lbci[3]{\lb@get{ci/#1/#2/#3}}
\newcommand\lbpctci[3]{\lb@get{pctci/#1/#2/#3}}
\newcommand\lblow[3]{\lb@get{low/#1/#2/#3}}
\newcommand\lbhigh[3]{\lb@get{high/#1/#2/#3}}
\newcommand\lbn[3]{\lb@get{n/#1/#2/#3}}
% \lbhas{model}{dataset}{metric}{if it is there}{if not}
\newcommand\lbhas[3]{\ifcsname lb@num/#1/#2/#3\endcsname
  \expandafter\@firstoftwo\else\expandafter\@secondoftwo\fi}
% \lbgate{model}{check}, \lbgatelimit{model}{check}, \lbmodel{model}{column}
\newcommand\lbgate[2]{\lb@get{gate/#1/#2}}
\newcommand\lbgatelimit[2]{\lb@get{gatelimit/#1/#2}}
\newcommand\lbmodel[2]{\lb@get{model/#1/#2}}
% \lbcount{models|datasets|runs|samples|gates|gatespassed|parameters}, \lbextra{key}
\newcommand\lbcount[1]{\lb@get{count/#1}}
\newcommand\lbextra[1]{\lb@get{extra/#1}}
\newcommand\lbifextra[1]{\ifcsname lb@extra/#1\endcsname
  \expandafter\@firstoftwo\else\expandafter\@secondoftwo\fi}
% \lbforruns{\macro} calls \macro{model}{dataset} for each run, \lbformodels \macro{model}
"""


def macros(frames: Mapping[str, pd.DataFrame], extra: Mapping[str, object] | None = None) -> str:
    """Return the macros' definitions.

    Args:
        frames: the tables named in `INPUTS`, by name.
        extra: more keys and values, such as the config's; numbers and texts alike, escaped.

    Raises:
        LensbenchError: if a name holds what TeX can't have in a macro's key.
    """
    pairs: dict[str, str] = {}
    for row in frames["summary"].to_dict("records"):
        pairs |= _aggregate(f"{row['model']}/{row['dataset']}/{row['metric']}", row)
    for name, table in (("language", build.language(frames)), ("heads", build.heads(frames))):
        for row in table.to_dict("records"):
            for column in table.columns[2:]:
                key = f"{row['model']}/{row['dataset']}/{name}:{column}"
                pairs |= _plain(key, row[column])
    for row in frames["gates"].to_dict("records"):
        key = f"{row['model']}/{row['check']}"
        pairs[f"gate/{key}"] = scientific(row["value"])
        pairs[f"gatelimit/{key}"] = scientific(row["limit"])
    for row in frames["models"].to_dict("records"):
        for field, value in row.items():
            pairs[f"model/{row['model']}/{field}"] = _value(value)
        pairs[f"model/{row['model']}/n_parameters_millions"] = number(row["n_parameters"] / 1e6, 1)
    pairs |= {f"count/{name}": str(count) for name, count in _counts(frames).items()}
    pairs |= {f"extra/{key}": _value(value) for key, value in (extra or {}).items()}
    lines = [f"\\lb@set{{{_key(key)}}}{{{value}}}" for key, value in sorted(pairs.items())]
    runs = [f"#1{{{model}}}{{{dataset}}}" for model, dataset in runs_of(frames["summary"])]
    names = [f"#1{{{model}}}" for model in sorted(map(str, frames["models"]["model"]))]
    lines += [
        f"\\newcommand\\lbforruns[1]{{{''.join(runs)}}}",
        f"\\newcommand\\lbformodels[1]{{{''.join(names)}}}",
        "\\makeatother",
    ]
    return _PREAMBLE + "\n".join(lines) + "\n"


def _aggregate(key: str, row: Mapping[Hashable, Any]) -> dict[str, str]:
    value, low, high = (_float(row[part]) for part in ("value", "low", "high"))
    if math.isnan(value):
        return {}
    interval = f"[{_value(low)}, {_value(high)}]"
    percents = f"[{number(100 * low, 1)}, {number(100 * high, 1)}]"
    return {
        **_plain(key, value),
        f"low/{key}": _value(low),
        f"high/{key}": _value(high),
        f"ci/{key}": f"{_value(value)} {interval}",
        f"pctci/{key}": f"{number(100 * value, 1)}\\,\\% {percents}",
        f"n/{key}": number(_float(row["n"]), 0),
    }


def _plain(key: str, value: object) -> dict[str, str]:
    if isinstance(value, float) and math.isnan(value):
        return {}
    pairs = {f"num/{key}": _value(value)}
    if isinstance(value, int | float):
        pairs[f"pct/{key}"] = f"{number(100 * value, 1)}\\,\\%"
    return pairs


def _float(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _value(value: object) -> str:
    """Return a value as LaTeX: whole numbers as they are, others with two or three digits."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return latex_escape("" if value is None else str(value))
    if math.isnan(value):
        return ""
    if float(value).is_integer():
        return f"{value:,.0f}".replace(",", "\\,")
    if abs(value) >= 0.0995:
        return number(float(value), 1 if abs(value) >= 9.95 else 2)
    return number(float(value), 3) if abs(value) >= 0.0005 else scientific(float(value))


def _counts(frames: Mapping[str, pd.DataFrame]) -> dict[str, int]:
    runs = runs_of(frames["summary"])
    accuracy = frames["summary"][frames["summary"]["metric"] == "accuracy"]
    passed = [str(value).lower() in ("true", "1", "1.0") for value in frames["gates"]["passed"]]
    return {
        "models": len(frames["models"]),
        "datasets": len({dataset for _, dataset in runs}),
        "runs": len(runs),
        "samples": int(accuracy["n"].sum()),
        "gates": len(passed),
        "gatespassed": sum(passed),
    }


def _key(key: str) -> str:
    if any(char in "\\{}#%~^$&" or not char.isprintable() for char in key):
        raise LensbenchError(
            f"The name {key!r} can't be a key of the paper's numbers: rename the model, dataset "
            "or metric without any of \\ { } # % ~ ^ $ &."
        )
    return key


def write_numbers(
    metrics: str | Path | Mapping[str, pd.DataFrame],
    out: str | Path,
    extra: Mapping[str, object] | None = None,
) -> Path:
    """Write the macros to a file that the paper inputs, and return its path.

    Args:
        metrics: the folder of the metric tables (CSV), or the tables by name.
        out: the file to write, such as results/paper/numbers.tex.
        extra: more keys and values for `\\lbextra`.

    Raises:
        LensbenchError: if a table is missing or a name can't be a key.
    """
    frames = metrics if isinstance(metrics, Mapping) else read_tables(metrics, INPUTS)
    target = Path(out)
    with atomic_path(target) as temporary:
        temporary.write_text(macros(frames, extra), encoding="utf-8", newline="\n")
    return target
