"""The API over HTTP: where each call goes."""

import json
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError

from airflow_provider_firstpromoter.sandbox import read_api
from airflow_provider_firstpromoter.sandbox.auth import Door
from airflow_provider_firstpromoter.sandbox.errors import Refused
from airflow_provider_firstpromoter.sandbox.middleware import API
from airflow_provider_firstpromoter.sandbox.schema import DOCUMENT
from airflow_provider_firstpromoter.sandbox.settings import Account
from airflow_provider_firstpromoter.sandbox.store import Books
from airflow_provider_firstpromoter.sandbox.tracking import Tracking

Call = Callable[[Account, bytes], dict[str, Any] | None]


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
