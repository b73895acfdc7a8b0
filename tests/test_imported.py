"""Imported patch lenses: what a file becomes, the published numbers, and every malformed kind."""

from __future__ import annotations

import copy
import gzip
import json
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.commands import Done

from lensbench import imported_file
from lensbench.errors import DataError, LensbenchError
from lensbench.imported import import_patch_lens
from lensbench.imported_file import read_patch_lens
from lensbench.trace import read_meta, read_table, stack

SWEATER = Path(__file__).parent / "data" / "sweater_top1.json.gz"
LABELS = ["<s>", "see", "<IMG1>", "<IMG2>", "<IMG3>", "<IMG4>", ":"]
HOSTILE = "<img src=x onerror=alert(1)>"


def planted() -> dict[str, Any]:
    """Return a lens of 3 states × 7 positions × top 2 whose every cell is its own token."""
    top = [
        [[[f"t{state}.{place}", "0.5000"], ["", "0.2500"]] for place in range(len(LABELS))]
        for state in range(3)
    ]
    return {"image": "a", "prompt": "see:", "token_labels": list(LABELS), "top5": top}


def written(folder: Path, tree: Any, name: str = "lens.json") -> Path:
    path = folder / name
    text = tree if isinstance(tree, str) else json.dumps(tree)
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    return path


def refused(tmp_path: Path, tree: Any, says: str, **options: Any) -> None:
    """Import what can't be; nothing may be left where the folder would be."""
    path = tree if isinstance(tree, Path) else written(tmp_path, tree)
    out = tmp_path / "imported" / "a"
    with pytest.raises(DataError, match=says) as caught:
        import_patch_lens(path, out, **options)
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "imported").exists() or not list((tmp_path / "imported").iterdir())


