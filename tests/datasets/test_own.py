"""Somebody's own pictures: questions from CSV and JSONL, boxes that move with the picture."""

from __future__ import annotations

import json
import os
import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from lensbench.answers import UNREAD
from lensbench.datasets.manifest import read_about, read_manifest
from lensbench.datasets.own import make
from lensbench.errors import DataError
from lensbench.files import sha256_of
from lensbench.workflow import _most_samples


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "cats").mkdir(parents=True)
    Image.new("RGB", (30, 20), (200, 0, 0)).save(folder / "cats" / "a.png")
    Image.new("RGB", (30, 20), (0, 200, 0)).save(folder / "b.png")
    Image.new("RGB", (30, 20), (0, 0, 200)).save(folder / "c.png")
    return folder


def asked(tmp_path: Path, photos: Path, text: str, name: str = "questions.csv") -> Path:
    (tmp_path / name).write_text(text, encoding="utf-8")
    make(tmp_path / "own", n=100, seed=0, folder=photos, questions=tmp_path / name)
    return tmp_path / "own"


def test_one_question_for_all(tmp_path: Path, photos: Path) -> None:
    make(tmp_path / "own", n=100, seed=0, folder=photos, question="What color is it?")
    manifest = read_manifest(tmp_path / "own")
    assert manifest["sample_id"].tolist() == ["own-b", "own-c", "own-cats-a"]
    assert set(manifest["prompt"]) == {"What color is it?"}
    assert set(manifest["gold"]) == {""}
    assert manifest["source"].tolist() == ["b.png", "c.png", "cats/a.png"]
    with Image.open(tmp_path / "own" / manifest.loc[2, "image"]) as picture:
        assert picture.getpixel((3, 3)) == (200, 0, 0)


def test_questions_of_a_csv(tmp_path: Path, photos: Path) -> None:
    text = (
        "file,question,answer\n"
        'cats/a.png,"How many cats, large and small, are there?",Three\n'
        "./b.png,这是什么颜色？,绿色\n"
        "b.png,How many?,12\n"
        "c.png,What is it?,a sea\n"
        "c.png,And now?,\n"
    )
    manifest = read_manifest(asked(tmp_path, photos, text))
    assert manifest["sample_id"].tolist() == [f"own-{line:05d}" for line in range(2, 7)]
    assert manifest["prompt"].tolist() == [
        "How many cats, large and small, are there?", "这是什么颜色？", "How many?", "What is it?",
        "And now?",
    ]  # fmt: skip
    assert manifest["gold"].tolist() == [
        "number:3", "color:green", "number:12", UNREAD, "",
    ]  # fmt: skip
    assert manifest["language"].tolist() == ["en", "zh", "digit", "en", "en"]
    assert manifest["family"].tolist() == ["count", "color", "large count", "own", "own"]
    assert manifest["image"].tolist() == [
        "images/cats-a.png", "images/b.png", "images/b.png", "images/c.png", "images/c.png"
    ]  # fmt: skip
    assert manifest.loc[1, "source"] == "b.png, line 3"


def test_questions_of_a_jsonl(tmp_path: Path, photos: Path) -> None:
    lines = [
        {"image": "b.png", "question": "How many?\u2028Say it.", "answer": 2},
        {"file": "c.png", "question": "Why?", "boxes": [[1, 2, 3, 4]], "answer": None},
        {"file": "c.png", "question": "Why?", "boxes": [{"label": "海", "box": [0, 0, 30, 20]}]},
    ]
    text = "\n\n".join(json.dumps(line, ensure_ascii=False) for line in lines) + "\n"
    manifest = read_manifest(asked(tmp_path, photos, text, "q.jsonl"))
    assert manifest["sample_id"].tolist() == ["own-00001", "own-00003", "own-00005"]
    assert manifest["gold"].tolist() == ["number:2", "", ""]
    boxes = [json.loads(text) for text in manifest["objects"]]
    assert boxes == [
        [],
        [{"shape": "thing", "color": "", "box": [1, 2, 3, 4]}],
        [{"shape": "海", "color": "", "box": [0, 0, 30, 20]}],
    ]


