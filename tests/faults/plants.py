"""Faults planted into a job: what a device, the system or the numbers do at one sample.

As `sitecustomize` on a job's path this file is read when its Python begins; PLANT says which fault,
PLANT_SAMPLE at which sample.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

WHAT, SAMPLE = os.environ.get("PLANT", ""), os.environ.get("PLANT_SAMPLE", "")


def plant() -> None:
    """Put the fault in its place; torch is read for it, so only in the job that it is for."""
    import torch

    import lensbench.extract
    import lensbench.feed
    import lensbench.tracing

    names = {"oom": trace_rows, "oom-alone": trace_rows, "memory": trace_rows}
    if WHAT in names:
        real = lensbench.extract.trace_rows
        lensbench.extract.trace_rows = lambda *given: names[WHAT](torch, real, *given)
    elif WHAT in ("nan", "inf"):
        real_batch = lensbench.tracing.trace_batch
        wrong = float(WHAT)

        def trace_batch(loaded: Any, encoded: Any, *given: Any, **more: Any) -> Any:
            traced = real_batch(loaded, encoded, *given, **more)
            for row, prompt in enumerate(SEEN):
                if prompt == SAMPLE:
                    traced.residuals[row, 0, 2] = wrong
            return traced

        lensbench.tracing.trace_batch = trace_batch
        real_rows = lensbench.extract.trace_rows

        def noted(loaded: Any, batch: Any, *given: Any) -> Any:
            SEEN[:] = [row["sample_id"] for row in batch.rows]
            return real_rows(loaded, batch, *given)

        lensbench.extract.trace_rows = noted
    elif WHAT == "worker":
        real_sample = lensbench.feed.prepare_sample

        def prepare_sample(*given: Any, row: dict[str, Any], **more: Any) -> Any:
            if row["sample_id"] == SAMPLE:
                os.kill(os.getpid(), signal.SIGKILL)
            return real_sample(*given, row=row, **more)

        lensbench.feed.prepare_sample = prepare_sample


#: Samples of the batch that is on its way.
SEEN: list[str] = []


def trace_rows(torch: Any, real: Any, loaded: Any, batch: Any, *given: Any) -> Any:
    """Run out of memory at a sample: alone, or only in company, or really."""
    if SAMPLE in [row["sample_id"] for row in batch.rows]:
        if WHAT == "memory":
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            limit = pages * resource.getpagesize() + 2**16
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            # What a larger picture would ask for: the real allocator refuses it.
            torch.zeros(2**28)
        elif WHAT == "oom-alone" or len(batch.rows) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    return real(loaded, batch, *given)


if sys.orig_argv[1:4] == ["-m", "lensbench", "extract"] and WHAT:
    plant()
