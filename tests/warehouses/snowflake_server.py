"""
A Snowflake to test against: fakesnow's HTTP server behind TLS, to which the real hook and connector connect.

The emulator is repaired in one place: it returns a timestamp that is NULL as 1970-01-01.
"""

from __future__ import annotations

import datetime
import gzip
import ipaddress
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fakesnow.arrow
import fakesnow.server
import pyarrow
import pyarrow.compute
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from starlette.responses import JSONResponse, Response


class SnowflakeServer:
    """
    The running server, and the statements that it got.

    :param port: of the loopback
    :param certificate: the file with the server's certificate
    """

    def __init__(self, port: int, certificate: Path) -> None:
        self.port = port
        self.certificate = certificate
        #: The text of every statement, in their order.
        self.statements: list[str] = []
        #: Takes a statement; the message that it returns refuses the statement.
        self.refuse: Callable[[str], str | None] = lambda _: None
        #: Takes a statement that ran; where it returns True the response is lost, and the connector asks again.
        self.lose: Callable[[str], bool] = lambda _: False

    def reset(self) -> None:
        """Forget the statements and what was to happen at them."""
        self.statements.clear()
        self.refuse = lambda _: None
        self.lose = lambda _: False

    def connection(self, database: str) -> dict[str, Any]:
        """The fields of an Airflow connection to a database, which is made at the first use."""
        return {
            "conn_type": "snowflake",
            "login": "airflow",
            "password": "not-a-secret",
            "schema": "PUBLIC",
            "extra": {
                "account": "fakesnow",
                "database": database,
                "host": "127.0.0.1",
                "port": self.port,
                "insecure_mode": True,  # no revocation check of a certificate that was made a minute ago
                "session_parameters": {"CLIENT_OUT_OF_BAND_TELEMETRY_ENABLED": False},
            },
        }

    def url(self, database: str) -> str:
        """The same for SQLAlchemy."""
        return f"snowflake://airflow:not-a-secret@127.0.0.1:{self.port}/{database}/PUBLIC?account=fakesnow&insecure_mode=True"


def environment(server: SnowflakeServer) -> dict[str, str]:
    """The variables by which the connector trusts the server, and looks for no cloud around it."""
    return {"REQUESTS_CA_BUNDLE": str(server.certificate), "SNOWFLAKE_DISABLE_PLATFORM_DETECTION": "true"}


class _Recorder:
    """ASGI middleware that notes each statement, refuses statements and loses responses."""

    def __init__(self, app: Any, server: SnowflakeServer) -> None:
        self.app = app
        self.server = server

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["path"] != "/queries/v1/query-request":
            await self.app(scope, receive, send)
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        statement = json.loads(gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body)["sqlText"]
        self.server.statements.append(statement)
        if refusal := self.server.refuse(statement):
            await _refusal(refusal)(scope, receive, send)
            return

        async def whole() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        kept: list[Any] = []

        async def keep(message: Any) -> None:
            kept.append(message)

        await self.app(scope, whole, keep)
        if self.server.lose(statement):
            await Response(status_code=503)(scope, receive, send)
            return
        if kept[0]["status"] == 500:
            # What the emulator cannot do. The connector would try it again for ever.
            said = b"".join(message.get("body", b"") for message in kept)
            await _refusal(json.loads(said)["message"])(scope, receive, send)
            return
        for message in kept:
            await send(message)


def _refusal(message: str) -> JSONResponse:
    data = {"errorCode": "003001", "sqlState": "42501"}
    return JSONResponse({"data": data, "code": "003001", "message": message, "success": False})


@contextmanager
def running_snowflake(folder: Path) -> Iterator[SnowflakeServer]:
    """
    Serve on a free port of the loopback.

    :param folder: for the certificate and its key
    """
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    _write_certificate(certificate, key)
    fakesnow.arrow.timestamp_to_sf_struct = _timestamps_that_may_be_null(fakesnow.arrow.timestamp_to_sf_struct)
    server = SnowflakeServer(0, certificate)
    config = uvicorn.Config(
        _Recorder(fakesnow.server.app, server),
        host="127.0.0.1",
        port=0,
        ssl_certfile=str(certificate),
        ssl_keyfile=str(key),
        log_level="critical",
    )
    http = uvicorn.Server(config)
    thread = threading.Thread(target=http.run, name="snowflake", daemon=True)
    thread.start()
    until = time.monotonic() + 30
    while not http.started:
        assert thread.is_alive(), "the server ended"
        assert time.monotonic() < until, "the server did not start within half a minute"
        time.sleep(0.02)
    server.port = http.servers[0].sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        http.should_exit = http.force_exit = True
        thread.join(10)


def _write_certificate(certificate: Path, key: Path) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(private, hashes.SHA256())
    )
    certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )


def _timestamps_that_may_be_null(original: Any) -> Any:
    def with_nulls(timestamps: Any) -> Any:
        if isinstance(timestamps, pyarrow.ChunkedArray):
            timestamps = timestamps.combine_chunks()
        filled = original(timestamps.fill_null(0))
        fields = [filled.type.field(index) for index in range(filled.type.num_fields)]
        return pyarrow.StructArray.from_arrays(filled.flatten(), fields=fields, mask=timestamps.is_null())

    return with_nulls