#: As spreadsheets and pandas write them: answer → gold where cats are counted.
COUNTED = {
    "2.0": "number:2", "2,0": "number:2", "02": "number:2", "21": "number:21", "３": "number:3",
    "3 cats": "number:3", "None": "number:0", "none": "number:0", "no cats": "number:0",
    "0": "number:0", "three个": "number:3", "두 개": "number:2", "twenty-one": "number:21",
    "\u200b2": "number:2", "½": UNREAD, "1-2": UNREAD, "2.5": UNREAD, "nan": UNREAD, "N/A": UNREAD,
    "null": UNREAD, "many": UNREAD, "TRUE": UNREAD, "-": UNREAD, "": "",
}  # fmt: skip


@pytest.mark.parametrize("name", ["q.csv", "q.jsonl"])
def test_answers_of_counts(
    tmp_path: Path, photos: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"file": "b.png", "question": "How many cats?", "answer": a} for a in COUNTED]
    if name == "q.csv":
        text = "file,question,answer\n"
        text += "".join(",".join(f'"{value}"' for value in row.values()) + "\n" for row in rows)
    else:
        text = "".join(json.dumps(row) + "\n" for row in rows)
    manifest = read_manifest(asked(tmp_path, photos, text, name))
    assert dict(zip(COUNTED, manifest["gold"], strict=True)) == COUNTED
    assert set(manifest["family"]) == {"count", "large count", "own"}
    first = 15 + (name == "q.csv")
    said = capsys.readouterr().err
    assert "9 of the 23 answers of the dataset own are not understood" in said
    assert f"line {first}: '½'; " in said
    assert f"line {first + 4}: 'N/A'; …)" in said
    assert "null" not in said


def test_answers_of_other_questions(tmp_path: Path, photos: Path) -> None:
    text = "file,question,answer\n" + "".join(
        f"b.png,{question},{answer}\n"
        for question, answer in (
            ("What color is the hat?", "None"),
            ("What color is the hat?", "dark red"),
            ("Which film is it?", "12 Monkeys"),
            ("What number is on it?", "21"),
            ("How many hats?", "red"),
            ("帽子是什么颜色？", "红色的"),
        )
    )
    manifest = read_manifest(asked(tmp_path, photos, text))
    assert manifest["gold"].tolist() == [
        UNREAD, "color:red", UNREAD, "number:21", UNREAD, "color:red",
    ]  # fmt: skip
    assert manifest["language"].tolist() == ["en", "en", "en", "digit", "en", "zh"]


def test_values_of_json_are_answers_as_their_texts_are(tmp_path: Path, photos: Path) -> None:
    values = ["2.0", "2", "2.5", "NaN", "true", "null", '"None"']
    text = "".join(
        f'{{"FILE": "b.png", "question": "How many?", "answer": {value}}}\n' for value in values
    )
    golds = read_manifest(asked(tmp_path, photos, text, "q.jsonl"))["gold"].tolist()
    assert golds == ["number:2", "number:2", UNREAD, "", UNREAD, "", "number:0"]


PLAIN = "file,question,answer\nb.png,How many?,2\n"


