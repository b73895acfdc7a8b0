"""How it is timed: contenders as processes that take turns, their outputs compared first."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

HERE = Path(__file__).resolve().parent
#: Largest difference of a log-probability, an entropy (nats) or a weight of attention.
CLOSE = {"float32": 1e-3, "float16": 5e-2, "bfloat16": 2e-1}
#: Largest difference of log10(1 + rank): rounding moves a far-off rank by many places.
RANK = {"float32": 0.05, "float16": 0.2, "bfloat16": 0.5}
#: For glibc: arrays of more bytes than this go straight back to the system when they are freed.
#: What its heap keeps otherwise changes a peak by 100 MB from one run to the next.
GIVEN_BACK = {"MALLOC_MMAP_THRESHOLD_": str(2**16)}
#: Runs whose peak of memory is taken, after one that saves the outputs.
PEAKS = 2


class Process:
    """One contender in a process of its own, that runs when it is told to.

    Args:
        script: the script that serves it, in this folder.
        argument: what it is told, as JSON.
        python: the interpreter of its environment.
        folder: where it saves its outputs and what it prints.
        settings: variables of the environment it gets beside those that are set.
    """

    def __init__(
        self,
        script: str,
        argument: Mapping[str, Any],
        python: str,
        folder: Path,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.name = str(argument["contender"])
        self._log = folder / f"{self.name}.log"
        with self._log.open("w", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                [python, str(HERE / script), json.dumps(argument)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={
                    **os.environ,
                    "HF_HUB_OFFLINE": "1",
                    "TOKENIZERS_PARALLELISM": "false",
                    **(settings or {}),
                },
            )
        self.ready = self._reply()

    def ask(self, order: str) -> dict[str, Any]:
        """Give an order and return the reply."""
        assert self._process.stdin is not None
        self._process.stdin.write(order + "\n")
        self._process.stdin.flush()
        return self._reply()

    def close(self) -> None:
        """End the process."""
        self._process.communicate()

    def _reply(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            said = self._log.read_text(encoding="utf-8", errors="replace")
            raise SystemExit(f"{self.name} stopped:\n{said[-4000:]}")
        return json.loads(line)


def measure(
    script: str,
    tasks: Sequence[tuple[Mapping[str, Any], str]],
    repeats: int,
    warmup: int,
    dtype: str,
    alone: bool = False,
    starts: int = 1,
) -> dict[str, Any]:
    """Compare contenders' outputs, take their peaks of memory one by one, then time them in turn.

    Args:
        script: the script that serves them.
        tasks: what each is told, the floor first, and the interpreter it runs with.
        repeats: timed rounds of each start.
        warmup: rounds before them.
        dtype: of the model, which sets how close outputs must be.
        alone: time one contender after the other, where they don't fit into memory together.
        starts: how often the processes are begun anew. Where a process's memory happens to lie
            makes it some percent faster or slower for all its life.

    Returns:
        agreement, versions and, of each contender, `median_s`, `peak_mb`, `ratio_time` and
        `ratio_memory` to the first; `ratio_time_by_round`, the median of each round's own ratio;
        `median_cpu_s`, the time that its threads were at work, which neighbours disturb less.
    """
    found: dict[str, list[dict[str, float]]] = {task["contender"]: [] for task, _ in tasks}
    ready: dict[str, dict[str, Any]] = {}
    peaks: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for task, python in tasks:
            process = Process(script, task, python, folder, GIVEN_BACK)
            ready[process.name] = process.ready
            process.ask(f"save {folder / process.name}.npz")
            peaks[process.name] = max(process.ask("time")["peak_mb"] for _ in range(PEAKS))
            process.close()
        agreement = compared(folder, dtype)
        # One repeat of each a round, so that a machine that drifts drifts for all.
        groups = [[task] for task in tasks] if alone else [list(tasks)]
        for group in groups * starts:
            processes = [Process(script, task, python, folder) for task, python in group]
            for turn in range(warmup + repeats):
                # Each round begins with another one: nobody always runs after the same neighbour.
                start = turn % len(processes)
                for process in processes[start:] + processes[:start]:
                    reply = process.ask("time")
                    if turn >= warmup:
                        found[process.name].append(reply)
            for process in processes:
                process.close()
    return {
        "agreement": agreement,
        "versions": {name: each["versions"] for name, each in ready.items()},
        "contenders": summary(found, ready, peaks),
    }


def summary(
    found: Mapping[str, Sequence[Mapping[str, float]]],
    ready: Mapping[str, Mapping[str, Any]],
    peaks: Mapping[str, float],
) -> dict[str, dict[str, Any]]:
    """Return medians and peaks of each contender, and their ratios to the first one's."""
    floor = next(iter(found.values()))
    floor_peak = peaks[next(iter(found))]
    table = {}
    for name, runs in found.items():
        seconds = [each["seconds"] for each in runs]
        peak = peaks[name]
        turns = [mine["seconds"] / its["seconds"] for mine, its in zip(runs, floor, strict=True)]
        table[name] = {
            "median_s": statistics.median(seconds),
            "peak_mb": peak,
            "ratio_time": statistics.median(seconds)
            / statistics.median(each["seconds"] for each in floor),
            "ratio_memory": peak / floor_peak,
            "ratio_time_by_round": statistics.median(turns),
            "median_cpu_s": statistics.median(each["cpu_s"] for each in runs),
            "weights_mb": ready[name]["weights_mb"],
            "seconds": seconds,
        }
    return table


