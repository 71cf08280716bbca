"""Requests over real HTTP: their headers, redirects, proxies and certificates, and who can see the API key."""

from __future__ import annotations

import json
import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_firstpromoter.exceptions import ReadError
from airflow_provider_firstpromoter.hooks import FirstPromoterHook
from airflow_provider_firstpromoter.sandbox import Sandbox
from tests.http_server import EMAIL, HTML, KEY, REFUND, Server, bodies, says

# --- on the wire ---


def test_request_has_both_account_headers_and_a_json_body(
    serve: Callable[..., Server], hook_on: Callable[..., FirstPromoterHook]
) -> None:
    server = serve()

    hook_on(server).track_refund(REFUND)

    ((method, path, headers, body),) = server.asked
    assert (method, path) == ("POST", "/api/v2/track/refund")
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert headers["Account-ID"] == "acct_7"
    assert headers["Content-Type"] == "application/json"
    assert headers["Accept"] == "application/json"
    assert headers["User-Agent"].startswith("airflow-provider-firstpromoter/")
    assert json.loads(body) == {"event_id": "re_1", "amount": "1999", "uid": "cus_1"}


# --- the table of answers ---


def test_refused_connection_is_a_failure_with_a_message(
    hook_on: Callable[..., FirstPromoterHook], impatient: None
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        nobody = Server(port=listener.getsockname()[1])

    hook = hook_on(nobody, max_attempts=2)
    result = hook.track_refund(REFUND)

    assert (result.outcome, result.http_status, hook.transport.requests) == ("failed", None, 2)
    assert result.message == "no answer in 2 tries: the connection was refused or broke"


# --- who sees the key ---


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_is_not_followed(
    status: int, sandbox: Sandbox, hook: Any, serve: Callable[..., Server], impatient: None
) -> None:
    elsewhere = serve()
    sandbox.fault("redirect", status=status, location=elsewhere.url.replace("127.0.0.1", "localhost"), times=None)

    result = hook.track_refund(REFUND)
    with pytest.raises(ReadError):
        hook.find_reward("re_1")
    works, _ = hook.test_connection()

    assert (result.outcome, result.http_status, works) == ("failed", status, False)
    assert "is the connection's host right?" in str(result.message)
    assert len(bodies(sandbox)) == 1
    assert elsewhere.asked == []


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """For ``firstpromoter.test``, signed by itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "firstpromoter.test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("firstpromoter.test")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "certificate.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., list[bytes]]]:
    """
    ``proxy(server.port)`` tunnels whatever is asked of it to that port; without one it refuses.

    The environment names it, with a password. Returns all that it could read: the requests for a tunnel.
    """
    listeners: list[socket.socket] = []

    def tunnel(client: socket.socket, port: int | None, seen: list[bytes]) -> None:
        with client:
            seen.append(client.recv(65536))
            if port is None:
                client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
                return
            with socket.create_connection(("127.0.0.1", port)) as server:
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                other = {client: server, server: client}
                while ready := select.select(list(other), [], [], 10)[0]:
                    try:
                        data = ready[0].recv(65536)
                        other[ready[0]].sendall(data)
                    except OSError:
                        return
                    if not data:
                        return

    def accept(listener: socket.socket, port: int | None, seen: list[bytes]) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=tunnel, args=(client, port, seen), daemon=True).start()

    def proxy(port: int | None = None) -> list[bytes]:
        seen: list[bytes] = []
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)
        threading.Thread(target=accept, args=(listener, port, seen), daemon=True).start()
        address = f"http://someone:proxy-password@127.0.0.1:{listener.getsockname()[1]}"
        for name in ("NO_PROXY", "ALL_PROXY"):
            monkeypatch.delenv(name, raising=False)
            monkeypatch.delenv(name.lower(), raising=False)
        for name in ("HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.delenv(name, raising=False)
            monkeypatch.setenv(name.lower(), address)
        return seen

    yield proxy
    for listener in listeners:
        listener.close()


@pytest.fixture
def netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ``.netrc`` of the worker that knows a password for every host here."""
    path = tmp_path / "netrc"
    hosts = ("127.0.0.1", "localhost", "firstpromoter.test")
    path.write_text("".join(f"machine {host} login worker password of-the-worker\n" for host in hosts))
    path.chmod(0o600)
    monkeypatch.setenv("NETRC", str(path))


def test_proxy_is_used_over_https_and_cannot_read_the_api_key(
    certificate: Path,
    netrc: None,
    serve: Callable[..., Server],
    hook_on: Callable[..., FirstPromoterHook],
    proxy: Callable[..., list[bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    server = serve(certificate)
    seen = proxy(server.port)

    result = hook_on(server, host="https://firstpromoter.test").track_refund(REFUND)

    assert result.outcome == "recorded"
    ((_, path, headers, _),) = server.asked
    assert path == "/api/v2/track/refund"
    assert headers["Authorization"] == f"Bearer {KEY}", "and nothing out of .netrc"
    (asked,) = seen
    assert asked.startswith(b"CONNECT firstpromoter.test:443 ")
    assert KEY.encode() not in asked
    assert b"acct_7" not in asked


def test_api_key_is_not_sent_to_a_host_with_an_untrusted_certificate(
    certificate: Path,
    serve: Callable[..., Server],
    hook_on: Callable[..., FirstPromoterHook],
    proxy: Callable[..., list[bytes]],
) -> None:
    server = serve(certificate)
    proxy(server.port)

    result = hook_on(server, host="https://firstpromoter.test").track_refund(REFUND)

    assert (result.outcome, result.message) == ("failed", "no answer in 1 try: TLS failed (certificate or protocol)")
    assert server.asked == []


def test_proxy_refusal_error_does_not_show_the_proxy_password(
    hook_on: Callable[..., FirstPromoterHook],
    proxy: Callable[..., list[bytes]],
    logged: Callable[[], str],
) -> None:
    seen = proxy()

    result = hook_on(Server(), host="https://firstpromoter.test").track_refund(REFUND)

    assert (result.outcome, result.message) == ("failed", "no answer in 1 try: the proxy refused")
    assert seen
    assert "proxy-password" not in logged()


def test_loopback_requests_use_neither_proxy_nor_netrc(
    netrc: None,
    serve: Callable[..., Server],
    hook_on: Callable[..., FirstPromoterHook],
    proxy: Callable[..., list[bytes]],
) -> None:
    server = serve()
    seen = proxy(server.port)

    assert hook_on(server).track_refund(REFUND).outcome == "recorded"

    assert seen == []
    assert server.asked[0][2]["Authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    ("status", "body"),
    [(200, b'{"id": 7}'), (401, says("bad")), (404, HTML), (409, says("again")), (500, b""), (200, b'{"id')],
)
def test_logs_and_errors_show_neither_api_key_nor_customer(
    status: int,
    body: bytes,
    serve: Callable[..., Server],
    hook_on: Callable[..., FirstPromoterHook],
    impatient: None,
    logged: Callable[[], str],
) -> None:
    hook = hook_on(serve(status=status, body=body), max_attempts=2)
    told = []

    for ask in (lambda: hook.track_refund({**REFUND, "uid": None, "email": EMAIL}), lambda: hook.find_reward("re_1")):
        try:
            told.append(repr(ask()))
        except Exception as error:
            told.append(repr(error))
    told.append(hook.test_connection()[1])

    log = logged()
    text = log + "".join(told) + repr(hook.account)
    assert "track/refund" in log, "the libraries' own lines are among them"
    assert KEY not in text
    assert EMAIL not in text
