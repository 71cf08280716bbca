"""HTTP requests to FirstPromoter: retries, the rate limit, and the bounds of a response."""

from __future__ import annotations

import json
import threading
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import requests

from airflow_provider_firstpromoter.account import Account
from airflow_provider_firstpromoter.api.client import Client
from airflow_provider_firstpromoter.api.deadline import thread_state
from airflow_provider_firstpromoter.api.network_errors import NETWORK_ERRORS, describe_network_error
from airflow_provider_firstpromoter.api.rate_limit import rate_limiter_for, sleep
from airflow_provider_firstpromoter.api.responses import BROKEN_JSON, NO_JSON, ApiResponse
from airflow_provider_firstpromoter.api.retry import Retries, parse_retry_after
from airflow_provider_firstpromoter.calls import masked
from airflow_provider_firstpromoter.exceptions import AccessRefusedError, SyncInterruptedError

#: The most bytes of a body, once it is unzipped; the response to a refund has about two thousand.
LARGEST_RESPONSE = 1024 * 1024
#: Bytes that are read and unzipped in one go.
_CHUNK = 64 * 1024


class Exchange(NamedTuple):
    """
    A request with all its attempts, and the response to the last one.

    :param response: the response to the last attempt
    :param attempts: how many HTTP requests were made
    :param lost: whether FirstPromoter may have processed an earlier attempt, because that attempt was sent and its
        response never arrived whole (no status, 5xx, 408, or a 200 whose JSON breaks off). A 409, 404 or 204 is then
        ambiguous: it may be a consequence of that earlier attempt.
    """

    response: ApiResponse
    attempts: int
    lost: bool


class Transport:
    """
    Makes the requests of one account. Several threads may use it.

    :param account: the account whose key and Account ID the requests carry
    :param cancelled: set to end every wait at once
    """

    def __init__(self, account: Account, cancelled: threading.Event) -> None:
        self.account = account
        self.cancelled = cancelled
        #: The account's rate limit, shared with every other transport of this process.
        self.rate_limiter = rate_limiter_for(account)
        #: The number of HTTP requests made so far, retries included.
        self.requests = 0
        self._lock = threading.Lock()
        self._threads = threading.local()

    def session(self) -> requests.Session:
        """Return this thread's session. It sends both headers that the API wants, and follows no redirect."""
        return self._client().session

    def request(
        self, method: str, path: str, *, json: Mapping[str, Any] | None = None, params: Mapping[str, Any] | None = None
    ) -> Exchange:
        """
        Make a request until its response is final or it may not be sent again.

        :param path: what follows the account's base URL
        :param json: the body
        :param params: the query
        :raises AccessRefusedError: on 401 and 403 with FirstPromoter's JSON, an object with a text ``message``
        :raises SyncInterruptedError: if the transport is cancelled meanwhile
        """
        attempts, lost = 1, False
        response = self.attempt(method, path, json=json, params=params)
        if response.transient:
            retries = Retries(self.account.extra.max_attempts)
            while (seconds := retries.seconds_before_next(response)) is not None:
                lost = lost or _possibly_processed(response)
                try:
                    if response.status == 429:
                        self.rate_limiter.pause(seconds)  # for all threads: none takes what another waits for
                    else:
                        sleep(seconds, self.cancelled)
                    response = self.attempt(method, path, json=json, params=params)
                except SyncInterruptedError as error:
                    error.lost = lost
                    raise
                attempts += 1
        if response.status in (401, 403) and response.message:
            refused = AccessRefusedError(self._refusal(response, json))
            refused.lost = lost
            raise refused
        return Exchange(response, attempts, lost)

    def attempt(
        self, method: str, path: str, *, json: Mapping[str, Any] | None = None, params: Mapping[str, Any] | None = None
    ) -> ApiResponse:
        """
        Make a request once, as soon as the account's rate limit allows it.

        :returns: the response, or why there is none; no error of the network and no hostile response raises anything
        :raises SyncInterruptedError: if the transport is cancelled before the request is sent
        """
        self.rate_limiter.acquire(self.account.extra.requests_per_minute, self.cancelled)
        with self._lock:
            self.requests += 1
        thread_state.request_sent = False
        try:
            with self._client().send(method, path, json, params) as response:
                return _read(response)
        except NETWORK_ERRORS as error:
            return ApiResponse(problem=describe_network_error(error, self.account.host, thread_state.request_sent))
        finally:
            self.rate_limiter.release()

    def _client(self) -> Client:
        client: Client | None = getattr(self._threads, "client", None)
        if client is None:
            client = self._threads.client = Client(self.account)
        return client

    def _refusal(self, response: ApiResponse, sent: Mapping[str, Any] | None) -> str:
        message = None
        if sent is not None:  # else the customer whom the message may name is not known, and cannot be masked
            private = self.account.api_key.get_secret_value(), sent.get("uid"), sent.get("email")
            message = masked(response.message, *private)
        return (
            f"FirstPromoter refused access with connection {self.account.conn_id!r} ({response.status}"
            f"{f': {message}' if message else ''}). Check its password (API key) and login (Account ID) against "
            "Settings > Integrations in FirstPromoter."
        )


def _possibly_processed(response: ApiResponse) -> bool:
    """Return whether the server may have processed this thread's last request although its response is not usable."""
    if response.status is None:
        return thread_state.request_sent
    return response.status != 429 and response.transient


def _read(response: requests.Response) -> ApiResponse:
    """Read a response within bounds; the body of a redirect is not read at all."""
    status, retry_after = response.status_code, parse_retry_after(response.headers.get("Retry-After"))
    body = None if 300 <= status < 400 else _read_body(response)
    if body is None:
        return ApiResponse(status, problem=NO_JSON, retry_after=retry_after)
    try:
        return ApiResponse(status, payload=json.loads(body), retry_after=retry_after)
    except (ValueError, RecursionError):
        looks_like_json = body.lstrip()[:1] in (b"{", b"[")
        return ApiResponse(status, problem=BROKEN_JSON if looks_like_json else NO_JSON, retry_after=retry_after)


def _read_body(response: requests.Response) -> bytes | None:
    """
    Read a body, and unzip it piece by piece: what 64 kB unzip to has no other bound.

    :returns: None if the body is too large or compressed in a way that was not requested
    """
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("", "identity", "gzip", "x-gzip"):
        return None
    unzip = zlib.decompressobj(16 + zlib.MAX_WBITS) if "gzip" in encoding else None
    body = bytearray()
    for chunk in response.raw.stream(_CHUNK, decode_content=False):
        body += unzip.decompress(chunk, LARGEST_RESPONSE + 1 - len(body)) if unzip else chunk
        if len(body) > LARGEST_RESPONSE:
            return None
    if unzip and not unzip.eof and (body or unzip.unconsumed_tail):
        raise zlib.error("the body ends before its compressed data")
    return bytes(body)
