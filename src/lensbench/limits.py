"""Limits on what somebody else's text may cost: chat templates are programs, and may never end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lensbench.errors import ModelError

SECONDS = 20.0
#: Bytes beside those that the process has.
MEMORY = 2**30


class _OverError(Exception):
    """Time is over."""


@contextmanager
def limited(what: str, seconds: float = SECONDS, memory: int | None = MEMORY) -> Iterator[None]:
    """End the block with one sentence when it takes too long or too much memory.

    Memory is limited on Linux, time in a process's main thread; elsewhere the block just runs.

    Args:
        what: what takes it, as the sentence begins.
        seconds: by the clock.
        memory: bytes of address space beside those that the process has; None for no limit.

    Raises:
        ModelError: if it took more.
    """
    timed = threading.current_thread() is threading.main_thread() and hasattr(signal, "setitimer")
    spaces = None if memory is None else _spaces(memory)
    try:
        with _timed(seconds) if timed else _nothing():
            _set(spaces[0] if spaces else None)
            yield
    except (_OverError, MemoryError) as error:
        room = "" if memory is None else f" or {memory // 2**20:,} MiB"
        raise ModelError(
            f"{what} took more than {seconds:.0f} s{room}: it may be hostile, so look at it before "
            "it is used again."
        ) from error
    finally:
        _set(spaces[1] if spaces else None)


@contextmanager
def _nothing() -> Iterator[None]:
    yield


@contextmanager
def _timed(seconds: float) -> Iterator[None]:
    """Raise _OverError in the block when its time is over; another timer goes on afterwards."""

    def over(*_: object) -> None:
        raise _OverError

    handler = signal.signal(signal.SIGALRM, over)
    before, every = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, before, every)
        signal.signal(signal.SIGALRM, handler)


def _spaces(memory: int) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Return the limits of address space for the block and after it; None where there are none."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except (ImportError, OSError):
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = pages * resource.getpagesize() + memory
    inside = wanted if soft == resource.RLIM_INFINITY else min(soft, wanted)
    return (inside, hard), (soft, hard)


def _set(spaces: tuple[int, int] | None) -> None:
    if spaces is not None:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, spaces)