def test_every_cell_is_found_again_where_it_was(tmp_path: Path) -> None:
    import_patch_lens(written(tmp_path, planted()), tmp_path / "a", model="m-1")
    meta = read_meta(tmp_path / "a")
    assert (meta.model, meta.dataset, meta.k, meta.n_layers, meta.n_heads) == ("m-1", "a", 2, 2, 0)
    assert meta.head_layers == ()
    vocabulary = read_table(tmp_path / "a", "vocabulary").set_index("token_id")["text"]
    patches = read_table(tmp_path / "a", "patches")
    assert len(patches) == 3 * 4
    for row in patches.itertuples():
        assert row.position == row.patch + 2
        assert (row.row, row.col, row.view) == (row.patch // 2, row.patch % 2, 0)
        assert vocabulary[row.top_id[0]] == f"t{row.layer}.{row.position}"
        assert vocabulary[row.top_id[1]] == ""
        assert row.top_logprob == pytest.approx([math.log(0.5), math.log(0.25)])
    assert patches["entropy_nats"].isna().all()
    words = read_table(tmp_path / "a", "words")
    assert len(words) == 3 * 3
    for row in words.itertuples():
        assert vocabulary[row.token_id] == LABELS[row.position]
        assert vocabulary[row.top_id[0]] == f"t{row.layer}.{row.position}"
    sample = read_table(tmp_path / "a", "samples").iloc[0]
    assert (sample["n_tokens"], sample["n_image_tokens"]) == (7, 4)
    assert json.loads(sample["views"]) == [
        {"name": "picture", "rows": 2, "cols": 2, "box": [0.0, 0.0, 1.0, 1.0]}
    ]
    assert pd.isna(sample["image"])


def test_tokens_are_numbered_as_they_first_appear(tmp_path: Path) -> None:
    import_patch_lens(written(tmp_path, planted()), tmp_path / "a")
    texts = read_table(tmp_path / "a", "vocabulary")["text"].tolist()
    assert texts[:7] == ["<s>", "see", ":", "t0.0", "", "t0.1", "t0.2"]
    assert len(texts) == len(set(texts)) == 3 + 1 + 21


def test_scripts_and_fragments_of_texts(tmp_path: Path) -> None:
    tree = planted()
    told = {
        0: ("三个", "Han", False),
        1: ("<0xE4>", "Fragment", True),
        3: ("\ufffd", "Fragment", True),
        4: ("</s>", "Special", False),
        5: ("swe", "Latin", False),
    }
    for place, (text, _, _) in told.items():
        tree["top5"][0][place][0][0] = text
    import_patch_lens(written(tmp_path, tree), tmp_path / "a")
    found = read_table(tmp_path / "a", "vocabulary").set_index("text")
    for text, script, fragment in told.values():
        assert (found["script"][text], found["is_fragment"][text]) == (script, fragment)
    assert found["script"][""] == "Space"


def test_a_printed_zero_is_half_of_the_last_digits_unit(tmp_path: Path) -> None:
    tree = planted()
    tree["top5"][1][2] = [["x", "0.0001"], ["y", "0.0000"]]
    tree["top5"][1][3] = [["x", "0.0000"], ["y", "0.0000"]]
    import_patch_lens(written(tmp_path, tree), tmp_path / "a")
    patches = read_table(tmp_path / "a", "patches").query("layer == 1")
    logs = stack(patches, "top_logprob")
    assert logs[0] == pytest.approx([math.log(1e-4), math.log(5e-5)])
    assert logs[1] == pytest.approx([math.log(5e-5)] * 2)
    noted = json.loads((tmp_path / "a/provenance.json").read_text())
    assert noted["printed_zeros"] == 3
    assert noted["printed_zero_stands_for"] == pytest.approx(5e-5)


def test_zeros_and_tiny_numbers_have_finite_logarithms_that_do_not_rise(tmp_path: Path) -> None:
    tree = planted()
    tree["top5"][0][2] = [["x", 1], ["y", 0]]
    tree["top5"][0][3] = [["x", 1e-310], ["y", "1e-400"]]
    tree["top5"][0][4] = [["x", 0.25], ["y", 2.5e-1]]
    lens = read_patch_lens(written(tmp_path, tree))
    assert np.isfinite(lens.logprob).all()
    assert (np.diff(lens.logprob, axis=2) <= 0).all()
    assert lens.probability[0, 4].tolist() == [0.25, 0.25]


def test_whole_numbers_alone_take_a_zero_for_no_more_than_what_stands_before(
    tmp_path: Path,
) -> None:
    tree = planted()
    for state in tree["top5"]:
        for entries in state:
            entries[0][1], entries[1][1] = 1, 0
    lens = read_patch_lens(written(tmp_path, tree))
    assert lens.logprob[0, 0] == pytest.approx([0.0, math.log(0.5)])


def test_half_a_character_is_stored_as_its_replacement(tmp_path: Path) -> None:
    tree = planted()
    tree["top5"][0][2][0][0] = "\ud83d"
    tree["prompt"] = "a\udc00b"
    import_patch_lens(written(tmp_path, json.dumps(tree)), tmp_path / "a")
    vocabulary = read_table(tmp_path / "a", "vocabulary").set_index("text")
    assert vocabulary["is_fragment"]["\ufffd"]
    assert read_table(tmp_path / "a", "samples")["prompt"][0] == "a\ufffdb"


def test_hostile_texts_are_kept_as_they_are(tmp_path: Path) -> None:
    tree = planted()
    texts = [HOSTILE, "</script>", "a\x00b", "\u202eabc", "NA", "1e5", "\u2028"]
    for place, text in enumerate(texts):
        tree["top5"][2][place][0][0] = text
    tree["image"] = "../../etc/passwd"
    import_patch_lens(written(tmp_path, tree), tmp_path / "a")
    assert set(texts) <= set(read_table(tmp_path / "a", "vocabulary")["text"])
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [
        "patches.parquet", "provenance.json", "samples.parquet", "vocabulary.parquet",
        "words.parquet",
    ]  # fmt: skip
    assert read_table(tmp_path / "a", "samples")["sample_id"][0] == "a"


def test_any_k_and_a_grid_that_is_no_square(tmp_path: Path) -> None:
    tree = planted()
    tree["token_labels"] = ["<IMG1>", "<IMG2>", "<IMG3>", "<IMG4>", "<IMG5>", "<IMG6>", "?"]
    tree["top5"] = [[[["x", "0.9"]] for _ in range(7)] for _ in range(2)]
    refused(tmp_path, tree, "6 image positions, which make no square")
    refused(tmp_path, tree, "grid of 2x2 does not hold the 6", grid=(2, 2))
    refused(tmp_path, tree, "grid of -2x-3 does not hold", grid=(-2, -3))
    import_patch_lens(written(tmp_path, tree), tmp_path / "a", grid=(2, 3))
    patches = read_table(tmp_path / "a", "patches").query("layer == 0")
    assert patches["row"].tolist() == [0, 0, 0, 1, 1, 1]
    assert patches["col"].tolist() == [0, 1, 2, 0, 1, 2]
    assert read_meta(tmp_path / "a").k == 1


def test_the_same_file_gives_the_same_bytes_packed_or_not(tmp_path: Path) -> None:
    plain = written(tmp_path, planted())
    packed = tmp_path / "lens.json.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    import_patch_lens(plain, tmp_path / "one" / "a")
    import_patch_lens(packed, tmp_path / "two" / "a")
    for path in (tmp_path / "one" / "a").glob("*.parquet"):
        assert path.read_bytes() == (tmp_path / "two" / "a" / path.name).read_bytes()


def test_the_picture_is_opened_and_written_whole(tmp_path: Path) -> None:
    Image.new("RGB", (40, 40), (200, 10, 10)).save(tmp_path / "p.bmp")
    import_patch_lens(written(tmp_path, planted()), tmp_path / "a", picture=tmp_path / "p.bmp")
    with Image.open(tmp_path / "a/picture.png") as picture:
        assert (picture.format, picture.size, picture.getpixel((3, 3))) == (
            "PNG", (40, 40), (200, 10, 10),
        )  # fmt: skip
    assert read_table(tmp_path / "a", "samples")["image"][0] == "picture.png"
    noted = json.loads((tmp_path / "a/provenance.json").read_text())
    assert len(noted["file_sha256"]) == len(noted["picture_sha256"]) == 64
    assert "not the model's own output" in noted["notes"][0]


def test_a_picture_that_does_not_fit_the_grid_needs_a_box(tmp_path: Path) -> None:
    Image.new("RGB", (80, 40)).save(tmp_path / "p.png")
    refused(tmp_path, planted(), "80×40 pixels, which does not fit", picture=tmp_path / "p.png")
    box = (0.25, 0, 0.75, 1)
    import_patch_lens(
        written(tmp_path, planted()), tmp_path / "a", picture=tmp_path / "p.png", box=box
    )
    assert json.loads(read_table(tmp_path / "a", "samples")["views"][0])[0]["box"] == list(box)
    for bad in ((0, 0, 1), (0, 0, 0, 1), (0, 0, math.nan, 1), (0, 0, math.inf, 1)):
        with pytest.raises(DataError, match="box"):
            import_patch_lens(written(tmp_path, planted()), tmp_path / "b", box=bad)
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n cut"])
def test_a_damaged_picture_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "p.png").write_bytes(content)
    refused(tmp_path, planted(), "picture p.png can't be read", picture=tmp_path / "p.png")
    refused(tmp_path, planted(), "picture q.png is missing", picture=tmp_path / "q.png")


