"""Servers that are slow, cut, refuse or lead elsewhere, for now or for good."""

from __future__ import annotations

import threading
import time
from email.utils import formatdate
from pathlib import Path
from typing import ClassVar

import pytest
from download_runs import CONTENT, FAST, NAME, SHA256, get, left, ranges_of, refused
from requests import Response
from tests.server import Fault, Server

from lensbench.downloads.fetch import fetch
from lensbench.downloads.http import content_length
from lensbench.downloads.retries import Passing, Policy, Retries, retry_after
from lensbench.errors import DataError


def test_a_cut_download_goes_on_where_it_was_cut(server: Server, target: Path) -> None:
    server.fail_first(Fault(after=100_000), Fault(after=50_000))
    assert get(server, target).read_bytes() == CONTENT
    assert ranges_of(server) == [None, "bytes=100000-", "bytes=150000-"]
    assert server.requests[1].headers["if-range"] == server.etag(server.folder / NAME[1:])
    assert server.sent == {NAME: len(CONTENT)}


def test_a_cut_download_goes_on_in_the_next_run(server: Server, target: Path) -> None:
    server.faults = lambda path, before: Fault(after=100_000) if before == 0 else Fault(status=500)
    said = refused(server, target)
    assert said == (
        "URL/data/file.bin can't be had after 4 attempts (the server answers 500 Internal Server "
        "Error): what arrived is kept, so check the network and run again, or name a mirror."
    )
    server.faults = lambda path, before: None
    assert get(server, target).read_bytes() == CONTENT
    assert ranges_of(server)[-1] == "bytes=100000-"
    assert server.sent == {NAME: len(CONTENT)}


def test_attempts_that_bring_something_are_not_counted(server: Server, target: Path) -> None:
    # 15 cuts, but never four in a row without a byte.
    server.faults = lambda path, before: Fault(status=503) if before % 3 else Fault(after=16_384)
    assert get(server, target).read_bytes() == CONTENT
    assert server.sent == {NAME: len(CONTENT)}


def test_a_server_without_ranges_is_read_from_the_start(served: Path, target: Path) -> None:
    with Server(served, ranges=False) as server:
        server.fail_first(Fault(after=100_000))
        assert get(server, target).read_bytes() == CONTENT
        assert server.sent == {NAME: 100_000 + len(CONTENT)}


