"""The API over HTTP: who may call, how often, and where each call goes."""

import json
import math
import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError

from airflow_provider_firstpromoter.sandbox import read_api
from airflow_provider_firstpromoter.sandbox.limits import RateLimit
from airflow_provider_firstpromoter.sandbox.middleware import API
from airflow_provider_firstpromoter.sandbox.schema import DOCUMENT
from airflow_provider_firstpromoter.sandbox.settings import Account, Settings
from airflow_provider_firstpromoter.sandbox.store import Books
from airflow_provider_firstpromoter.sandbox.tracking import Refused, Tracking

Call = Callable[[Account, bytes], dict[str, Any] | None]


class TooMany(Refused):
    """
    The account is over its limit.

    :param wait: seconds until the next request may pass
    :param form: of the ``Retry-After`` header: ``none``, ``seconds`` or ``date``
    """

    def __init__(self, wait: float, form: str) -> None:
        super().__init__(429, "Too many requests")
        seconds = math.ceil(wait)
        if form == "seconds":
            self.headers = {"Retry-After": str(seconds)}
        elif form == "date":
            # A date has no fractions of a second: one second more, lest it be over too early.
            date = datetime.now(UTC) + timedelta(seconds=seconds + 1)
            self.headers = {"Retry-After": format_datetime(date, usegmt=True)}


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

    async def account(self, request: Request) -> Account:
        """
        :return: whose request it is
        :raises Refused: 401 without a good key, 403 for an account that the key is not of, 429 over the limit
        """
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        known = any(_same(key, account.api_key) for account in self._accounts.values())
        if scheme.lower() != "bearer" or not known:
            raise Refused(401, "Unauthorized", code="unauthorized")
        account = self._accounts.get(request.headers.get("account-id", ""))
        if account is None or not _same(key, account.api_key):
            raise Refused(403, "Forbidden", code="forbidden")
        if wait := self._limit.wait(account.id):
            raise TooMany(wait, self._retry_after)
        return account


def make_api(door: Door, tracking: Tracking, books: Books) -> FastAPI:
    """
    :param door: checks every call
    :param tracking: does the work of the tracking calls
    :param books: what the read side reads
    :return: the application, without its control endpoints
    """
    app = FastAPI(title="FirstPromoter sandbox")
    # Written out by hand, so that it can be held against the contract, and nothing is generated from our own code.
    app.openapi = lambda: DOCUMENT  # type: ignore[method-assign]

    @app.exception_handler(Refused)
    async def refused(_request: Request, refusal: Refused) -> Response:
        return _json(refusal.status, refusal.body, refusal.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> Response:
        errors: dict[str, list[str]] = {}
        for problem in error.errors():
            errors.setdefault(str(problem["loc"][1]), []).append(problem["msg"])
        return _json(422, {"message": "Validation failed", "code": "unprocessable_entity", "errors": errors})

    def track(path: str, call: Call) -> None:
        # The body is parsed once, by the call itself: nothing between the socket and the books looks at it again.
        async def endpoint(request: Request) -> Response:
            account = await door.account(request)
            if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
                raise Refused(400, "Error. The body is not application/json.")
            body = call(account, await request.body())
            return Response(status_code=204) if body is None else _json(200, body)

        app.add_route(f"{API}/track/{path}", endpoint, methods=["POST"])

    track("refund", tracking.refund)
    track("sale", tracking.sale)
    track("signup", tracking.signup)
    track("cancellation", tracking.cancellation)

    Caller = Annotated[Account, Depends(door.account)]

    @app.get(f"{API}/company/commissions")
    def commissions(account: Caller, query: Annotated[read_api.CommissionQuery, Query()]) -> Response:
        return _json(200, read_api.commissions(books, account.id, query))

    @app.get(f"{API}/company/promoters")
    def promoters(account: Caller, page: Annotated[read_api.Page, Query()]) -> Response:
        return _json(200, read_api.promoters(books, account.id, page))

    return app


def _json(status: int, body: Any, headers: dict[str, str] | None = None) -> Response:
    return Response(json.dumps(body), status, headers, "application/json; charset=utf-8")


def _same(one: str, other: str) -> bool:
    return secrets.compare_digest(one.encode(), other.encode())
