"""Requests over real HTTP: their headers, redirects, proxies and certificates, and who can see the API key."""

from __future__ import annotations

import ipaddress
import json
import re
import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_firstpromoter.exceptions import AccessRefusedError, ReadError
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


def test_commissions_query_has_its_parameters_and_no_body(
    serve: Callable[..., Server], hook_on: Callable[..., FirstPromoterHook]
) -> None:
    server = serve(body=b"[]")
    transport = hook_on(server).transport

    for event_id in ("re_1", "a b&c/\u00fc"):
        transport.request("GET", "/company/commissions", params={"q": event_id})

    paths = [path for _, path, _, _ in server.asked]
    assert paths == ["/api/v2/company/commissions?q=re_1", "/api/v2/company/commissions?q=a+b%26c%2F%C3%BC"]
    assert [(method, body) for method, _, _, body in server.asked] == [("GET", b"")] * 2


def test_each_thread_keeps_one_connection(sandbox: Sandbox, hook: Any) -> None:
    begun = hook.transport.requests
    sessions = {id(hook.get_conn()) for _ in range(3)}
    for number in range(5):
        hook.track_refund({**REFUND, "event_id": f"re_{number}"})
    (pool,) = hook.get_conn().get_adapter(sandbox.base_url).poolmanager.pools._container.values()
    assert len(sessions) == 1
    assert (pool.num_connections, pool.num_requests) == (1, 5)
    assert hook.transport.requests - begun == 5


# --- refused access ---


@pytest.mark.parametrize("status", [401, 403])
def test_refused_access_in_firstpromoters_json_is_an_error(
    status: int, serve: Callable[..., Server], hook_on: Callable[..., FirstPromoterHook]
) -> None:
    server = serve(status=status, body=says(f"No access for {EMAIL} with {KEY.upper()}"))

    with pytest.raises(AccessRefusedError, match=rf"'firstpromoter_default' \({status}: No access for .* with \*\*\*"):
        hook_on(server).track_refund({**REFUND, "uid": None, "email": EMAIL})

    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("body", [HTML, b"", b"{}", b'{"error": "no"}', b'{"message": 7}', b'["no"]', b'{"message": "'])
def test_refused_access_that_is_not_firstpromoters_is_a_response(
    status: int, body: bytes, serve: Callable[..., Server], hook_on: Callable[..., FirstPromoterHook]
) -> None:
    hook = hook_on(serve(status=status, body=body))

    exchange = hook.transport.request("POST", "/track/refund", json=REFUND)

    assert (exchange.response.status, exchange.attempts, exchange.lost) == (status, 1, False)
    assert hook.track_refund(REFUND).outcome == "failed"


# --- no response ---


def problem(hook: FirstPromoterHook) -> str:
    """What the one attempt of a request that cannot reach the API ends with."""
    exchange = hook.transport.request("POST", "/track/refund", json=REFUND)
    assert (exchange.response.status, exchange.lost) == (None, False)
    return str(exchange.response.problem)


def test_refused_connection_is_a_failure_with_a_message(
    hook_on: Callable[..., FirstPromoterHook], impatient: None
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        nobody = Server(port=listener.getsockname()[1])

    hook = hook_on(nobody, max_attempts=2)
    result = hook.track_refund(REFUND)

    assert (result.outcome, result.http_status, hook.transport.requests) == ("failed", None, 2)
    assert f"in 2 tries: the connection was refused (127.0.0.1:{nobody.port})" in str(result.message)


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("https://no-such-host.invalid", "no-such-host.invalid:443"),
        ("https://no-such-host.invalid:8443/v2", "no-such-host.invalid:8443"),
    ],
)
def test_failed_name_resolution_is_named_with_the_host(
    host: str, shown: str, hook_on: Callable[..., FirstPromoterHook], no_proxy: None
) -> None:
    assert problem(hook_on(Server(), host=host)) == f"name resolution failed ({shown})"