@pytest.mark.parametrize(
    ("content", "line", "left_out"),
    [
        ("\ufeff\ufeff" + PLAIN.replace("\n", "\r\n"), 2, ""),
        (PLAIN.replace("\n", "\r"), 2, ""),
        (PLAIN.replace(",", ";"), 2, ""),
        (PLAIN.replace(",", "\t"), 2, ""),
        (PLAIN.replace(",", "\t").encode("utf-16"), 2, ""),
        ("sep=;\r\n" + PLAIN.replace(",", ";"), 3, ""),
        ("sep=|\n" + PLAIN.replace(",", "|"), 3, ""),
        (PLAIN.replace("\n", ",,\n"), 2, ""),
        (PLAIN.replace("2\n", "2,\n"), 2, ""),
        (PLAIN + ",,\n,,\n", 2, "2 empty rows"),
        (PLAIN.replace("file", "File ").replace("question", "\u00a0QUESTION"), 2, ""),
        (PLAIN.replace(",", ", "), 2, ""),
        (",file,question,answer\n0,b.png,How many?,2\n", 2, "the first column, which has no name"),
        ('file;question;answer\n"b.png";"How many?";2;\n', 2, ""),
    ],
)
def test_files_as_programs_export_them(
    tmp_path: Path,
    photos: Path,
    content: str | bytes,
    line: int,
    left_out: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "q.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    make(tmp_path / "own", n=9, seed=0, folder=photos, questions=path)
    row = read_manifest(tmp_path / "own").loc[0]
    assert row["prompt"] == "How many?"
    assert (row["gold"], row["source"]) == ("number:2", f"b.png, line {line}")
    said = capsys.readouterr().err
    assert said == (f"Left out of {path}: {left_out}.\n" if left_out else "")


def test_boxes_move_with_a_picture_that_is_turned_and_shrunk(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6  # Lies on its side: 1792 × 896 stored, 896 × 1792 upright.
    Image.new("RGB", (1792, 896), "white").save(photos / "turned.jpg", exif=exif)
    text = 'file,question,boxes\nturned.jpg,Where?,"[[400, 800, 500, 1001]]"\n'
    out = asked(tmp_path, photos, text)
    row = read_manifest(out).loc[0]
    with Image.open(out / row["image"]) as picture:
        assert picture.size == (224, 448)  # A quarter.
    (thing,) = json.loads(row["objects"])
    assert thing["box"] == [100, 200, 125, 251]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no question: add a line"),
        ("file,question\n", "has no question: add a line"),
        ("picture,question\nb.png,Why?\n", "line 2: nobody reads 'picture': the columns are file"),
        ("file,question,awnser\nb.png,Why?,1\n", "line 2: nobody reads 'awnser'"),
        ("question\nWhy?\n", "line 2: name its picture once"),
        ("file,image,question\nb.png,b.png,Why?\n", "line 2: name its picture once"),
        ("file\nb.png\n", "line 2: it has no question"),
        ("file,question\nb.png,Why?\nb.png, \n", "line 3: it asks nothing"),
        ("file,question\nb.png\n", "line 2: it asks nothing"),
        ("file,question\nz.png,Why?\n", r"line 2: there is no picture 'z.png'"),
        ("file,question\n../b.png,Why?\n", r"line 2: there is no picture '../b.png'"),
        ("file,question\nb.png,Why, then?\n", "line 2: it has more cells"),
        ('file,question\nb.png,"Why?\n', "it is no CSV"),
        ("file;question\nb.png;Why?;1\n", r"line 2: it has more cells .* with a semicolon betw"),
        ("file,question,,\nb.png,Why?,,x\n", "line 2: it has more cells"),
        ('{"file": "b.png"}\n', "looks like JSON: write an object a line"),
        ("id,file,question\n1,b.png,Why?\n", "line 2: nobody reads 'id'"),
        ("file,question,file\nb.png,Why?,c.png\n", "has a column twice"),
        ("file,question,boxes\nb.png,Why?,[[1\n", "line 2: its boxes are not JSON"),
        ('file,question,boxes\nb.png,Why?,"[1,2,3,4]"\n', "line 2: it has the box 1: write"),
        ('file,question,boxes\nb.png,Why?,"[[1,2,3]]"\n', r"it has the box \[1, 2, 3\]"),
        ('file,question,boxes\nb.png,Why?,"[[1,2,true,4]]"\n', "it has the box"),
        ('file,question,boxes\nb.png,Why?,"[[1,2,NaN,4]]"\n', "it has the box"),
        ('file,question,boxes\nb.png,Why?,"[[3,2,3,4]]"\n', r"\[3, 2, 3, 4\] is empty"),
        ('file,question,boxes\nb.png,Why?,"[[-1,2,3,4]]"\n', r"\[-1, 2, 3, 4\] is empty"),
        (
            'file,question,boxes\nb.png,Why?,"[[1,2,31,4]]"\n',
            r"line 2: its box \[1.0, 2.0, 31.0, 4.0\] reaches out of its picture, 30 × 20 pixels",
        ),
    ],
)
def test_a_bad_line_of_a_csv_is_named(tmp_path: Path, photos: Path, text: str, said: str) -> None:
    with pytest.raises(DataError, match=said) as caught:
        asked(tmp_path, photos, text)
    assert "questions.csv" in str(caught.value)
    assert not (tmp_path / "own").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"file": "b.png", "question": "Why?"\n', "line 1: it is not JSON"),
        ('\n["b.png", "Why?"]\n', "line 2: it is no object"),
        ('{"file": ["b.png"], "question": "Why?"}', r"line 1: its file is \['b.png'\]"),
        ('{"file": "b.png", "question": true}', "line 1: its question is True"),
        (
            r'{"file": "b.png", "question": "x \ud800"}',
            r"line 1: its question is 'x \\ud800', which",
        ),
        (r'{"file": "\ud800.png", "question": "Why?"}', "line 1: its file is .* half a character"),
        (
            r'{"file": "b.png", "question": "Why?", "answer": "\udc00"}',
            "line 1: its answer is .* half a character",
        ),
        (
            r'{"file":"b.png","question":"Why?","boxes":[{"label":"\ud800","box":[0,0,1,1]}]}',
            "line 1: its label is .* half a character",
        ),
        (
            f'{{"file": "b.png", "question": "Why?", "boxes": [[0, 0, 1{"0" * 400}, 5]]}}',
            r"line 1: it has the box \[0, 0, 10+\.\.\.0+, 5\]: write",
        ),
        ('{"file": "b.png", "question": "Why?", "answer": [2]}', r"line 1: its answer is \[2\]"),
        ('{"file": "b.png", "question": "Why?", "Question ": "x"}', "line 1: it has a key twice"),
        ('{"file": "b.png", "question": "Why?", "boxes": {"a": 1}}', "it has the box {'a': 1}"),
    ],
)
def test_a_bad_line_of_a_jsonl_is_named(tmp_path: Path, photos: Path, text: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        asked(tmp_path, photos, text, "q.jsonl")


def test_a_bad_picture_is_a_row_and_too_many_are_refused(tmp_path: Path, photos: Path) -> None:
    (photos / "c.png").write_text("no picture")
    text = 'file,question,boxes\nb.png,Why?,\nc.png,Why?,"[[1,2,3,4]]"\n'
    path = tmp_path / "q.csv"
    path.write_text(text, encoding="utf-8")
    options = {"n": 9, "seed": 0, "folder": photos, "questions": path}
    make(tmp_path / "own", max_rejected=0.5, **options)
    manifest = read_manifest(tmp_path / "own")
    assert manifest["rejected"].tolist() == ["", "not a picture"]
    assert manifest["objects"].tolist() == ["[]", "[]"]
    said = r"1 of the 2 samples of own \(50%\) can't be read \(the first, c.png, line 3: not a pict"
    with pytest.raises(DataError, match=said):
        make(tmp_path / "more", **options)


def test_n_chooses_by_the_seed_and_a_larger_n_only_adds(tmp_path: Path, photos: Path) -> None:
    path = tmp_path / "q.csv"
    path.write_text("file,question\n" + "b.png,Why?\n" * 40, encoding="utf-8")
    chosen = {}
    for n, seed in ((5, 0), (9, 0), (5, 1)):
        out = tmp_path / f"{n}-{seed}"
        make(out, n=n, seed=seed, folder=photos, questions=path)
        chosen[n, seed] = set(read_manifest(out)["sample_id"])
    assert len(chosen[5, 0]) == 5
    assert chosen[5, 0] < chosen[9, 0]
    assert chosen[5, 0] != chosen[5, 1]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "has neither folder nor questions: name the folder"),
        ({"folder": "photos"}, "needs either questions, .* or one question"),
        ({"folder": "photos", "question": " "}, "needs either questions"),
        ({"folder": "photos", "question": "Why?", "questions": "q.csv"}, "needs either questions"),
        ({"folder": "photos", "question": "x \udc80"}, "question .* has half a character"),
        ({"folder": "nowhere", "question": "Why?"}, "nowhere is not there"),
        ({"folder": "photos", "questions": "none.csv"}, r"none\.csv can't be read as UTF-8"),
    ],
)
def test_what_lacks_is_said(
    tmp_path: Path, photos: Path, options: dict[str, str], said: str
) -> None:
    here = {k: v if k == "question" else str(tmp_path / v) for k, v in options.items()}
    with pytest.raises(DataError, match=said):
        make(tmp_path / "own", n=1, seed=0, **here)
    assert not (tmp_path / "own").exists()


