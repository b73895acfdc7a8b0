"""One request: an answer with a body, a fault that may pass, or a sentence."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import urljoin

import urllib3
from requests import Response, Session
from requests.exceptions import (
    ConnectionError,
    InvalidSchema,
    InvalidURL,
    MissingSchema,
    RequestException,
    SSLError,
    Timeout,
    TooManyRedirects,
)
from requests.utils import requote_uri

from lensbench.downloads.mirror import shown
from lensbench.downloads.retries import Passing, Policy, retry_after
from lensbench.errors import DataError, reason_of

# Small enough that little is lost when a process is killed, large enough for a fast line.
_BLOCK = 2**18
# It prints a traceback of headers that it can't read, and then goes on.
logging.getLogger("urllib3.connection").setLevel(logging.ERROR)
#: Answers that ask to come back.
_LATER = frozenset({408, 425, 429})
_ADVICE = {
    401: "asks for a login",
    403: "refuses access",
    404: "is not there",
    410: "is not there any more",
}


class _Unled(Session):
    """A session that follows no redirect: requests would read each one's body, of whatever size."""

    def get_redirect_target(self, resp: Response) -> None:
        """Return no target for any answer."""


def new_session() -> Session:
    """Return a session that asks for bytes as they are: ranges count bytes of the file itself."""
    session = _Unled()
    session.headers["Accept-Encoding"] = "identity"
    session.max_redirects = 10
    return session


@contextmanager
def answer(
    session: Session, url: str, headers: Mapping[str, str], policy: Policy
) -> Iterator[Response]:
    """Yield a server's answer of status 200, 206 or 416, its body not yet read.

    Args:
        session: of `new_session`.
        url: http or https; redirects are followed, to http and https only.
        headers: of this request.
        policy: says when a silent connection counts as broken.

    Raises:
        Passing: if it may be better at the next attempt: 408, 425, 429, 5xx, no connection.
        DataError: if it won't: any other status, a bad certificate, a redirect to elsewhere.
    """
    name = shown(url)
    try:
        response = _follow(session, url, headers, policy)
    except SSLError as error:
        raise DataError(
            f"{name} has no certificate that is trusted ({reason_of(error)}): check the machine's "
            "clock and certificates, or name a mirror."
        ) from error
    # urllib3's own error for a host that can't be one is not wrapped by requests, and neither are
    # ValueErrors of a redirect to what is no text.
    except (
        *(InvalidSchema, InvalidURL, MissingSchema, TooManyRedirects),
        *(urllib3.exceptions.LocationValueError, ValueError),
    ) as error:
        raise DataError(
            f"{name} leads nowhere ({reason_of(error)}): correct the address, or name a mirror."
        ) from error
    except Timeout as error:
        raise Passing(f"no answer in {policy.timeout_s:g} s") from error
    except ConnectionError as error:
        raise Passing("no connection") from error
    except RequestException as error:
        raise Passing(reason_of(error)) from error
    with response:
        status = response.status_code
        if status in _LATER or status >= 500:
            wait = retry_after(response.headers.get("Retry-After"))
            raise Passing(f"the server answers {status} {response.reason}".strip(), wait)
        if status not in (200, 206, 416):
            raise DataError(
                f"{name} {_ADVICE.get(status, 'is answered oddly')} ({status} {response.reason}): "
                "open it in a browser to see why, or name a mirror that has the file."
            )
        yield response


def _follow(session: Session, url: str, headers: Mapping[str, str], policy: Policy) -> Response:
    """Return the answer at the end of all redirects."""
    asked = dict(headers)
    for _ in range(session.max_redirects + 1):
        response = session.get(url, headers=asked, stream=True, timeout=policy.timeout_s)
        target = Session.get_redirect_target(session, response)
        if target is None:
            return response
        response.close()
        there = urljoin(url, requote_uri(target))
        if session.should_strip_auth(url, there):
            # Another host gets no token.
            asked = {name: told for name, told in asked.items() if name.lower() != "authorization"}
        url = there
    raise TooManyRedirects(f"Exceeded {session.max_redirects} redirects.")


def body(response: Response) -> Iterator[bytes]:
    """Yield the bytes of an answer as they arrive, none held back.

    Raises:
        Passing: if the connection breaks before the announced end.
    """
    raw: urllib3.HTTPResponse = response.raw
    while True:
        try:
            # read1 gives what is there: with read, a break would lose what waits for a full block.
            block = raw.read1(_BLOCK, decode_content=False)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Passing("the connection broke") from error
        if not block:
            return
        yield block


def content_length(response: Response) -> int | None:
    """Return the announced size of an answer's body, in bytes."""
    text = response.headers.get("Content-Length", "")
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None


def content_range(response: Response) -> tuple[int, int, int | None] | None:
    """Return first byte, byte after the last, and size of the file, of a 206 answer's range.

    Returns:
        The size is None where the server doesn't know it; all is None if the header can't be read.
    """
    found = re.fullmatch(
        r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", response.headers.get("Content-Range", "")
    )
    if found is None:
        return None
    first, last, size = found.groups()
    return int(first), int(last) + 1, None if size == "*" else int(size)


def total_of_refused(response: Response) -> int | None:
    """Return the size of the file, in bytes, as a 416 answer tells it."""
    found = re.fullmatch(r"bytes \*/(\d{1,18})", response.headers.get("Content-Range", ""))
    return None if found is None else int(found[1])


def validator(response: Response) -> str | None:
    """Return what tells this version of a file from another in an If-Range header."""
    etag = response.headers.get("ETag", "")
    # A weak tag may stay when bytes change; If-Range doesn't take it.
    if re.fullmatch(r'"[^"]*"', etag):
        return str(etag)
    modified = response.headers.get("Last-Modified")
    return None if modified is None else str(modified)
