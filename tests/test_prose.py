"""What notebooks are made of: numbers rounded, texts visible and escaped, settings checked."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from lensbench import prose
from lensbench.errors import LensbenchError
from lensbench.notebook_page import markdown


@pytest.mark.parametrize(
    ("value", "digits", "said"),
    [
        (75406, 0, "75,406"), (75405.0, 2, "75,405"), (0.534, 2, "0.53"), (1.0, 2, "1.00"),
        (3.8e-5, 2, "3.8e-05"), (0, 2, "0"), (0.0, 2, "0.00"), (-0.094, 2, "-0.09"),
        (1057.34, 1, "1,057"), (float("nan"), 2, "–"), (None, 2, "–"), (pd.NA, 0, "–"),
        # Only zero is printed as zero, and without a sign.
        (0.001, 2, "0.0010"), (0.0036, 2, "0.0036"), (-0.0049, 2, "-0.0049"), (0.006, 2, "0.01"),
        (-0.0, 2, "0.00"), (-0.0, 0, "0"), (-3.8e-5, 2, "-3.8e-05"), (0.3, 0, "0.30"),
        (999.9, 2, "999.90"),
    ],
)  # fmt: skip
def test_numbers(value: object, digits: int, said: str) -> None:
    assert prose.number(value, digits) == said


def test_an_interval_is_said_with_its_n() -> None:
    row = pd.Series({"value": 0.5, "low": 0.4123, "high": 0.6, "n": 36.0})
    assert prose.interval(row) == "0.50 (0.41 to 0.60, n = 36)"


@pytest.mark.parametrize(
    ("three", "said"),
    [
        ((0.00123, 0.00099, 0.0036), "0.0012 (0.0010 to 0.0036"),
        ((-0.0014, -0.03, 0.02), "-0.001 (-0.030 to 0.020"),
        ((0.004, 0.0, 0.012), "0.004 (0.000 to 0.012"),
        ((0.0, 0.0, 0.0), "0.00 (0.00 to 0.00"),
        ((-0.0, -0.02, 0.5), "0.00 (-0.02 to 0.50"),
        ((3e-4, 0.0, 8e-4), "3.0e-04 (0.00 to 8.0e-04"),
        ((0.5, 3e-7, 0.9), "5.0e-01 (3.0e-07 to 9.0e-01"),
        ((1200.4, 998.2, 1500.0), "1,200 (998 to 1,500"),
        ((float("nan"), float("nan"), float("nan")), "– (– to –"),
    ],
)
def test_an_interval_has_one_format(three: tuple[float, float, float], said: str) -> None:
    row = pd.Series({**dict(zip(("value", "low", "high"), three, strict=True)), "n": 7})
    assert prose.interval(row) == f"{said}, n = 7)"


_REALS = st.one_of(
    st.floats(-1e5, 1e5), st.floats(-0.02, 0.02), st.floats(-1e-8, 1e-8), st.just(0.0)
)


@given(three=st.lists(_REALS, min_size=3, max_size=3).map(sorted), digits=st.integers(0, 3))
def test_what_is_printed_keeps_order_and_only_zero_is_zero(three: list, digits: int) -> None:
    low, value, high = (float(text.replace(",", "")) for text in prose.together(three, digits))
    assert low <= value <= high
    assert [printed == 0 for printed in (low, value, high)] == [real == 0 for real in three]
    half = 0.5 if max(map(abs, three)) >= 1000 else 0.5 * 10**-digits
    for printed, real in zip((low, value, high), three, strict=True):
        # Half of the last digit: of the decimals, or of the two digits before a power of ten.
        assert abs(printed - real) <= max(half, 0.051 * abs(real)) * (1 + 1e-9)
        assert float(prose.number(real, digits).replace(",", "")) * real >= 0


@pytest.mark.parametrize("text", ["`", "a``b", "<b>", "*x*", "[a](b)", "", " red", "a|b", "\n"])
def test_a_quoted_token_is_code_and_nothing_else(text: str) -> None:
    from lensbench.figures.fonts import printable

    html = markdown(f"| a |\n|---|\n| {prose.quoted(text)} |")
    shown = printable(text).replace("|", "∣").replace("<", "&lt;").replace(">", "&gt;")
    assert f"<td><code>{shown}</code></td>" in html


def test_a_table_escapes_and_rounds() -> None:
    frame = pd.DataFrame({"t<": ["<i>&", None], "n": [3, 1200], "v": [0.126, float("nan")]})
    html = prose.grid(frame, digits=2, caption="<u>").data
    assert "<td><bdi>&lt;i&gt;&amp;</bdi></td><td class=number>3</td><td class=number>0.13" in html
    assert "<td><bdi>–</bdi></td><td class=number>1,200</td><td class=number>–" in html
    assert "<caption><bdi>&lt;u&gt;</bdi></caption>" in html
    assert "<th>t&lt;</th>" in html
    assert "v" not in prose.grid(frame, {"n": "count"}).data


def test_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LENSBENCH_OPTIONS", raising=False)
    assert prose.options(a=1) == {"a": 1}
    monkeypatch.setenv("LENSBENCH_OPTIONS", '{"a": 2}')
    assert prose.options(a=1, b=3) == {"a": 2, "b": 3}
    with pytest.raises(LensbenchError, match="no setting a: there are b"):
        prose.options(b=3)


def test_the_results_are_where_they_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LENSBENCH_RESULTS", str(tmp_path / "none"))
    with pytest.raises(LensbenchError, match="no folder of results"):
        prose.results_folder()
    monkeypatch.delenv("LENSBENCH_RESULTS")
    (tmp_path / "results").mkdir()
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    assert prose.results_folder().resolve() == tmp_path / "results"


def test_the_first_run_of_words_alone() -> None:
    heads = pd.DataFrame(
        [("z", "facts", 0.0), ("z", "facts", 0.0), ("v", "fills", 0.0), ("v", "fills", 0.4),
         ("gpt2", "facts", 0.0)],
        columns=["model", "dataset", "image_mass"],
    )  # fmt: skip
    assert prose.text_run(heads) == ("z", "facts")
    assert prose.text_run(heads, prefer="gpt2") == ("gpt2", "facts")
    assert prose.text_run(heads, "z", prefer="gpt2") == ("z", "facts")
    with pytest.raises(LensbenchError, match="no run of words alone of v"):
        prose.text_run(heads, "v")


def test_figures_are_inside_with_what_they_show(tmp_path: Path) -> None:
    figure = Figure(figsize=(2, 1))
    figure.add_subplot().plot([1, 2])
    hostile = prose.drawn(figure, "answer: \u202eevil\x07").data
    assert not {"\u202e", "\x07"} & set(hostile)
    assert not {"\u202e", "\x07"} & set(
        prose.grid(pd.DataFrame({"a": [1]}), caption="\u202e\x07").data
    )
    html = prose.drawn(figure, 'a "quoted" <caption>').data
    assert html.count("data:image/png;base64,iVBOR") == 1
    assert 'width="240" alt="a &quot;quoted&quot; &lt;caption&gt;"' in html
    figure.savefig(tmp_path / "f.png", dpi=200)
    assert 'width="240"' in prose.saved(tmp_path / "f.png", "c").data
    (tmp_path / "bad.png").write_bytes(b"no")
    for name in ("none.png", "bad.png"):
        with pytest.raises(LensbenchError, match=f"{name} is missing or damaged"):
            prose.saved(tmp_path / name, "c")


def test_the_first_dataset_that_was_run_is_taken() -> None:
    table = pd.DataFrame({"dataset": ["flowers", "scenes", "tf_flowers"]})
    assert prose.first_of(table, ["oxford_flowers", "tf_flowers", "flowers"]) == "tf_flowers"
    assert prose.first_of(table, ["a", "b"]) == "b"
