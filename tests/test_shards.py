"""How a run is cut, counted by hand; and ledgers that don't fit what lies beside them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lensbench.errors import LensbenchError, TraceError
from lensbench.shards import (
    n_parts_of,
    n_shards_of,
    parse_shards,
    shard_folders,
    shards_of_part,
    write_ledger,
)


@pytest.mark.parametrize(
    ("n", "size", "shards"),
    [(1, 500, 1), (500, 500, 1), (501, 500, 2), (38_589, 500, 78), (0, 500, 1), (7, None, 1)],
)
def test_number_of_shards(n: int, size: int | None, shards: int) -> None:
    assert n_shards_of(n, size) == shards


def test_parts_take_all_shards_once() -> None:
    assert n_parts_of(78, 10) == 8
    assert list(shards_of_part(7, 78, 10)) == [70, 71, 72, 73, 74, 75, 76, 77]
    assert list(shards_of_part(0, 3, 10)) == [0, 1, 2]
    assert [shard for part in range(8) for shard in shards_of_part(part, 78, 10)] == list(range(78))
    for part in (8, -1):
        with pytest.raises(LensbenchError, match=f"Part {part} does not exist.* parts 0 to 7"):
            shards_of_part(part, 78, 10)


@pytest.mark.parametrize(
    ("text", "shards"),
    [("0", [0]), ("0-4,7", [0, 1, 2, 3, 4, 7]), ("7,0-1, 1", [0, 1, 7]), ("9-9", [9])],
)
def test_shards_by_hand(text: str, shards: list[int]) -> None:
    assert parse_shards(text, 10) == shards


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("10", "Shard 10 does not exist: the run has 10, numbered from 0 to 9"),
        ("0-10", "Shard 10 does not exist"),
        ("4-2", "names no shards at '4-2'"),
        ("", "names no shards at ''"),
        ("0,,1", "names no shards at ''"),
        ("-1", "names no shards at '-1'"),
        ("0-", "names no shards at '0-'"),
        ("²", "names no shards at '²'"),
        ("all", "give numbers and ranges from 0, such as 0-4,7"),
        ("0-99999999999", "names no shards"),
    ],
)
def test_shards_that_are_none_are_told(text: str, sentence: str) -> None:
    with pytest.raises(LensbenchError, match=sentence):
        parse_shards(text, 10)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return a run of twelve shards, ten in the first part; what is in their files is no matter."""
    folder = tmp_path / "run"
    for shard in range(12):
        (folder / str(shard)).mkdir(parents=True)
        (folder / str(shard) / "samples.parquet").touch()
        (folder / str(shard) / "provenance.json").write_text(str(shard))
    for part in (0, 1):
        shards = range(10 * part, min(10 * part + 10, 12))
        write_ledger(folder, "m", "d", part, dict.fromkeys(shards, (3, 1)))
    return folder


def test_a_ledger_s_bytes(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7/provenance.json").write_bytes(b"abc")
    write_ledger(tmp_path, "m", "d", 3, {7: (5, 2)})
    # FIPS 180-2, appendix B.1, has the digest of abc.
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    text = (tmp_path / "parts/3.json").read_text()
    assert json.loads(text) == {
        "model": "m",
        "dataset": "d",
        "part": 3,
        "shards": [{"shard": 7, "n_samples": 5, "n_rejected": 2, "provenance_sha256": abc}],
    }
    keys = [line.split('"')[1] for line in text.splitlines() if ": " in line]
    assert keys == [
        "dataset", "model", "part", "shards",
        "n_rejected", "n_samples", "provenance_sha256", "shard",
    ]  # fmt: skip


def test_a_run_stands_for_its_shards_in_the_order_of_their_numbers(run: Path) -> None:
    wanted = [run / str(shard) for shard in range(12)]
    assert shard_folders([run]) == wanted
    # What no ledger names is no shard of the run.
    shutil.copytree(run / "3", run / "12")
    assert shard_folders([run]) == wanted
    shutil.rmtree(run / "parts")
    assert shard_folders([run]) == [*wanted, run / "12"]
    assert shard_folders([run / "3", run / "1"]) == [run / "3", run / "1"]


def _without(name: str) -> Callable[[Path], None]:
    return lambda run: (run / name).unlink()


def _twice(run: Path) -> None:
    write_ledger(run, "m", "d", 2, {3: (3, 1)})


def _says(text: str) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        (run / "parts/1.json").write_text(text)

    return change


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (_without("parts/0.json"), r"parts/0\.json is missing: run the extraction of that part"),
        (_without("11/provenance.json"), r"run/11 is not the shard that .*1\.json was written for"),
        (_twice, r"2\.json names shard 3, as another ledger does: delete .*parts"),
        (_says("{"), r"1\.json is damaged: delete it"),
        (_says("[" * 100_000), r"1\.json is damaged"),
        (_says('{"shards": [{"shard": "../../x", "provenance_sha256": ""}]}'), "is damaged"),
        (_says('{"shards": [{"shard": true, "provenance_sha256": ""}]}'), "is damaged"),
        (_says('{"shards": 3}'), "is damaged"),
        (_says("\udcff".encode("utf-8", "surrogatepass").decode("latin-1")), "is damaged"),
    ],
)
def test_ledgers_that_do_not_fit_are_told(
    run: Path, change: Callable[[Path], None], sentence: str
) -> None:
    change(run)
    with pytest.raises(TraceError, match=sentence):
        shard_folders([run])


def test_a_changed_provenance_is_told(run: Path) -> None:
    (run / "4/provenance.json").write_text("5")
    with pytest.raises(TraceError, match=r"run/4 is not the shard that .*0\.json was written for"):
        shard_folders([run])


def test_a_folder_without_shards_is_told(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(TraceError, match="holds no shard: run the extraction"):
            shard_folders([folder])
