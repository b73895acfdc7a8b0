"""A Slurm of several nodes on one machine, in a temporary folder, brought up and taken down again.

munged, slurmctld and one slurmd a node run as children of this process, with their own keys,
ports, sockets and state, so that a real Slurm beside them is not touched. By hand:

    python tests/cluster/slurm.py -- sinfo --Node
"""

from __future__ import annotations

import ctypes
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

#: The words of a node's state while it takes jobs or runs some.
UP = frozenset({"IDLE", "MIXED", "ALLOCATED", "COMPLETING"})
COMMANDS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "sinfo", "scontrol")
# A path of a socket is no longer than this.
SOCKET_LENGTH = 107
PR_SET_PDEATHSIG = 1

CONFIGURATION = """\
ClusterName=lensbench
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# A job that lost its node waits until its old credential is void.
AuthInfo=socket={folder}/run/munge.socket,cred_expire=15
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
# Nothing of the machine's own is asked for: no cgroups, no accounting, no switch.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
# A job that waits for its time, as one of a lost node does, is looked for every 2 s, not every 60.
SchedulerParameters=sched_interval=2,batch_sched_delay=1
# The nodes are as large as told here, whatever this machine has.
SlurmdParameters=config_overrides
ReturnToService=2
JobRequeue=1
KillWait=2
# Finished jobs stay in scontrol's records until the end.
MinJobAge=7200
GresTypes=gpu
"""


class MissingError(Exception):
    """What a Slurm on this machine lacks, in one sentence."""


@dataclass(frozen=True)
class Node:
    """One node: its name, the partition it is in, and what it has to give."""

    name: str
    partition: str
    cpus: int
    mem_mb: int = 16000
    gpus: int = 0

    def lines(self, port: int, folder: Path) -> tuple[str, str]:
        """Return the node's lines for slurm.conf and for gres.conf."""
        line = (
            f"NodeName={self.name} NodeHostname={socket.gethostname()} NodeAddr=127.0.0.1"
            f" Port={port} CPUs={self.cpus} RealMemory={self.mem_mb}"
        )
        if not self.gpus:
            return line, ""
        # Empty files stand for the devices: Slurm only counts them.
        files = [folder / f"gpu{number}" for number in range(self.gpus)]
        for file in files:
            file.touch()
        gres = "".join(f"NodeName={self.name} Name=gpu File={file}\n" for file in files)
        return f"{line} Gres=gpu:{self.gpus}", gres


@dataclass
class Slurm:
    """A running Slurm: how to ask it, and how to take a node away from it and give it back."""

    folder: Path
    nodes: Sequence[Node]
    daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs in its environment to speak with this Slurm."""
        path = f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
        return {**os.environ, "PATH": path, "SLURM_CONF": str(self.folder / "slurm.conf")}

    def ask(self, *command: str) -> str:
        """Return what a command of Slurm says."""
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout

    def jobs(self) -> list[dict[str, str]]:
        """Return scontrol's record of every job so far, finished or not, in order."""
        records = self.ask("scontrol", "--oneliner", "--detail", "show", "jobs").splitlines()
        found = [
            dict(re.findall(r"(\w[\w/:]*)=(.*?) *(?= \w[\w/:]*=|$)", line))
            for line in records
            if "JobId=" in line
        ]
        return sorted(found, key=lambda job: int(job["JobId"]))

    def is_up(self, name: str) -> bool:
        """Whether a node takes jobs: no word of a state such as DOWN+NOT_RESPONDING forbids it."""
        told = self.ask("scontrol", "--oneliner", "show", "node", name)
        (state,) = re.findall(r" State=(\S+)", told)
        return set(state.split("+")) <= UP

    def start_node(self, name: str) -> None:
        """Start the daemon of a node and let jobs come to it."""
        self._start(name, "slurmd", "-D", "-N", name)

    def kill_node(self, name: str) -> set[str]:
        """Take a node away as a loss of power does: its daemon and its jobs are gone at once.

        Returns:
            The numbers of the jobs that ran there.
        """
        daemon = self.daemons.pop(name)
        daemon.kill()
        daemon.wait()
        jobs = {
            job["JobId"]
            for job in self.jobs()
            if job.get("NodeList") == name and job["JobState"] in {"RUNNING", "COMPLETING"}
        }
        for pid, environment, command in self._processes():
            step = re.match(r"slurmstepd: \[(\d+)\.", command)
            if f"SLURMD_NODENAME={name}" in environment or (step and step[1] in jobs):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        # The controller would find out by itself, after SlurmdTimeout.
        self.ask("scontrol", "update", f"nodename={name}", "state=down", "reason=killed")
        return jobs

    def return_node(self, name: str) -> None:
        """Give a node back that was taken away, and wait until jobs come to it again."""
        self.start_node(name)
        # ReturnToService=2 lifts the state when the daemon registers; "resume" after that is an
        # error, and before it says nothing of the daemon.
        until(lambda: self.is_up(name), f"the node {name} came back", self)

    def stop(self) -> None:
        """End every daemon and every job of this Slurm, and nothing else."""
        for daemon in self.daemons.values():
            daemon.kill()
            daemon.wait()
        for pid, _, _ in self._processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.daemons.clear()

    def _start(self, name: str, *command: str) -> None:
        with (self.folder / f"{name}.out").open("ab") as log:
            self.daemons[name] = subprocess.Popen(
                command,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )

    def _processes(self) -> Iterator[tuple[int, list[str], str]]:
        """Yield pid, environment and command line of every process of this Slurm but our own."""
        ours = f"SLURM_CONF={self.folder}/slurm.conf"
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                environment = (folder / "environ").read_bytes().decode(errors="replace").split("\0")
                if ours in environment and int(folder.name) != os.getpid():
                    command = (folder / "cmdline").read_bytes().decode(errors="replace")
                    yield int(folder.name), environment, command.replace("\0", " ")


