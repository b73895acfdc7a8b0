"""The errors a user can meet, each one clear sentence: what, where, what to do."""

from __future__ import annotations


class LensbenchError(Exception):
    """Bad input, met with one sentence that names the file or key and what to do."""


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


def reason_of(error: BaseException) -> str:
    """Return in one line what an error of another library says, at most 200 characters."""
    return " ".join(str(error).split())[:200] or type(error).__name__
