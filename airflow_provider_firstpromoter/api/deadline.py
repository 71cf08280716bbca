"""
Limits the time and the size of every response.

A socket's own timeout begins anew with each byte, so that a server that sends slowly could hold a request forever; and
neither ``http.client`` nor ``urllib3`` limits what a response has besides its body (interim responses, chunk sizes,
trailers).
"""

from __future__ import annotations

import io
import threading
import time
from http.client import HTTPResponse
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

#: The most bytes that are read of one response, in total: headers, framing, and the body as it is sent.
LARGEST_TRANSFER = 2 * 1024 * 1024


class ResponseTooLarge(OSError):
    """A response went on after :data:`LARGEST_TRANSFER` bytes."""


class DeadlineAdapter(HTTPAdapter):
    """
    Makes the read timeout apply to the whole response, from its status line to the last byte of its body.

    A response that is late or too large ends with an error, as any read timeout does: a part of it is never taken for
    the whole.
    """

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager


class _ThreadState(threading.local):
    """State of the request that this thread makes, set by its connection."""

    request_sent = False


#: A thread sets ``request_sent`` to False before a request; its connection sets it to True when it begins to send.
thread_state = _ThreadState()


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
        thread_state.request_sent = True
        super().endheaders(*args, **kwargs)  # type: ignore[misc]

    def response_class(self, sock: Any, *args: Any, **kwargs: Any) -> HTTPResponse:
        """Return the object with which http.client reads a response, including a proxy's response to CONNECT."""
        response = HTTPResponse(sock, *args, **kwargs)
        if self.timeout is not None:
            response.fp = io.BufferedReader(_BoundedReader(response.fp.detach(), sock, self.timeout))
        return response


class _HTTPConnection(_BoundedConnection, HTTPConnection):  # type: ignore[misc]  # a method in the place of a class
    pass


class _HTTPSConnection(_BoundedConnection, HTTPSConnection):  # type: ignore[misc]  # a method in the place of a class
    pass


class _HTTPPool(HTTPConnectionPool):
    ConnectionCls = _HTTPConnection


class _HTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _HTTPSConnection


_POOLS = {"http": _HTTPPool, "https": _HTTPSPool}
