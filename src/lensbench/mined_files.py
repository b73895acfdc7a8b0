"""What mining leaves to a reviewer: candidates as CSV, and a draft of a lexicon's lines as YAML."""

from __future__ import annotations

import json
import unicodedata
from importlib.resources import as_file, files
from pathlib import Path

import pandas as pd

from lensbench.files import atomic_path
from lensbench.lexicon import fold

#: The language a script most likely is of; the reviewer has the last word.
_LANGUAGE = {"Digit": "digit", "Latin": "en", "Han": "zh", "Kana": "ja", "Hangul": "ko",
             "Cyrillic": "ru"}  # fmt: skip
_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def quoted(text: str) -> str:
    r"""Return a token as a JSON string: in quotes, every character that can't be seen as \uXXXX.

    So outer spaces are seen, a spreadsheet takes no token for a formula (each cell begins with a
    quote, whatever the token begins with), a bidi override turns nothing around, and `json.loads`
    gives the token back exactly.
    """
    shown = []
    for character in json.dumps(text, ensure_ascii=False):
        hidden = unicodedata.category(character) in _HIDDEN
        unusual = unicodedata.category(character) == "Zs" and character != " "
        # json.dumps writes what is beyond U+FFFF as two halves, which json.loads joins.
        shown.append(json.dumps(character)[1:-1] if hidden or unusual else character)
    return "".join(shown)


def write_candidates(path: str | Path, candidates: pd.DataFrame) -> None:
    """Write the candidates as CSV: UTF-8, line feeds, tokens `quoted`, reals with six digits.

    Args:
        path: the file to write.
        candidates: as `mining.mine` gives them.
    """
    shown = candidates.assign(token=[quoted(text) for text in candidates["token"]])
    with atomic_path(path) as temporary:
        shown.to_csv(
            temporary, index=False, float_format="%.6g", lineterminator="\n", encoding="utf-8"
        )


def reviewed() -> pd.DataFrame:
    """Return the reviewed record that comes with lensbench, tokens as they are.

    Returns:
        model, concept, token, script, the counts, log_odds, q, decision and reason.
    """
    resource = files("lensbench") / "data" / "mined" / "number.csv"
    with as_file(resource) as path:
        record = pd.read_csv(path, keep_default_na=False)
    return record.assign(token=[json.loads(text) for text in record["token"]])


def new_forms(candidates: pd.DataFrame) -> pd.DataFrame:
    """Return the candidates that a reviewer may add: letters or digits, no owner, not left out.

    Args:
        candidates: as `mining.mine` gives them.

    Returns:
        The rows with `language` and `form` added, one a concept, language and form.
    """
    form = candidates["token"].map(str.strip)
    rows = candidates.assign(form=form, language=candidates["script"].map(_LANGUAGE))
    writable = form.map(lambda text: bool(text) and all(_is_word(c) for c in text))
    open_rows = (rows["in_lexicon"] == "") & (rows["left_out"] == "")
    rows = rows[writable & open_rows & rows["language"].notna()]
    key = rows.assign(folded=rows["form"].map(fold))
    return rows[~key.duplicated(["concept", "language", "folded"])]


def _is_word(character: str) -> bool:
    return unicodedata.category(character)[0] in "LMN"


def draft(candidates: pd.DataFrame) -> str:
    """Return the lines that a reviewer may take over into a lexicon, each form with its evidence.

    Args:
        candidates: as `mining.mine` gives them.
    """
    lines = [
        "# Draft of a lexicon, mined; NOT reviewed. Co-occurrence is no meaning: take over a form",
        "# only if it is a right word for its concept and, alone, means nothing else; note the",
        "# rest with the reason. The language is a guess from the script.",
    ]
    rows = new_forms(candidates)
    if rows.empty:
        lines.append("# No form is new: every candidate is listed, left out, or no word.")
        return "\n".join(lines) + "\n"
    family = ""
    for concept, of_concept in rows.groupby("concept", sort=False):
        of_family, _, name = str(concept).partition(":")
        if of_family != family:
            lines += ["", f"{of_family}:"]
            family = of_family
        lines.append(f"  {json.dumps(name)}:")
        for language, forms in of_concept.groupby("language", sort=False):
            lines.append(f"    {language}:")
            for row in forms.itertuples():
                evidence = (
                    f"q = {row.q:.2g}, log odds {row.log_odds:.2f}, in {row.with_answer} of "
                    f"{row.n_answer} samples with the answer and {row.without_answer} of "
                    f"{row.n_others} others"
                )
                lines.append(f"      - {quoted(str(row.form))}  # {row.model}: {evidence}")
    return "\n".join(lines) + "\n"


def write_draft(path: str | Path, candidates: pd.DataFrame) -> None:
    """Write `draft` into a file, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(draft(candidates), encoding="utf-8", newline="\n")
