from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lensbench.errors import LensbenchError
from lensbench.metrics.tables import peak_layer
from lensbench.tables import TABLES, latex_escape, make_table
from metric_frames import HOSTILE, metric_frames, write_metric_frames

FRAMES = metric_frames(4)

COMMANDS = {
    "\\textbackslash{}": "\\", "\\{": "{", "\\}": "}", "\\$": "$", "\\&": "&", "\\#": "#",
    "\\%": "%", "\\_": "_", "\\textasciicircum{}": "^", "\\textasciitilde{}": "~",
    "\\textless{}": "<", "\\textgreater{}": ">", "\\textbar{}": "|", "\\textquotedbl{}": '"',
    "\\textquotesingle{}": "'", "\\textasciigrave{}": "`", "{[}": "[", "{]}": "]", "{*}": "*",
    "\\ldots{}": "…", "\\textlangle{}": "⟨", "\\textrangle{}": "⟩", "\\textvisiblespace{}": "␣",
    "\\kern0pt{}": "",
}  # fmt: skip
TOKEN = re.compile("|".join(re.escape(command) for command in COMMANDS) + "|(.)", re.DOTALL)


def read_back(latex: str) -> str:
    """Return what TeX prints, refusing every character with a meaning outside known commands."""
    parts = []
    for match in TOKEN.finditer(latex):
        plain = match.group(1)
        assert plain is None or plain not in "\\{}$&#%_^~\n\r\t", (latex, plain)
        parts.append(COMMANDS[match.group(0)] if plain is None else plain)
    return "".join(parts)


@settings(max_examples=500, deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=["C", "Z"]), max_size=20))
@example("\\textbf{x}")
@example("}{%&#^~$_")
@example("\\\\[2pt]*")
@example("---``''?`!`,,<<>>")
@example("三个 셋 три ثلاثة 🙂")
def test_what_is_escaped_reads_back_as_it_was(text: str) -> None:
    assert read_back(latex_escape(text)) == text.replace("\ufffd", "⟨U+FFFD⟩")


@settings(max_examples=500, deadline=None)
@given(st.text(max_size=20))
def test_no_text_opens_or_ends_anything(text: str) -> None:
    escaped = latex_escape(text)
    read_back(escaped)
    assert escaped.isprintable()


@pytest.mark.parametrize("pair", ["--", ",,", "?`", "!`", "``", "''"])
def test_no_two_characters_become_one(pair: str) -> None:
    assert "\\kern0pt{}" in latex_escape(pair)
    assert latex_escape("a-b, c? d! e") == "a-b, c? d! e"


def test_what_is_not_ascii_passes_through() -> None:
    assert latex_escape("三个 셋 три ثلاثة 🙂") == "三个 셋 три ثلاثة 🙂"
    assert latex_escape("\n\x00\u200b") == "".join(
        f"\\textlangle{{}}U+{code}\\textrangle{{}}" for code in ("000A", "0000", "200B")
    )


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_the_same_from_csv_and_frames_byte_for_byte(name: str, tmp_path: Path) -> None:
    write_metric_frames(tmp_path / "metrics", FRAMES)
    first = make_table(name, tmp_path / "metrics", tmp_path / "a")
    second = make_table(name, FRAMES, tmp_path / "b")
    shuffled = {key: frame.sample(frac=1, random_state=3) for key, frame in FRAMES.items()}
    third = make_table(name, shuffled, tmp_path / "c")
    for one, two, three in zip(first, second, third, strict=True):
        assert one.read_bytes() == two.read_bytes() == three.read_bytes()
        assert b"\r" not in one.read_bytes()


@pytest.mark.parametrize("name", TABLES)
def test_every_row_has_a_cell_for_every_column(name: str, tmp_path: Path) -> None:
    tex = make_table(name, FRAMES, tmp_path / "t")[1].read_text(encoding="utf-8")
    for block in re.findall(r"\\begin\{tabular\}\{@\{\}(\w+)@\{\}\}(.*?)\\end", tex, re.DOTALL):
        columns, body = block
        rows = [line for line in body.splitlines() if line.endswith("\\\\")]
        assert len(rows) > 1
        for row in rows:
            assert len(re.findall(r"(?<!\\)&", row)) == len(columns) - 1
    assert "toprule" in tex
    assert "bottomrule" in tex


def test_a_new_model_is_in_every_table(tmp_path: Path) -> None:
    frames = metric_frames(8)
    for name in TABLES:
        csv, tex = make_table(name, frames, tmp_path / "t")
        assert "extra_vlm-3b" in csv.read_text(encoding="utf-8"), name
        assert "extra\\_vlm-3b" in tex.read_text(encoding="utf-8"), name