def test_a_failed_import_leaves_the_old_folder_as_it_was(tmp_path: Path) -> None:
    import_patch_lens(written(tmp_path, planted()), tmp_path / "a")
    before = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    broken = planted()
    broken["top5"][2].pop()
    with pytest.raises(DataError):
        import_patch_lens(written(tmp_path, broken), tmp_path / "a")
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}


def _set(*path: Any, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(tree: Any) -> None:
        for key in path[:-1]:
            tree = tree[key]
        tree[path[-1]] = to

    return change


def _drop(*path: Any) -> Callable[[dict[str, Any]], None]:
    def change(tree: Any) -> None:
        for key in path[:-1]:
            tree = tree[key]
        del tree[path[-1]]

    return change


MALFORMED: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "no image": (_drop("image"), "lacks image"),
    "no prompt": (_drop("prompt"), "lacks prompt"),
    "no labels": (_drop("token_labels"), "lacks token_labels"),
    "no top5": (_drop("top5"), "lacks top5"),
    "image is a number": (_set("image", to=3), "image is a number, where a text"),
    "image is too long": (_set("image", to="x" * 1001), "1001 characters"),
    "prompt is null": (_set("prompt", to=None), "prompt is null"),
    "labels are an object": (_set("token_labels", to={}), "token_labels is an object"),
    "labels are empty": (_set("token_labels", to=[]), "token_labels is empty"),
    "a label is a list": (_set("token_labels", 1, to=[]), r"token_labels\[1\] is a list"),
    "a label is true": (_set("token_labels", 1, to=True), r"token_labels\[1\] is true or false"),
    "a label too few": (_drop("token_labels", 0), "has 7 entries, where 6 belong"),
    "no image position": (_set("token_labels", to=["a"] * 7), "has no image position"),
    "image positions out of turn": (_set("token_labels", 3, to="<IMG9>"), "out of turn: <IMG9>"),
    "an image position unnumbered": (_set("token_labels", 3, to="<IMG>"), "out of turn"),
    "top5 is a text": (_set("top5", to="x"), "top5 is a text"),
    "top5 is empty": (_set("top5", to=[]), "top5 is empty"),
    "one state": (lambda tree: tree.update(top5=tree["top5"][:1]), "has one state"),
    "a state is null": (_set("top5", 1, to=None), r"top5\[1\] is null"),
    "a state is short": (_drop("top5", 1, 0), r"top5\[1\] has 6 entries, where 7 belong"),
    "a position is a number": (_set("top5", 1, 2, to=3), r"top5\[1\]\[2\] is a number"),
    "a position is empty": (_set("top5", 1, 2, to=[]), r"top5\[1\]\[2\] is empty"),
    "another k": (_drop("top5", 1, 2, 0), r"top5\[1\]\[2\] has 1 entries, where 2 belong"),
    "no pair": (_set("top5", 1, 2, 0, to=["a", 0.1, 3]), "is no pair"),
    "a pair of nothing": (_set("top5", 1, 2, 0, to="ab"), "is no pair"),
    "a token is a number": (_set("top5", 1, 2, 0, 0, to=3), "is a number, where a text belongs"),
    "a token is a book": (_set("top5", 1, 2, 0, 0, to="x" * 1001), "1001 characters"),
    "a probability is null": (_set("top5", 1, 2, 0, 1, to=None), "is null, where a probability"),
    "a probability is true": (_set("top5", 1, 2, 0, 1, to=True), "is true or false"),
    "a probability is a word": (_set("top5", 1, 2, 0, 1, to="half"), "'half', which is no"),
    "a probability is nan": (_set("top5", 1, 2, 0, 1, to="nan"), "'nan', which is no"),
    "a probability is blank": (_set("top5", 1, 2, 0, 1, to=""), "'', which is no probability"),
    "digits of another script": (_set("top5", 1, 2, 0, 1, to="0.٣"), "which is no probability"),
    "a digit separator": (_set("top5", 1, 2, 0, 1, to="0.1_0"), "which is no probability"),
    "a long number": (_set("top5", 1, 2, 0, 1, to="0." + "1" * 99), "which is no probability"),
    "above 1": (_set("top5", 1, 2, 0, 1, to=1.01), "1.01, where a probability from 0 to 1"),
    "huge": (_set("top5", 1, 2, 0, 1, to="1e999"), "1e999, where a probability from 0 to 1"),
    "below 0": (_set("top5", 1, 2, 0, 1, to=-0.1), "'-0.1', which is no probability"),
    "rising": (_set("top5", 1, 2, 1, 1, to="0.5001"), r"top5\[1\]\[2\] rises at its entry 1"),
    "sum above 1": (
        lambda tree: tree["top5"][1].__setitem__(2, [["a", "0.9"], ["b", "0.9"]]),
        r"top5\[1\]\[2\] sum to more than 1",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", MALFORMED)
def test_malformed_content_is_met_with_a_sentence(kind: str, tmp_path: Path) -> None:
    change, says = MALFORMED[kind]
    tree = planted()
    change(tree)
    refused(tmp_path, tree, says)


@pytest.mark.parametrize(
    ("text", "says"),
    {
        "empty": ("", "no valid JSON at character 0"),
        "cut": (json.dumps(planted())[:-5], "no valid JSON"),
        "a list": ("[]", "holds a list"),
        "a number": ("3", "holds a number"),
        "NaN": ('{"image": NaN}', "has NaN, which is no finite number"),
        "Infinity": ('{"image": -Infinity}', "has -Infinity"),
        "twins": ('{"image": "a", "image": "b"}', "the same key twice"),
        "deep": ("[" * 100_000, "nests too deep|no valid JSON"),
        "a pickle": ("\x80\x04\x95", "no valid JSON"),
    }.values(),
)
def test_malformed_json_is_met_with_a_sentence(text: str, says: str, tmp_path: Path) -> None:
    refused(tmp_path, text, says)


def test_malformed_bytes_are_met_with_a_sentence(tmp_path: Path) -> None:
    packed = gzip.compress(json.dumps(planted()).encode())
    path = tmp_path / "x.json.gz"
    for content, says in (
        (packed[:-9], "damaged or cut short"),
        (packed[:30] + b"\x00\xff" + packed[32:], "damaged or cut short"),
        (packed + b"\x1f\x8b rubbish", "damaged or cut short"),
        (b"\x1f\x8b", "damaged or cut short"),
        (b"\xff\xfe{", "not UTF-8 from byte 0"),
    ):
        path.write_bytes(content)
        refused(tmp_path, path, says)


def test_missing_files_and_folders_are_met_with_a_sentence(tmp_path: Path) -> None:
    refused(tmp_path, tmp_path / "no.json", "no.json is missing")
    refused(tmp_path, tmp_path, "is no file")
    refused(tmp_path, tmp_path / "a\x1b[31m\n.json", "a\ufffd\\[31m\ufffd.json is missing")


def test_a_bomb_is_unpacked_no_further_than_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imported_file, "LARGEST", 1 << 20)
    bomb = tmp_path / "bomb.json.gz"
    bomb.write_bytes(gzip.compress(b"[" * (8 << 20)))
    assert bomb.stat().st_size < 1 << 20
    refused(tmp_path, bomb, "unpacks to more than the 1 MiB")
    refused(tmp_path, "[" * (2 << 20), "more than the 1 MiB")


@pytest.mark.parametrize("name", ["", "..", ".hidden", "a b", "a\nb", "é", "x" * 101, "-rf"])
def test_names_that_could_lead_elsewhere_are_refused(name: str, tmp_path: Path) -> None:
    path = written(tmp_path, planted())
    with pytest.raises(DataError, match="can't name a"):
        import_patch_lens(path, tmp_path / "imported" / "a", model=name)
    if name:
        with pytest.raises(DataError, match="can't name a"):
            import_patch_lens(path, tmp_path / "imported" / name)
    assert not (tmp_path / "imported").exists()


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


def _places(tree: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of everything in a tree, its root aside."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    found = []
    for key, value in items:
        found.append((*at, key))
        if isinstance(value, dict | list):
            found += _places(value, (*at, key))
    return found


_PLACES = _places(planted())


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    changes=st.lists(st.tuples(st.sampled_from(_PLACES), _JSON, st.booleans()), max_size=3),
    cut=st.none() | st.integers(0, 2000),
    flip=st.none() | st.tuples(st.integers(0, 400), st.integers(0, 255)),
    pack=st.booleans(),
)
def test_whatever_a_file_holds_it_is_read_whole_or_refused_whole(
    changes: list[tuple[tuple[Any, ...], Any, bool]],
    cut: int | None,
    flip: tuple[int, int] | None,
    pack: bool,
) -> None:
    tree = copy.deepcopy(planted())
    for path, value, remove in changes:
        try:
            (_drop(*path) if remove else _set(*path, to=value))(tree)
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took the place away
    content = json.dumps(tree).encode()
    content = gzip.compress(content, mtime=0) if pack else content
    content = content if cut is None else content[:cut]
    if flip is not None and content:
        place = flip[0] % len(content)
        content = content[:place] + bytes([flip[1]]) + content[place + 1 :]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "lens").write_bytes(content)
        try:
            import_patch_lens(folder / "lens", folder / "imported" / "a")
        except LensbenchError as error:
            refusal = str(error)
            left = folder / "imported"
            assert refusal.endswith(".")
            assert "\n" not in refusal
            assert not left.exists() or not list(left.iterdir())
        else:
            samples = read_table(folder / "imported/a", "samples")
            patches = read_table(folder / "imported/a", "patches")
            layers = read_meta(folder / "imported/a").n_layers + 1
            assert len(patches) == layers * samples["n_image_tokens"][0]
            assert np.isfinite(stack(patches, "top_logprob")).all()


