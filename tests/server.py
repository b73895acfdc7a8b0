"""A server on loopback that serves a folder, well or badly, and counts what it gave."""

from __future__ import annotations

import hashlib
import re
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from urllib.parse import unquote, urlsplit

_BLOCK = 2**14


@dataclass(frozen=True)
class Fault:
    """What goes wrong with a request, instead of or within the answer.

    Args:
        status: answered instead of the file, if given.
        headers: of that answer (Location, Retry-After, …), or in place of the file's own.
        after: bytes of the body after which the connection is cut, if given.
        flip: whether the first byte of the body is a wrong one.
        bodied: whether the file comes with that status all the same.
    """

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    after: int | None = None
    flip: bool = False
    bodied: bool = False


@dataclass(frozen=True)
class Request:
    """A request that came in: its path, its headers with small letters, and when it came."""

    path: str
    headers: dict[str, str]
    at: float


class Server:
    """Serves folder/<path> at `url`/<path>, on a free port of loopback, while it is entered.

    Args:
        folder: what it serves.
        ranges: whether it honors Range; if not, every answer is the whole file.
        partial: whether it calls the whole file a part of itself (206) and knows no other.
        rate: bytes a second of each answer; None for as fast as it goes.
        line: bytes a second of all answers together; None for no limit.
        delay_s: seconds before each answer, and once for each new connection: the round trip to a
            far-off server.
        validators: whether it tells versions apart (ETag, Last-Modified).
        lengths: whether it tells a body's length; if not, bodies are chunked.

    `faults` is asked about every request: it gets the path and how many requests for that path came
    before, and returns a Fault or None. `requests` lists what was asked, `sent` the bytes of
    bodies that went out, by path.
    """

    def __init__(
        self,
        folder: Path,
        *,
        ranges: bool = True,
        partial: bool = False,
        rate: float | None = None,
        line: float | None = None,
        delay_s: float = 0.0,
        validators: bool = True,
        lengths: bool = True,
    ) -> None:
        self.folder, self.ranges, self.delay_s = folder, ranges, delay_s
        self.partial = partial
        self.rate, self.line, self._free_at = rate, line, 0.0
        self.validators, self.lengths = validators, lengths
        self.faults: Callable[[str, int], Fault | None] = lambda path, before: None
        self.etag: Callable[[Path], str] = _etag
        self.requests: list[Request] = []
        self.sent: dict[str, int] = {}
        self._lock = threading.Lock()
        self._http = _Listener(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.shutdown()
        self._http.server_close()

    def fail_first(self, *faults: Fault | None) -> None:
        """Let the first requests for each path go wrong, one fault a request."""
        self.faults = lambda path, before: faults[before] if before < len(faults) else None

    def arrived(self, path: str, headers: dict[str, str]) -> int:
        """Note a request and return how many came for its path before."""
        with self._lock:
            before = sum(request.path == path for request in self.requests)
            self.requests.append(Request(path, headers, time.monotonic()))
            return before

    def count(self, path: str, sent: int) -> None:
        """Note bytes of a body that go out, once the line has room for them."""
        with self._lock:
            self.sent[path] = self.sent.get(path, 0) + sent
            if self.line is None:
                return
            self._free_at = max(self._free_at, time.monotonic()) + sent / self.line
            due = self._free_at
        time.sleep(max(0.0, due - time.monotonic()))


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    # Connections that come at once wait here; past it the system lets them wait for a second.
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        # Clients that are killed or give up are what is tested.
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


def _etag(path: Path) -> str:
    return f'"{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"'


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    """Return the class that answers one connection's requests for a server."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Else a small body waits 40 ms for the headers to be acknowledged.
        disable_nagle_algorithm = True

        def setup(self) -> None:
            super().setup()
            time.sleep(server.delay_s)

        def log_message(self, format: str, *args: object) -> None:
            pass  # Tests look at `requests`.

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            fault = server.faults(path, server.arrived(path, headers)) or Fault()
            time.sleep(server.delay_s)
            if fault.status is not None and not fault.bodied:
                self._plain(fault.status, fault.headers)
                return
            file = server.folder / path.lstrip("/")
            if not file.resolve().is_relative_to(server.folder.resolve()) or not file.is_file():
                self._plain(404, {})
                return
            self._file(path, file, headers, fault)

        def _plain(self, status: int, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _file(self, path: str, file: Path, headers: dict[str, str], fault: Fault) -> None:
            size, start, stop = file.stat().st_size, 0, file.stat().st_size
            tags = {}
            if server.validators:
                tags["ETag"] = server.etag(file)
                tags["Last-Modified"] = formatdate(file.stat().st_mtime, usegmt=True)
            status = 200
            wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", headers.get("range", ""))
            same = headers.get("if-range") in (None, *tags.values())
            if server.partial:
                status = 206
            elif wanted and server.ranges and same:
                first, last = wanted.groups()
                start = int(first) if first else max(0, size - int(last))
                stop = min(size, int(last) + 1) if first and last else size
                if start >= size:
                    self._plain(416, {"Content-Range": f"bytes */{size}"})
                    return
                status = 206
            status = fault.status or status
            told = dict(tags)
            if status == 206:
                told["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
            self.send_response(status)
            for name, value in (told | fault.headers).items():
                self.send_header(name, value)
            if server.lengths:
                self.send_header("Content-Length", str(stop - start))
            else:
                self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            try:
                self._body(path, file, start, stop, fault)
            except ConnectionError:
                self.close_connection = True  # The other side is gone: killed, perhaps.

        def _body(self, path: str, file: Path, start: int, stop: int, fault: Fault) -> None:
            begun = time.monotonic()
            end = stop if fault.after is None else min(stop, start + fault.after)
            with file.open("rb") as stream:
                stream.seek(start)
                for at in range(start, end, _BLOCK):
                    block = stream.read(min(_BLOCK, end - at))
                    if fault.flip and at == start:
                        block = bytes([block[0] ^ 1]) + block[1:]
                    # Before: who has all of it may look at once.
                    server.count(path, len(block))
                    self._send(block)
                    if server.rate is not None:
                        due = begun + (at + len(block) - start) / server.rate
                        time.sleep(max(0.0, due - time.monotonic()))
            if end < stop:
                self.close_connection = True
            elif not server.lengths:
                self.wfile.write(b"0\r\n\r\n")

        def _send(self, block: bytes) -> None:
            if server.lengths:
                self.wfile.write(block)
            else:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(block), block))

    return Handler
