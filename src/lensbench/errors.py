"""The errors a user can meet, each one clear sentence: what, where, what to do."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

_MEMORY = "Memory ran out: close other programs or use a machine with more, then run again."


#: Characters that a sentence may have: what it quotes may be anybody's text.
_LONGEST = 1200


class LensbenchError(Exception):
    """Bad input, met with one sentence that names the file or key and what to do."""

    def __str__(self) -> str:
        """Return the sentence on one line that no terminal obeys, whatever it quotes."""
        said = "".join(map(_shown, super().__str__()))
        # The middle is what was quoted; the beginning says where, the end what to do.
        over = len(said) > _LONGEST
        return f"{said[: _LONGEST - 400]} … {said[-390:]}" if over else said


class ConfigError(LensbenchError):
    """The configuration holds an unknown key, a wrong type or a value out of range."""


class DataError(LensbenchError):
    """A dataset, picture, lexicon or manifest can't be used as it is."""


class ModelError(LensbenchError):
    """A model can't be found, loaded or understood."""


class GateError(ModelError):
    """A model failed a check of the gate; the sentence says which, and by how much."""


class TraceError(LensbenchError):
    """A trace shard is missing, damaged or of another schema."""


def _shown(character: str) -> str:
    """Return a character as it may be printed: space for a line end, an escape for what hides."""
    if character.isprintable():
        return character
    return " " if character.isspace() else character.encode("unicode_escape").decode("ascii")


def reason_of(error: BaseException) -> str:
    """Return in one line what an error of another library says, at most 200 characters."""
    return " ".join(str(error).split())[:200] or type(error).__name__


@contextmanager
def panics_told(what: str) -> Iterator[None]:
    """Tell in one sentence where a library that is written in Rust gives up.

    Its PanicException is no Exception, so that nothing else meets it, and can't be imported.

    Args:
        what: was given to the library.

    Raises:
        ModelError: in the place of the panic.
    """
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise ModelError(
            f"{what} can't be used: a library gave up on it ({reason_of(error)}), so copy it anew."
        ) from error


def sentence_of(error: BaseException) -> str | None:
    """Return what to tell a user of a fault of the machine; None of any other error.

    Args:
        error: what another library raised where nobody expected it.
    """
    if isinstance(error, MemoryError):
        return _MEMORY
    if isinstance(error, OSError):
        where = f" ({error.filename})" if error.filename else ""
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return f"No disk space is left{where}: free some, then run again."
        if error.errno == errno.EROFS:
            return f"The disk is read-only{where}: make it writable, then run again."
        if error.errno == errno.ENOMEM:
            return _MEMORY
    # PyTorch's words; they may be raised wherever the process is when a worker dies.
    if isinstance(error, RuntimeError) and str(error).startswith("DataLoader worker"):
        return (
            "A process that reads pictures was ended (by the system, if memory ran out): run "
            "again, with extraction.workers at 0 if it happens again."
        )
    if isinstance(error, RuntimeError) and "can't allocate memory" in str(error):
        return _MEMORY
    return None