def test_the_command_imports_and_refuses(lensbench: Callable[..., Done], tmp_path: Path) -> None:
    written(tmp_path, planted())
    done = lensbench("import-patch-lens", "lens.json", "--out", "imported/a", "--grid", "1x4")
    assert done.returncode == 0, done.stderr
    assert read_table(tmp_path / "imported/a", "samples")["grid_w"][0] == 4
    for extra, says in (
        (("--grid", "2by2"), "--grid '2by2' is no grid"),
        (("--grid", "9x9"), "does not hold the 4"),
        (("--box", "a,b"), "--box 'a,b' is no box"),
    ):
        done = lensbench("import-patch-lens", "lens.json", "--out", "imported/b", *extra)
        assert done.returncode == 1
        assert done.stderr.startswith("lensbench: ")
        assert says in done.stderr
        assert done.stderr.count("\n") == 1
    assert [path.name for path in (tmp_path / "imported").iterdir()] == ["a"]


def test_the_published_numbers_of_a_real_lens_are_those_of_its_file(tmp_path: Path) -> None:
    """The plainest possible count over the raw file, beside what stands in the published study."""
    tree = json.loads(gzip.decompress(SWEATER.read_bytes()))
    places = [at for at, label in enumerate(tree["token_labels"]) if label.startswith("<IMG")]
    best = []
    for place in places:
        cells = [state[place][0] for state in tree["top5"]]
        layer = 0
        for candidate, cell in enumerate(cells):
            if float(cell[1]) > float(cells[layer][1]):
                layer = candidate
        best.append((layer, cells[layer][0]))
    assert len(best) == 576
    assert round(sum(layer for layer, _ in best) / 576, 3) == 28.083
    assert sum(layer >= 22 for layer, _ in best) == 525
    assert sum(text == "" for _, text in best) == 140
    assert sum(not text.strip() for _, text in best) == 145
