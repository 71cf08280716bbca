"""The API over HTTP: who may call, how often, and where each call goes."""

from __future__ import annotations

import json
import math
import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

from fastapi import FastAPI, Request, Response

from airflow_provider_firstpromoter.sandbox.front import API
from airflow_provider_firstpromoter.sandbox.limits import RateLimit
from airflow_provider_firstpromoter.sandbox.settings import Account, Settings
from airflow_provider_firstpromoter.sandbox.tracking import Refused, Tracking

Call = Callable[[Account, bytes], dict[str, Any] | None]


class Door:
    """
    Lets a request in, as one of the accounts, or refuses it.

    :param settings: the accounts, and the form of ``Retry-After``
    :param limit: of requests per account
    """

    def __init__(self, settings: Settings, limit: RateLimit) -> None:
        self._accounts = {account.id: account for account in settings.accounts}
        self._retry_after = settings.retry_after
        self._limit = limit

    def account(self, request: Request) -> Account:
        """
        :raises Refused: 401 without a good key, 403 for an account that the key is not of
        :raises TooMany: the account is over its limit
        """
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not any(_same(key, account.api_key) for account in self._accounts.values()):
            raise Refused(401, "Unauthorized", code="unauthorized")
        account = self._accounts.get(request.headers.get("account-id", ""))
        if account is None or not _same(key, account.api_key):
            raise Refused(403, "Forbidden", code="forbidden")
        if wait := self._limit.wait(account.id):
            raise TooMany(wait, self._retry_after)
        return account


class TooMany(Refused):
    """
    :param wait: seconds until the next request may pass
    :param form: of the ``Retry-After`` header: ``none``, ``seconds`` or ``date``
    """

    def __init__(self, wait: float, form: str) -> None:
        super().__init__(429, "Too many requests")
        seconds = math.ceil(wait)
        self.headers = {
            "none": {},
            "seconds": {"Retry-After": str(seconds)},
            "date": {"Retry-After": format_datetime(datetime.now(UTC) + timedelta(seconds=seconds + 1), usegmt=True)},
        }[form]


def make_api(door: Door, tracking: Tracking) -> FastAPI:
    """
    :param door: checks every call
    :param tracking: does the work
    :return: the application, without its control endpoints
    """
    app = FastAPI(title="FirstPromoter sandbox", version="2")

    @app.exception_handler(Refused)
    async def refused(request: Request, refusal: Refused) -> Response:
        return _json(refusal.status, refusal.body, getattr(refusal, "headers", None))

    def track(path: str, call: Call) -> None:
        # The body is parsed once, by the call itself: nothing between the socket and the books looks at it again.
        async def endpoint(request: Request) -> Response:
            account = door.account(request)
            body = call(account, await request.body())
            return Response(status_code=204) if body is None else _json(200, body)

        app.add_api_route(f"{API}/track/{path}", endpoint, methods=["POST"], name=path)

    track("refund", tracking.refund)
    track("sale", tracking.sale)
    track("signup", tracking.signup)
    track("cancellation", tracking.cancellation)
    return app


def _json(status: int, body: Any, headers: dict[str, str] | None = None) -> Response:
    return Response(json.dumps(body), status, headers, "application/json; charset=utf-8")


def _same(one: str, other: str) -> bool:
    return secrets.compare_digest(one.encode(), other.encode())
