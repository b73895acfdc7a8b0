"""Notebooks run into pages: tiny ones of the tests' own, and the rules that the project's keep."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jupytext
import pytest
from tests.commands import Done

from lensbench.config import ROOT
from lensbench.errors import DataError
from lensbench.notebook_page import title_of
from lensbench.notebooks import NotebookError, read_notebook, run_notebook

OURS = sorted((ROOT / "notebooks").glob("*.py"))
TITLE = "# %% [markdown]\n# # A <b>small</b> one\n# With *prose*.\n"


class Parsed(HTMLParser):
    """A page's tags with their attributes, and its text outside of code."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def page(tmp_path: Path) -> Callable[..., str]:
    """Return what runs cells (source texts) as a notebook and gives the page."""

    def run(*cells: str, **more: object) -> str:
        path = tmp_path / "tiny.py"
        path.write_text(TITLE + "".join(f"# %%\n{cell}\n" for cell in cells), encoding="utf-8")
        (tmp_path / "results").mkdir(exist_ok=True)
        out = tmp_path / "pages" / "tiny.html"
        run_notebook(path, tmp_path / "results", out, **more)
        return out.read_text(encoding="utf-8")

    return run


def test_a_notebook_with_nothing_to_tell_ends_there_with_its_sentence(
    page: Callable[..., str],
) -> None:
    found = page(
        "print('before')",
        "from lensbench import prose\nprint('here')\n"
        "raise prose.NothingToTellError('These results have no `such` run.')",
        "print('af' + 'ter')",
    )
    told = " ".join(Parsed(found).texts)
    assert "before" in told
    assert "here" in told
    assert "These results have no" in told
    assert "after" not in told
    assert "most recent call last" not in told


HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\\u202e"


