"""GPUs are lent to one process at a time: real processes contend for devices that aren't there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from lensbench import devices
from lensbench.config import ROOT
from lensbench.devices import of_listing, own_gpus, visible

#: Take some of the devices, note which and from when to when, and end.
HOLDING = """
import os, sys, time
from lensbench.devices import own_gpus
folder, wanted, listed, seconds = sys.argv[1:5]
taken = own_gpus(int(wanted), listed.split(","), folder)
assert os.environ["CUDA_VISIBLE_DEVICES"] == ",".join(taken)
begin = time.monotonic()
print(",".join(taken), begin, flush=True)
if len(sys.argv) > 5:
    # A worker of a feed, forked, lives on after its parent is killed.
    if not os.fork():
        time.sleep(60)
        os._exit(0)
time.sleep(float(seconds))
print(time.monotonic(), flush=True)
"""


def holder(folder: Path, wanted: int, listed: str, seconds: float, *more: str) -> subprocess.Popen:
    """Start a process that holds devices for some seconds."""
    return subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(folder), str(wanted), listed, str(seconds), *more],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "PATH": "/nowhere"},
    )  # fmt: skip


def test_no_two_processes_hold_a_device_at_once(tmp_path: Path) -> None:
    jobs = [holder(tmp_path, wanted, "0,1", 0.4) for wanted in (1, 1, 2, 1, 1, 2, 1, 1)]
    spans: dict[str, list[tuple[float, float]]] = {"0": [], "1": []}
    for job in jobs:
        out, err = job.communicate(timeout=120)
        assert job.returncode == 0, err
        taken, begin, end = out.split()
        for device in taken.split(","):
            spans[device].append((float(begin), float(end)))
    assert sorted(len(held) for held in spans.values()) in ([4, 6], [5, 5])
    for held in spans.values():
        held.sort()
        for (_, end), (begin, _) in pairwise(held):
            assert end <= begin


def test_a_killed_holder_frees_its_device_at_once(tmp_path: Path) -> None:
    first = holder(tmp_path, 1, "GPU-a", 600, "fork")
    assert first.stdout is not None
    assert first.stdout.readline().startswith("GPU-a ")
    second = holder(tmp_path, 1, "GPU-a", 0)
    assert second.stderr is not None
    assert "1 of 1 GPUs wanted, too few are free: waiting." in second.stderr.readline()
    first.send_signal(signal.SIGKILL)
    out, _ = second.communicate(timeout=30)
    assert out.startswith("GPU-a ")
    assert second.returncode == 0


def test_who_wants_several_is_not_overtaken(tmp_path: Path) -> None:
    one = holder(tmp_path, 1, "0,1", 4)
    assert one.stdout is not None
    one.stdout.readline()
    both = holder(tmp_path, 2, "0,1", 0)
    assert both.stderr is not None
    both.stderr.readline()  # It waits, and one device is free all the time.
    late = holder(tmp_path, 1, "0,1", 0)
    begins = [float(job.communicate(timeout=60)[0].split()[1]) for job in (both, late)]
    one.wait()
    assert begins[0] < begins[1]


def test_fewer_devices_than_wanted_are_all_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    monkeypatch.setattr(devices, "_held", [])
    assert own_gpus(4, locks=tmp_path) == ["3", "5"]
    assert "4 GPUs are wanted and 2 are here" in capsys.readouterr().err
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3,5"
    devices._let_go()


def test_nothing_is_taken_where_none_is_wanted_or_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert own_gpus(0, ["0"], tmp_path) == []
    assert own_gpus(1, locks=tmp_path) == []
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ("0,1", ["0", "1"]),
        (" 2 , GPU-8932f937-d72c", ["2", "GPU-8932f937-d72c"]),
        ("MIG-a/1/0", ["MIG-a/1/0"]),
        ("", []),
        ("-1", []),
        ("1,-1,0", ["1"]),
        ("0,0", ["0"]),
    ],
)
def test_what_cuda_is_shown(given: str, names: list[str]) -> None:
    assert visible({"CUDA_VISIBLE_DEVICES": given}) == names


# What `nvidia-smi -L` prints of a whole card, and of one that is split up.
LISTING = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-b8ea3855-276c-c9cb-b366-c6fa655957c5)
  MIG 1g.5gb      Device  0: (UUID: MIG-26f9f8b0-0000-5f5c-9a21-000000000000)
  MIG 1g.5gb      Device  1: (UUID: MIG-26f9f8b0-0000-5f5c-9a21-000000000001)
"""


def test_listing_of_the_machine() -> None:
    assert of_listing(LISTING) == [
        "GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77",
        "MIG-26f9f8b0-0000-5f5c-9a21-000000000000",
        "MIG-26f9f8b0-0000-5f5c-9a21-000000000001",
    ]
    assert of_listing("NVIDIA-SMI has failed because it couldn't communicate\n") == []


def test_a_device_has_one_lock_however_it_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_of_machine", lambda: ["GPU-aa1", "GPU-ab2"])
    names = [devices._lock_names([name], {})[0] for name in ("1", "GPU-ab2", "GPU-ab")]
    assert names == ["GPU-ab2"] * 3
    # Too short to mean one, and an index that there is none of: as they are.
    assert devices._lock_names(["GPU-a", "7"], {}) == ["GPU-a", "7"]
    # Each allocation calls its own device 0.
    given = {"CUDA_VISIBLE_DEVICES": "0"}
    names = [devices._lock_names(["0"], {**given, "SLURM_JOB_ID": job})[0] for job in ("8", "9")]
    assert names == ["slurm-8-0", "slurm-9-0"]


def test_locks_are_no_business_of_other_users(tmp_path: Path) -> None:
    folder = devices._lock_folder()
    about = folder.lstat()
    assert (about.st_uid, about.st_mode & 0o077) == (os.getuid(), 0)


@pytest.mark.parametrize(
    ("options", "gpus", "asked"),
    [('{"device": "cpu"}', 1, []), ("{}", 0, []), ("{}", 2, [2]), ('{"device": "cuda"}', 1, [1])],
)
def test_commands_ask_where_a_gpu_may_be_used(
    monkeypatch: pytest.MonkeyPatch, options: str, gpus: int, asked: list[int]
) -> None:
    from lensbench.cli_options import before_a_model

    taken: list[int] = []
    monkeypatch.setattr(devices, "own_gpus", taken.append)
    before_a_model(options, gpus)
    assert taken == asked
