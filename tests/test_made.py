"""Seals name every file a command made, by digests that anyone can check; traces keep their own."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
from pathlib import Path
from typing import Any

import matplotlib
import pytest

from lensbench import cli
from lensbench.errors import TraceError
from lensbench.files import atomic_path
from lensbench.made import digest_of_traces, staged
from lensbench.paper import PARTS
from lensbench.verify.seals import check_seals
from lensbench.whole import require_whole


def write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text)


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@staged
def paint(out: Path, name: str = "") -> None:
    """Write two files of one stem."""
    for ending in ("pdf", "png"):
        write(out.with_suffix(f".{ending}"), ending)


@staged
def gather(traces: list[Path], out: Path) -> None:
    """Write a folder with a file into another, and a shard with digests of its own beside it."""
    with atomic_path(out / "inside") as folder:
        folder.mkdir()
        (folder / "a.csv").write_text("a")
    shard(out / "0", "b")


def shard(folder: Path, text: str) -> None:
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        (temporary / "samples.parquet").write_text(text)
        noted = {"files": {"samples.parquet": sha256(text)}}
        (temporary / "provenance.json").write_text(json.dumps(noted))


def run_of(folder: Path) -> None:
    """Make a run of two shards, one ledger each."""
    for number in (0, 1):
        shard(folder / str(number), f"shard {number}")
        write(folder / "parts" / f"{number}.json", json.dumps({"shards": [{"shard": number}]}))


def test_a_seal_lies_beside_what_was_made_and_names_it_alone(tmp_path: Path) -> None:
    (tmp_path / "older.pdf").write_text("older")
    paint(out=tmp_path / "figure", name="x")
    seals = list(tmp_path.rglob("*.json"))
    assert [path.relative_to(tmp_path).as_posix() for path in seals] == [".made/paint-figure.json"]
    assert json.loads(seals[0].read_text()) == {
        "command": "paint",
        "files": {"figure.pdf": sha256("pdf"), "figure.png": sha256("png")},
        "traces": {},
        "own": {},
    }


def test_a_seal_of_a_folder_notes_the_traces_and_leaves_shards_to_their_provenance(
    tmp_path: Path,
) -> None:
    run_of(tmp_path / "run")
    gather(traces=[tmp_path / "run"], out=tmp_path / "out")
    seal = json.loads((tmp_path / "out" / ".made" / "gather.json").read_text())
    assert seal["files"] == {"inside/a.csv": sha256("a")}
    ledgers = [(tmp_path / "run" / "parts" / f"{n}.json").read_text() for n in (0, 1)]
    lines = "".join(f"{sha256(text)}  {number}.json\n" for number, text in enumerate(ledgers))
    assert seal["traces"] == {(tmp_path / "run").as_posix(): sha256(lines)}


def test_the_seal_of_a_paper_holds_nothing_of_the_machine_that_compiled_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LaTeX works in a folder with the paths of this machine's fonts: only the PDF is sealed."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("lualatex", "latexmk"):
        (tools / name).write_text("#!/bin/sh\nprintf paper > main.pdf\n: > main.log\n")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    for folder in ("parts", "tables", "figures"):
        (tmp_path / folder).mkdir()
    for part in PARTS:
        (tmp_path / "parts" / f"{part}.tex").touch()
    (tmp_path / "numbers.tex").touch()
    given = {name: tmp_path / name for name in ("parts", "tables", "figures")}
    cli.paper(**given, numbers=tmp_path / "numbers.tex", out=tmp_path / "made/paper.pdf")
    fonts = (tmp_path / "made/build/fonts.tex").read_text(encoding="utf-8")
    assert str(Path(matplotlib.__file__).parent) in fonts
    seal = json.loads((tmp_path / "made/.made/paper-paper.pdf.json").read_text())
    assert seal["files"] == {"paper.pdf": sha256("paper")}


def test_nothing_is_computed_from_a_shard_that_was_changed(tmp_path: Path) -> None:
    run_of(tmp_path / "run")
    (tmp_path / "run" / "1" / "samples.parquet").write_text("Shard 1")
    with pytest.raises(TraceError) as caught:
        gather(traces=[tmp_path / "run"], out=tmp_path / "out")
    assert str(caught.value) == (
        f"{tmp_path}/run/1/samples.parquet was damaged or changed after it was made: "
        f"{tmp_path}/run/parts/1.json is removed, so that the next run makes it anew."
    )
    assert not (tmp_path / "out").exists()
    # The other part keeps its ledger, and the shard stays until it is made again.
    assert (tmp_path / "run" / "parts" / "0.json").exists()
    assert not (tmp_path / "run" / "parts" / "1.json").exists()
    assert (tmp_path / "run" / "1" / "samples.parquet").exists()


def test_a_shard_alone_is_held_against_its_own_provenance(tmp_path: Path) -> None:
    shard(tmp_path / "shard", "whole")
    require_whole([tmp_path / "shard"])
    (tmp_path / "shard" / "samples.parquet").unlink()
    with pytest.raises(TraceError, match="can't be read"):
        require_whole([tmp_path / "shard"])
    # Without its note the shard is no output any more, and is made again.
    assert digest_of_traces(tmp_path / "shard") == ""


def test_every_stage_that_writes_is_sealed() -> None:
    """Else `lensbench verify` would tell its files as promised by no job."""
    from lensbench.cli import app
    from lensbench.cli_options import STAGES

    stages = [one.callback for one in app.registered_commands if one.rich_help_panel == STAGES]
    writing = [one for one in stages if one and "out" in inspect.signature(one).parameters]
    assert len(writing) > 20
    assert [one.__name__ for one in writing if not hasattr(one, "__wrapped__")] == []


@staged
def learn(source: str, out: Path, options: str = "{}", file: Path | None = None) -> None:
    """Write a file into a folder."""
    write(out / "gate.json", "{}")


@pytest.mark.parametrize("own", ["folder", "gguf", "questions", "file"])
def test_somebody_s_own_files_are_noted_and_told_once_they_are_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine").mkdir()
    weights = Path("mine") / "a.bin"
    weights.write_text("one")
    place = "mine" if own == "folder" else "mine/a.bin"
    given: dict[str, Any] = {"source": "hub:x/y"}
    given |= {"source": f"{own}:{place}"} if own in ("folder", "gguf") else {}
    given |= {"options": json.dumps({own: place, "folder": 5})} if own == "questions" else {}
    given |= {"file": Path(place)} if own == "file" else {}
    learn(out=Path("results/models/a"), **given)
    absent: set[str] = set()
    assert list(check_seals(Path("results"), set(), absent)) == []
    before = weights.stat()
    weights.write_text("two")
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
    # From another folder, too: it is looked for beside the results.
    monkeypatch.chdir("/")
    (problem,) = check_seals(tmp_path / "results", set(), absent)
    assert problem.path == tmp_path / "results/models/a/gate.json"
    assert problem.what == f"was made from {place}, which is another now"
    assert not absent
    monkeypatch.chdir(tmp_path)
    weights.unlink()
    weights.parent.rmdir()
    assert list(check_seals(tmp_path / "results", set(), absent)) == []
    assert absent == {place}
