"""A model from a hub: what is fetched, how it survives the world, and what is said if it can't."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from huggingface_hub import constants
from tests.hub import COMMIT, MODEL, NAME, QUICK, WEIGHTS, Fault, Hub, refused

from lensbench import Lens
from lensbench.errors import ModelError
from lensbench.files import sha256_of
from lensbench.models.hub import fetch, fetched_folder, is_fetched, plan
from lensbench.models.hub_blobs import git_sha1_of
from lensbench.models.load import load_model
from lensbench.models.source import INDEX, PACKAGED, parse_source, weight_files

# What is fetched


def test_plan_names_what_a_model_is_loaded_from_and_its_size(hub: Hub, repository: Path) -> None:
    found = plan(NAME, COMMIT, QUICK)
    names = sorted(path.name for path in (PACKAGED / MODEL).iterdir())
    assert [file.name for file in found] == names
    assert {f.name: f.bytes for f in found} == {
        name: (repository / name).stat().st_size for name in names
    }
    (weights,) = [file for file in found if file.name == WEIGHTS]
    assert weights.sha256 == sha256_of(repository / WEIGHTS)
    assert not hub.asked_for(WEIGHTS)


def test_fetched_model_reads_out_as_the_packaged_one(
    hub: Hub, repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done = fetch(NAME, COMMIT, QUICK)
    told = capsys.readouterr().err
    size = sum(path.stat().st_size for path in (PACKAGED / MODEL).iterdir())
    n = len(list((PACKAGED / MODEL).iterdir()))
    assert f"hub:{NAME} at {COMMIT}: {n} files, {size / 1e6:.2f} MB into " in told
    for file in done.files:
        assert (done.folder / file.name).read_bytes() == (repository / file.name).read_bytes()
        assert file.sha256 == sha256_of(repository / file.name)
    tree = json.loads(done.to_json())
    assert (tree["repository"], tree["revision"]) == (NAME, COMMIT)
    assert str(done.folder.parent) not in done.to_json()
    # From then on offline.
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    asked = len(hub.requests)
    ours = load_model(MODEL, f"hub:{NAME}", COMMIT, device="cpu")
    theirs = load_model(MODEL, f"packaged:{MODEL}", device="cpu")
    assert len(hub.requests) == asked
    assert (ours.revision, ours.source) == (COMMIT, f"hub:{NAME}")
    assert ours.weights_sha256 == theirs.weights_sha256
    read = [
        Lens(one.model, one.processor)("How many?", max_new_tokens=2).to_frame()
        for one in (ours, theirs)
    ]
    assert read[0].equals(read[1])


def test_second_fetch_asks_for_nothing(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    first = fetch(NAME, COMMIT, QUICK)
    asked = len(hub.requests)
    capsys.readouterr()
    assert fetch(NAME, COMMIT, QUICK).to_json() == first.to_json()
    assert len(hub.requests) == asked
    assert capsys.readouterr().err == ""


def test_look_at_a_repository_fetches_by_itself(hub: Hub) -> None:
    lens = Lens.from_pretrained(NAME, verify=False, device="cpu")
    assert lens.revision == COMMIT
    assert fetched_folder(NAME, COMMIT).is_dir()


def shard(folder: Path) -> int:
    """Put a model's weights into two shards with an index, as large models have them."""
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / WEIGHTS)
    names = sorted(weights)
    files = {}
    for part, chosen in enumerate((names[::2], names[1::2]), start=1):
        file = f"model-0000{part}-of-00002.safetensors"
        save_file({k: weights[k] for k in chosen}, folder / file, metadata={"format": "pt"})
        files |= dict.fromkeys(chosen, file)
    index = {"metadata": {}, "weight_map": files}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return sum((folder / file).stat().st_size for file in set(files.values()))


def test_of_shards_and_one_file_the_index_decides(hub: Hub, repository: Path) -> None:
    size = shard(repository)
    (repository / WEIGHTS).rename(repository / "consolidated.safetensors")
    files = plan(NAME, COMMIT, QUICK)
    weights = [file for file in files if file.name.endswith(".safetensors")]
    assert [file.name for file in weights] == [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ]
    assert sum(file.bytes for file in weights) == size
    fetch(NAME, COMMIT, QUICK)
    assert not hub.asked_for("consolidated.safetensors")
    loaded = load_model(MODEL, f"hub:{NAME}", COMMIT, device="cpu")
    assert loaded.missing == ()
    assert [f.name for f in weight_files(parse_source(f"hub:{NAME}", COMMIT))] == [
        file.name for file in weights
    ]


# Downloads that survive


def test_cut_connection_goes_on_where_it_stopped(hub: Hub, repository: Path) -> None:
    size = (repository / WEIGHTS).stat().st_size
    hub.faults = [Fault(WEIGHTS, cut=700_000), Fault(WEIGHTS, cut=900_000)]
    done = fetch(NAME, COMMIT, QUICK)
    assert sha256_of(done.folder / WEIGHTS) == sha256_of(repository / WEIGHTS)
    assert [r.range for r in hub.asked_for(WEIGHTS)] == ["", "bytes=700000-", "bytes=1600000-"]
    assert hub.sent[WEIGHTS] == size


