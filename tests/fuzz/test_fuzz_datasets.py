"""What datasets read: manifests, questions as CSV and JSONL, labels, TallyQA, MATLAB, sources."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st
from tests.fuzz.conftest import Fuzz
from tests.fuzz.harness import Jail, command
from tests.fuzz.mutations import mutated_bytes, mutated_text, mutated_trees, odd_values, texts
from tests.fuzz.parquets import mutated_tables
from tests.fuzz.seeds import (
    manifest_bytes,
    mat_bytes,
    parquet_bytes,
    picture,
    tallyqa_records,
    zip_bytes,
)

from lensbench.datasets.flowers import make as make_flowers
from lensbench.datasets.manifest import read_about, read_manifest
from lensbench.datasets.own import make as make_own
from lensbench.datasets.oxford_flowers import read_numbers
from lensbench.datasets.tallyqa_questions import read_records
from lensbench.downloads.sources import TABLE
from lensbench.downloads.sources import _read as read_sources

CSV = 'file,question,answer,boxes\na.png,How many?,3,"[[0, 0, 4, 4]]"\nb.png,"What, there?",,\n'
LINES = [
    {"file": "a.png", "question": "How many?", "answer": 3, "boxes": [[0, 0, 4, 4]]},
    {"image": "b.png", "question": "Who?", "boxes": [{"label": "dog", "box": [0, 1, 2, 3.5]}]},
]


def test_manifests_of_any_bytes(fuzz: Fuzz) -> None:
    def read(jail: Jail, content: bytes) -> None:
        folder = jail.give("manifest.parquet", content).parent
        read_manifest(folder)
        read_about(folder)

    fuzz("manifest", mutated_bytes([manifest_bytes()], [b"PAR1", b"pandas"]), read)


def test_manifests_of_any_tables(fuzz: Fuzz) -> None:
    def read(jail: Jail, table: pa.Table) -> None:
        folder = jail.give("manifest.parquet", parquet_bytes(table)).parent
        read_about(folder)
        read_manifest(folder)

    # Written the same, but half of the pages of a column stand for a million rows.
    fuzz("manifest", mutated_tables([manifest_bytes()], b"lensbench"), read)


def give_pictures(jail: Jail) -> None:
    """Put two pictures and what pretends to be some into the folder of an own dataset."""
    jail.give("pictures/a.png", picture("PNG"))
    jail.give("pictures/b.png", picture("JPEG"))
    jail.give("pictures/sub/c", b"no picture")


def test_questions_as_csv(fuzz: Fuzz) -> None:
    def read(jail: Jail, content: bytes) -> None:
        give_pictures(jail)
        path = jail.give("questions.csv", content)
        make_own(jail.out / "own", n=9, seed=1, folder=path.parent / "pictures", questions=path)

    cells = st.lists(texts, min_size=4, max_size=4).map(
        lambda row: ("file,question,answer,boxes\n" + ",".join(row)).encode(
            "utf-8", "surrogatepass"
        )
    )
    words = ("a.png", "./a.png", "../a.png", '"', ",", "\r", "[[0,0,1e400,4]]", "[[0,0,NaN,4]]")
    huge = CSV.encode() + b"a.png," + b"x" * 200_000 + b",,\n"
    inputs = st.one_of(mutated_text([CSV], words), cells)
    fuzz("questions, CSV", inputs, read, examples=(huge, b"\xef\xbb\xbf" + CSV.encode()))


def test_questions_as_json_lines(fuzz: Fuzz) -> None:
    def read(jail: Jail, content: bytes) -> None:
        give_pictures(jail)
        path = jail.give("questions.jsonl", content)
        options = {
            "n": 9,
            "seed": 1,
            "folder": str(jail.given / "pictures"),
            "questions": str(path),
        }
        command("dataset", "own", "--out", str(jail.out / "own"), "--options", json.dumps(options))

    def lines(trees: Any) -> bytes:
        return "\n".join(json.dumps(tree) for tree in trees).encode()

    inputs = st.one_of(
        st.lists(mutated_trees(LINES, most=2), min_size=1, max_size=3).map(lines),
        mutated_text([lines(LINES).decode()]),
    )
    fuzz("questions, JSONL", inputs, read, examples=(b"[" * 100_000, b'{"file":' + b"9" * 5000))


def test_labels_of_photographs(fuzz: Fuzz) -> None:
    def read(jail: Jail, content: bytes) -> None:
        give_pictures(jail)
        jail.give("pictures/labels.csv", content)
        make_flowers(jail.out / "f", n=5, seed=1, folder=jail.given / "pictures", max_rejected=0.9)

    inputs = mutated_text(["file,color\na.png,red\nb.png,Blau\n", "color,file\n黄,a.png\n"])
    huge = b"file,color\n" + b"x" * 200_000 + b",red\n"
    fuzz("labels", inputs, read, examples=(huge, b"file,color\n\x00", b'file,color\n"'))


def test_questions_of_tallyqa(fuzz: Fuzz) -> None:
    def read(jail: Jail, content: bytes) -> None:
        read_records(jail.give("tallyqa.zip", zip_bytes({"x/test.json": content})), "test")

    inputs = st.one_of(
        mutated_trees([tallyqa_records()]).map(lambda tree: json.dumps(tree).encode()),
        mutated_text([json.dumps(tallyqa_records())]),
    )
    fuzz("TallyQA", inputs, read, examples=(b"[" * 100_000, b"[" + b"9" * 5000 + b"]"))


def test_archives_of_tallyqa(fuzz: Fuzz) -> None:
    whole = zip_bytes({"test.json": json.dumps(tallyqa_records()).encode()})

    def read(jail: Jail, content: bytes) -> None:
        read_records(jail.give("tallyqa.zip", content), "test")

    bomb = zip_bytes({"test.json": b"[" + b" " * (200 * 2**20) + b"]"})
    fuzz("TallyQA", mutated_bytes([whole], [b"PK\x01\x02", b"PK\x05\x06"]), read, examples=(bomb,))


def test_matlab_files(fuzz: Fuzz) -> None:
    labels = mat_bytes(labels=np.arange(1, 9)[None])
    splits = mat_bytes(trnid=np.array([[1, 2]]), valid=np.array([[3]]), tstid=np.array([[4, 8]]))

    def read(jail: Jail, given: tuple[bytes, bytes, str]) -> None:
        read_numbers(jail.give("l.mat", given[0]), jail.give("s.mat", given[1]), given[2])

    odd = odd_values.map(_matlab)
    inputs = st.tuples(
        st.one_of(mutated_bytes([labels]), odd),
        mutated_bytes([splits]),
        st.sampled_from(["all", "train", "test"]),
    )
    fuzz("MATLAB", inputs, read)


def _matlab(value: Any) -> bytes:
    try:
        return mat_bytes(labels=value)
    except Exception:  # What no MATLAB file can hold is no input.
        return b""


def test_tables_of_sources(fuzz: Fuzz) -> None:
    whole = TABLE.read_text("utf-8")

    def read(jail: Jail, content: bytes) -> None:
        read_sources.__wrapped__(jail.give("sources.csv", content))

    words = ("sha256:", "git-blob-sha1:", ",", "file:///etc/passwd", "999999999999999999999")
    huge = whole.encode() + b"x" * 200_000
    fuzz("sources", mutated_text([whole], words), read, examples=(huge, b"\x00", b""))
