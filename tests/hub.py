"""A model hub on loopback, as huggingface_hub asks one, with the faults that a real one has."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from urllib.parse import unquote, urlsplit

import pytest
from huggingface_hub import constants

from lensbench.downloads.retries import Policy
from lensbench.errors import ModelError
from lensbench.models.hub import fetch

#: A model that the tests' hubs serve: a small one under a published one's name and commit.
NAME, COMMIT = "Qwen/Qwen2-VL-2B-Instruct", "895c3a49bc3fa70a340399125c650a463535e71c"
MODEL, WEIGHTS = "lensbench-qwen2vl", "model.safetensors"
QUICK = Policy(attempts=4, first_pause_s=0.01, longest_pause_s=0.02, longest_wait_s=0.3)

#: Files that the hub keeps as large ones (LFS): served from a storage address, known by SHA-256.
LARGE = (".safetensors", ".bin")


@dataclass
class Fault:
    """What goes wrong with answers about one file.

    Args:
        file: its name; "" for what the hub says of repositories.
        times: how many answers.
        status: sent instead of the file, if any.
        retry_after: seconds that the Retry-After header names, if any.
        cut: bytes of the body after which the connection ends, if any.
        wrong: whether its bytes are others, as many.
        method: the method it is about.
    """

    file: str
    times: int = 1
    status: int | None = None
    retry_after: int | None = None
    cut: int | None = None
    wrong: bool = False
    method: str = "GET"


@dataclass(frozen=True)
class Request:
    """A request that came in."""

    method: str
    path: str
    range: str
    token: str


@dataclass
class Hub:
    """A hub with repositories of one commit each; a context manager with `url`.

    Args:
        repositories: repository → (folder of its files, its commit).
        tokens: repository → the only token that opens it.
        ranges: whether it gives parts of files.
        storage: whether large files are redirected to a storage address, as the real hub does.
        slow_s: seconds between blocks of a large file.
        block: bytes of a block.
    """

    repositories: Mapping[str, tuple[Path, str]]
    tokens: Mapping[str, str] = field(default_factory=dict)
    ranges: bool = True
    storage: bool = True
    slow_s: float = 0.0
    block: int = 2**16
    faults: list[Fault] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    sent: dict[str, int] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> Hub:
        outer = self

        class Bound(_Handler):
            hub = outer

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Bound)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def fault(self, method: str, file: str) -> Fault | None:
        """Return the fault that this answer has, counting it."""
        with self.lock:
            for fault in self.faults:
                if fault.times and (fault.method, fault.file) == (method, file):
                    fault.times -= 1
                    return fault
        return None

    def asked_for(self, file: str, method: str = "GET") -> list[Request]:
        """Return the requests for one file's bytes (those that were redirected left out)."""
        ends = (f"/storage/{file}",) if self.storage and file.endswith(LARGE) else (f"/{file}",)
        return [r for r in self.requests if r.method == method and r.path.endswith(ends)]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        with self.hub.lock:
            span = self.headers.get("Range", "")
            self.hub.requests.append(Request(self.command, path, span, token))
        api = path.startswith("/api/models/")
        stored = "/storage/" in path
        rest = path.removeprefix("/api/models/").strip("/")
        names = [name for name in self.hub.repositories if f"{rest}/".startswith(f"{name}/")]
        if not names:
            self._refuse(404, "RepoNotFound")
            return
        repository = names[0]
        folder, commit = self.hub.repositories[repository]
        wanted = self.hub.tokens.get(repository)
        if wanted is not None and token != wanted and not stored and not api:
            # As a real hub does: anybody may read the list of a gated repository's files. Without a
            # token it answers 401 for a file, with one that may not 403.
            self._refuse(403 if token else 401, "GatedRepo")
            return
        tail = rest.removeprefix(repository).strip("/").split("/", 2)
        if api:
            self._describe(repository, folder, commit, tail)
        elif stored:
            self._serve(folder / tail[1], commit)
        elif tail[0] != "resolve" or tail[1] not in (commit, "main"):
            self._refuse(404, "RevisionNotFound")
        elif not (folder / tail[2]).is_file():
            self._refuse(404, "EntryNotFound", {"X-Repo-Commit": commit})
        elif self.hub.storage and tail[2].endswith(LARGE):
            self._redirect(repository, folder / tail[2], commit)
        else:
            self._serve(folder / tail[2], commit)

    def _describe(self, repository: str, folder: Path, commit: str, tail: list[str]) -> None:
        fault = self.hub.fault(self.command, "")
        if fault is not None and fault.status is not None:
            self._refuse(fault.status, "", _later(fault))
            return
        if tail[0] == "revision" and tail[1] not in (commit, "main"):
            self._refuse(404, "RevisionNotFound")
            return
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        siblings = [{"rfilename": f.relative_to(folder).as_posix(), **_facts(f)} for f in files]
        tree = {"id": repository, "sha": commit, "siblings": siblings, "tags": [], "gated": False}
        self._send(200, json.dumps(tree).encode(), {"Content-Type": "application/json"})

    def _redirect(self, repository: str, path: Path, commit: str) -> None:
        fault = self.hub.fault("HEAD", path.name) if self.command == "HEAD" else None
        if fault is not None and fault.status is not None:
            self._refuse(fault.status, "", _later(fault))
            return
        headers = {
            "X-Repo-Commit": commit,
            "X-Linked-Etag": f'"{_sha256(path)}"',
            "X-Linked-Size": str(path.stat().st_size),
            # Another name of the same host, as the real hub's storage is another host.
            "Location": f"{self.hub.url.replace('127.0.0.1', 'localhost')}/{repository}"
            f"/storage/{path.name}",
        }
        self._send(302, b"", headers)

    def _serve(self, path: Path, commit: str) -> None:
        fault = self.hub.fault(self.command, path.name) or Fault("")
        if fault.status is not None:
            self._refuse(fault.status, "", _later(fault))
            return
        body = path.read_bytes()
        if fault.wrong:
            body = bytes(byte ^ 1 for byte in body)
        size, first = len(body), 0
        etag = _sha256(path) if path.name.endswith(LARGE) else _git_sha1(path)
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        span = self.headers.get("Range", "") if self.hub.ranges else ""
        if span.startswith("bytes="):
            first = int(span.removeprefix("bytes=").split("-")[0])
            headers["Content-Range"] = f"bytes {first}-{size - 1}/{size}"
        self._send(206 if span else 200, body[first:], headers, path.name, fault.cut)

    def _refuse(self, status: int, code: str, headers: Mapping[str, str] | None = None) -> None:
        named = {"X-Error-Code": code} if code else {}
        self._send(status, b"", {**named, **(headers or {})})

    def _send(
        self,
        status: int,
        body: bytes,
        headers: Mapping[str, str],
        name: str = "",
        cut: int | None = None,
    ) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if cut is not None:
            body = body[:cut]
            self.close_connection = True
        pause = threading.Event()
        for start in range(0, len(body), self.hub.block):
            part = body[start : start + self.hub.block]
            try:
                self.wfile.write(part)
            except OSError:
                self.close_connection = True
                return
            with self.hub.lock:
                self.hub.sent[name] = self.hub.sent.get(name, 0) + len(part)
            if self.hub.slow_s and name.endswith(LARGE):
                pause.wait(self.hub.slow_s)


