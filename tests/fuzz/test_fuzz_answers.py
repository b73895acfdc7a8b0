"""What servers answer: status lines, headers, lengths, ranges, redirects, and times to wait."""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st
from tests.fuzz.conftest import Fuzz
from tests.fuzz.harness import Jail
from tests.fuzz.mutations import mutated_bytes, mutated_text, mutated_trees
from tests.fuzz.test_fuzz_archives import HASTY

from lensbench.downloads.checksums import beside
from lensbench.downloads.fetch import fetch
from lensbench.errors import ModelError
from lensbench.models.hub import _noted, snapshot
from lensbench.models.source import indexed_weights

BODY = b"the published file\n" * 9
SHA256 = f"sha256:{hashlib.sha256(BODY).hexdigest()}"


class Raw:
    """A server on loopback that answers every request with given bytes, then hangs up."""

    def __init__(self) -> None:
        self.answer = b""
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                connection.settimeout(2)
                while b"\r\n\r\n" not in connection.recv(65536):
                    pass
                connection.sendall(self.answer)

    def close(self) -> None:
        """Stop."""
        self._socket.close()


@contextlib.contextmanager
def raw_server() -> Iterator[Raw]:
    """Yield a server."""
    server = Raw()
    try:
        yield server
    finally:
        server.close()


HEADERS = [
    *("Content-Length: 171", "Content-Length: 9999999999999999999999", "Content-Length: -1"),
    *("Content-Length: 0", "Content-Length: x", "Transfer-Encoding: chunked", 'ETag: "a"'),
    *('ETag: W/"a"', "ETag: \x01", "Content-Range: bytes 0-170/171", "Content-Range: bytes */171"),
    *("Content-Range: bytes 5-2/1", "Content-Range: bytes 0-999999999999999999/*"),
    *("Retry-After: 1e9", "Retry-After: 999999999", "Retry-After: -5"),
    *("Retry-After: Fri, 31 Dec 99999 23:59:59 GMT", "Location: file:///etc/passwd"),
    *("Location: //", "Location: http://[", "Location: \x00", "Location: /again"),
    *("Location: http://127.0.0.1:1/", "Location: http://\u202e.example:99999/"),
    *("Location: http://a@b@127.0.0.1/", "Content-Encoding: gzip", "X: " + "y" * 70000),
    *("Last-Modified: x", "Set-Cookie: a=b; Domain=.", "Content-Type: multipart/byteranges"),
    *(": ", "no colon"),
]
STATUS = [
    *("200 OK", "206 Partial Content", "301 Moved", "302 Found", "307 X", "304 Not Modified"),
    *("401 No", "403 No", "404 No", "408 Late", "410 Gone", "416 Range", "425 Early", "429 Slow"),
    *(
        "500 Broken",
        "503 Later",
        "100 Continue",
        "101 Switch",
        "999 Odd",
        "-1 x",
        "2000 x",
        "abc",
        "",
    ),
    "200 \x1b[31m" + "x" * 3000,
]
CHUNKED = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)


@st.composite
def answers(draw: Any) -> bytes:
    """Draw a whole answer, headers from a list, bytes changed now and then."""
    if draw(st.booleans()):
        status, headers = "200 OK", ["Content-Length: 171"]
    else:
        status = draw(st.sampled_from(STATUS))
        headers = draw(st.lists(st.sampled_from(HEADERS), max_size=5))
    body = draw(st.sampled_from([BODY, b"", BODY[:-1], BODY * 3, CHUNKED, b"ffffffffff\r\n"]))
    head = "".join(f"{header}\r\n" for header in headers)
    whole = f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body
    return draw(mutated_bytes([whole], most=2)) if draw(st.booleans()) else whole


def in_part(name: str) -> bool:
    """Say whether a file is what a download keeps to go on with."""
    return name.startswith(".file.")


def test_answers_of_servers(fuzz: Fuzz) -> None:
    with raw_server() as server:

        def read(jail: Jail, given: tuple[bytes, bool, bytes]) -> None:
            server.answer, known, before = given
            target = jail.out / "file"
            if before:
                beside(target, "part").write_bytes(before)
                note = {
                    "address": f"http://127.0.0.1:{server.port}/f",
                    "validator": '"a"',
                    "total": 171,
                }
                beside(target, "part-of").write_text(json.dumps(note), encoding="utf-8")
            fetch(
                f"http://127.0.0.1:{server.port}/f",
                target,
                checksum=SHA256 if known else None,
                size=len(BODY) if known else None,
                policy=HASTY,
            )
            assert not known or target.read_bytes() == BODY

        inputs = st.tuples(answers(), st.booleans(), st.sampled_from([b"", BODY[:5], b"x" * 200]))
        examples = (
            # Once a UnicodeDecodeError, and a traceback of urllib3's on stderr.
            b"HTTP/1.1 301 Moved\r\nLocation: http://\xd1.example/\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 171\r\n\r\n" + BODY,
            # Once an OverflowError: the body of a redirect was read, whatever its size.
            b"HTTP/1.1 307 X\r\nContent-Length: 9999999999999999999999\r\n"
            b"Content-Encoding: gzip\r\nLocation: /again\r\n\r\n" + BODY,
            # Once tried for ever: a part from the start, cut, whatever is asked for.
            b"HTTP/1.1 206 Part\r\nContent-Range: bytes 0-170/171\r\n\r\n" + BODY[:-15],
        )
        fuzz(
            "answers of servers",
            inputs,
            read,
            examples=tuple((answer, True, b"") for answer in examples),
            kept=in_part,
        )


def test_indices_of_weights(fuzz: Fuzz) -> None:
    tree = {"metadata": {"total_size": 9}, "weight_map": {"a": "model-00001-of-00001.safetensors"}}

    def read(jail: Jail, content: bytes) -> None:
        found = indexed_weights(jail.give("model.safetensors.index.json", content))
        assert all("/" not in name and name[:2] != ".." for name in found)

    inputs = st.one_of(
        mutated_trees([tree]).map(lambda made: json.dumps(made).encode()),
        mutated_text([json.dumps(tree)], ("../x.safetensors", "x.safetensors/../../y.safetensors")),
    )
    fuzz("indices of weights", inputs, read, examples=(b"[" * 100_000, b"9" * 5000, b"\xff\xfe"))


def test_notes_of_what_was_fetched(fuzz: Fuzz, tmp_path_factory: Any, monkeypatch: Any) -> None:
    cache = tmp_path_factory.mktemp("hub")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    commit = "0" * 40
    note = cache / "models--a--b" / "lensbench" / f"{commit}.json"
    note.parent.mkdir(parents=True)
    snapshot("a/b", commit).mkdir(parents=True)
    (snapshot("a/b", commit) / "config.json").write_bytes(b"{}")
    tree = {
        "repository": "a/b",
        "files": [{"name": "config.json", "bytes": 2, "sha256": "", "git": ""}],
    }

    def read(jail: Jail, content: bytes) -> None:
        jail.allow(cache)
        note.write_bytes(content)
        if _noted("a/b", commit) is None:
            raise ModelError("Nothing is noted.")

    inputs = st.one_of(
        mutated_trees([tree]).map(lambda made: json.dumps(made).encode()),
        mutated_text([json.dumps(tree)]),
    )
    fuzz("notes", inputs, read, examples=(b"[" * 100_000, b"9" * 5000))
