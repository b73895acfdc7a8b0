"""A mirror: one folder or server that stands in for every host."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit, urlunsplit

from lensbench.errors import ConfigError, DataError


def mirrored(url: str, mirror: str | None) -> str:
    """Return where a file is fetched from: <mirror>/<host>/<path>, or its own address.

    Args:
        url: the file's own address, http or https.
        mirror: "file:///FOLDER" or "http(s)://HOST/BASE"; None for no mirror.

    Raises:
        ConfigError: if the mirror has another form.
        DataError: if the address has no host, or a path that climbs.
    """
    if mirror is None:
        return url
    base = _checked(mirror)
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise DataError(f"{url} is no address of a file on a server: it must be http(s)://…")
    # A folder as mirror must not be left by the path of an address.
    if ".." in unquote(parts.path).replace("\\", "/").split("/"):
        raise DataError(f"{url} climbs out of its folder (..): write it without.")
    # A file has no query; a server may need it.
    query = "" if base.startswith("file:") else parts.query
    found = f"{base}/{parts.hostname}/{parts.path.lstrip('/')}"
    return f"{found}?{query}" if query else found


def _checked(mirror: str) -> str:
    """Return a mirror without a slash at its end, or refuse it."""
    try:
        parts = urlsplit(mirror)
        if parts.scheme in ("http", "https"):
            good = bool(parts.hostname)
            _ = parts.port  # Raises if it is no number.
        else:
            good = (
                parts.scheme == "file"
                and parts.netloc in ("", "localhost")
                and parts.path.startswith("/")
            )
    except ValueError:
        good = False
    if not good or parts.query or parts.fragment:
        raise ConfigError(
            f'mirror is "{mirror}": it must be file:///FOLDER (absolute), http://HOST/BASE, '
            "https://HOST/BASE or null."
        )
    return mirror.rstrip("/")


def shown(url: str) -> str:
    """Return an address as it may be printed: without a user's name and password."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", "")) if host else url