def test_cells_run_in_order_with_results_and_options(
    page: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = page(
        "import json, os, sys\nseen = ['one']",
        "seen.append('two')\nprint('/'.join(seen))",
        "print(os.environ['LENSBENCH_RESULTS'], os.getcwd(), sys.executable, sep='\\n')",
        "print(json.loads(os.environ['LENSBENCH_OPTIONS'])['n'] + 1)",
        "print('to stderr', file=sys.stderr)",
        options={"n": 41},
    )
    texts = Parsed(found).texts
    joined = "".join(texts)
    assert "one/two" in joined
    import sys

    for said in (str(tmp_path / "results"), f"\n{tmp_path}\n", sys.executable, "\n42\n"):
        assert said in joined + "\n"
    # Progress and warnings are no part of a page; the code that prints them is.
    assert joined.count("to stderr") == 1
    # Code is there, folded.
    assert len(Parsed(found).named("details")) == 5
    assert not [attributes for attributes in Parsed(found).named("details") if "open" in attributes]


def test_a_page_loads_nothing_and_runs_nothing(page: Callable[..., str]) -> None:
    found = page(
        "from matplotlib.figure import Figure\nfigure = Figure(figsize=(2, 1))\n"
        "figure.add_subplot().plot([1, 2])\nfigure",
        "from IPython.display import HTML, Javascript, Markdown, display\n"
        f"text = '{HOSTILE}'\n"
        "display(Markdown(text), Javascript('alert(3)'))",
        "import pandas as pd\npd.DataFrame({text: [text]})",
        "from lensbench import prose\ndisplay(prose.grid(pd.DataFrame({text: [text, 'b']}), "
        "caption=text), prose.say(prose.quoted(text + '`|`')))",
        "print(text)",
    )
    parsed = Parsed(found)
    assert not parsed.named("script")
    assert not parsed.named("link")
    assert not parsed.named("iframe")
    (picture,) = parsed.named("img")  # the figure, once
    assert str(picture["src"]).startswith("data:image/png;base64,iVBOR")
    assert picture["width"] == "240"
    (policy,) = [each["content"] for each in parsed.named("meta") if "content" in each][:1]
    assert str(policy).startswith("default-src 'none'; img-src data:;")
    for _, attributes in parsed.tags:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href"):
            assert not str(attributes.get(name, "")).startswith(("http", "//"))
    assert not re.search(r"url\((?!data:font/woff;base64,)|@import", found)
    # What was hostile is there to be read: in the table, its heading, the caption and the print.
    joined = "".join(parsed.texts)
    assert joined.count("<script>alert(1)</script>") >= 6
    assert "⟨U+202E⟩" in joined


def test_the_same_notebook_gives_the_same_bytes(page: Callable[..., str]) -> None:
    cells = (
        "import pandas as pd\nfrom matplotlib.figure import Figure\n{'a', 'b', 'c'}",
        "figure = Figure(figsize=(2, 1))\nfigure.add_subplot().plot([1, 2])\nfigure",
        "pd.DataFrame({'a': [1.5]})",
    )
    first = page(*cells)
    assert page(*cells) == first


def test_a_failing_cell_is_told_in_one_sentence_and_nothing_is_written(
    page: Callable[..., str], tmp_path: Path
) -> None:
    with pytest.raises(NotebookError) as caught:
        page("x = 1", "# why\nraise ValueError('first line\\nno such table <b>')", "y = 2")
    said = str(caught.value)
    assert said == "Notebook tiny.py, cell 2 (# why) failed: ValueError: no such table <b>"
    assert not (tmp_path / "pages").exists()


def test_time_runs_out(page: Callable[..., str], tmp_path: Path) -> None:
    with pytest.raises(NotebookError, match=r"tiny\.py, cell 2 \(import time.* when the 4 s"):
        page("x = 1", "import time; time.sleep(60)", time_limit=4)
    assert not (tmp_path / "pages").exists()


def test_a_kernel_that_dies_is_told(page: Callable[..., str]) -> None:
    with pytest.raises(NotebookError, match=r"tiny\.py, cell 1 \(import os.* ended its kernel"):
        page("import os; os._exit(3)")


def test_what_can_not_be_run_is_refused_with_its_reason(tmp_path: Path) -> None:
    results, out = tmp_path / "results", tmp_path / "a.html"
    with pytest.raises(DataError, match="no folder of results"):
        run_notebook(OURS[0], results, out)
    results.mkdir()
    script, bare = tmp_path / "a.py", tmp_path / "b.py"
    script.write_text("x = 1\n")
    bare.write_text("# %%\nx = 1\n")
    for path, why in (
        (tmp_path / "none.py", "can't be read"),
        (script, "no notebook in jupytext's percent format"),
        (bare, "has no title"),
    ):
        with pytest.raises(NotebookError, match=why):
            run_notebook(path, results, out)
    assert not out.exists()


def test_the_command(lensbench: Callable[..., Done], tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "n.py").write_text(TITLE + "# %%\nfrom lensbench import prose\nprose.options(n=1)")
    done = lensbench("notebook", "n.py", "--out", "a/n.html", "--options", '{"n": 7}')
    assert done.returncode == 0, done.stderr
    assert "{'n': 7}" in "".join(Parsed((tmp_path / "a/n.html").read_text()).texts)
    for arguments, why in (
        (["--out", "b.html", "--options", '{"m": 7}'], "LensbenchError: This notebook has no "),
        (["--out", "b.html", "--options", "{"], "no valid JSON"),
        (["--out", "b.txt"], "must end in .html"),
    ):
        done = lensbench("notebook", "n.py", *arguments)
        assert done.returncode == 1
        assert why in done.stderr
        assert not (tmp_path / "b.html").exists()


# The project's own notebooks.

#: Numbers that prose may hold, for none is measured here: cited, part of a name, or a definition.
CITED = {
    "1_answers_way.py": {"95 %", "75,406", "0.5B"},
    "2_heads.py": {"0.8", "0.2", "0.5B"},
    "3_patches.py": {"1.5", "0.0000"},
    "4_heat_map.py": {"95 %"},
    "5_counting.py": {"95 %", "0.005"},
    "first_look.py": {"5 %", "95 %"},
}
NUMBER = re.compile(r"\d+(?:[.,]\d+)?\s?%|\d+[.,]\d+\w*")


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.stem)
def test_a_notebook_is_one_and_types_no_number_that_is_measured(path: Path) -> None:
    notebook = read_notebook(path)
    assert title_of(notebook)
    prose = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    typed = {found for text in prose for found in NUMBER.findall(text)}
    allowed = CITED.get(path.name, set())
    assert typed <= allowed, f"measured numbers come from f-strings, not: {typed - allowed}"
    assert not [text for text in prose if "$" in text], "pages have no formulas"
    if path.name != "first_look.py":
        assert any(re.search("(not|n't) show", text) for text in prose), "say what isn't shown"
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    assert not re.search(r"^\s*(import|from) (numpy|scipy|torch|sklearn)", code, re.MULTILINE), (
        "what computes lives in src/"
    )


def test_the_lint_finds_a_typed_number() -> None:
    for text, found in {
        "in 57 % of the samples": ["57 %"], "a cosine of 0.38": ["0.38"], "57.5%": ["57.5%"],
        "at layer 12 of 24": [], "rank 75,406": ["75,406"],
    }.items():  # fmt: skip
        assert NUMBER.findall(text) == found


def test_options_are_json_for_the_notebook(tmp_path: Path, page: Callable[..., str]) -> None:
    found = page(
        "from lensbench import prose\nprint(prose.options(a=1, b=[2]))", options={"b": ["<é>"]}
    )
    assert json.dumps("<é>")[1:-1] not in found
    assert "{'a': 1, 'b': ['<é>']}" in "".join(Parsed(found).texts)


def test_a_token_that_reads_none_is_a_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "metrics").mkdir()
    tokens = ["None", "NA", "null", "nan", "", "1e5"]
    table = "model,layer,text,share\n" + "".join(f"m,1,{token},0.5\n" for token in tokens)
    (tmp_path / "metrics" / "tokens.csv").write_text(table, encoding="utf-8")
    monkeypatch.setenv("LENSBENCH_RESULTS", str(tmp_path))
    cells = jupytext.read(ROOT / "notebooks/first_look.py").cells
    found: dict[str, Any] = {}
    exec(next(cell.source for cell in cells if cell.cell_type == "code"), found)
    assert found["tables"]["tokens"]["text"].tolist() == tokens
    assert found["tables"]["tokens"]["share"].tolist() == [0.5] * len(tokens)