def test_failed_fetch_keeps_what_arrived_for_the_next(
    hub: Hub, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    size = (repository / WEIGHTS).stat().st_size
    hub.faults = [Fault(WEIGHTS, cut=1_000_000), Fault(WEIGHTS, times=99, status=503)]
    said = refused()
    assert f"{WEIGHTS} can't be fetched from {hub.url} (the server answers 503 " in said
    assert "run again, what is there is kept" in said
    with pytest.raises(ModelError, match=r"is not fetched \(.* is not in the cache\)"):
        fetched_folder(NAME, COMMIT)
    hub.faults = []
    capsys.readouterr()
    done = fetch(NAME, COMMIT, QUICK)
    there = 1_000_000 + sum(file.bytes for file in done.files if file.name != WEIGHTS)
    assert f", {there / 1e6:.2f} MB of it are there" in capsys.readouterr().err
    assert hub.asked_for(WEIGHTS)[-1].range == "bytes=1000000-"
    assert hub.sent[WEIGHTS] == size
    assert sha256_of(done.folder / WEIGHTS) == sha256_of(repository / WEIGHTS)
    assert not list(done.folder.parents[1].rglob("*.part"))


def test_hub_without_ranges_is_asked_for_the_whole(hub: Hub, repository: Path) -> None:
    hub.ranges = False
    hub.faults = [Fault(WEIGHTS, cut=700_000)]
    done = fetch(NAME, COMMIT, QUICK)
    assert [r.range for r in hub.asked_for(WEIGHTS)] == ["", "bytes=700000-"]
    assert hub.sent[WEIGHTS] == 700_000 + (repository / WEIGHTS).stat().st_size
    assert (done.folder / WEIGHTS).read_bytes() == (repository / WEIGHTS).read_bytes()


def test_hub_that_stores_its_files_itself(hub: Hub, repository: Path) -> None:
    hub.storage = False
    done = fetch(NAME, COMMIT, QUICK)
    assert (done.folder / WEIGHTS).read_bytes() == (repository / WEIGHTS).read_bytes()
    assert len(hub.asked_for(WEIGHTS)) == 1


@pytest.mark.parametrize(
    "faults",
    [
        [Fault("", status=500, times=2)],
        [Fault(WEIGHTS, status=429, retry_after=0, times=2)],
        [Fault(WEIGHTS, status=500), Fault(WEIGHTS, status=502)],
        [Fault(WEIGHTS, status=503, method="HEAD", times=2)],
        [Fault("config.json", status=500, times=2), Fault("config.json", cut=5)],
    ],
)
def test_what_passes_is_waited_out(hub: Hub, repository: Path, faults: list[Fault]) -> None:
    hub.faults = faults
    done = fetch(NAME, COMMIT, QUICK)
    for name in (WEIGHTS, "config.json"):
        assert (done.folder / name).read_bytes() == (repository / name).read_bytes()
    assert not [fault for fault in hub.faults if fault.times]


def test_wrong_bytes_are_said_and_not_kept(hub: Hub, repository: Path) -> None:
    hub.faults = [Fault(WEIGHTS, wrong=True)]
    said = refused()
    assert f"{WEIGHTS} arrived with SHA-256 " in said
    assert sha256_of(repository / WEIGHTS) in said
    assert len(hub.asked_for(WEIGHTS)) == 1
    done = fetch(NAME, COMMIT, QUICK)
    assert sha256_of(done.folder / WEIGHTS) == sha256_of(repository / WEIGHTS)


def test_wrong_bytes_after_a_resume_are_fetched_once_more(hub: Hub, repository: Path) -> None:
    hub.faults = [Fault(WEIGHTS, wrong=True, cut=100_000), Fault(WEIGHTS, times=99, status=500)]
    refused()
    hub.faults = []
    done = fetch(NAME, COMMIT, QUICK)
    assert [r.range for r in hub.asked_for(WEIGHTS)][-2:] == ["bytes=100000-", ""]
    assert sha256_of(done.folder / WEIGHTS) == sha256_of(repository / WEIGHTS)


def test_small_file_of_wrong_bytes_is_said_and_not_kept(hub: Hub, repository: Path) -> None:
    hub.faults = [Fault("config.json", wrong=True)]
    assert "config.json isn't what the hub states" in refused()
    assert fetch(NAME, COMMIT, QUICK).folder.is_dir()


def test_damaged_cache_is_mended(hub: Hub, repository: Path) -> None:
    done = fetch(NAME, COMMIT, QUICK)
    for name in (WEIGHTS, "config.json"):
        (done.folder / name).resolve().write_bytes(b"short")
    asked = len(hub.requests)
    again = fetch(NAME, COMMIT, QUICK)
    assert len(hub.requests) > asked
    assert again.to_json() == done.to_json()
    for name in (WEIGHTS, "config.json", "tokenizer.json"):
        assert (done.folder / name).read_bytes() == (repository / name).read_bytes()
    assert len(hub.asked_for("tokenizer.json")) == 1


@pytest.mark.parametrize("noted", [True, False])
def test_damaged_index_is_mended(hub: Hub, repository: Path, noted: bool) -> None:
    shard(repository)
    (repository / WEIGHTS).unlink()
    done = fetch(NAME, COMMIT, QUICK)
    assert is_fetched(NAME, COMMIT)
    index = done.folder / INDEX
    whole = index.read_bytes()
    for damage in (whole[: len(whole) // 2], b"", b"\xff", b'{"weight_map": {}}'):
        index.resolve().write_bytes(damage)
        if not noted:
            shutil.rmtree(done.folder.parents[1] / "lensbench")
        assert not is_fetched(NAME, COMMIT)
        with pytest.raises(ModelError, match="is not fetched"):
            fetched_folder(NAME, COMMIT)
        assert fetch(NAME, COMMIT, QUICK).to_json() == done.to_json()
        assert index.read_bytes() == (repository / INDEX).read_bytes()
        assert is_fetched(NAME, COMMIT)
    assert len(hub.asked_for(INDEX)) == 5
    assert len(hub.asked_for("model-00001-of-00002.safetensors")) == 1


def test_index_of_wrong_bytes_is_said_and_not_kept(hub: Hub, repository: Path) -> None:
    shard(repository)
    (repository / WEIGHTS).unlink()
    hub.faults = [Fault(INDEX, wrong=True)]
    assert f"{INDEX} isn't what the hub states" in refused()
    assert fetch(NAME, COMMIT, QUICK).folder.is_dir()


def test_cache_of_another_program_is_enough_without_a_network(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = fetch(NAME, COMMIT, QUICK)
    shutil.rmtree(done.folder.parents[1] / "lensbench")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert fetch(NAME, COMMIT, QUICK).to_json() == done.to_json()
    shutil.rmtree(done.folder.parents[1] / "lensbench")
    (done.folder / WEIGHTS).resolve().write_bytes(b"damaged")
    assert "is damaged: delete it and what it links to" in refused()


# As users run it: other processes, which read HF_HOME, HF_ENDPOINT and HF_TOKEN themselves


def command(hub: Hub, home: Path, *more: str, token: str = "") -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "HF_HOME": str(home),
        "HF_ENDPOINT": hub.url,
        "HF_HUB_OFFLINE": "0",
        "HF_TOKEN": token,
    }
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        environment.pop(name, None)
    return subprocess.Popen(
        [sys.executable, "-m", "lensbench", "fetch-hub", NAME, "--revision", COMMIT, *more],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_processes_make_one_download_into_hf_home(repository: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    with Hub({NAME: (repository, COMMIT)}, slow_s=0.01, tokens={NAME: "hf_right"}) as served:
        outs = [tmp_path / "a/fetched.json", tmp_path / "b/fetched.json"]
        jobs = [command(served, home, "--out", str(out), token="hf_right") for out in outs]
        said = [job.communicate(timeout=60) for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0], said
    assert outs[0].read_bytes() == outs[1].read_bytes()
    noted = {file["name"]: file for file in json.loads(outs[0].read_text())["files"]}
    assert noted[WEIGHTS]["sha256"] == sha256_of(repository / WEIGHTS)
    folder = home / "hub/models--Qwen--Qwen2-VL-2B-Instruct/snapshots" / COMMIT
    assert {out.strip() for out, _ in said} == {str(folder)}
    assert (folder / WEIGHTS).read_bytes() == (repository / WEIGHTS).read_bytes()
    assert served.sent[WEIGHTS] == (repository / WEIGHTS).stat().st_size


def test_killed_fetches_end_in_the_same_bytes_and_little_is_sent_twice(
    repository: Path, tmp_path: Path
) -> None:
    size = (repository / WEIGHTS).stat().st_size
    home, kills = tmp_path / "home", 3
    with Hub({NAME: (repository, COMMIT)}, slow_s=0.01, block=2**15) as served:
        for kill in range(1, kills + 1):
            job = command(served, home)
            ends = time.monotonic() + 30
            while served.sent.get(WEIGHTS, 0) < kill * size / 5 and time.monotonic() < ends:
                time.sleep(0.002)
            job.send_signal(signal.SIGKILL)
            job.communicate()
            assert not list(home.rglob(WEIGHTS))
        job = command(served, home)
        out, err = job.communicate(timeout=60)
    assert job.returncode == 0, err
    assert (Path(out.strip()) / WEIGHTS).read_bytes() == (repository / WEIGHTS).read_bytes()
    # What was under way when a process died, in its own and the sockets' buffers.
    assert served.sent[WEIGHTS] <= size + kills * 600_000
    assert git_sha1_of(Path(out.strip()) / "config.json") == git_sha1_of(repository / "config.json")
