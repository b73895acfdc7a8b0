"""One job's shards: the same bytes in any order and in any number of jobs, and after any end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from tests.commands import Done
from tests.planted import image_model, text_model, written_manifest

from lensbench import extract, trace
from lensbench.config import ROOT
from lensbench.errors import LensbenchError
from lensbench.extract import Extraction, ExtractOptions
from lensbench.files import sha256_of
from lensbench.inspection import inspect_model
from lensbench.metrics.run import MetricOptions, compute_run
from lensbench.models.load import LoadedModel
from lensbench.part import extract_part, extract_shards
from lensbench.shards import shard_folders
from lensbench.trace import read_table

#: Two batches a shard, four shards and a last one of a single sample.
OPTIONS = ExtractOptions(
    shard_samples=3, batch_size=2, max_new_tokens=2, top_k=3, floor_directions=4
)
PROMPTS = ["How many stars ?", "Why", "red blue green", "Why is the sky blue ?", "How many ?"]
N_SHARDS = 5


def request(folder: Path, code: str = "c0de", options: ExtractOptions = OPTIONS) -> Extraction:
    """Return thirteen prompts made ready for a random model; the folder has both afterwards."""
    loaded = text_model("llama", seed=3)
    if not (folder / "model").exists():
        written_manifest(folder / "data", [f"{PROMPTS[n % 5]} {n % 3}" for n in range(13)])
        inspect_model(loaded, folder / "model")
    return Extraction(
        loaded, folder / "data", N_SHARDS, options, folder / "model", dataset="d", code=code
    )


def digests(run: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of a run, by its path."""
    return {
        path.relative_to(run).as_posix(): sha256_of(path)
        for path in sorted(run.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a run of two parts, made in one go: three shards, then two."""
    folder = tmp_path_factory.mktemp("undisturbed")
    for part in (0, 1):
        extract_part(request(folder), part, 3, folder / "run")
    return folder


def test_shards_are_the_same_bytes_in_any_order_and_number_of_jobs(
    undisturbed: Path, tmp_path: Path
) -> None:
    wanted = digests(undisturbed / "run")
    assert len(wanted) == N_SHARDS * 6 + 2
    # A job for each shard, the last one first; then the parts, which have nothing left to do.
    for shard in (4, 2, 3, 0, 1):
        extract_shards(request(tmp_path), [shard], tmp_path / "run")
    without = {name: digest for name, digest in wanted.items() if not name.startswith("parts")}
    assert digests(tmp_path / "run") == without
    for part in (1, 0):
        extract_part(request(tmp_path), part, 3, tmp_path / "run")
    assert digests(tmp_path / "run") == wanted


def test_shards_hold_the_rows_of_one_extraction_in_the_same_batches(tmp_path: Path) -> None:
    """Each sample a batch of its own, so that both extractions make the same batches."""
    alone = replace(OPTIONS, batch_size=1)
    extract_shards(request(tmp_path, options=alone), range(N_SHARDS), tmp_path / "cut")
    whole = replace(alone, shard_samples=13)
    extract_shards(request(tmp_path, options=whole), [0], tmp_path / "whole")
    for name in ("samples", "trajectory", "heads", "lenses"):
        cut = [pq.read_table(tmp_path / "cut" / str(n) / f"{name}.parquet") for n in range(5)]
        (one,) = [pq.read_table(tmp_path / "whole/0" / f"{name}.parquet")]
        rows = [row for table in cut for row in table.to_pylist()]
        # Floats as they are: not a bit may differ.
        assert rows == one.to_pylist(), name
        assert rows


def test_ledgers_name_provenances_and_these_name_files(undisturbed: Path) -> None:
    run = undisturbed / "run"
    ledger = json.loads((run / "parts/1.json").read_text())
    assert {key: ledger[key] for key in ("model", "dataset", "part")} == {
        "model": "llama",
        "dataset": "d",
        "part": 1,
    }
    # Thirteen samples, three a shard: shard 4 has the last one.
    counted = [(e["shard"], e["n_samples"], e["n_rejected"]) for e in ledger["shards"]]
    assert counted == [(3, 3, 0), (4, 1, 0)]
    for entry in ledger["shards"]:
        shard = run / str(entry["shard"])
        assert entry["provenance_sha256"] == sha256_of(shard / "provenance.json")
        noted = json.loads((shard / "provenance.json").read_text())
        assert noted["code"] == "c0de"
        tables = sorted(path.name for path in shard.glob("*.parquet"))
        assert noted["files"] == {name: sha256_of(shard / name) for name in tables}
        assert len(tables) == 5


def kept(capsys: pytest.CaptureFixture[str]) -> list[int]:
    """Return the shards that were said to be kept since the last call."""
    lines = capsys.readouterr().err.splitlines()
    return [int(line.split()[1][:-1]) for line in lines if line.endswith(": kept")]


def test_whole_shards_are_kept_and_all_others_computed_again(
    undisturbed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = digests(undisturbed / "run")
    shutil.copytree(undisturbed, tmp_path / "at")
    folder, run = tmp_path / "at", tmp_path / "at/run"
    capsys.readouterr()
    every = range(N_SHARDS)
    extract_shards(request(folder), every, run)
    assert kept(capsys) == [0, 1, 2, 3, 4]
    # A flipped bit, a file cut short, one that is missing, one too many, a damaged provenance.
    damaged = bytearray((run / "0/heads.parquet").read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (run / "0/heads.parquet").write_bytes(damaged)
    (run / "1/samples.parquet").write_bytes((run / "1/samples.parquet").read_bytes()[:-1])
    (run / "2/floors.parquet").unlink()
    (run / "3/provenance.json").write_text("[" * 100_000)
    extract_shards(request(folder), every, run)
    assert kept(capsys) == [4]
    assert digests(run) == wanted
    # Not everything that it should have: what a table's file is not named for isn't whole.
    noted = json.loads((run / "0/provenance.json").read_text())
    del noted["files"]["heads.parquet"]
    (run / "0/provenance.json").write_text(json.dumps(noted))
    extract_shards(request(folder), every, run)
    assert kept(capsys) == [1, 2, 3, 4]
    assert digests(run) == wanted


@pytest.mark.parametrize("change", ["code", "options", "package", "manifest", "no code"])
def test_nothing_of_another_origin_is_kept(
    undisturbed: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    change: str,
) -> None:
    shutil.copytree(undisturbed, tmp_path / "at")
    folder = tmp_path / "at"
    options, code = OPTIONS, "c0de"
    if change == "code":
        code = "c0ded"
    elif change == "no code":
        code = ""
    elif change == "options":
        options = replace(OPTIONS, seed=1)
    elif change == "package":
        versions = {**extract.package_versions(), "torch": "0.0.1"}
        monkeypatch.setattr(extract, "package_versions", lambda: versions)
    else:
        shutil.rmtree(folder / "data")
        written_manifest(folder / "data", [f"{PROMPTS[n % 5]} {n % 2}" for n in range(13)])
    capsys.readouterr()
    extract_shards(request(folder, code, options), range(2), folder / "run")
    assert kept(capsys) == []


def test_number_of_workers_is_no_origin(
    undisturbed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(undisturbed, tmp_path / "at")
    capsys.readouterr()
    options = replace(OPTIONS, workers=1)
    extract_shards(request(tmp_path / "at", options=options), [1], tmp_path / "at/run")
    assert kept(capsys) == [1]
    shutil.rmtree(tmp_path / "at/run/1")
    extract_shards(request(tmp_path / "at", options=options), [1], tmp_path / "at/run")
    assert digests(tmp_path / "at/run") == digests(undisturbed / "run")


def test_another_machine_is_no_origin_and_is_noted(
    undisturbed: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(undisturbed, tmp_path / "at")
    run = tmp_path / "at/run"
    shutil.rmtree(run / "1")
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: "VSX")
    capsys.readouterr()
    extract_shards(request(tmp_path / "at"), [0, 1], run)
    # What another node has read is kept, and each shard says where it was.
    assert kept(capsys) == [0]
    noted = [json.loads((run / f"{n}/provenance.json").read_text())["machine"] for n in (0, 1)]
    here = {"threads": torch.get_num_threads(), "gpu": ""}
    assert noted[1] == {"instructions": "VSX", **here}
    assert noted[0] == noted[1] | {"instructions": noted[0]["instructions"]}
    assert noted[0]["instructions"] in {"DEFAULT", "AVX2", "AVX512"}


def stopping(folder: Path, before: str) -> None:
    """Extract part 0 in a process of its own that stands still before it writes some file."""
    own = trace._write

    def waiting(path: Path, table: object) -> None:
        if path.as_posix().endswith(before):
            (folder / "standing").touch()
            time.sleep(600)
        own(path, table)

    trace._write = waiting
    extract_part(request(folder), 0, 3, folder / "run")


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_a_job_that_is_killed_loses_no_whole_shard_and_leaves_nothing(
    undisturbed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], end: signal.Signals
) -> None:
    request(tmp_path)
    script = (
        "import sys; from pathlib import Path; from tests.test_part import stopping; "
        "stopping(Path(sys.argv[1]), '1/heads.parquet')"
    )
    job = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": f"{ROOT}/src:{ROOT}"},
    )
    while not (tmp_path / "standing").exists():
        assert job.poll() is None
        time.sleep(0.05)
    job.send_signal(end)
    job.wait()
    assert [path.name for path in (tmp_path / "run").glob(".1.*")], "nothing was being written"
    assert not (tmp_path / "run/parts").exists()
    capsys.readouterr()
    for part in (0, 1):
        extract_part(request(tmp_path), part, 3, tmp_path / "run")
    assert kept(capsys) == [0]
    assert digests(tmp_path / "run") == digests(undisturbed / "run")


def test_two_jobs_of_one_run_at_once_give_the_same_bytes(undisturbed: Path, tmp_path: Path) -> None:
    request(tmp_path)
    script = (
        "import sys; from pathlib import Path; from lensbench.part import extract_part; "
        "from tests.test_part import request; folder = Path(sys.argv[1]); "
        "extract_part(request(folder), int(sys.argv[2]), 3, folder / 'run')"
    )
    jobs = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path), part],
            cwd=ROOT, env=os.environ | {"PYTHONPATH": f"{ROOT}/src:{ROOT}"},
        )
        for part in "010"  # The first part twice, as if a job thought dead were alive.
    ]  # fmt: skip
    assert [job.wait() for job in jobs] == [0, 0, 0]
    assert digests(tmp_path / "run") == digests(undisturbed / "run")


def test_shards_and_ledgers_of_an_earlier_configuration_go(
    undisturbed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(undisturbed, tmp_path / "at")
    run = tmp_path / "at/run"
    # Once there were more shards, and smaller parts; a folder of another name is none of them.
    for name in ("5", "17", "parts.old"):
        shutil.copytree(run / "0", run / name)
    for name in ("2", "3", "16", "notes"):
        shutil.copy(run / "parts/1.json", run / f"parts/{name}.json")
    for part in (0, 1):
        extract_part(request(tmp_path / "at"), part, 3, run)
    assert kept(capsys) == [0, 1, 2, 3, 4]
    assert sorted(path.name for path in run.iterdir()) == [*"01234", "parts", "parts.old"]
    assert sorted(path.name for path in (run / "parts").iterdir()) == [
        "0.json", "1.json", "notes.json",
    ]  # fmt: skip


def test_a_part_or_shard_that_does_not_exist_is_named(undisturbed: Path, tmp_path: Path) -> None:
    run = request(undisturbed)
    with pytest.raises(LensbenchError, match="Part 2 does not exist: 5 shards, 3 a job, make the"):
        extract_part(run, 2, 3, tmp_path / "run")
    with pytest.raises(LensbenchError, match="Shard 5 does not exist: the run has 5, numbered"):
        extract_shards(run, [5], tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_with_empty_last_shards_is_measured_like_one_without(
    undisturbed: Path, tmp_path: Path
) -> None:
    loaded = text_model("llama", seed=3)
    more = Extraction(
        loaded, undisturbed / "data", 8, OPTIONS, undisturbed / "model", dataset="d", code="c0de"
    )
    for part in range(3):
        extract_part(more, part, 3, tmp_path / "run")
    ledger = json.loads((tmp_path / "run/parts/2.json").read_text())
    assert [entry["n_samples"] for entry in ledger["shards"]] == [0, 0]
    few = MetricOptions(resamples=20)
    tables = [
        compute_run(shard_folders([run]), undisturbed / "model", few)
        for run in (undisturbed / "run", tmp_path / "run")
    ]
    for name, frame in tables[0].items():
        assert frame.equals(tables[1][name]), name


def test_rejected_samples_are_counted_in_the_ledger(tmp_path: Path) -> None:
    loaded = image_model("llava")
    inspect_model(loaded, tmp_path / "model")
    written_manifest(tmp_path / "data", ["How many ?"] * 2, images=["no.png"] * 2, style="chat")
    options = replace(OPTIONS, shard_samples=1)
    run = Extraction(loaded, tmp_path / "data", 2, options, tmp_path / "model", code="1")
    extract_part(run, 0, 2, tmp_path / "run")
    ledger = json.loads((tmp_path / "run/parts/0.json").read_text())
    assert [(e["n_samples"], e["n_rejected"]) for e in ledger["shards"]] == [(1, 1), (1, 1)]
    assert len(read_table([tmp_path / "run/0", tmp_path / "run/1"], "samples")) == 2
    assert np.all(read_table(tmp_path / "run/0", "samples")["rejected"].notna())


def asking(folder: Path, **settings: object) -> list[str]:
    """Return the words of a command that extracts the prompts of `request` with these settings."""
    fixed = {"shard_samples": 3, "batch_size": 2, "max_new_tokens": 2, "top_k": 3}
    return [
        *("extract", "llama", "--source", "folder:nowhere", "--dataset", str(folder / "data")),
        *("--model-folder", str(folder / "model"), "--out", "run", "--code", "c0de"),
        *("--options", json.dumps({**fixed, "floor_directions": 4, **settings})),
    ]


def test_shards_by_hand_are_extracted_with_one_load(
    undisturbed: Path,
    lensbench: Callable[..., Done],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loads = []

    def load(*what: object, **how: object) -> LoadedModel:
        loads.append(what)
        return text_model("llama", seed=3)

    monkeypatch.setattr("lensbench.models.load.load_model", load)
    done = lensbench(*asking(undisturbed), "--shards", "0-1,4")
    assert done.returncode == 0, done.stderr
    assert len(loads) == 1
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["0", "1", "4"]
    assert (tmp_path / "run/4/samples.parquet").is_file()
    done = lensbench(*asking(undisturbed, workers=0, shards_per_job=7), "--shards", "1,2")
    # Neither of these settings is in a shard.
    assert "shard 1: kept" in done.stderr
    assert (tmp_path / "run/2/samples.parquet").is_file()


@pytest.mark.parametrize(
    ("more", "settings", "sentence"),
    [
        (["--shards", "9"], {}, "Shard 9 does not exist: the run has 5, numbered from 0 to 4."),
        (["--shards", "x"], {}, "--shards x names no shards at 'x': give numbers and ranges from"),
        (["--part", "3"], {"shards_per_job": 2}, "Part 3 does not exist: 5 shards, 2 a job, make"),
        (["--part", "0", "--shards", "0"], {}, "Both --shards and --part are given: leave one out"),
        (["--n-shards", "4"], {}, "data has 13 samples, too many for 4 shards of 3: 5 are needed."),
        ([], {"shards": 2}, "Extraction takes no setting shards: there are shard_samples, "),
        ([], {"shards_per_job": 0}, "extraction.shards_per_job is 0: use 1 or more."),
        ([], {"shards_per_job": True}, "extraction.shards_per_job is True: use 1 or more."),
        ([], {"shard_samples": "3"}, "takes a whole number or null for shard_samples, not '3'"),
    ],
)
def test_a_request_that_can_not_be_met_is_told_before_a_model_is_loaded(
    undisturbed: Path,
    lensbench: Callable[..., Done],
    tmp_path: Path,
    more: list[str],
    settings: dict[str, object],
    sentence: str,
) -> None:
    done = lensbench(*asking(undisturbed, **settings), *more)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()