def test_server_without_tls_is_named(
    serve: Callable[..., Server], hook_on: Callable[..., FirstPromoterHook], no_proxy: None
) -> None:
    server = serve()
    told = problem(hook_on(server, host=f"https://127.0.0.1:{server.port}"))
    assert re.fullmatch(rf"TLS failed: [a-z0-9 ]+ \(127\.0\.0\.1:{server.port}\)", told)
    assert server.asked == []


def test_missing_ca_bundle_is_named(
    hook_on: Callable[..., FirstPromoterHook], no_proxy: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/no/such/file.pem")
    told = problem(hook_on(Server(), host="https://127.0.0.1:9"))
    assert told == ("TLS failed: the file that REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE names does not exist (127.0.0.1:9)")


# --- who can read the API key ---


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
    """A certificate for ``firstpromoter.test`` and 127.0.0.1, signed by itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "firstpromoter.test")])
    names = [x509.DNSName("firstpromoter.test"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
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
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the proxies and certificates of the machine that the tests run on."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def proxy(no_proxy: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., list[bytes]]]:
    """
    Start a proxy and set it in the environment, with a password: ``proxy(server.port)``; without a port it refuses.

    Every tunnel ends at the port, whatever host it was asked for. Returns all that the proxy could read.
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
        for name in ("http_proxy", "https_proxy"):
            monkeypatch.setenv(name, address)
        return seen

    yield proxy
    for listener in listeners:
        listener.close()


@pytest.fixture
def netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set a ``.netrc`` of the worker that has a password for every host here."""
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
    server = serve(certificate)
    seen = proxy(server.port)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))

    result = hook_on(server, host="https://firstpromoter.test").track_refund(REFUND)

    assert result.outcome == "recorded"
    ((_, path, headers, _),) = server.asked
    assert path == "/api/v2/track/refund"
    assert headers["Authorization"] == f"Bearer {KEY}", "not the password in .netrc"
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

    assert result.outcome == "failed"
    assert re.search(r"TLS failed: self.signed certificate \(firstpromoter\.test:443\)$", str(result.message))
    assert server.asked == []


def test_proxy_refusal_error_does_not_show_the_proxy_password(
    hook_on: Callable[..., FirstPromoterHook],
    proxy: Callable[..., list[bytes]],
    logged: Callable[[], str],
) -> None:
    seen = proxy()

    result = hook_on(Server(), host="https://firstpromoter.test").track_refund(REFUND)

    assert result.outcome == "failed"
    assert "the proxy refused the connection with 407 (firstpromoter.test:443)" in str(result.message)
    assert seen
    assert "proxy-password" not in logged()


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("http://someone:proxy-password@127.0.0.1:9", "the proxy could not be reached: the connection was refused"),
        (
            "http://someone:proxy-password@no-such-host.invalid:1",
            "the proxy could not be reached: name resolution failed",
        ),
        ("ftp://someone:proxy-password@127.0.0.1:9", "the proxy's address is unusable"),
        ("http://someone:proxy-password@:x", "the proxy's address is unusable"),
    ],
)
def test_unusable_proxy_is_named_without_its_address(
    address: str,
    told: str,
    hook_on: Callable[..., FirstPromoterHook],
    no_proxy: None,
    logged: Callable[[], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("https_proxy", address)
    assert problem(hook_on(Server(), host="https://firstpromoter.test")) == f"{told} (firstpromoter.test:443)"
    assert "proxy-password" not in logged()


def test_hosts_in_no_proxy_are_reached_without_the_proxy(
    certificate: Path,
    serve: Callable[..., Server],
    hook_on: Callable[..., FirstPromoterHook],
    proxy: Callable[..., list[bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = serve(certificate)
    seen = proxy(server.port)
    monkeypatch.setenv("CURL_CA_BUNDLE", str(certificate))
    monkeypatch.setenv("no_proxy", "example.com,127.0.0.1")

    assert hook_on(server, host=f"https://127.0.0.1:{server.port}").track_refund(REFUND).outcome == "recorded"

    assert seen == []
    assert len(server.asked) == 1


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
    assert "track/refund" in log, "the log has the lines of the libraries, too"
    assert KEY not in text
    assert EMAIL not in text
