"""What lies between client and API: certificates, proxies, and the settings of the machine."""

from __future__ import annotations

import ipaddress
import select
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest


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