def test_named_files_are_pictures_by_their_content_whatever_their_suffix(
    tmp_path: Path, photos: Path
) -> None:
    for name in ("b.jfif", "plain", "cats/x.heic"):
        Image.new("RGB", (8, 8), (250, 10, 10)).save(photos / name, format="JPEG")
    (photos / "notes.txt").write_text("no picture")
    names = ("b.png", "b.jfif", "plain", "./cats/x.heic", "notes.txt")
    path = tmp_path / "q.csv"
    path.write_text("file,question\n" + "".join(f"{n},Why?\n" for n in names), encoding="utf-8")
    make(tmp_path / "own", n=9, seed=0, folder=photos, questions=path, max_rejected=0.5)
    manifest = read_manifest(tmp_path / "own")
    assert manifest["rejected"].tolist() == ["", "", "", "", "not a picture"]
    # The names of pictures with a usual suffix are what they would be without the others.
    assert manifest["image"].tolist()[:2] == ["images/b.png", "images/b-2.png"]
    for image, want in zip(manifest["image"], [(0, 200, 0), *3 * [(250, 10, 10)]], strict=False):
        with Image.open(tmp_path / "own" / image) as picture:
            pixel = picture.getpixel((3, 3))
        assert max(abs(a - b) for a, b in zip(pixel, want, strict=True)) <= 4
    # One question for all is for what is a picture.
    make(tmp_path / "all", n=9, seed=0, folder=photos, question="Why?")
    assert read_manifest(tmp_path / "all")["source"].tolist() == [
        "b.png", "b.jfif", "c.png", "cats/a.png", "cats/x.heic", "plain"
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["{out}/secret.jfif", "../secret.jfif", "cats/../b.png", "cats"])
def test_names_that_lead_out_of_the_folder_are_none(
    tmp_path: Path, photos: Path, name: str
) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "secret.jfif", format="JPEG")
    with pytest.raises(DataError, match="line 2: there is no picture"):
        asked(tmp_path, photos, f"file,question\n{name.format(out=tmp_path)},Why?\n")


