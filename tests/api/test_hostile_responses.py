"""Responses that no honest server sends, as raw bytes: each becomes a response or a problem, in bounded memory."""

from __future__ import annotations

import gzip
import re
import socket
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_firstpromoter.api import Exchange
from airflow_provider_firstpromoter.hooks import FirstPromoterHook
from tests.http_server import REFUND, serving

OK = b"HTTP/1.1 200 OK\r\n"
JSON = b'{"id": 7}'
#: Bytes of memory that a request may take, whatever the server sends.
MOST_MEMORY = 24_000_000


class Hostile:
    """A server that responds with whatever ``response`` is at the time, and the hook that asks it."""

    def __init__(self) -> None:
        self.response: bytes | Iterator[bytes] = b""
        self.hook: FirstPromoterHook

    def respond(self, connection: socket.socket, over: threading.Event) -> None:
        response = self.response
        for part in [response] if isinstance(response, bytes) else response:
            if over.is_set():
                return
            connection.sendall(part)

    def set(self, response: bytes | Iterator[bytes]) -> None:
        """Respond in this way from now on, on a new connection: the server closes each without saying so."""
        self.response = response
        self.hook.get_conn().close()

    def ask(self, response: bytes | Iterator[bytes]) -> Exchange:
        self.set(response)
        return self.hook.client.request("POST", "/track/refund", json=REFUND)


@pytest.fixture
def hostile(connect: Callable[..., str]) -> Iterator[Hostile]:
    server = Hostile()
    with serving(server.respond) as url:
        connect(host=url, login="a", password="k", timeout=5, max_attempts=1)
        server.hook = FirstPromoterHook()
        yield server


@contextmanager
def memory_below(most: int) -> Iterator[None]:
    """Fail if the memory of this process grows by more than so many bytes at any time."""

    def peak() -> int:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        assert found
        return int(found[1]) * 1000

    Path("/proc/self/clear_refs").write_text("5")
    before = peak()
    yield
    assert peak() - before < most


def zipped_zeros(megabytes: int) -> bytes:
    pack = zlib.compressobj(9, wbits=31)
    header = pack.compress(b"") + pack.flush(zlib.Z_FULL_FLUSH)
    megabyte = pack.compress(bytes(1_000_000)) + pack.flush(zlib.Z_FULL_FLUSH)  # may stand any number of times
    return header + megabyte * megabytes


def for_ever(part: bytes, first: bytes = b"") -> Iterator[bytes]:
    yield first
    while True:
        yield part * max(65536 // len(part), 1)


def with_body(body: bytes, *headers: bytes, status: bytes = OK) -> bytes:
    return status + b"".join(header + b"\r\n" for header in headers) + b"Content-Length: %d\r\n\r\n" % len(body) + body


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([b"Location: https://example.com/"], id="elsewhere"),
        pytest.param([b"Location: http://[::1"], id="no-url"),
        pytest.param([b"Location: \xff\xfe\x80"], id="not-utf-8"),
        pytest.param([b"Location: //\\\\@:99999999/%zz"], id="odd-port"),
        pytest.param([b"Location: /api/v2/track/refund"], id="to-itself"),
        pytest.param([b"Location: a", b"Location: b", b"Set-Cookie: x=y; Domain=127.0.0.1; Path=/"], id="two-of-them"),
        pytest.param([b"Location: " + b"a" * 60_000], id="long"),
        pytest.param([], id="none"),
    ],
)
@pytest.mark.parametrize("status", [b"301", b"302", b"303", b"307", b"308"])
def test_redirect_is_a_response_whatever_its_location_says(
    status: bytes, headers: list[bytes], hostile: Hostile
) -> None:
    exchange = hostile.ask(with_body(JSON, *headers, status=b"HTTP/1.1 " + status + b" Found\r\n"))
    assert (exchange.response.status, exchange.response.payload) == (int(status), None)
    assert (exchange.attempts, exchange.lost) == (1, False)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
