"""What a look shows in a terminal, a notebook and a figure: what was planted, nothing obeyed."""

from __future__ import annotations

import re
import unicodedata
from io import BytesIO
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from nbclient import NotebookClient
from PIL import Image
from tests import planted
from tests.looks import Page, columns_of, lens_of, picture, table
from tests.planted import image_model, text_model, written_model

from lensbench.errors import LensbenchError
from lensbench.figures import saving
from lensbench.look_views import MOST, best_layers
from lensbench.terminal import as_text

HOSTILE = (
    "<script>alert(1)</script>",
    "[red]x[/red]",
    "\x1b[31m\x9b31m",
    "a\nb\rc",
    "\u202eabc",
    "$x$",
    "\u200b",
)


def test_terminal_text_says_what_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    loaded = written_model({2: {" three": 3.0}, 4: {"三": 9.0}}, n_layers=5)
    look = lens_of(loaded)("How many ?", style="plain")
    text = repr(look)
    assert "answer 三" in text
    layers, tokens, chances, ranks = zip(*table(text, 6), strict=True)
    assert layers == tuple("012345")
    assert tokens == ("␣?", "␣?", "␣three", "␣three", "三", "三")
    assert set(chances) == {"1.00"}
    # At first only " ?" is above 三, which is as unlikely as all that was never written.
    assert ranks == ("1", "1", "2", "2", "0", "0")


def test_notebook_says_what_was_written() -> None:
    loaded = written_model({2: {" three": 3.0}, 4: {"三": 9.0}}, n_layers=5)
    lens = lens_of(loaded)
    page = Page(lens("How many ?", style="plain", k=3)._repr_html_())
    head, *rows = page.rows
    assert head == ["layer", "rank", "top 1", "top 2", "top 3"]
    assert [row[0] for row in rows] == list("012345")
    assert [row[1] for row in rows] == ["1", "1", "2", "2", "0", "0"]
    assert [row[2].split()[0] for row in rows] == ["␣?", "␣?", "␣three", "␣three", "三", "三"]
    counting = written_model({}, n_layers=2, successor=True)
    steps = lens_of(counting)("Why red", style="plain", max_new_tokens=3)
    head, *rows = Page(steps._repr_html_()).rows
    assert len(head) == 1 + 3
    assert [[cell.split()[0] for cell in row[1:]] for row in rows] == [head[1:]] * 3
    assert Page(steps._repr_html_()).tags.isdisjoint({"script", "style", "link"})


