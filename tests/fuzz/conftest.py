"""How many inputs a parser gets (FUZZ_N), from which seed (FUZZ_SEED), and the table at the end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, example, given, seed, settings
from hypothesis import strategies as st
from tests.fuzz.bounds import BOUNDS
from tests.fuzz.harness import TALLY_HEAD, Jail, Tally

N = int(os.environ.get("FUZZ_N", "500"))
#: One of the clock makes every long run another one; it is printed, and given again repeats it.
SEED = int(os.environ.get("FUZZ_SEED", "") or time.time())
#: Making a failing input smaller takes longer than finding it: asked for by FUZZ_SHRINK=1.
PHASES = (Phase.explicit, Phase.generate, *[Phase.shrink] * bool(os.environ.get("FUZZ_SHRINK")))


def pytest_configure(config: pytest.Config) -> None:
    """Have the workers of one run share its seed."""
    os.environ.setdefault("FUZZ_SEED", str(SEED))


def pytest_report_header() -> str:
    """Say what is run and how to repeat it."""
    return f"fuzz: {N} inputs a parser, seed {SEED} (again: make test-fuzz N={N} SEED={SEED})"


class Fuzz:
    """Runs one parser on many inputs, each held to all promises.

    Args:
        folder: an empty folder.
        note: takes the tally's line.
    """

    def __init__(self, folder: Path, note: Callable[[str], None]) -> None:
        self._folder, self._note = folder, note

    def __call__(
        self,
        name: str,
        inputs: st.SearchStrategy[Any],
        read: Callable[[Jail, Any], object],
        examples: tuple[Any, ...] = (),
        kept: Callable[[str], bool] = lambda name: False,
        both: bool = True,
        share: float = 1.0,
        by: str = "",
    ) -> None:
        """Read the examples, then `FUZZ_N` inputs.

        Args:
            name: a key of BOUNDS.
            inputs: what is drawn from.
            read: reads one input in a jail.
            examples: inputs that once went wrong, or must go well.
            kept: names that may stay in `out` after a refusal.
            both: whether some inputs must be read and some refused, so that the parser is met at
                its depth as well as at its door.
            share: of FUZZ_N that this parser gets, where one input takes a good part of a second.
            by: the command that reads, where several read the same.
        """
        wanted = max(1, round(N * share))
        jail, tally = Jail(self._folder, BOUNDS[name], kept), Tally(f"{name}, {by}" if by else name)

        def one(given_input: Any) -> None:
            outcome = jail.hold(lambda: read(jail, given_input))
            tally.inputs += 1
            tally.outcomes[outcome] += 1
            tally.peak_mib = max(tally.peak_mib, jail.used_mib)
            tally.slowest_s = max(tally.slowest_s, jail.last_s)

        test = settings(
            max_examples=wanted,
            deadline=None,
            database=None,
            derandomize=False,
            suppress_health_check=list(HealthCheck),
            phases=PHASES,
        )(seed(SEED)(given(inputs)(one)))
        for each in examples:
            test = example(each)(test)
        test()
        self._note(tally.line())
        assert tally.inputs >= wanted, f"only {tally.inputs} inputs were there to draw"
        if both and wanted >= 50:
            assert tally.outcomes["read"], "no input was read: the seeds are not valid"
            assert tally.outcomes["refused"], "no input was refused: the changes change nothing"


@pytest.fixture
def fuzz(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_property: Any) -> Fuzz:
    """Return what runs one parser on many inputs."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "jail"
    folder.mkdir()
    return Fuzz(folder, lambda line: record_property("tally", line))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the table: how many inputs each parser got, and what became of them."""
    lines = [
        value
        for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed")
        for key, value in report.user_properties
        if key == "tally"
    ]
    if lines:
        terminalreporter.section(f"{N} inputs a parser, seed {SEED}")
        for line in (TALLY_HEAD, *sorted(lines)):
            terminalreporter.write_line(line)
