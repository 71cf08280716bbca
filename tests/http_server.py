"""FirstPromoterHook on a server that gives one answer to every request, for the tests of ``api`` and ``hooks``."""

from __future__ import annotations

import json
import logging
import ssl
import threading
from collections.abc import Callable, Iterator
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


@dataclass
class Server:
    """Answers everything in one way, and keeps what it was asked with all headers, which the sandbox does not."""

    status: int = 200
    #: What every request gets, or a function that makes it from the request's path and query.
    body: bytes | Callable[[str], bytes] = b'{"id": 7, "amount_cents": -1999}'
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api/v2"


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Starts a server for this test: ``serve(status=404, body=b"")``; with a certificate it speaks TLS."""
    running: list[tuple[ThreadingHTTPServer, threading.Thread]] = []

    def serve(certificate: Path | None = None, **answer: Any) -> Server:
        ours = Server(**answer)

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
        server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client may think better of it
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


@pytest.fixture
def hook(connect: Callable[..., str]) -> FirstPromoterHook:
    """On the sandbox; a request is tried at most three times."""
    connect(max_attempts=3)
    return FirstPromoterHook()


@pytest.fixture
def hook_on(connect: Callable[..., str]) -> Callable[..., FirstPromoterHook]:
    """``hook_on(server)``: on a server of our own, with a key that no text may show; one try, unless said."""

    def hook_on(server: Server, **fields: Any) -> FirstPromoterHook:
        fields = {"max_attempts": 1, "login": "acct_7", "password": KEY, "host": server.url, **fields}
        connect(server, **fields)
        return FirstPromoterHook()

    return hook_on


@pytest.fixture
def logged(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
    """All that was logged so far, of every level, wherever Airflow puts it."""
    caplog.set_level(logging.DEBUG)

    def logged() -> str:
        captured = capfd.readouterr()
        return captured.out + captured.err + caplog.text

    return logged


def bodies(sandbox: Sandbox) -> list[dict[str, Any]]:
    return [request.body for request in sandbox.refund_requests()]


def says(message: str, **more: Any) -> bytes:
    return json.dumps({"message": message, **more}).encode()
