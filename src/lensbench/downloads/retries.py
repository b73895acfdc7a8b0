"""How often and how long a download waits before it tries again."""

from __future__ import annotations

import random
import re
import sys
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from tqdm import tqdm

from lensbench.errors import DataError


@dataclass(frozen=True)
class Policy:
    """When to try again, and when to give up.

    Args:
        attempts: without a new byte in any of them, until it is given up.
        first_pause_s: seconds before the second attempt; each pause is twice the one before.
        longest_pause_s: seconds that such a pause lasts at most.
        longest_wait_s: seconds that are waited at most because a server asks for it (Retry-After).
        timeout_s: seconds without a byte after which a connection counts as broken.
    """

    attempts: int = 6
    first_pause_s: float = 1.0
    longest_pause_s: float = 60.0
    longest_wait_s: float = 300.0
    timeout_s: float = 60.0


POLICY = Policy()


class Passing(Exception):  # noqa: N818 (never shown to a user: it says to try again)
    """What may be over at the next attempt; the message is what happened.

    Args:
        reason: what happened, in words that end a sentence.
        wait_s: seconds that the server asks to be left alone; None if it asks for nothing.
    """

    def __init__(self, reason: str, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


class Stopped(Exception):  # noqa: N818 (never shown to a user: another thread's error is)
    """A thread was told to stop while it waited."""


class Retries:
    """Counts the attempts that brought nothing, and waits between them.

    Args:
        policy: how often and how long.
        what: the address, as it may be printed.
        stop: set by another thread to end a wait.
    """

    def __init__(self, policy: Policy, what: str, stop: threading.Event | None = None) -> None:
        self._policy, self._what, self._failed = policy, what, 0
        self._stop = threading.Event() if stop is None else stop

    def progressed(self) -> None:
        """Count anew: the attempt brought something."""
        self._failed = 0

    def failed(self, reason: Passing) -> None:
        """Wait before the next attempt.

        Raises:
            DataError: if there were as many attempts without progress as the policy allows.
            Stopped: if another thread ended the wait.
        """
        self._failed += 1
        if self._failed >= self._policy.attempts:
            raise DataError(
                f"{self._what} can't be had after {self._failed} attempts ({reason}): what arrived "
                "is kept, so check the network and run again, or name a mirror."
            ) from reason
        pause = self._policy.first_pause_s * 2.0 ** (self._failed - 1)
        # Jitter, so that many jobs that failed together don't come back together.
        pause = min(pause, self._policy.longest_pause_s) * random.uniform(0.5, 1.0)
        if reason.wait_s is not None:
            pause = max(pause, min(reason.wait_s, self._policy.longest_wait_s))
        # Beside a bar, not through it.
        tqdm.write(f"{self._what}: {reason}; again in {pause:.0f} s.", file=sys.stderr)
        if self._stop.wait(pause):
            raise Stopped from reason


def retry_after(header: str | None) -> float | None:
    """Return the seconds that a Retry-After header asks for, in either of its forms."""
    if header is None:
        return None
    if re.fullmatch(r"-?[0-9]{1,9}", header.strip()):
        return max(0.0, float(header))
    try:
        moment = parsedate_to_datetime(header)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return max(0.0, (moment - datetime.now(UTC)).total_seconds())
    # Hostile dates: no date at all, or a year or zone beyond what there can be.
    except (ValueError, TypeError, OverflowError):
        return None
