"""Files that were made tomorrow: what a clock that was set back leaves, brought back to today.

Snakemake takes an output for outdated, and its job for failed, if an input is newer. After a clock
was set back, that would be every job whose inputs were made before, until the old time is reached.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

#: The workflow's own folders, relative to the project's; nobody else's files are touched.
FOLDERS = ("results", "resources")
#: Clocks of machines that share a folder may differ by so much, seconds.
_SLACK_S = 2.0


def back_to_today(folders: Iterable[str | Path] = FOLDERS) -> int:
    """Give all files from the future times up to now, in the same order, and say so.

    Args:
        folders: where to look; one that isn't there is empty.

    Returns:
        How many there were.
    """
    now = time.time()
    late = [(time_s, path) for folder in folders for time_s, path in _times(Path(folder))]
    late = [(time_s, path) for time_s, path in late if time_s > now + _SLACK_S]
    if not late:
        return 0
    shift = max(time_s for time_s, _ in late) - now
    for time_s, path in late:
        # By one distance, so that what was made first still is.
        moved = time_s - shift
        with suppress(OSError):
            os.utime(path, (moved, moved), follow_symlinks=False)
    print(
        f"The clock was set back: {len(late)} files were made {shift:.0f} s from now, by their "
        "times; they are taken for made now.",
        file=sys.stderr,
    )
    return len(late)


def _times(folder: Path) -> Iterator[tuple[float, str]]:
    """Yield the time of the last write of everything in a folder, and of itself."""
    for parent, _, names in os.walk(folder):
        for path in [parent, *(os.path.join(parent, name) for name in names)]:
            with suppress(OSError):
                yield os.lstat(path).st_mtime, path