def check() -> None:
    """Raise the sentence that says what is missing for a Slurm on this machine."""
    if os.geteuid() != 0:
        raise MissingError(
            "A Slurm of several nodes on one machine is started by root: run make test-cluster as "
            "root, in a container if you like."
        )
    missing = [name for name in COMMANDS if shutil.which(name) is None]
    if missing:
        raise MissingError(
            f"Slurm is not whole here, since {', '.join(missing)} can't be found: run "
            "scripts/slurm.sh, which installs Debian's munge, slurmctld, slurmd and slurm-client."
        )


@contextmanager
def slurm(nodes: Sequence[Node]) -> Iterator[Slurm]:
    """Bring up a Slurm with these nodes, and take it down however the block ends.

    Raises:
        MissingError: if this machine lacks something for it.
        RuntimeError: if a daemon doesn't come up; with the end of its log.
    """
    check()
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    running = Slurm(folder, nodes)
    # An interrupt unwinds the stack by itself; what ends a CI's job shall, too.
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        _configure(running)
        running._start(
            "munged",
            *("munged", "--foreground", f"--key-file={folder}/key/munge.key"),
            *(f"--{name}-file={folder}/key/{name}" for name in ("seed", "log")),
            *(f"--socket={folder}/run/munge.socket", f"--pid-file={folder}/run/munge.pid"),
        )
        until((folder / "run/munge.socket").exists, "munged came up", running)
        running._start("slurmctld", "slurmctld", "-D")
        for node in nodes:
            running.start_node(node.name)
        until(lambda: _idle(running) == len(nodes), "all nodes came up", running)
        yield running
    finally:
        running.stop()
        shutil.rmtree(folder, ignore_errors=True)
        signal.signal(signal.SIGTERM, before)


def until(
    holds: Callable[[], bool], what: str, running: Slurm | None = None, seconds: float = 60
) -> None:
    """Wait until something holds, or raise what was waited for and the ends of the logs."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            logs = sorted([*running.folder.glob("*.log"), *running.folder.glob("*.out")])
            told = "".join(
                f"\n{log.name}:\n{log.read_text(errors='replace')[-1500:]}" for log in logs
            ) if running else ""  # fmt: skip
            raise RuntimeError(f"Waited {seconds:.0f} s in vain until {what}.{told}")
        time.sleep(0.2)


def _configure(running: Slurm) -> None:
    folder = running.folder
    folder.chmod(0o755)
    for name in ("bin", "run", "key", "state", *(f"spool/{node.name}" for node in running.nodes)):
        (folder / name).mkdir(parents=True, mode=0o700 if name == "key" else 0o755)
    if len(str(folder / "run/munge.socket")) > SOCKET_LENGTH:
        raise MissingError(f"The path of {folder} is too long for a socket: set TMPDIR to another.")
    key = folder / "key/munge.key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o400)
    # The executor calls srun with an environment in which SLURM_CONF is no more.
    srun = folder / "bin/srun"
    srun.write_text(
        f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {shutil.which("srun")} "$@"\n',
        encoding="utf-8",
    )
    srun.chmod(0o755)
    port, *ports = _free_ports(1 + len(running.nodes))
    text, gres = CONFIGURATION.format(folder=folder, port=port), ""
    for node, own in zip(running.nodes, ports, strict=True):
        line, devices = node.lines(own, folder)
        text, gres = f"{text}{line}\n", gres + devices
    partitions = dict.fromkeys(node.partition for node in running.nodes)
    for number, name in enumerate(partitions):
        names = ",".join(node.name for node in running.nodes if node.partition == name)
        default = "NO" if number else "YES"
        text += f"PartitionName={name} Nodes={names} Default={default} MaxTime=INFINITE\n"
    (folder / "slurm.conf").write_text(text, encoding="utf-8")
    (folder / "gres.conf").write_text(gres, encoding="utf-8")


def _idle(running: Slurm) -> int:
    with suppress(RuntimeError):
        return running.ask("sinfo", "--Node", "--noheader", "--states=idle").count("\n")
    return 0


def _free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on now, all different."""
    held = [socket.socket() for _ in range(count)]
    try:
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in held]
    finally:
        for one in held:
            one.close()


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _die_with_parent() -> None:
    """Let the kernel end a daemon whose parent was killed before it could."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


#: What the test runs on: two nodes of a partition without GPUs, one with two.
NODES = (
    Node("node1", "cpu", cpus=2),
    Node("node2", "cpu", cpus=2),
    Node("node3", "gpu", cpus=1, gpus=2),
)


def main() -> None:
    """Run a command in a Slurm of its own."""
    command = [word for word in sys.argv[1:] if word != "--"] or [os.environ.get("SHELL", "bash")]
    try:
        with slurm(NODES) as running:
            status = subprocess.call(command, env=running.environment)
    except MissingError as error:
        raise SystemExit(f"lensbench: {error}") from None
    raise SystemExit(status)


if __name__ == "__main__":
    main()