@pytest.mark.parametrize("name", TABLES)
def test_an_empty_table_is_a_sentence(name: str, tmp_path: Path) -> None:
    empty = {key: frame.iloc[:0] for key, frame in FRAMES.items()}
    csv, tex = make_table(name, empty, tmp_path / "t")
    assert csv.read_text(encoding="utf-8").count("\n") == 1
    assert "\\emph{" in tex.read_text(encoding="utf-8")


def test_a_hostile_name_stays_in_its_cell(tmp_path: Path) -> None:
    for token in HOSTILE:
        frames = {key: frame.replace("smollm2-135m", token) for key, frame in FRAMES.items()}
        tex = make_table("summary", frames, tmp_path / "t")[1].read_text(encoding="utf-8")
        rows = [line for line in tex.splitlines() if line.endswith("\\\\")]
        assert all(len(re.findall(r"(?<!\\)&", row)) == 12 for row in rows)


def test_summary_holds_the_tables_own_numbers(tmp_path: Path) -> None:
    csv, tex = make_table("summary", FRAMES, tmp_path / "t")
    row = pd.read_csv(csv).query("model == 'lensbench-llava' and dataset == 'scenes'").iloc[0]
    table = FRAMES["summary"].query("model == 'lensbench-llava' and dataset == 'scenes'")
    accuracy = table.query("metric == 'accuracy'").iloc[0]
    assert (row["accuracy"], row["n"]) == (accuracy["value"], accuracy["n"])
    assert row["accuracy_low"] == pytest.approx(accuracy["low"])
    assert "0.93 {\\footnotesize[0.84, 1.02]}" in tex.read_text(encoding="utf-8")


def test_summary_has_the_share_of_answers_not_understood(tmp_path: Path) -> None:
    summary = FRAMES["summary"].copy()
    counted = (summary["metric"] == "n_answers_not_understood") & (summary["dataset"] == "facts")
    summary.loc[counted, ["value", "n"]] = [2.0, 80]
    csv, tex = make_table("summary", {**FRAMES, "summary": summary}, tmp_path / "t")
    shares = pd.read_csv(csv).set_index("dataset")["not_understood"]
    assert (shares["facts"], set(shares.drop("facts"))) == (0.025, {0.0})
    assert r"not understood" in tex.read_text("utf-8")


def test_summary_has_the_share_of_the_rejected(tmp_path: Path) -> None:
    frames = {**FRAMES, "summary": FRAMES["summary"].copy()}
    counted = (frames["summary"]["metric"] == "n_rejected") & (
        frames["summary"]["dataset"] == "facts"
    )
    frames["summary"].loc[counted, ["value", "n"]] = [2.0, 80]
    csv, tex = make_table("summary", frames, tmp_path / "t")
    shares = pd.read_csv(csv).set_index("dataset")["rejected"]
    assert (shares["facts"], set(shares.drop("facts"))) == (0.025, {0.0})
    printed = [line.removesuffix(r" \\") for line in tex.read_text("utf-8").splitlines()]
    assert [line.rpartition("& ")[2] for line in printed if "smollm2" in line] == [r"2.5\,\%"]
    assert sum(line.endswith(r"& 0\,\%") for line in printed) == len(shares) - 1


def test_language_takes_the_peak_between_embeddings_and_last_layer(tmp_path: Path) -> None:
    frames = dict(FRAMES)
    han = frames["han_in_topk"].copy()
    run = (han["model"] == "lensbench-llava") & (han["dataset"] == "scenes") & (han["k"] == 1)
    han.loc[run, "value"] = 0.1
    han.loc[run & han["layer"].isin([0, 8]), "value"] = 1.0  # neither is a middle layer
    han.loc[run & (han["layer"] == 5), "value"] = 0.6
    frames["han_in_topk"] = han
    csv = make_table("language", frames, tmp_path / "t")[0]
    row = pd.read_csv(csv).query("model == 'lensbench-llava' and dataset == 'scenes'").iloc[0]
    assert (row["han_top1_peak"], row["han_top1_layer"]) == (0.6, 5)


def curve(*rows: tuple[float, float, float], n: int = 24) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["value", "low", "high"]).assign(
        layer=range(1, len(rows) + 1), n=n
    )


def test_a_layer_is_a_peak_only_where_its_interval_stands_out() -> None:
    flat = curve((0.5, 0.4, 0.6), (0.55, 0.45, 0.65), (0.5, 0.4, 0.6))
    assert peak_layer(flat) is None
    rising = curve((0.1, 0.0, 0.2), (0.8, 0.7, 0.9), (0.8, 0.6, 0.9))
    assert peak_layer(rising) == 2
    assert peak_layer(rising.sample(frac=1, random_state=0)) == 2
    # The floor there must be cleared too, row by row.
    assert peak_layer(rising, 0.75) is None
    assert peak_layer(rising, pd.Series([0.9, 0.69, 0.9])) == 2
    # Touching intervals are no difference; one sample has none; a layer without a value counts not.
    assert peak_layer(curve((0.1, 0.0, 0.7), (0.8, 0.7, 0.9))) is None
    assert peak_layer(rising.assign(n=1)) is None
    assert peak_layer(rising.iloc[:0]) is None
    assert peak_layer(pd.concat([rising, curve((float("nan"),) * 3).assign(layer=9)])) == 2


