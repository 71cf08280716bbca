"""An end to every answer: a socket's own timeout begins anew with each byte, and a server may drip for ever."""

from __future__ import annotations

import io
import threading
import time
from http.client import HTTPResponse
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection


class DeadlineAdapter(HTTPAdapter):
    """
    Makes the read timeout one for the whole answer, from its status line to its body's last byte.

    An answer that is late ends as any read timeout does, with an error: what was read of it is not taken for a whole.
    """

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager


class _Timed(io.RawIOBase):
    """The bytes of a socket for so many seconds from now; then TimeoutError."""

    def __init__(self, raw: io.RawIOBase, sock: Any, seconds: float) -> None:
        self._raw = raw
        self._sock = sock
        self._until = time.monotonic() + seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer did not end in time")
        self._sock.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _ThreadState(threading.local):
    """What this thread's connections know of the request that it makes."""

    request_sent = False


#: Each thread sets ``request_sent`` to False before a request; its connection sets it to True as it begins to send.
thread_state = _ThreadState()


class _TimedConnection:
    timeout: float | None
    sock: Any

    def endheaders(self, *args: Any, **kwargs: Any) -> None:
        """Connect, then send: until the connection stands, a failed request cannot have reached the server."""
        if self.sock is None:
            self.connect()  # type: ignore[attr-defined]
        thread_state.request_sent = True
        super().endheaders(*args, **kwargs)  # type: ignore[misc]

    def response_class(self, sock: Any, *args: Any, **kwargs: Any) -> HTTPResponse:
        """What http.client reads an answer with, a proxy's to CONNECT included."""
        response = HTTPResponse(sock, *args, **kwargs)
        if self.timeout is not None:
            response.fp = io.BufferedReader(_Timed(response.fp.detach(), sock, self.timeout))
        return response


class _HTTPConnection(_TimedConnection, HTTPConnection):  # type: ignore[misc]  # a method in the place of a class
    pass


class _HTTPSConnection(_TimedConnection, HTTPSConnection):  # type: ignore[misc]  # a method in the place of a class
    pass


class _HTTPPool(HTTPConnectionPool):
    ConnectionCls = _HTTPConnection


class _HTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _HTTPSConnection


_POOLS = {"http": _HTTPPool, "https": _HTTPSPool}
