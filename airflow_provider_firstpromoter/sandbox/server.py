"""The HTTP server that runs a sandbox, in a thread of this process or in a process of its own."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from airflow_provider_firstpromoter.sandbox.app import Sandbox
from airflow_provider_firstpromoter.sandbox.control import make_control_api
from airflow_provider_firstpromoter.sandbox.middleware import API_PATH
from airflow_provider_firstpromoter.sandbox.settings import Settings


def _protocol() -> type[asyncio.Protocol]:
    """Return uvicorn's fastest installed HTTP protocol, extended to give the faults access to the transport."""
    base: Any
    if importlib.util.find_spec("httptools"):
        from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol as base
    else:
        from uvicorn.protocols.http.h11_impl import H11Protocol as base

    class TransportExposingProtocol(base):  # type: ignore[misc]
        def connection_made(self, transport: asyncio.Transport) -> None:
            # uvicorn passes a copy of app_state to every request as scope["state"].
            self.app_state: dict[str, Any] = {**self.app_state, "transport": transport}
            super().connection_made(transport)

    return TransportExposingProtocol


def _is_relevant(record: logging.LogRecord) -> bool:
    """Return False for uvicorn's messages about requests that were in progress when the sandbox was stopped."""
    cancelled = record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError)
    return not cancelled and "graceful shutdown" not in str(record.msg)


def prepare_server(settings: Settings) -> tuple[Sandbox, uvicorn.Server, socket.socket]:
    """
    Create a sandbox and its server, and bind the socket.

    :return: the sandbox, the server, and the socket on which to run the server
    :raises OSError: if the address is in use
    """
    sandbox = Sandbox(settings)
    sandbox.api.mount("/sandbox", make_control_api(sandbox))
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.create_server((settings.host, settings.port), family=family, backlog=1024)
    host, port = listener.getsockname()[:2]
    sandbox.base_url = f"http://{f'[{host}]' if ':' in host else host}:{port}{API_PATH}"
    logging.getLogger("uvicorn.error").addFilter(_is_relevant)
    config = uvicorn.Config(
        sandbox.app,
        http=_protocol(),
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=0,
    )
    return sandbox, uvicorn.Server(config), listener


@contextmanager
def running_sandbox(settings: Settings | None = None) -> Iterator[Sandbox]:
    """
    Run a sandbox in a thread of this process until the ``with`` block ends.

    :param settings: how the sandbox behaves; by default it listens on a free port of the loopback interface
    """
    sandbox, server, listener = prepare_server(settings or Settings())
    thread = threading.Thread(target=server.run, args=([listener],), name="firstpromoter-sandbox", daemon=True)
    thread.start()
    try:
        # The socket is already listening, so that clients can connect before the thread accepts connections.
        yield sandbox
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
        sandbox.store.close()
