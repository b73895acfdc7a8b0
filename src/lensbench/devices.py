"""GPUs of this machine, each lent to one process at a time: a lock that dies with its holder.

Snakemake counts GPUs (`--resources gpu=2`) but gives none to a job: two at once would both take the
first. So a job locks free ones for as long as it lives and shows itself no others.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from lensbench.errors import LensbenchError

#: Seconds between two looks at what is free.
_PAUSE_S = 0.2
_LISTED = re.compile(r"\s*(?P<kind>GPU|MIG) .*\(UUID: (?P<uuid>(?:GPU|MIG)-[^)\s]+)\)")
_NODE = re.compile(r"nvidia[0-9]+")
#: Locks that this process holds, until it ends.
_held: list[int] = []


def own_gpus(
    wanted: int, listed: Sequence[str] | None = None, locks: str | Path | None = None
) -> list[str]:
    """Take free GPUs of this machine for the rest of this process's life, before CUDA begins.

    Nothing happens where none is wanted or none is here. CUDA_VISIBLE_DEVICES says what there is to
    choose from, if it is set, and is set to what was taken.

    Args:
        wanted: how many; where there are fewer, all.
        listed: what there is to choose from, as CUDA_VISIBLE_DEVICES names them; asked of the
            machine by default.
        locks: the folder of the locks; by default one that is this user's, on this machine alone.

    Returns:
        What was taken, as CUDA_VISIBLE_DEVICES names them.

    Raises:
        LensbenchError: if there is no place for the locks.
    """
    if wanted < 1:
        return []
    devices = visible(os.environ) if listed is None else list(listed)
    if not devices:
        return []
    count = min(wanted, len(devices))
    if count < wanted:
        print(
            f"{wanted} GPUs are wanted and {count} are here: going on with these.", file=sys.stderr
        )
    folder = _lock_folder() if locks is None else Path(locks)
    names = _lock_names(devices, os.environ)
    waiting = f"{count} of {len(devices)} GPUs wanted, too few are free: waiting."
    # Whoever waits holds the queue, so that who wants several isn't overtaken for ever.
    ((_, queue),) = _wait_for(folder, ["queue"], 1, waiting)
    taken = _wait_for(folder, names, count, waiting)
    os.close(queue)
    _held.extend(lock for _, lock in taken)
    chosen = [devices[names.index(name)] for name, _ in taken]
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(chosen)
    print(f"GPU {', '.join(chosen)}: taken for this job", file=sys.stderr, flush=True)
    return chosen


def visible(environment: Mapping[str, str]) -> list[str]:
    """Return the GPUs that a process may choose from, as CUDA_VISIBLE_DEVICES names them.

    Args:
        environment: of the process.
    """
    given = environment.get("CUDA_VISIBLE_DEVICES")
    if given is None:
        return _of_machine()
    devices: list[str] = []
    for name in (piece.strip() for piece in given.split(",")):
        # As CUDA reads it: what comes after the first that is none doesn't count.
        if not name or name.startswith("-") or name in devices:
            break
        devices.append(name)
    return devices


def _of_machine() -> list[str]:
    """Return all GPUs of this machine: by their UUIDs, which mean the same in every process."""
    try:
        done = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, check=False, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):
        pass
    else:
        found = of_listing(done.stdout)
        if found:
            return found
    try:
        nodes = [name for name in os.listdir("/dev") if _NODE.fullmatch(name)]
    except OSError:
        nodes = []
    return [str(index) for index in range(len(nodes))]


def of_listing(text: str) -> list[str]:
    """Return the UUIDs in what `nvidia-smi -L` prints; a GPU that is split up is its parts."""
    found: list[str] = []
    for line in text.splitlines():
        match = _LISTED.match(line)
        if match is None:
            continue
        if match["kind"] == "MIG" and found and found[-1].startswith("GPU-"):
            found.pop()
        found.append(match["uuid"])
    return found


def _lock_names(devices: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """Return the names of the devices' locks: one name a device, however it is called.

    What Slurm gave is this allocation's alone, and two allocations may both call theirs 0.
    """
    job = environment.get("SLURM_JOB_ID", "")
    if job and "CUDA_VISIBLE_DEVICES" in environment:
        names = [f"slurm-{job}-{device}" for device in devices]
    else:
        machine = _of_machine()
        names = [_full_name(device, machine) for device in devices]
    return [re.sub(r"[^A-Za-z0-9._-]", "_", name) for name in names]


def _full_name(device: str, machine: Sequence[str]) -> str:
    """Return the name in a list of the machine's GPUs that an index or a shortened UUID means."""
    if device.isdecimal():
        return machine[int(device)] if int(device) < len(machine) else device
    found = [name for name in machine if name.startswith(device)]
    return found[0] if len(found) == 1 else device


def _lock_folder() -> Path:
    """Return a folder for locks that is this user's, on this machine alone."""
    # Fixed places first: schedulers give each job a TMPDIR of its own, or one on a shared disk.
    for parent in ("/dev/shm", "/tmp", tempfile.gettempdir()):
        folder = Path(parent) / f"lensbench-gpus-{os.getuid()}"
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            about = folder.lstat()
        except OSError:
            continue
        # Anybody may have put something there first.
        if stat.S_ISDIR(about.st_mode) and about.st_uid == os.getuid():
            return folder
    raise LensbenchError(
        f"There is no place for the locks of GPUs: {folder} can't be made, or is somebody else's."
    )


def _wait_for(
    folder: Path, names: Sequence[str], count: int, waiting: str
) -> list[tuple[str, int]]:
    """Return locks that are held now, all at once: each one's name and its file descriptor."""
    folder.mkdir(parents=True, exist_ok=True)
    said, began = False, time.monotonic()
    while True:
        taken: list[tuple[str, int]] = []
        for name in names:
            lock = os.open(folder / f"{name}.lock", os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(lock)
                continue
            taken.append((name, lock))
            if len(taken) == count:
                return taken
        for _, lock in taken:
            os.close(lock)
        # The queue alone is free again in no time.
        if not said and time.monotonic() - began > 1:
            print(waiting, file=sys.stderr, flush=True)
            said = True
        time.sleep(_PAUSE_S)


def _let_go() -> None:
    """Close a forked process's copies of the locks, which would outlive their holder."""
    while _held:
        os.close(_held.pop())


os.register_at_fork(after_in_child=_let_go)