@pytest.mark.parametrize("token", HOSTILE)
def test_hostile_tokens_are_shown_and_not_obeyed(
    monkeypatch: pytest.MonkeyPatch, token: str, tmp_path: Path
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    plain = planted.tokenizer
    monkeypatch.setattr(planted, "tokenizer", lambda *extra: plain(*extra, token))
    lens = lens_of(written_model({1: {token: 9.0}}, n_layers=2))
    for look in (
        lens("How many ?", style="plain"),
        lens("How many ?", style="plain", max_new_tokens=2),
        lens("How many ?", style="plain", positions="prompt", parts=True),
    ):
        said = look.to_frame().query("layer == 2 and rank == 0")["token"]
        assert set(said) == {token}
        page = Page(look._repr_html_())
        assert page.tags <= {
            "div", "span", "bdi", "table", "thead", "tbody", "tr", "th", "td",
        }  # fmt: skip
        assert page.attributes <= {"style", "title"}
        shown = "".join("".join(row) for row in page.rows)
        texts = [repr(look), look.to_json(), shown, "".join(view.title for view in look.views())]
        for text in texts:
            assert not [c for c in text if unicodedata.category(c) in ("Cc", "Cf") and c != "\n"]
        if token.isprintable():
            assert token in shown
            assert token[:19] in repr(look)
        # Refused if a character has no glyph.
        saving.save(look.plot(), tmp_path / "plot", ["png"])
        texts = [text.get_text() for ax in look.plot().axes for text in ax.texts]
        assert not [c for text in texts for c in text if unicodedata.category(c) == "Cc"]


@pytest.mark.parametrize("width", [30, 40, 80, 120])
@pytest.mark.parametrize("positions", ["answer", "prompt", "image"])
def test_terminal_table_fits_and_stands_in_columns(
    monkeypatch: pytest.MonkeyPatch, width: int, positions: str
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    lens = lens_of(image_model("llava"))
    look = lens("几个红色 stars ? 三", picture(), max_new_tokens=3, positions=positions)
    for text in (repr(look), as_text(look.tables(), width)):
        lines = text.splitlines()
        assert max(map(columns_of, lines)) <= width
        blocks: list[list[str]] = []
        for line in lines:
            if re.match(r" *(layer|patch|row) ", line):
                blocks.append([])
            elif blocks and re.match(r" *\d+(,\d+)?  ", line):
                blocks[-1].append(line)
        assert blocks
        for block in blocks:
            places = {
                tuple(
                    columns_of(line[: found.end()]) for found in re.finditer(r" \d\.\d\d\b", line)
                )
                for line in block
            }
            assert len(places) == 1, block


def test_columns_that_do_not_fit_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    look = lens_of(text_model("llama"))("Why ?", k=10)
    monkeypatch.setenv("COLUMNS", "40")
    assert re.search(r"^[123] of 10 columns fit here\.$", repr(look), re.MULTILINE)
    monkeypatch.setenv("COLUMNS", "400")
    assert "columns fit here" not in repr(look)
    assert "top 10" in repr(look)


def test_long_prompts_are_cut_where_shown_and_whole_in_the_frame() -> None:
    look = lens_of(text_model("llama"))("Why " * 90, style="plain", positions="prompt", k=1)
    assert look.to_frame()["position"].nunique() == len(look.prompt_tokens) > 90
    html = look._repr_html_()
    assert f"The first {MOST} of {len(look.prompt_tokens)} positions" in html
    assert len(Page(html).rows[0]) == 1 + MOST
    assert len(look.plot().axes) == MOST // 8 + 1  # and the color bar


def test_figure_has_the_planted_token_in_every_layer_s_cell() -> None:
    loaded = written_model({2: {" three": 3.0}, 4: {"三": 9.0}}, n_layers=5)
    look = lens_of(loaded)("How many ?", style="plain")
    cells = [text.get_text() for text in look.plot().axes[0].texts]
    assert cells[::5] == ["␣?", "␣?", "␣three", "␣three", "三", "三"]
    png, size = look.plot()._repr_png_()
    drawn = Image.open(BytesIO(png))
    assert drawn.size == pytest.approx((2 * size["width"], 2 * size["height"]), abs=4)


def test_patches_are_drawn_where_they_lie() -> None:
    lens = lens_of(image_model("llava"))
    look = lens("How many ?", picture(), positions="image", k=2)
    frame = look.patches_frame().query("rank == 0")
    for layer in (0, 3):
        drawn = {
            (int(text.get_position()[1]), int(text.get_position()[0])): text.get_text()
            for text in look.plot(layer=layer).axes[0].texts
        }
        rows = frame.query("layer == @layer")
        assert len(drawn) == 16
        for row, column, token in zip(rows["row"], rows["col"], rows["token"], strict=True):
            if token.strip().isalpha() and len(token) < 6:
                assert drawn[row, column] == token.replace(" ", "␣")
    inner = frame.query("layer > 0")
    best = inner.loc[inner.groupby("position")["probability"].idxmax()].set_index(["row", "col"])
    head, *rows = Page(look._repr_html_()).rows
    for row in rows:
        for column, cell in zip(head[1:], row[1:], strict=True):
            token = best.loc[(int(row[0]), int(column)), "token"]
            if token.isalpha():
                assert cell == token
    with pytest.raises(LensbenchError, match="There is no layer 4: layers are 0 to 3"):
        look.plot(layer=4)


def test_the_embedding_is_no_best_layer() -> None:
    patches = pd.DataFrame({
        "position": [7] * 3 + [8] * 3, "layer": [0, 1, 2] * 2, "rank": 0,
        "probability": [0.99, 0.2, 0.3, 0.1, 0.4, 0.4],
    })  # fmt: skip
    found = best_layers(patches)
    assert found[["position", "layer", "probability"]].to_numpy().tolist() == [
        [7, 2, 0.3], [8, 1, 0.4],
    ]  # fmt: skip


def test_positions_without_a_place_in_the_grid_are_counted() -> None:
    look = lens_of(image_model("onevision"))("Why ?", picture(64), positions="image", k=1)
    frame = look.patches_frame().query("layer == 0")
    out = int((frame["view"] != "overview").sum())
    assert out == len(frame) - 16 > 0
    ends = frame["view"].isna()
    assert (frame["row"].isna() == ends).all()
    assert ends.sum() == 4
    tiles = frame[frame["view"] == "tiles"]
    assert (tiles["row"] * 4 + tiles["col"]).tolist() == list(range(16))
    assert f"{out} of {len(frame)} positions have no place in the grid" in repr(look)
    assert f"{out} further positions have no place" in look.plot().texts[0].get_text()


def test_three_lines_in_a_notebook_show_table_and_figure(tmp_path: Path) -> None:
    picture(56).save(tmp_path / "x.png")
    cells = [
        "from lensbench import Lens\nlens = Lens.from_pretrained('lensbench-llava', verify=False)",
        f"trace = lens(image={str(tmp_path / 'x.png')!r}, text='How many circles are there?', "
        "max_new_tokens=4)\ntrace",
        "trace.plot()",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    (shown,) = notebook.cells[1].outputs
    assert [row[0] for row in Page(shown["data"]["text/html"]).rows[1:]] == list("012345678")
    assert "model  lensbench-llava" in shown["data"]["text/plain"]
    (drawn,) = notebook.cells[2].outputs
    assert "image/png" in drawn["data"]
