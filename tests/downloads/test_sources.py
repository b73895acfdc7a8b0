"""The table of sources: well formed, cited, and the same in the documentation."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from lensbench.config import ROOT
from lensbench.downloads.checksums import parse_checksum
from lensbench.downloads.sources import TABLE, VARIABLE, find_source, load_sources, markdown
from lensbench.errors import DataError


def test_table_has_every_file_once() -> None:
    names = [(source.dataset, source.file) for source in load_sources()]
    assert names == [
        ("tallyqa", "tallyqa.zip"),
        ("visual_genome", "images.zip"),
        ("visual_genome", "images2.zip"),
        ("coco", "train2014.zip"),
        ("coco", "val2014.zip"),
        ("oxford_flowers", "102flowers.tgz"),
        ("oxford_flowers", "imagelabels.mat"),
        ("oxford_flowers", "setid.mat"),
        ("tf_flowers", "flower_photos.tgz"),
    ]


def test_table_says_what_was_published() -> None:
    images = find_source("visual_genome", "images.zip")
    assert images.bytes == 9_731_705_982
    assert images.checksum == (
        "sha256:51c682d2721f880150720bb416e0346a4c787e4c55d7f80dfd1bd3f73ba81646"
    )
    assert images.url == "https://cs.stanford.edu/people/rak248/VG_100K_2/images.zip"
    annotations = find_source("tallyqa", "tallyqa.zip")
    assert annotations.bytes is None
    assert annotations.checksum == "git-blob-sha1:3b4324bcecdbfec82c03e7b45ed926d8caca7c42"
    sizes = {source.file: source.bytes for source in load_sources() if source.bytes}
    assert sizes == {
        "images.zip": 9_731_705_982,
        "images2.zip": 5_471_658_058,
        "train2014.zip": 13_510_573_713,
        "val2014.zip": 6_645_013_297,
        "102flowers.tgz": 344_862_509,
        "flower_photos.tgz": 228_813_984,
    }


def test_every_row_is_complete_and_cited() -> None:
    cited = re.findall(
        r"^@\w+\{(\w+),", (ROOT / "paper/references.bib").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert len(cited) == len(set(cited))
    digits = set()
    for source in load_sources():
        parts = urlsplit(source.url)
        assert parts.scheme in ("http", "https")
        assert parts.path.rpartition("/")[2] == source.file
        assert parts.query == ""
        digits.add(parse_checksum(source.checksum)[1])
        assert source.version
        assert source.licence
        assert source.licence_url.startswith("https://")
        assert source.citation in cited
    assert len(digits) == len(load_sources())


def test_documentation_holds_the_table() -> None:
    text = (ROOT / "docs/data.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"<!-- sources -->\n\n(.*?)\n<!-- /sources -->", text, re.DOTALL)
    assert table == markdown()


def test_unknown_names_are_answered_with_the_known() -> None:
    with pytest.raises(DataError) as caught:
        find_source("tally", "tallyqa.zip")
    assert str(caught.value) == (
        'No source of data is called "tally": known are tallyqa, visual_genome, coco, '
        "oxford_flowers, tf_flowers."
    )
    with pytest.raises(DataError) as caught:
        find_source("coco", "test2014.zip")
    assert str(caught.value) == (
        'The source coco has no file "test2014.zip": it has train2014.zip, val2014.zip.'
    )


def test_another_table_may_stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = TABLE.read_text(encoding="utf-8").splitlines()
    other = tmp_path / "other.csv"
    other.write_text("\n".join([lines[0], lines[4].replace("13510573713", "7")]), encoding="utf-8")
    monkeypatch.setenv(VARIABLE, str(other))
    assert [(source.file, source.bytes) for source in load_sources()] == [("train2014.zip", 7)]
    monkeypatch.setenv(VARIABLE, str(tmp_path / "none.csv"))
    with pytest.raises(DataError, match=f"none.csv can't be read .* correct {VARIABLE}"):
        load_sources()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("coco,train2014.zip", "line 2, is no source"),
        ("d,f,v,http://h/f,many,sha256:12,l,https://l,c", "line 2, is no source"),
        ("d,f,v,http://h/f,-1,sha256:12,l,https://l,c", "line 2, is no source"),
        (f"d,f,v,http://h/f,{'9' * 5000},sha256:12,l,https://l,c", "line 2, is no source"),
        ("d,f,v,http://h/f,1,sha256:12,l,https://l,c,more", "line 2, is no source"),
        ("d,f,v,http://h/f,1,sha256:12,l,https://l,c", "is no checksum"),
    ],
)
def test_a_bad_line_of_a_table_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, said: str
) -> None:
    header = TABLE.read_text(encoding="utf-8").splitlines()[0]
    (tmp_path / "other.csv").write_text(f"{header}\n{line}\n", encoding="utf-8")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "other.csv"))
    with pytest.raises(DataError, match=said):
        load_sources()


def test_a_table_of_other_columns_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other.csv").write_text("dataset,file\n", encoding="utf-8")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "other.csv"))
    with pytest.raises(DataError, match="must have the columns dataset, file, version, url"):
        load_sources()


@pytest.mark.parametrize(
    "content",
    [
        b"\x7fELF\x02\x01\x01\x00\x80\xff",
        b"HEADER\n" + b"a" * 200_000 + b",f,v,http://h/f,1,sha256:12,l,https://l,c\n",
        b"a" * 200_000,
    ],
)
def test_what_is_no_table_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    header = TABLE.read_bytes().splitlines()[0]
    (tmp_path / "program").write_bytes(content.replace(b"HEADER", header))
    monkeypatch.setenv(VARIABLE, str(tmp_path / "program"))
    with pytest.raises(DataError) as caught:
        load_sources()
    assert str(caught.value) == (
        f"{tmp_path / 'program'} is no table of sources as UTF-8 text: correct {VARIABLE}."
    )
