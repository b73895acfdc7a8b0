"""Limits of what others' texts may cost: time and memory end with a sentence, all else goes on."""

from __future__ import annotations

import resource
import signal
import threading

import pytest

from lensbench.errors import ModelError
from lensbench.limits import limited


def forever() -> None:
    while True:
        pass


def test_what_never_ends_is_ended() -> None:
    with (
        pytest.raises(ModelError, match=r"The template took more than 0 s or 1,024 MiB"),
        limited("The template", seconds=0.1),
    ):
        forever()


def test_what_takes_too_much_memory_is_ended() -> None:
    with pytest.raises(ModelError, match="or 64 MiB"), limited("It", memory=2**26):
        bytearray(2**28)


def test_what_stays_within_is_let_be_and_errors_are_its_own() -> None:
    with limited("It", seconds=60, memory=2**28):
        assert len(bytearray(2**24)) == 2**24
    with pytest.raises(KeyError, match="mine"), limited("It"):
        raise KeyError("mine")


def test_limits_and_timers_are_as_they_were() -> None:
    before = resource.getrlimit(resource.RLIMIT_AS), signal.getsignal(signal.SIGALRM)
    signal.setitimer(signal.ITIMER_REAL, 1000)
    try:
        with limited("It", seconds=5):
            assert resource.getrlimit(resource.RLIMIT_AS) != before[0]
        assert 900 < signal.getitimer(signal.ITIMER_REAL)[0] <= 1000
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    assert (resource.getrlimit(resource.RLIMIT_AS), signal.getsignal(signal.SIGALRM)) == before


def test_a_lower_limit_that_is_there_stays() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    low = 2**40
    resource.setrlimit(resource.RLIMIT_AS, (low, hard))
    try:
        with limited("It", memory=2**45):
            assert resource.getrlimit(resource.RLIMIT_AS)[0] == low
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def test_a_thread_is_limited_in_memory_alone() -> None:
    done: list[str] = []

    def work() -> None:
        with limited("It", seconds=0.05):
            done.append("ran")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == ["ran"]