def test_a_server_without_ranges_that_always_cuts_is_given_up(served: Path, target: Path) -> None:
    with Server(served, ranges=False) as server:
        server.faults = lambda path, before: Fault(after=50_000 * (1 + before // 2))
        assert "was begun 4 times from the start and never came whole" in refused(server, target)
        assert len(server.requests) == 5  # Though every other attempt brings more than the last.


def test_a_server_that_gives_the_beginning_as_a_part_is_given_up(
    served: Path, target: Path
) -> None:
    with Server(served, partial=True) as server:
        server.faults = lambda path, before: Fault(after=50_000) if before < 99 else None
        assert "was begun 4 times from the start and never came whole" in refused(server, target)
        assert left(target) <= {".file.bin.lock"}


def test_a_body_of_unknown_length_that_is_cut_is_noticed(served: Path, target: Path) -> None:
    with Server(served, lengths=False) as server:
        server.fail_first(Fault(after=100_000))
        assert get(server, target, None, None).read_bytes() == CONTENT


def test_pieces_that_nothing_could_tell_apart_are_not_joined(served: Path, target: Path) -> None:
    with Server(served, validators=False) as server:
        server.fail_first(Fault(after=100_000))
        assert get(server, target, None, None).read_bytes() == CONTENT
        assert ranges_of(server) == [None, None]
        target.unlink()
        server.requests.clear()
        server.fail_first(Fault(after=100_000))
        get(server, target)  # With a checksum they are.
        assert ranges_of(server) == [None, "bytes=100000-"]


def test_a_slow_server_is_waited_for(served: Path, target: Path) -> None:
    with Server(served, rate=1e6, delay_s=0.05) as server:
        begun = time.monotonic()
        assert get(server, target).read_bytes() == CONTENT
        assert time.monotonic() - begun > 0.3  # 300 KB at 1 MB/s.
        assert len(server.requests) == 1


def test_a_silent_server_is_given_up(served: Path, target: Path) -> None:
    policy = Policy(attempts=2, first_pause_s=0.001, timeout_s=0.05)
    with (
        Server(served, delay_s=0.5) as server,
        pytest.raises(DataError, match=r"after 2 attempts \(no answer in 0.05 s\)"),
    ):
        fetch(server.url + NAME, target, policy=policy)


def test_nobody_there_is_one_sentence(served: Path, target: Path) -> None:
    with Server(served) as server:
        pass
    assert "can't be had after 4 attempts (no connection)" in refused(server, target)


def test_pauses_double_up_to_a_limit(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Clock(threading.Event):
        waited: ClassVar[list[float | None]] = []

        def wait(self, timeout: float | None = None) -> bool:
            self.waited.append(timeout)
            return False

    monkeypatch.setattr("lensbench.downloads.retries.random.uniform", lambda low, high: high)
    policy = Policy(attempts=6, first_pause_s=1, longest_pause_s=5, longest_wait_s=60)
    retries = Retries(policy, "http://host/x", Clock())
    for wait_s in (None, None, 1, 90, None):
        retries.failed(Passing("no connection", wait_s))
    # A server's wish is a lower bound, up to its own limit.
    assert Clock.waited == [1, 2, 4, 60, 5]
    told = capsys.readouterr().err.splitlines()
    assert told[2:] == [
        "http://host/x: no connection; again in 4 s.",
        "http://host/x: no connection; again in 60 s.",
        "http://host/x: no connection; again in 5 s.",
    ]
    with pytest.raises(DataError, match=r"can't be had after 6 attempts \(no connection\)"):
        retries.failed(Passing("no connection"))
    retries.progressed()
    retries.failed(Passing("no connection"))
    assert Clock.waited[-1] == 1


def test_retry_after_is_respected(server: Server, target: Path) -> None:
    server.fail_first(Fault(status=429, headers={"Retry-After": "1"}))
    policy = Policy(first_pause_s=0.001, longest_wait_s=10, timeout_s=5)
    fetch(server.url + NAME, target, checksum=SHA256, policy=policy)
    first, second = server.requests
    assert 1.0 <= second.at - first.at < 2.0


def test_retry_after_has_a_limit(server: Server, target: Path) -> None:
    server.fail_first(Fault(status=503, headers={"Retry-After": "3600"}))
    get(server, target)
    first, second = server.requests
    assert 0.3 <= second.at - first.at < 1.0


def test_retry_after_is_read_in_both_forms() -> None:
    assert retry_after("7") == 7.0
    assert retry_after(None) is None
    assert retry_after("soon") is None
    assert retry_after("-3") == 0.0
    later = retry_after(formatdate(time.time() + 60, usegmt=True))
    assert later is not None
    assert 57 < later <= 60
    assert retry_after("Sun, 06 Nov 1994 08:49:37 GMT") == 0.0


@pytest.mark.parametrize(
    "header",
    [
        "9" * 400,
        "9" * 5000,
        "Sun, 06 Nov 1994 08:49:37 +99999999999999",
        "Fri, 31 Dec 9999 23:59:59 -2359",
        "Sun, 06 Nov 99999999999999999999 08:49:37 GMT",
    ],
)
def test_a_wait_beyond_all_numbers_is_none(server: Server, target: Path, header: str) -> None:
    asked = retry_after(header)
    assert asked is None or asked > 10**11  # The last year that there is, or nothing at all.
    server.fail_first(Fault(status=503, headers={"Retry-After": header}))
    assert get(server, target).read_bytes() == CONTENT


def test_a_length_beyond_all_numbers_is_no_length() -> None:
    response = Response()
    response.headers["Content-Length"] = "9" * 5000
    assert content_length(response) is None
    response.headers["Content-Length"] = "9" * 18
    assert content_length(response) == 10**18 - 1


@pytest.mark.parametrize("host", ["a..b", f"{'a' * 80}.org"])
def test_a_host_that_no_name_can_be_is_told(target: Path, host: str) -> None:
    url = "https://host/data/file.bin"
    with pytest.raises(DataError, match=r"leads nowhere .*: correct the address") as caught:
        fetch(url, target, checksum=SHA256, mirror=f"http://{host}/", policy=FAST)
    assert "\n" not in str(caught.value)
    assert not target.exists()


# Refused for good


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (401, "asks for a login (401 Unauthorized)"),
        (403, "refuses access (403 Forbidden)"),
        (404, "is not there (404 Not Found)"),
        (410, "is not there any more (410 Gone)"),
        (418, "is answered oddly (418 I'm a Teapot)"),
    ],
)
def test_what_will_not_change_is_told_at_once(
    server: Server, target: Path, status: int, advice: str
) -> None:
    server.faults = lambda path, before: Fault(status=status)
    assert refused(server, target) == (
        f"URL/data/file.bin {advice}: open it in a browser to see why, or name a mirror that has "
        "the file."
    )
    assert len(server.requests) == 1


def test_redirects_are_followed(served: Path, server: Server, target: Path) -> None:
    (served / "moved.bin").write_bytes(CONTENT)
    server.faults = lambda path, before: (
        Fault(status=302, headers={"Location": "/moved.bin"}) if path == NAME else None
    )
    assert get(server, target).read_bytes() == CONTENT
    assert [request.path for request in server.requests] == [NAME, "/moved.bin"]


def test_a_redirect_to_a_file_is_not_followed(server: Server, target: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(CONTENT)
    address = (tmp_path / "secret").as_uri()
    server.faults = lambda path, before: Fault(status=302, headers={"Location": address})
    assert "leads nowhere" in refused(server, target)


def test_the_body_of_a_redirect_is_not_read(served: Path, target: Path) -> None:
    # It may be of any length: this one takes 15 seconds.
    with Server(served, rate=20_000) as slow, Server(served) as other:
        elsewhere = {"Location": other.url + NAME}
        slow.faults = lambda path, before: Fault(status=302, headers=elsewhere, bodied=True)
        assert get(slow, target).read_bytes() == CONTENT
        assert slow.sent[NAME] < len(CONTENT)


def test_a_redirect_in_circles_is_told(server: Server, target: Path) -> None:
    server.faults = lambda path, before: Fault(status=302, headers={"Location": NAME})
    assert "leads nowhere (Exceeded 10 redirects.)" in refused(server, target)
