"""Servers that respond to every request in one way, for the tests of ``api`` and ``hooks``."""

from __future__ import annotations

import json
import logging
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_firstpromoter.hooks import FirstPromoterHook
from airflow_provider_firstpromoter.sandbox import Sandbox

REFUND = {"event_id": "re_1", "amount": 1999, "uid": "cus_1"}
EMAIL = "jane@example.com"
KEY = "a-key-that-nobody-may-see"
HTML = b"<html><body>Welcome</body></html>"
#: A refund that was recorded, in the older shape.
RECORDED = (
    b'{"id": 7, "amount_cents": -1999, "reward": {"id": 70, "amount": -400, "unit": "cash", "status": "approved"}}'
)


@dataclass
class Server:
    """
    A server with one response to everything. It keeps the requests with all their headers, which the sandbox does not.

    :param asked: the requests so far: method, path, headers, body
    """

    status: int = 200
    #: What every request gets, or a function that makes it from the request's path and query.
    body: bytes | Callable[[str], bytes] = RECORDED
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api/v2"


def listing(*items: Any) -> Callable[[str], bytes]:
    """Return the body of a server that lists these commissions on its first page and nothing on the next ones."""
    return lambda path: json.dumps(items if re.search("[?&]page=1(&|$)", path) else []).encode()


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Start a server for this test: ``serve(status=404, body=b"")``; with a certificate it speaks TLS."""
    running: list[tuple[ThreadingHTTPServer, threading.Thread]] = []

    def serve(certificate: Path | None = None, **response: Any) -> Server:
        ours = Server(**response)

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                ours.asked.append((self.command, self.path, dict(self.headers), body))
                content = ours.body(self.path) if callable(ours.body) else ours.body
                self.send_response(ours.status)
                for name, value in {"Content-Length": str(len(content)), **ours.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST

            def log_message(self, *_: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client may give up
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        running.append((server, thread))
        ours.port = server.server_port
        return ours

    yield serve
    for server, thread in running:
        server.shutdown()
        server.server_close()
        thread.join(5)


@contextmanager
def serving(respond: Callable[[socket.socket, threading.Event], None]) -> Iterator[str]:
    """
    Serve raw bytes, as no HTTP library would: a server for one base URL, which is returned.

    :param respond: called with each connection once a request has come; the event is set when the test is over
    """
    over = threading.Event()
    threads: list[threading.Thread] = []

    def handle(connection: socket.socket) -> None:
        with connection:
            try:
                read_request(connection)
                respond(connection, over)
            except OSError:
                pass  # the client has given up

    def accept() -> None:
        while not over.is_set():
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            threads.append(threading.Thread(target=handle, args=(connection,), daemon=True))
            threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/api/v2"
        finally:
            over.set()
            accepting.join(5)
            for thread in threads:
                thread.join(5)


def read_request(connection: socket.socket) -> bytes:
    """Read a whole request, because closing a connection with unread bytes would reset it; b"" at its end."""
    request = b""
    while b"\r\n\r\n" not in request:
        if not (part := connection.recv(65536)):
            return b""
        request += part
    headers, _, body = request.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", headers)
    while length and len(body) < int(length[1]):
        body += connection.recv(65536)
    return request


@pytest.fixture
def hook(connect: Callable[..., str]) -> FirstPromoterHook:
    """A hook on the sandbox; a request is tried at most three times."""
    connect(max_attempts=3)
    return FirstPromoterHook()


@pytest.fixture
def hook_on(connect: Callable[..., str]) -> Callable[..., FirstPromoterHook]:
    """Make a hook on another server, ``hook_on(server)``, with a key that no text may show; one try by default."""

    def hook_on(server: Server, **fields: Any) -> FirstPromoterHook:
        fields = {"max_attempts": 1, "login": "acct_7", "password": KEY, "host": server.url, **fields}
        connect(server, **fields)
        return FirstPromoterHook()

    return hook_on


@pytest.fixture
def logged(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
    """Return all that was logged so far, at every level, wherever Airflow puts it."""
    caplog.set_level(logging.DEBUG)

    def logged() -> str:
        captured = capfd.readouterr()
        return captured.out + captured.err + caplog.text

    return logged


def bodies(sandbox: Sandbox) -> list[dict[str, Any]]:
    """Return the bodies of the refund calls, in order."""
    return [request.body for request in sandbox.refund_requests()]


def says(message: str, **more: Any) -> bytes:
    """Return FirstPromoter's JSON for a message."""
    return json.dumps({"message": message, **more}).encode()
