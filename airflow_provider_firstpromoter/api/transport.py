"""
HTTP to one account's host, within bounds, imported when the first request is made: most runs have nothing to send.

A socket's own timeout begins anew with each byte, so that a server that sends slowly could hold a request forever, and
neither ``http.client`` nor ``urllib3`` limits what a response has besides its body (interim responses, chunk sizes,
trailers). So the connection itself limits the time and the bytes of every response.
"""

from __future__ import annotations

import http.client
import io
import os
import re
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3.exceptions
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from urllib3.connection import HTTPConnection, HTTPSConnection

from airflow_provider_firstpromoter import __version__
from airflow_provider_firstpromoter.account import Account
from airflow_provider_firstpromoter.api.responses import ApiResponse, read_response

#: The most bytes that are read of one response, in total: headers, framing, and the body as it is sent.
LARGEST_TRANSFER = 2 * 1024 * 1024


class Transport:
    """Sends the requests of one account, in a session of each thread that does."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._threads = threading.local()

    def session(self) -> Session:
        """Return this thread's session. It sends both headers that the API wants, and only to the account's host."""
        session: Session | None = getattr(self._threads, "session", None)
        if session is None:
            session = self._threads.session = Session(self._account)
        return session

    def send(self, method: str, path: str, private: tuple[str | None, ...] | None, **content: Any) -> ApiResponse:
        """
        Send a request once.

        :returns: the response, or why there is none; no error of the network and no hostile response raises anything
        """
        _thread.sent = False
        try:
            request = requests.Request(method, self._account.base_url + path, **content)
            with self.session().send_once(request, self._account.extra.timeout) as response:
                return read_response(response, private)
        except NETWORK_ERRORS as error:
            return ApiResponse(problem=f"{_describe(error, _thread.sent)} ({self._account.host})", sent=_thread.sent)


class Session(requests.Session):
    """
    A session that makes requests to the account's host and port only, and has the API key for nothing else.

    It ignores cookies and redirects, which a hostile server could use.
    """

    def __init__(self, account: Account) -> None:
        super().__init__()
        self._account = account
        self._origin = _origin(account.base_url)
        self.auth = _AccountAuth(account)
        self.headers.update(
            {
                "Accept": "application/json",
                "Accept-Encoding": "gzip",  # the only one that can be unzipped within bounds
                "User-Agent": f"airflow-provider-firstpromoter/{__version__}",
            }
        )
        # A proxy meant for other hosts must not see the key on its way to this very machine.
        self.trust_env = account.base_url.startswith("https:")
        # Looking the environment up costs more than a request, and there is one host only.
        self._environment: Any = super().merge_environment_settings(account.base_url, {}, True, None, None)
        self._adapter = _Adapter()
        self.mount("https://", self._adapter)
        self.mount("http://", self._adapter)

    def merge_environment_settings(self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any) -> Any:
        if proxies or verify is not None or cert is not None:
            return super().merge_environment_settings(url, proxies, stream, verify, cert)
        return {**self._environment, "stream": stream}

    def send_once(self, request: requests.Request, timeout: float) -> requests.Response:
        """Send a request without what a session does around it; the body of its response is not read yet."""
        return self._adapter.send(self.prepare_request(request), timeout=timeout, **self._environment)

    def get_adapter(self, url: str) -> Any:
        if _origin(url) != self._origin:
            raise requests.exceptions.InvalidURL(
                f"The session of connection {self._account.conn_id!r} makes requests to {self._account.host} only"
            )
        return super().get_adapter(url)

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Follow no redirect: requests would read all of its body."""


class _AccountAuth(AuthBase):
    """Adds both headers. It is an ``auth`` object so that a .netrc of the worker cannot replace the key."""

    def __init__(self, account: Account) -> None:
        self._headers = {
            "Authorization": f"Bearer {account.api_key.get_secret_value()}",
            "Account-ID": account.account_id,
        }

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers.update(self._headers)
        return request


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"https": 443, "http": 80}.get(parts.scheme)


class ResponseTooLarge(OSError):
    """A response went on after :data:`LARGEST_TRANSFER` bytes."""


class _ThreadState(threading.local):
    """Whether the connection of this thread has begun to send its last request."""

    sent = False


_thread = _ThreadState()


class _BoundedReader(io.RawIOBase):
    """Reads a socket, and raises an error after ``seconds`` or :data:`LARGEST_TRANSFER` bytes."""

    def __init__(self, raw: io.RawIOBase, sock: Any, seconds: float) -> None:
        self._raw = raw
        self._sock = sock
        self._until = time.monotonic() + seconds
        self._bytes_left = LARGEST_TRANSFER

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        seconds_left = self._until - time.monotonic()
        if seconds_left <= 0:
            raise TimeoutError("the response did not end in time")
        if self._bytes_left <= 0:
            raise ResponseTooLarge("the response is too large")
        self._sock.settimeout(seconds_left)
        size = self._raw.readinto(buffer)
        self._bytes_left -= size or 0
        return size

    def close(self) -> None:
        self._raw.close()
        super().close()