def test_a_named_link_out_of_the_folder_is_a_row_with_its_reason(
    tmp_path: Path, photos: Path
) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "secret.jfif", format="JPEG")
    (photos / "link.jfif").symlink_to(tmp_path / "secret.jfif")
    path = tmp_path / "q.csv"
    path.write_text("file,question\nb.png,Why?\nlink.jfif,Why?\n", encoding="utf-8")
    make(tmp_path / "own", n=9, seed=0, folder=photos, questions=path, max_rejected=0.5)
    assert read_manifest(tmp_path / "own")["rejected"].tolist() == ["", "a link out of the folder"]


@pytest.mark.parametrize(("stored", "written"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_an_accent_may_be_written_either_way(
    tmp_path: Path, photos: Path, stored: str, written: str
) -> None:
    (photos / "b.png").rename(photos / unicodedata.normalize(stored, "blüte é.png"))
    name = unicodedata.normalize(written, "blüte é.png")
    out = asked(tmp_path, photos, f"file,question\n{name},Why?\n")
    with Image.open(out / read_manifest(out).loc[0, "image"]) as picture:
        assert picture.getpixel((3, 3)) == (0, 200, 0)


def test_names_that_print_alike_are_not_mixed_up(tmp_path: Path, photos: Path) -> None:
    for place, raw in enumerate((b"\xff.png", b"\xfe.png")):
        Image.new("RGB", (8, 8), (place, 0, 0)).save(photos / os.fsdecode(raw))
    said = "line 2: 2 files of the folder print as '\ufffd.png': rename them"
    with pytest.raises(DataError, match=said):
        asked(tmp_path, photos, "file,question\n\ufffd.png,Why?\n")
    for form in ("NFC", "NFD"):
        Image.new("RGB", (8, 8)).save(photos / unicodedata.normalize(form, "é.png"))
    with pytest.raises(DataError, match=r"line 2: 2 files of the folder print as 'é\.png'"):
        asked(tmp_path, photos, "file,question\né.png,Why?\n")
    # Those that nobody names disturb nobody.
    assert len(read_manifest(asked(tmp_path, photos, "file,question\nb.png,Why?\n"))) == 1


def test_what_selected_the_samples_is_in_the_manifest(tmp_path: Path, photos: Path) -> None:
    out = asked(tmp_path, photos, "file,question\nb.png,Why?\n")
    assert read_about(out)["selection"] == {
        "dataset": "own",
        "n": 100,
        "seed": 0,
        "questions": "questions.csv",
        "questions_sha256": sha256_of(tmp_path / "questions.csv"),
    }
    make(tmp_path / "all", n=2, seed=3, folder=photos, question="Why?")
    assert read_about(tmp_path / "all")["selection"] == {
        "dataset": "own", "n": 2, "seed": 3, "question": "Why?"
    }  # fmt: skip


def test_another_picture_of_the_same_name_makes_another_manifest(
    tmp_path: Path, photos: Path
) -> None:
    made = []
    for out, color in (("a", 200), ("b", 200), ("c", 201)):
        Image.new("RGB", (30, 20), (0, color, 0)).save(photos / "b.png")
        make(tmp_path / out, n=9, seed=0, folder=photos, question="Why?")
        made.append((tmp_path / out / "manifest.parquet").read_bytes())
    assert made[0] == made[1] != made[2]


@pytest.mark.parametrize("name", ["q.csv", "q.jsonl"])
def test_questions_in_words_alone_are_text(tmp_path: Path, name: str) -> None:
    asked = [("How many legs has a cat?", "four"), ("Why?", ""), ("天空是什么颜色？", "蓝色")]
    if name == "q.csv":
        lines = ["question,answer", *(f"{words},{answer}" for words, answer in asked)]
    else:
        lines = [json.dumps({"question": words, "answer": answer}) for words, answer in asked]
    (tmp_path / name).write_text("\n".join([*lines, ""]), encoding="utf-8")
    make(tmp_path / "own", n=9, seed=0, questions=tmp_path / name)
    manifest = read_manifest(tmp_path / "own")
    assert manifest["prompt"].tolist() == [words for words, _ in asked]
    assert manifest["gold"].tolist() == ["number:4", "", "color:blue"]
    assert manifest["language"].tolist() == ["en", "en", "zh"]
    assert set(manifest["kind"]) == {"text"}
    # A model without a chat template gets the words as they are.
    assert set(manifest["style"]) == {"chat"}
    assert manifest["image"].tolist() == [None] * 3
    first = 2 if name == "q.csv" else 1
    assert manifest.loc[0, "source"] == f"{name}, line {first}"
    assert sorted(path.name for path in (tmp_path / "own").iterdir()) == ["manifest.parquet"]


@pytest.mark.parametrize("column", ["file", "image", "boxes"])
def test_a_picture_named_without_a_folder_is_told(tmp_path: Path, column: str) -> None:
    (tmp_path / "q.csv").write_text(f"{column},question\na.png,Why?\n")
    with pytest.raises(DataError, match=f"line 2: it has {column}, but the dataset own names no f"):
        make(tmp_path / "own", n=9, seed=0, questions=tmp_path / "q.csv")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_shards_are_planned_for_every_question_whatever_ends_its_line(
    tmp_path: Path, end: str
) -> None:
    lines = ["question,answer", *(f"How many legs have {n} cats?,{4 * n}" for n in range(99))]
    (tmp_path / "q.csv").write_bytes(end.join(lines).encode())
    make(tmp_path / "out", n=1000, seed=1, questions=tmp_path / "q.csv")
    planned = _most_samples({"n": 1000, "questions": str(tmp_path / "q.csv")})
    assert 99 == len(read_manifest(tmp_path / "out")) <= planned <= 101
