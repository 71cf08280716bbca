"""
One thread's session with FirstPromoter's API: headers, proxies, certificates and connections.

What is the same for all requests is computed once: for each request anew, it costs more than sending the request.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import requests
from requests.auth import AuthBase

from airflow_provider_firstpromoter import __version__
from airflow_provider_firstpromoter.account import Account
from airflow_provider_firstpromoter.api.deadline import DeadlineAdapter


class Client:
    """
    One thread's session.

    ``Session.request`` looks up the environment's proxies and certificates and merges headers and cookies again for
    each request. Requests are given to the session's adapter instead, which also ignores the cookies and redirects of
    a hostile server.
    """

    def __init__(self, account: Account) -> None:
        self.session = session = _Session()
        session.auth = _AccountAuth(account)
        self._adapter = _Adapter()
        for scheme in ("https://", "http://"):
            session.mount(scheme, self._adapter)
        session.headers.update(
            {
                "Accept": "application/json",
                "Accept-Encoding": "gzip",  # the only one that can be unzipped within bounds
                "User-Agent": f"airflow-provider-firstpromoter/{__version__}",
            }
        )
        # A proxy meant for other hosts must not see the key on its way to this very machine.
        session.trust_env = account.base_url.startswith("https:")
        self._base_url = account.base_url
        self._settings: dict[str, Any] = {
            **session.merge_environment_settings(account.base_url, {}, True, None, None),
            "timeout": (account.extra.timeout, account.extra.timeout),
        }
        self._prepared: dict[tuple[str, str, bool], requests.PreparedRequest] = {}

    def send(
        self, method: str, path: str, json: Mapping[str, Any] | None, params: Mapping[str, Any] | None
    ) -> requests.Response:
        """Send a request; the body of its response is not read yet."""
        key = method, path, json is not None
        prepared = self._prepared.get(key)
        if prepared is None:
            prepared = self.session.prepare_request(requests.Request(method, self._base_url + path))
            self._prepared[key] = prepared
        if json is not None:
            prepared.prepare_body(None, None, json)  # replaces the body of the request before
        if params is not None:
            prepared = prepared.copy()
            prepared.prepare_url(prepared.url, params)
        return self._adapter.send(prepared, **self._settings)


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> None:
        """Follow no redirect: it could carry the key to another host, and requests would read all of its body."""


class _Adapter(DeadlineAdapter):
    """Remembers what it found for the last request: it serves one thread, one API and one way to it."""

    _pool: tuple[Any, Any] = None, None
    _url: tuple[Any, str] = None, ""

    def get_connection_with_tls_context(
        self, request: requests.PreparedRequest, verify: Any, proxies: Any = None, cert: Any = None
    ) -> Any:
        way = verify, cert, tuple((proxies or {}).items()), (request.url or "").split("/", 3)[:3]
        if self._pool[0] != way:
            self._pool = way, super().get_connection_with_tls_context(request, verify, proxies, cert)
        return self._pool[1]

    def request_url(self, request: requests.PreparedRequest, proxies: Any) -> str:
        way = request.url, proxies
        if self._url[0] != way:
            self._url = way, super().request_url(request, proxies)
        return self._url[1]

    def build_response(self, req: requests.PreparedRequest, resp: Any) -> requests.Response:
        """Return a response without cookies, which are not kept, and with urllib3's headers themselves."""
        response = requests.Response()
        response.request, response.url, response.connection = req, req.url or "", self
        response.status_code, response.reason, response.raw = resp.status, resp.reason, resp
        response.headers = resp.headers
        response.encoding = "utf-8"  # as JSON is, whatever its Content-Type does not say
        return response

    def close(self) -> None:
        self._pool = None, None
        super().close()


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