class _BoundedConnection:
    """Adds the limits to a connection of urllib3, and notes when it begins to send a request."""

    timeout: float | None
    sock: Any

    def endheaders(self, *args: Any, **kwargs: Any) -> None:
        """Connect, then send. A request that fails before it is connected cannot have reached the server."""
        if self.sock is None:
            self.connect()  # type: ignore[attr-defined]
        _thread.sent = True
        super().endheaders(*args, **kwargs)  # type: ignore[misc]

    def response_class(self, sock: Any, *args: Any, **kwargs: Any) -> http.client.HTTPResponse:
        """Return the object with which http.client reads a response, including a proxy's response to CONNECT."""
        response = http.client.HTTPResponse(sock, *args, **kwargs)
        if self.timeout is not None:
            response.fp = io.BufferedReader(_BoundedReader(response.fp.detach(), sock, self.timeout))
        return response


class _HTTPPool(urllib3.HTTPConnectionPool):
    ConnectionCls = type("_HTTPConnection", (_BoundedConnection, HTTPConnection), {})


class _HTTPSPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = type("_HTTPSConnection", (_BoundedConnection, HTTPSConnection), {})


class _Adapter(HTTPAdapter):
    """Makes the read timeout apply to the whole response, from its status line to the last byte of its body."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}
        return manager


#: Everything that the libraries raise while a request is made or its response is read, hostile responses included.
NETWORK_ERRORS = (
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    OSError,
    ValueError,
    OverflowError,
    zlib.error,
)
#: Kinds of errors, and what they mean: a text, or what makes one of the error. The libraries' own messages are not
#: used, because they can contain URLs and passwords. The first row that fits one of the error's causes counts.
_Row = tuple[tuple[type[BaseException], ...], str | Callable[[Any], str | None]]
_TUNNEL = re.compile(r"Tunnel connection failed: (\d{3})\b")
_PROXY_ERRORS = requests.exceptions.ProxyError, urllib3.exceptions.ProxyError
_PROXY: list[_Row] = [
    ((OSError,), lambda e: (m := _TUNNEL.match(str(e))) and f"the proxy refused the connection with {m[1]}"),
    # The connection's own address is checked when it is read.
    ((requests.exceptions.InvalidSchema, urllib3.exceptions.LocationValueError), "the proxy's address is unusable"),
]
_ANY: list[_Row] = [
    ((ssl.SSLCertVerificationError,), lambda e: f"TLS failed: {e.verify_message}"),
    ((ssl.SSLError,), lambda e: f"TLS failed: {(e.reason or 'unknown reason').replace('_', ' ').lower()}"),
    ((requests.exceptions.SSLError,), "TLS failed"),
    ((ConnectionRefusedError,), "the connection was refused"),
    ((OSError,), lambda e: f"the connection failed: {os.strerror(e.errno)}" if isinstance(e.errno, int) else None),
]
_BEFORE: list[_Row] = [
    ((socket.gaierror,), "name resolution failed"),
    ((requests.ConnectTimeout, TimeoutError), "connecting timed out"),
    (
        (OSError,),
        lambda e: (
            "TLS failed: the file that REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE names does not exist"
            if "Could not find a suitable TLS CA certificate bundle" in str(e)
            else None
        ),
    ),
    *_ANY,
]
_AFTER: list[_Row] = [
    ((ResponseTooLarge,), "the response is too large"),
    ((TimeoutError, urllib3.exceptions.ReadTimeoutError), "the response timed out"),
    ((urllib3.exceptions.DecodeError, zlib.error), "the response's compression is broken"),
    ((http.client.IncompleteRead, urllib3.exceptions.IncompleteRead), "the response broke off"),
    ((ssl.SSLEOFError, ConnectionError), "the connection broke off"),
    *_ANY,
    ((http.client.HTTPException, ValueError, urllib3.exceptions.HTTPError), "the response is not HTTP"),
]


def _describe(error: BaseException, sent: bool) -> str:
    """
    Say why a request got no response. A proxy is never named: its address may hold a password.

    :param sent: whether the connection was established and the request was sent
    """
    causes = list(_causes(error))
    if problem := _meaning(_PROXY, causes):
        return problem
    by_proxy = any(isinstance(cause, _PROXY_ERRORS) for cause in causes)
    problem = _meaning(_AFTER if sent and not by_proxy else _BEFORE, causes) or type(error).__name__
    return f"the proxy could not be reached: {problem}" if by_proxy else problem


def _meaning(table: list[_Row], causes: list[BaseException]) -> str | None:
    for kinds, meaning in table:
        for cause in causes:
            if isinstance(cause, kinds) and (text := meaning if isinstance(meaning, str) else meaning(cause)):
                return text
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and all of its causes, which the libraries keep in different places."""
    seen: set[int] = set()
    queue: list[object] = [error]
    while queue:
        cause = queue.pop(0)
        if isinstance(cause, BaseException) and id(cause) not in seen:
            seen.add(id(cause))
            yield cause
            queue += [cause.__cause__, cause.__context__, getattr(cause, "reason", None), *cause.args]