def test_no_layer_is_named_where_nothing_peaks(tmp_path: Path) -> None:
    frames = dict(FRAMES)
    flat = frames["han_in_topk"].assign(value=0.3, low=0.2, high=0.4)
    masses = frames["script_mass"]
    below = masses["script"] == "Han"
    frames["han_in_topk"] = flat
    frames["script_mass"] = masses.assign(
        floor_random=masses["floor_random"].mask(below, 1.0)  # a random direction has more Han
    )
    csv, tex = make_table("language", frames, tmp_path / "t")
    table = pd.read_csv(csv)
    assert table["han_top1_layer"].isna().all()
    assert table["han_mass_layer"].isna().all()
    assert table["latin_mass_layer"].notna().all()
    assert set(table["han_top1_peak"]) == {0.3}
    assert r"0.30 {\footnotesize(no peak)}" in tex.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["language", "accuracy_by_answer"])
def test_rows_of_one_language_are_not_mixed_in(tmp_path: Path, name: str) -> None:
    pooled = ("han_in_topk", "script_mass", "accuracy_by_answer")
    other = {
        table: pd.concat([FRAMES[table].assign(asked="zh", value=0.99, low=0.98), FRAMES[table]])
        for table in pooled
    }
    alone = make_table(name, FRAMES, tmp_path / "a")[0].read_bytes()
    assert make_table(name, {**FRAMES, **other}, tmp_path / "b")[0].read_bytes() == alone


def test_heads_are_counted_by_kind_for_image_runs_only(tmp_path: Path) -> None:
    table = pd.read_csv(make_table("heads", FRAMES, tmp_path / "t")[0])
    assert "smollm2-135m" not in set(table["model"])
    row = table.query("model == 'lensbench-llava' and dataset == 'scenes'").iloc[0]
    heads = FRAMES["heads"].query("model == 'lensbench-llava' and dataset == 'scenes'")
    assert row["heads"] == len(heads) == 32
    for kind in ("image", "mixed", "text"):
        share = (heads["kind"] == kind).sum() / 32
        assert row[f"{kind}_share"] == pytest.approx(share, abs=1e-6)
    assert row["stages"] == "1–2; 3–5; 6–8"


def test_accuracy_by_answer_is_that_of_the_last_layer(tmp_path: Path) -> None:
    table = pd.read_csv(make_table("accuracy_by_answer", FRAMES, tmp_path / "t")[0])
    row = table.query("model == 'lensbench-llava' and answer == 'number:3'").iloc[0]
    source = FRAMES["accuracy_by_answer"].query(
        "model == 'lensbench-llava' and answer == 'number:3' and layer == 8"
    )
    assert row["accuracy"] == pytest.approx(source["value"].iloc[0])


def test_accuracy_by_family_is_over_all_languages_asked(tmp_path: Path) -> None:
    family = FRAMES["accuracy_by_family"]
    # Rows of one language asked for stand in the metric table too, and must not be mixed in.
    frames = {
        **FRAMES,
        "accuracy_by_family": pd.concat([family, family.assign(asked="zh", value=0)]),
    }
    table = pd.read_csv(make_table("accuracy_by_family", frames, tmp_path / "t")[0])
    row = table.query("model == 'lensbench-llava' and dataset == 'scenes' and family == 'color'")
    assert row[["accuracy", "accuracy_generated", "n"]].to_numpy().tolist() == [[0.96, 0.96, 40]]
    assert row["accuracy_low"].iloc[0] == pytest.approx(0.92)
    assert row["accuracy_high"].iloc[0] == pytest.approx(1.0)


def test_a_failed_gate_is_seen(tmp_path: Path) -> None:
    frames = {**FRAMES, "gates": FRAMES["gates"].assign(passed="False")}
    tex = make_table("gates", frames, tmp_path / "t")[1].read_text(encoding="utf-8")
    assert "\\textbf{no}" in tex
    assert "yes" not in tex
    assert "$3.1\\cdot10^{-6}$" in tex


def test_an_unknown_table_is_told(tmp_path: Path) -> None:
    with pytest.raises(LensbenchError, match="no table 'pie'"):
        make_table("pie", FRAMES, tmp_path / "t")