@pytest.mark.parametrize(
    ("response", "status", "problem"),
    [
        pytest.param(
            lambda: with_body(
                zipped_zeros(1500), b"Location: /", b"Content-Encoding: gzip", status=b"HTTP/1.1 302 Found\r\n"
            ),
            302,
            "the .* is not JSON",
            id="redirect-of-1.5-MB-that-unzips-to-1.5-GB",
        ),
        pytest.param(
            lambda: for_ever(b"x", b"HTTP/1.1 307 Go\r\nLocation: /\r\n\r\n"), 307, "not JSON", id="redirect-for-ever"
        ),
        pytest.param(
            lambda: with_body(zipped_zeros(1500), b"Content-Encoding: gzip"), 200, "not JSON", id="body-that-unzips"
        ),
        pytest.param(lambda: for_ever(b"[", OK + b"\r\n"), 200, "not JSON", id="body-for-ever"),
        pytest.param(
            lambda: for_ever(b"10000\r\n" + b"[" * 65536 + b"\r\n", OK + b"Transfer-Encoding: chunked\r\n\r\n"),
            200,
            "not JSON",
            id="chunks-for-ever",
        ),
        pytest.param(
            lambda: for_ever(b"f", OK + b"Transfer-Encoding: chunked\r\n\r\n"), None, "not HTTP", id="chunk-size"
        ),
        pytest.param(
            lambda: for_ever(b"x: y\r\n", OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"),
            None,
            "too large",
            id="trailers-for-ever",
        ),
        pytest.param(lambda: for_ever(b"HTTP/1.1 100 Continue\r\n\r\n"), None, "too large", id="interim-responses"),
        pytest.param(lambda: for_ever(b"x: y\r\n", OK), None, "not HTTP", id="headers-for-ever"),
        pytest.param(lambda: for_ever(b"x", OK + b"x: "), None, "not HTTP", id="header-for-ever"),
        pytest.param(lambda: for_ever(b"x"), None, "not HTTP", id="status-line-for-ever"),
        pytest.param(lambda: for_ever(b"\0"), None, "not HTTP", id="zeros-for-ever"),
    ],
)
def test_response_takes_bounded_memory(
    response: Callable[[], bytes | Iterator[bytes]], status: int | None, problem: str, hostile: Hostile
) -> None:
    raw = response()
    hostile.ask(with_body(JSON))  # whatever is loaded with the first request is loaded

    with memory_below(MOST_MEMORY):
        exchange = hostile.ask(raw)

    assert exchange.response.status == status
    assert re.search(problem, str(exchange.response.problem))


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        pytest.param(with_body(JSON, b"X-\xff\xfe: \x80\x81", b"Server: caf\xc3\xa9"), 200, id="headers-not-ascii"),
        pytest.param(with_body(JSON, b"Content-Type: application/json; charset=\xff"), 200, id="charset"),
        pytest.param(with_body(JSON, b"Set-Cookie: " + b"a=b; expires=" + b"1" * 60_000), 200, id="cookie"),
        pytest.param(with_body(JSON, *[b"Set-Cookie: =;;=\xff; Max-Age=9e99"] * 90), 200, id="cookies"),
        pytest.param(with_body(JSON, b"Retry-After: Wed, 21 Oct 2099 07:28:00 +99999999999999"), 200, id="retry-after"),
        pytest.param(with_body(JSON, b"Retry-After: \xb2\xb3"), 200, id="retry-after-in-superscript"),
        pytest.param(with_body(JSON, b"Content-Encoding: identity"), 200, id="not-encoded"),
        pytest.param(with_body(gzip.compress(JSON), b"Content-Encoding: X-GZip "), 200, id="zipped"),
        pytest.param(OK + b"Transfer-Encoding: chunked\r\n\r\n9;x=y\r\n" + JSON + b"\r\n0\r\n\r\n", 200, id="chunked"),
        pytest.param(b"HTTP/1.0 200 OK\r\n\r\n" + JSON, 200, id="until-the-connection-ends"),
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n" + with_body(JSON), 200, id="continue"),
        pytest.param(OK + b"no header at all\r\nContent-Length: 9\r\n\r\n" + JSON, 200, id="defective-header"),
    ],
)
def test_readable_response_is_read_whatever_is_around_it(raw: bytes, status: int, hostile: Hostile) -> None:
    response = hostile.ask(raw).response
    if response.payload is not None:
        assert (response.status, response.payload) == (status, {"id": 7})
    else:
        assert raw.startswith(OK + b"no header"), response


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        pytest.param(b"", "the connection broke off", id="nothing"),
        pytest.param(b"\r\n\r\n", "not HTTP", id="blank-lines"),
        pytest.param(b"SSH-2.0-OpenSSH_9.6\r\n", "not HTTP", id="another-protocol"),
        pytest.param(b"HTTP/1.1 99999 OK\r\n\r\n", "not HTTP", id="odd-status"),
        pytest.param(b"HTTP/1.1 \xff\xfe OK\r\n\r\n", "not HTTP", id="status-not-ascii"),
        pytest.param(b"HTTP/9.9 200 OK\r\n\r\n", "not HTTP", id="unknown-version"),
        pytest.param(OK + b"X: y\r\n" * 150 + b"\r\n", "not HTTP", id="too-many-headers"),
        pytest.param(OK + b"X: " + b"y" * 70_000 + b"\r\n\r\n", "not HTTP", id="header-too-long"),
        pytest.param(OK + b"Content-Length: 5, 6\r\n\r\n" + JSON, "not HTTP", id="two-lengths"),
        pytest.param(OK + b"Content-Length: 20\r\n\r\n" + JSON, "the response broke off", id="too-short"),
        pytest.param(OK + b"Transfer-Encoding: chunked\r\n\r\nz\r\n", "the response broke off", id="chunk-size"),
        pytest.param(OK + b"Transfer-Encoding: chunked\r\n\r\n-5\r\n{}", "not HTTP", id="negative-chunk"),
        pytest.param(
            OK + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n{}", "the response broke off", id="huge-chunk"
        ),
        pytest.param(OK + b"Transfer-Encoding: chunked\r\n\r\n9\r\n" + JSON, "the response broke off", id="no-last"),
        pytest.param(with_body(JSON, b"Content-Encoding: gzip"), "compression is broken", id="not-zipped"),
        pytest.param(with_body(gzip.compress(JSON)[:-9], b"Content-Encoding: gzip"), "compression is broken", id="cut"),
    ],
)
def test_unreadable_response_is_a_problem_and_may_have_been_processed(
    raw: bytes, problem: str, hostile: Hostile, connect: Callable[..., str], impatient: None
) -> None:
    connect(host=hostile.hook.account.base_url, login="a", password="k", timeout=5, max_attempts=2)
    hostile.hook = FirstPromoterHook()
    exchange = hostile.ask(raw)

    assert exchange.response.status is None
    assert problem in str(exchange.response.problem)
    assert str(exchange.response.problem).endswith(f"({hostile.hook.account.host})")
    assert (exchange.attempts, exchange.lost) == (2, True)


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(with_body(JSON, b"Content-Encoding: br"), id="compression-that-was-not-asked-for"),
        pytest.param(with_body(JSON, b"Content-Encoding: gzip, gzip"), id="compressed-twice"),
        pytest.param(with_body(b""), id="empty"),
        pytest.param(with_body(b"\xff\xfe\xfd"), id="not-utf-8"),
        pytest.param(with_body(b"1" * 5000), id="number-with-too-many-digits"),
        pytest.param(b"HTTP/1.1 600 Odd\r\nContent-Length: 0\r\n\r\n", id="odd-status"),
        pytest.param(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n", id="switching-protocols"),
        pytest.param(OK + b"Content-Length: -5\r\n\r\n", id="negative-length"),
    ],
)
def test_response_without_json_has_a_status_and_no_payload(raw: bytes, hostile: Hostile) -> None:
    response = hostile.ask(raw).response
    assert isinstance(response.status, int)
    assert response.payload is None
    assert response.problem


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=200).map(lambda raw: b"HTTP/1.1 " + raw)
    | st.lists(st.binary(max_size=40).map(lambda raw: raw.replace(b"\r\n", b"")), max_size=10).map(
        lambda headers: with_body(JSON, *headers)
    )
    | st.tuples(
        st.sampled_from([b"200", b"204", b"302", b"401", b"404", b"503"]),
        st.sampled_from(
            b"Location Retry-After Content-Length Content-Encoding Content-Type Set-Cookie Transfer-Encoding".split()
        ),
        st.binary(max_size=60) | st.text(max_size=30).map(str.encode),
        st.binary(max_size=60),
    ).map(lambda part: b"HTTP/1.1 %b X\r\n%b: %b\r\n\r\n%b" % part)
)
def test_no_response_raises_anything(hostile: Hostile, raw: bytes) -> None:
    exchange = hostile.ask(raw)
    assert exchange.response.status is not None or exchange.response.problem


def test_hook_reports_failed_refunds_and_goes_on(hostile: Hostile) -> None:
    redirect = with_body(JSON, b"Location: http://[::1", status=b"HTTP/1.1 302 Found\r\n")
    outcomes = []
    for raw in (b"", OK + b"X: y\r\n" * 150 + b"\r\n", redirect, with_body(JSON)):
        hostile.set(raw)
        outcomes.append(hostile.hook.track_refund(REFUND).outcome)
    assert outcomes == ["failed", "failed", "failed", "recorded"]