def compared(folder: Path, dtype: str) -> dict[str, Any]:
    """Compare saved outputs with lensbench's; returns the largest difference of each contender.

    Raises:
        SystemExit: if two contenders don't say the same.
    """
    outputs = {path.stem: dict(np.load(path)) for path in sorted(folder.glob("*.npz"))}
    ours = outputs.pop("lensbench", None)
    if ours is None:
        return {"compared": False}
    close, found = CLOSE[dtype], {}
    for name, theirs in outputs.items():
        if not theirs:
            continue
        if "logits" in theirs:
            logits = torch.from_numpy(theirs["logits"])
            top = logits.log_softmax(-1).topk(ours["top_id"].shape[-1], dim=-1)
            theirs = {"top_id": top.indices.numpy(), "top_logprob": top.values.numpy()}
            mine = {key: ours[key][:, -1] for key in theirs}
        else:
            mine = {key: ours[key] for key in theirs if key in ours}
        found[name] = _apart(mine, theirs)
        wrong = [key for key, value in found[name].items() if value > _limit(key, close, dtype)]
        if wrong:
            raise SystemExit(f"{name} and lensbench differ in {', '.join(wrong)}: {found[name]}")
    return {"compared": True, "tolerance_nats": close, "largest_difference": found}


def _limit(key: str, close: float, dtype: str) -> float:
    return {"top1_differ": 0, "final_rank_log10": RANK[dtype]}.get(key, close)


def _apart(ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Return the largest differences; top tokens differ only where they are no near-tie."""
    first, second = ours["top_logprob"][..., 0], ours["top_logprob"][..., 1]
    clear = first - second > 2 * np.abs(ours["top_logprob"] - theirs["top_logprob"]).max()
    differ = (ours["top_id"][..., 0] != theirs["top_id"][..., 0]) & clear
    found = {"top1_differ": float(differ.sum())}
    for key in ("top_logprob", "entropy_nats", "rows"):
        if key in ours and key in theirs:
            found[key] = float(np.abs(ours[key] - theirs[key]).max())
    if "final_rank" in theirs:
        ranks = (np.log10(1 + each["final_rank"]) for each in (ours, theirs))
        found["final_rank_log10"] = float(np.abs(np.subtract(*ranks)).max())
    return found


def machine(device: str) -> dict[str, Any]:
    """Return what the figures were measured on."""
    with open("/proc/cpuinfo", encoding="utf-8") as info:
        names = {line.split(":")[1].strip() for line in info if line.startswith("model name")}
    found = {
        "cpu": ", ".join(sorted(names)) or platform.processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }
    return found | ({"gpu": torch.cuda.get_device_name()} if device.startswith("cuda") else {})


def show(contenders: Mapping[str, Mapping[str, Any]]) -> None:
    """Print contenders as a table."""
    columns = ("median_s", "median_cpu_s", "peak_mb", "ratio_time", "ratio_memory")
    print(f"{'':22}" + "".join(f"{column:>14}" for column in columns))
    for name, row in contenders.items():
        print(
            f"{name:22}{row['median_s']:14.3f}{row['median_cpu_s']:14.3f}{row['peak_mb']:14.0f}"
            f"{row['ratio_time']:14.3f}{row['ratio_memory']:14.3f}"
        )


def write(path: str | None, tree: Mapping[str, Any]) -> None:
    """Write a result as JSON, if a path is given."""
    if path is not None:
        Path(path).write_text(json.dumps(tree, indent=1) + "\n", encoding="utf-8", newline="\n")


def python_of(peers: str | None) -> str:
    """Return the peers' interpreter, checked.

    Raises:
        SystemExit: if there is none.
    """
    if peers is None or not Path(peers).is_file():
        raise SystemExit(f"{peers} is no Python of the peers' environment: see README.md.")
    return peers


#: The interpreter that runs lensbench.
OWN = sys.executable
