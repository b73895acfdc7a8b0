"""What one input of each parser may cost at most; SECURITY.md prints this table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Bounds:
    """What one input may cost.

    Args:
        memory_mib: peak of resident memory above what the process had before, MiB.
        seconds: of the processor; three times as long by the clock.
    """

    memory_mib: int
    seconds: float


BOUNDS: dict[str, Bounds] = {
    "configuration": Bounds(64, 10),
    "command options": Bounds(64, 5),
    "model rules": Bounds(64, 5),
    "lexicon": Bounds(64, 10),
    "facts": Bounds(64, 10),
    "manifest": Bounds(128, 10),
    "questions, CSV": Bounds(64, 10),
    "questions, JSONL": Bounds(64, 10),
    "labels": Bounds(64, 10),
    "TallyQA": Bounds(512, 20),
    "MATLAB": Bounds(128, 10),
    "sources": Bounds(64, 5),
    "trace shards": Bounds(1024, 20),
    "metrics of shards": Bounds(1024, 60),
    "ledgers": Bounds(64, 5),
    "results handed on": Bounds(1024, 60),
    "imported lenses": Bounds(256, 10),
    "pictures": Bounds(2048, 30),
    "archives": Bounds(64, 10),
    "remote archives": Bounds(64, 20),
    "answers of servers": Bounds(64, 20),
    "indices of weights": Bounds(64, 5),
    "notes": Bounds(64, 5),
    "headers of weights": Bounds(64, 5),
    "configurations of models": Bounds(64, 5),
    "folders of models": Bounds(1024, 60),
    "chat templates": Bounds(1280, 45),
    "GGUF": Bounds(1024, 60),
    "pages": Bounds(256, 20),
    "LaTeX": Bounds(64, 5),
}


def markdown() -> str:
    """Return the table that SECURITY.md holds."""
    lines = ["| what is read | memory at most | processor at most |", "|---|---:|---:|"]
    lines += [f"| {name} | {b.memory_mib:,} MiB | {b.seconds} s |" for name, b in BOUNDS.items()]
    return "\n".join(lines) + "\n"