class _Hasty:
    """huggingface_hub's clock, without its waits of a second."""

    time = staticmethod(time.time)

    @staticmethod
    def sleep(seconds: float) -> None:
        time.sleep(min(seconds, 0.01))


def reach(hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let huggingface_hub ask this hub; returns its cache."""
    template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub.file_download.time", _Hasty)
    monkeypatch.setattr("huggingface_hub.utils._http.time", _Hasty)
    return cache


def refused(repository: str = NAME, revision: str = COMMIT) -> str:
    """Return the one sentence with which a fetch is refused."""
    with pytest.raises(ModelError) as caught:
        fetch(repository, revision, QUICK)
    said = str(caught.value)
    assert "\n" not in said
    assert said.endswith(".")
    return said


def _later(fault: Fault) -> dict[str, str]:
    return {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}


def _facts(path: Path) -> dict[str, object]:
    """Return what the hub states of a file."""
    size = path.stat().st_size
    if not path.name.endswith(LARGE):
        return {"size": size, "blobId": _git_sha1(path)}
    return {
        "size": size,
        "blobId": "0" * 40,
        "lfs": {"sha256": _sha256(path), "size": size, "pointerSize": 134},
    }


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _git_sha1(path: Path) -> str:
    content = path.read_bytes()
    blob = b"blob %d\0" % len(content) + content
    return hashlib.sha1(blob, usedforsecurity=False).hexdigest()
