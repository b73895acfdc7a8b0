"""How far an extraction is: a bar on stderr, and lines in a log."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import TracebackType

from tqdm import tqdm

# Always samples per second: tqdm by itself turns to seconds per sample where it is slow.
_BAR_FORMAT = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_noinv_fmt}]"


class Progress:
    """A bar on stderr with samples per second and time left, and the same as lines in a log."""

    def __init__(self, total: int, name: str, log: str | Path | None) -> None:
        self._total, self._done, self._start = total, 0, time.monotonic()
        self._bar = tqdm(
            total=total, desc=name, unit=" samples", file=sys.stderr, bar_format=_BAR_FORMAT
        )
        self._path = None if log is None else Path(log)

    def __enter__(self) -> Progress:
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.close()

    def advance(self, n: int) -> None:
        """Count n more samples."""
        self._done += n
        self._bar.update(n)
        if self._path is None:
            return
        speed = self._done / max(time.monotonic() - self._start, 1e-9)
        left = (self._total - self._done) / speed
        line = f"{self._done}/{self._total} samples, {speed:.2f} samples/s, {left:.0f} s left\n"
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(line)

    def say(self, sentence: str) -> None:
        """Say something beside the bar, and in the log."""
        self._bar.write(sentence, file=sys.stderr)
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as stream:
                stream.write(sentence + "\n")
