"""Names of members of archives: which may become files, and which climb, hide or collide."""

from __future__ import annotations

import re
import unicodedata

from lensbench.errors import DataError

_DRIVE = re.compile(r"[A-Za-z]:")
_LONGEST_PART, _LONGEST = 255, 4096


def safe_parts(name: str) -> tuple[str, ...]:
    """Return the folders and the file of a member's name; nothing for the archive's own root.

    A name in another encoding than UTF-8, which Python hands on with surrogates, is read as code
    page 437, as ZIP does: every byte is then a character.

    Raises:
        DataError: if the name is absolute, climbs, is no name on some system, or is too long; the
            reason alone, without the archive.
    """
    if any("\ud800" <= character <= "\udfff" for character in name):
        name = name.encode("utf-8", "surrogateescape").decode("cp437")
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    reason = ""
    if name.startswith("/") or _DRIVE.match(name):
        reason = "is an absolute name"
    elif ".." in parts:
        reason = "climbs out of the folder"
    elif "\\" in name:
        reason = "has a backslash, which some systems take for a folder"
    elif any(unicodedata.category(character) == "Cc" for character in name):
        reason = "has a control character"
    elif len(name.encode()) > _LONGEST or any(len(p.encode()) > _LONGEST_PART for p in parts):
        reason = "is too long"
    if reason:
        raise DataError(reason)
    return parts


class Taken:
    """The names that were met in an archive, to tell the ones that collide somewhere.

    Names collide that differ only in case or in how accents are encoded: some systems would write
    one over the other.
    """

    def __init__(self) -> None:
        self._files: set[str] = set()
        self._folders: set[str] = set()

    def add(self, parts: tuple[str, ...], folder: bool) -> None:
        """Take a name.

        Args:
            parts: of `safe_parts`.
            folder: whether it is a folder's; a folder may be named many times.

        Raises:
            DataError: if it collides with one that is taken; the reason alone.
        """
        keys = [_key("/".join(parts[: depth + 1])) for depth in range(len(parts))]
        above, own = (keys, None) if folder else (keys[:-1], keys[-1])
        if any(key in self._files for key in keys) or own in self._folders:
            raise DataError("stands there twice, if only under another case or encoding")
        self._folders.update(above)
        if own is not None:
            self._files.add(own)


def _key(name: str) -> str:
    # Twice: folding case can undo a composition.
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
