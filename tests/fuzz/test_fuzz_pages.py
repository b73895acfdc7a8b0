"""Anybody's texts where they are shown: pages, notebooks, LaTeX, terminals."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

from hypothesis import strategies as st
from tests.fuzz.conftest import Fuzz
from tests.fuzz.harness import Jail
from tests.fuzz.mutations import mutated_trees, texts

from lensbench.errors import LensbenchError
from lensbench.explorer.html import render, script_json, visible
from lensbench.tables.latex import latex_escape, tabular

CARD = {
    "title": "t", "model": "m", "dataset": "d", "thumbnail": None, "right": None,
    "convergence_layer": None, "n_layers": 2, "question": "q", "answer": "a", "gold": "",
    "href": "x",
}  # fmt: skip
#: What `latex_escape` may write beside characters that mean nothing to TeX.
COMMANDS = re.compile(
    r"\\(?:textbackslash|textasciicircum|textasciitilde|textless|textgreater|textbar|textquotedbl"
    r"|textquotesingle|textasciigrave|ldots|textlangle|textrangle|textvisiblespace|kern0pt)\{\}"
    r"|\\[{}$&#%_]|\{[\[\]*]\}"
)


class Elements(HTMLParser):
    """Counts elements and the attributes that could run something."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, int] = {}
        self.handlers: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen[tag] = self.seen.get(tag, 0) + 1
        self.handlers += [name for name, value in attrs if name.startswith("on") or name == "style"]
        self.handlers += [str(value) for _, value in attrs if "javascript:" in str(value).lower()]


def elements(page: str) -> Elements:
    """Return what elements a page has."""
    found = Elements()
    found.feed(page)
    found.close()
    return found


def test_pages_hold_any_text(fuzz: Fuzz) -> None:
    plain = elements(render("index", {"cards": [CARD]}))

    def read(jail: Jail, cards: object) -> None:
        page = render("index", {"cards": cards})
        page.encode("utf-8")
        found = elements(page)
        assert found.seen == plain.seen
        assert not found.handlers
        data = re.search(r'<script type="application/json"[^>]*>(.*?)</script>', page, re.DOTALL)
        assert data is not None
        assert json.loads(data[1]) == {"cards": cards}

    cards = mutated_trees([[CARD]]).filter(_is_json)
    fuzz("pages", cards, read, both=False)


def _is_json(tree: object) -> bool:
    try:
        return json.loads(json.dumps(tree, allow_nan=False)) == tree
    except (ValueError, RecursionError, TypeError):
        return False


def test_json_in_pages_is_read_back(fuzz: Fuzz) -> None:
    def read(jail: Jail, values: list[str]) -> None:
        packed = script_json(values)
        assert not re.search("[<>&\u2028\u2029\ud800-\udfff]", packed)
        assert json.loads(packed) == values
        for value in values:
            assert all(c == " " or c.isprintable() for c in visible(value))

    fuzz("pages", st.lists(texts, max_size=4), read, both=False)


def test_latex_prints_any_text(fuzz: Fuzz) -> None:
    def read(jail: Jail, text: str) -> None:
        made = latex_escape(text)
        left = COMMANDS.sub("", made)
        assert not set(left) & set("\\{}$&#%^_~<>|\"'`[]*\n\r\t\x00"), left
        assert "\n" not in made
        for pair in ("--", ",,", "?`", "!`", "``", "''", "<<", ">>", "^^"):
            assert pair not in left or pair not in made
        whole = tabular(["head"], [[made]], "l")
        assert whole.count("\\end{tabular}") == 1

    fuzz("LaTeX", texts, read, both=False)


def test_errors_are_one_plain_line(fuzz: Fuzz) -> None:
    def read(jail: Jail, text: str) -> None:
        raise LensbenchError(f"{text}: correct it.")

    fuzz("pages", texts, read, both=False)
