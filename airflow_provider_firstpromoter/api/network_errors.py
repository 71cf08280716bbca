"""Describes network errors without the libraries' own messages, which can contain URLs and passwords."""

from __future__ import annotations

import http.client
import os
import re
import socket
import ssl
import zlib
from collections.abc import Iterator
from typing import TypeVar

import requests
import urllib3.exceptions

from airflow_provider_firstpromoter.api.deadline import ResponseTooLarge

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

#: What urllib3 raises without a further cause where a response breaks the protocol.
_HTTPError = urllib3.exceptions.HTTPError
_Error = TypeVar("_Error", bound=BaseException)


def describe_network_error(error: BaseException, host: str, sent: bool) -> str:
    """
    Say why a request got no response.

    :param error: one of :data:`NETWORK_ERRORS`
    :param host: the host and port that the request was meant for; a proxy is never named, its address may hold a
        password
    :param sent: whether the connection was established and the request was sent
    """
    causes = list(_causes(error))
    return f"{_proxy_problem(causes) or (_problem_after if sent else _problem_before)(causes)} ({host})"


def _proxy_problem(causes: list[BaseException]) -> str | None:
    for cause in causes:
        if tunnel := re.match(r"Tunnel connection failed: (\d{3})\b", str(cause)):
            return f"the proxy refused the connection with {tunnel[1]}"
    if _first(causes, requests.exceptions.ProxyError) or _first(causes, urllib3.exceptions.ProxyError):
        return f"the proxy could not be reached: {_problem_before(causes)}"
    if _first(causes, requests.exceptions.InvalidSchema) or _first(causes, urllib3.exceptions.LocationValueError):
        return "the proxy's address is unusable"  # the connection's own is checked when it is read
    return None


def _problem_before(causes: list[BaseException]) -> str:
    """Say why no connection was established."""
    if _first(causes, socket.gaierror):
        return "name resolution failed"
    if _first(causes, requests.ConnectTimeout) or _first(causes, TimeoutError):
        return "connecting timed out"
    if any("Could not find a suitable TLS CA certificate bundle" in str(cause) for cause in causes):
        return "TLS failed: the file that REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE names does not exist"
    return _tls_problem(causes) or _system_problem(causes) or type(causes[0]).__name__


def _problem_after(causes: list[BaseException]) -> str:
    """Say why no complete response came although the request was sent."""
    if _first(causes, ResponseTooLarge):
        return "the response is too large"
    if _first(causes, TimeoutError) or _first(causes, urllib3.exceptions.ReadTimeoutError):
        return "the response timed out"
    if _first(causes, urllib3.exceptions.DecodeError) or _first(causes, zlib.error):
        return "the response's compression is broken"
    if _first(causes, http.client.IncompleteRead) or _first(causes, urllib3.exceptions.IncompleteRead):
        return "the response broke off"
    if _first(causes, ssl.SSLEOFError) or _first(causes, ConnectionError):
        return "the connection broke off"
    if problem := _tls_problem(causes) or _system_problem(causes):
        return problem
    if any(isinstance(cause, http.client.HTTPException | ValueError | _HTTPError) for cause in causes):
        return "the response is not HTTP"
    return type(causes[0]).__name__


def _tls_problem(causes: list[BaseException]) -> str | None:
    if wrong := _first(causes, ssl.SSLCertVerificationError):
        return f"TLS failed: {wrong.verify_message}"
    if failed := _first(causes, ssl.SSLError):
        return f"TLS failed: {(failed.reason or 'unknown reason').replace('_', ' ').lower()}"
    return "TLS failed" if _first(causes, requests.exceptions.SSLError) else None


def _system_problem(causes: list[BaseException]) -> str | None:
    if _first(causes, ConnectionRefusedError):
        return "the connection was refused"
    for cause in causes:
        if isinstance(cause, OSError) and isinstance(cause.errno, int):
            return f"the connection failed: {os.strerror(cause.errno)}"
    return None


def _first(causes: list[BaseException], kind: type[_Error]) -> _Error | None:
    return next((cause for cause in causes if isinstance(cause, kind)), None)


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
