"""HTTP requests to FirstPromoter: sessions, headers, limits of a response, and errors in words of our own."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import Any, NamedTuple

import requests
from requests.auth import AuthBase
from urllib3.exceptions import ReadTimeoutError

from airflow_provider_firstpromoter import __version__
from airflow_provider_firstpromoter.api.account import Account
from airflow_provider_firstpromoter.api.deadline import DeadlineAdapter, thread_state
from airflow_provider_firstpromoter.api.rate_limit import rate_limiter_for
from airflow_provider_firstpromoter.api.responses import BROKEN_JSON, NO_JSON, ApiResponse, retry_after
from airflow_provider_firstpromoter.api.retry import retrying
from airflow_provider_firstpromoter.exceptions import AccessRefusedError
from airflow_provider_firstpromoter.refunds import masked

#: Bytes; a refund's answer has some two thousand.
LARGEST_RESPONSE = 1024 * 1024


class Exchange(NamedTuple):
    """
    A request, with all its attempts, and the response to the last one.

    :param response: the response to the last attempt
    :param attempts: how many HTTP requests were made
    :param lost: whether FirstPromoter may have processed an earlier attempt, because that attempt was sent and its
        response never arrived whole (no status, 5xx, 408, or a 200 whose JSON breaks off). A 409, 404 or 204 is then
        ambiguous: it may be the echo of this very request.
    """

    response: ApiResponse
    attempts: int
    lost: bool


class Transport:
    """
    Makes the requests of one account; safe to use from several threads.

    :param account: whose key and Account ID the requests carry
    :param cancelled: set to make every wait end at once
    """

    def __init__(self, account: Account, cancelled: threading.Event) -> None:
        self.account = account
        self.cancelled = cancelled
        #: The account's budget of requests, shared with every other transport of this process.
        self.rate_limiter = rate_limiter_for(account)
        #: HTTP requests made so far, retries included.
        self.requests = 0
        self._retrying = retrying(account.extra.max_attempts, self.rate_limiter, cancelled)
        self._lock = threading.Lock()
        self._sessions = threading.local()

    def session(self) -> requests.Session:
        """This thread's session; it sends both of the headers that the API wants."""
        session: requests.Session | None = getattr(self._sessions, "session", None)
        if session is None:
            session = requests.Session()
            session.auth = _AccountAuth(self.account)
            for scheme in ("https://", "http://"):
                session.mount(scheme, DeadlineAdapter())
            session.headers.update(
                {"Accept": "application/json", "User-Agent": f"airflow-provider-firstpromoter/{__version__}"}
            )
            # A proxy meant for the outside must not see the key on its way to this very machine.
            session.trust_env = self.account.base_url.startswith("https:")
            self._sessions.session = session
        return session

    def request(self, method: str, path: str, **kwargs: Any) -> Exchange:
        """
        Make a request until its response is final or the attempts are used up.

        :param kwargs: those of :meth:`requests.Session.request`
        :raises AccessRefusedError: on 401 and 403 with FirstPromoter's JSON, an object with a text ``message``
        :raises SyncInterruptedError: if the transport is cancelled meanwhile
        """
        possibly_processed: list[bool] = []

        def attempt() -> ApiResponse:
            response = self.attempt(method, path, **kwargs)
            possibly_processed.append(_possibly_processed(response))
            return response

        response: ApiResponse = self._retrying(attempt)
        if response.status in (401, 403) and response.message:
            raise AccessRefusedError(self._refusal(response, kwargs.get("json")))
        return Exchange(response, len(possibly_processed), any(possibly_processed[:-1]))

    def attempt(self, method: str, path: str, **kwargs: Any) -> ApiResponse:
        """Make a request once, when the account's rate allows it."""
        self.rate_limiter.acquire(self.cancelled)
        with self._lock:
            self.requests += 1
        timeout = self.account.extra.timeout
        thread_state.request_sent = False
        try:
            with self.session().request(
                method,
                self.account.base_url + path,
                timeout=(timeout, timeout),
                allow_redirects=False,
                stream=True,
                **kwargs,
            ) as response:
                return _read(response)
        except requests.RequestException as error:
            return ApiResponse(problem=_transport_problem(error))

    def _refusal(self, response: ApiResponse, asked: Mapping[str, Any] | None) -> str:
        message = None
        if asked is not None:  # else whom the message may name is not known, and cannot be masked
            private = self.account.api_key.get_secret_value(), asked.get("uid"), asked.get("email")
            message = masked(response.message, *private)
        return (
            f"FirstPromoter refused access with connection {self.account.conn_id!r} ({response.status}"
            f"{f': {message}' if message else ''}). Check its password (API key) and login (Account ID) against "
            "Settings > Integrations in FirstPromoter."
        )


class _AccountAuth(AuthBase):
    """Both headers; as an ``auth`` object, so that a .netrc of the worker cannot replace the key."""

    def __init__(self, account: Account) -> None:
        self._headers = {
            "Authorization": f"Bearer {account.api_key.get_secret_value()}",
            "Account-ID": account.account_id,
        }

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers.update(self._headers)
        return request


def _possibly_processed(response: ApiResponse) -> bool:
    """Whether the server may have processed this thread's last request although its response is not usable."""
    if response.status is None:
        return thread_state.request_sent
    return response.status != 429 and response.transient


def _read(response: requests.Response) -> ApiResponse:
    """Read an answer, but not without bounds."""
    told = retry_after(response.headers.get("Retry-After"))
    body = bytearray()
    for chunk in response.iter_content(64 * 1024):
        body += chunk
        if len(body) > LARGEST_RESPONSE:
            return ApiResponse(response.status_code, problem=NO_JSON, retry_after=told)
    try:
        return ApiResponse(response.status_code, payload=json.loads(body), retry_after=told)
    except (ValueError, RecursionError):
        looks_like_json = body.lstrip()[:1] in (bytearray(b"{"), bytearray(b"["))
        return ApiResponse(response.status_code, problem=BROKEN_JSON if looks_like_json else NO_JSON, retry_after=told)


def _transport_problem(error: requests.RequestException) -> str:
    """In words of our own: requests' messages hold URLs, and a proxy's address may hold a password."""
    if isinstance(error, requests.ConnectTimeout):
        return "connecting timed out"
    # In the middle of a body, requests calls a timeout a ConnectionError.
    if isinstance(error, requests.Timeout) or any(isinstance(cause, ReadTimeoutError) for cause in error.args):
        return "timed out"
    if isinstance(error, requests.exceptions.SSLError):
        return "TLS failed (certificate or protocol)"
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy refused"
    if isinstance(error, requests.exceptions.ContentDecodingError):
        return "the answer's compression is broken"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the answer broke off"
    if isinstance(error, requests.ConnectionError):
        return "the connection was refused or broke"
    return type(error).__name__
