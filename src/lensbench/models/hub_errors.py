"""What a hub can answer instead of a file: worth another attempt, or one sentence."""

from __future__ import annotations

import errno
import random
import time
from collections.abc import Callable
from typing import TypeVar

from lensbench.downloads.retries import Passing, Policy, Stopped, retry_after
from lensbench.errors import LensbenchError, ModelError, reason_of

Answer = TypeVar("Answer")

#: Answers that ask to come back: a timeout, too many requests, a server that is down.
_LATER = frozenset({408, 425, 429, 500, 502, 503, 504})


class HubAwayError(ModelError):
    """No hub can be asked: no network, or HF_HUB_OFFLINE is set."""


def asked(
    what: str,
    call: Callable[[], Answer],
    policy: Policy,
    progress: Callable[[], int] = lambda: 0,
    sleep: Callable[[float], object] = time.sleep,
) -> Answer:
    """Return what a call to the hub gives, trying again where that may help.

    Args:
        what: the source as it is printed, such as "hub:org/name at 0123…".
        call: asks the hub.
        policy: how often and how long.
        progress: says how many bytes there are by now; attempts that bring some don't count.
        sleep: waits for a number of seconds.

    Raises:
        HubAwayError: if the hub can't be reached.
        ModelError: if it won't give what was asked for, with what to do.
        Stopped: if the call itself was told to stop.
    """
    failed, before = 0, progress()
    while True:
        try:
            return call()
        except (LensbenchError, Stopped):
            raise
        # The hub's client raises many kinds of error, of several packages.
        except Exception as error:
            cause = _cause(error)
            if progress() > before:
                failed, before = 0, progress()
            failed += 1
            if not _passes(cause) or failed >= policy.attempts:
                raise refusal(what, cause) from error
            sleep(_pause(cause, failed, policy))


def refusal(what: str, error: BaseException) -> ModelError:
    """Return one sentence for an error of the hub's client.

    Args:
        what: the source as it is printed.
        error: what the client raised.
    """
    from huggingface_hub import constants, errors

    status = _status(error)
    if isinstance(error, errors.GatedRepoError):
        whole = what.split(",")[0]  # The repository is, not one file of it.
        return ModelError(
            f"{whole} is gated: accept its terms on the repository's page, then set HF_TOKEN to a "
            "token of the same account."
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return ModelError(
            f"{what}: the repository has no such revision; look its commits up on its page "
            "(Files → History)."
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return ModelError(
            f"{what}: the hub has no such repository or keeps it closed; check the name, or set "
            "HF_TOKEN to a token that may read it."
        )
    if isinstance(error, errors.RemoteEntryNotFoundError):
        return ModelError(f"{what} lacks a file that it lists: choose another revision.")
    if status in (401, 403):
        return ModelError(
            f"{what}: the hub refuses access ({status}); set HF_TOKEN to a token that may read it."
        )
    if status == 429:
        return ModelError(
            f"{what}: the hub asks to wait (429); run again later or set HF_TOKEN, what is there "
            "is kept."
        )
    if status is not None:
        return ModelError(
            f"{what}: the hub answers {status}; run again later, what is there is kept."
        )
    if isinstance(error, errors.OfflineModeIsEnabled):
        return HubAwayError(
            f"{what} is not here whole, and HF_HUB_OFFLINE keeps it from being fetched: unset it, "
            "or download the files elsewhere and use folder:PATH."
        )
    if isinstance(error, errors.HTTPError | Passing):
        reason = str(error) if isinstance(error, Passing) else type(error).__name__
        return HubAwayError(
            f"{what} can't be fetched from {constants.ENDPOINT} ({reason}): check "
            "the network and run again, what is there is kept; or download it elsewhere and use "
            "folder:PATH."
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ModelError(
            f"{what}: no disk space left in {constants.HF_HUB_CACHE}; free some, or set HF_HOME to "
            "a folder on a larger disk."
        )
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        return ModelError(
            f"{what} can't be written to {constants.HF_HUB_CACHE} ({error.strerror}): set HF_HOME "
            "to a folder that you may write."
        )
    return ModelError(
        f"{what} can't be fetched ({reason_of(error)}): run again, or download it elsewhere and "
        "use folder:PATH."
    )


def _cause(error: BaseException) -> BaseException:
    """Return what lies behind the error by which the client says that a file isn't here either."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    while isinstance(error, LocalEntryNotFoundError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _status(error: BaseException) -> int | None:
    from huggingface_hub.errors import HfHubHTTPError

    return error.response.status_code if isinstance(error, HfHubHTTPError) else None


def _passes(error: BaseException) -> bool:
    """Say whether another attempt may do better."""
    from huggingface_hub.errors import HTTPError, OfflineModeIsEnabled

    if isinstance(error, OfflineModeIsEnabled):
        return False
    if isinstance(error, Passing):
        return True
    status = _status(error)
    if status is not None:
        return status in _LATER
    # A body that ended early is an OSError without a number.
    return isinstance(error, HTTPError) or (isinstance(error, OSError) and error.errno is None)


def _pause(error: BaseException, failed: int, policy: Policy) -> float:
    """Return the seconds to wait: twice as many each time, or what the hub asks for."""
    pause = min(policy.first_pause_s * 2.0 ** (failed - 1), policy.longest_pause_s)
    # Jitter, so that many jobs that failed together don't come back together.
    pause *= random.uniform(0.5, 1.0)
    headers = getattr(getattr(error, "response", None), "headers", {})
    wanted = error.wait_s if isinstance(error, Passing) else retry_after(headers.get("Retry-After"))
    return pause if wanted is None else max(pause, min(wanted, policy.longest_wait_s))
