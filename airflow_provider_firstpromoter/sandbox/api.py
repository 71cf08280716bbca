"""The HTTP routes of FirstPromoter's API."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from pydantic_core import to_json

from airflow_provider_firstpromoter.sandbox import read_api
from airflow_provider_firstpromoter.sandbox.auth import Authenticator
from airflow_provider_firstpromoter.sandbox.batches import Batches
from airflow_provider_firstpromoter.sandbox.errors import ApiError
from airflow_provider_firstpromoter.sandbox.middleware import API_PATH
from airflow_provider_firstpromoter.sandbox.schema import DOCUMENT
from airflow_provider_firstpromoter.sandbox.settings import Account, Settings
from airflow_provider_firstpromoter.sandbox.store import Store
from airflow_provider_firstpromoter.sandbox.tracking import Tracking

Call = Callable[[Account, bytes], BaseModel | None]


def make_api(
    authenticator: Authenticator, tracking: Tracking, batches: Batches, store: Store, settings: Callable[[], Settings]
) -> FastAPI:
    """
    Create the FastAPI application of the API.

    :param authenticator: checks the credentials and the rate limit of every call
    :param tracking: carries out the tracking calls
    :param batches: carries out the calls that change commissions
    :param store: the data that the read API lists
    :param settings: returns the sandbox's settings, some of which can change while it runs
    :return: the application, without the control endpoints
    """
    app = FastAPI(title="FirstPromoter sandbox")
    # FastAPI does not know the bodies, which the calls parse themselves.
    app.openapi = lambda: DOCUMENT  # type: ignore[method-assign]

    @app.exception_handler(ApiError)
    async def handle_api_error(_request: Request, error: ApiError) -> Response:
        return _json(error.status, error.body, error.headers)

    @app.exception_handler(RequestValidationError)
    async def handle_validation_error(_request: Request, error: RequestValidationError) -> Response:
        errors: dict[str, list[str]] = {}
        for problem in error.errors():
            errors.setdefault(str(problem["loc"][1]), []).append(problem["msg"])
        return _json(422, {"message": "Validation failed", "code": "unprocessable_entity", "errors": errors})

    async def authenticate(request: Request) -> Account:
        account = await authenticator.authenticate(request)
        batches.advance()
        return account

    def track(path: str, call: Call) -> None:
        # The call parses the body itself, because FastAPI would reject an invalid body with 422 and not with 400.
        async def endpoint(request: Request) -> Response:
            account = await authenticate(request)
            if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
                raise ApiError(400, "Error. The body is not application/json.")
            body = call(account, await request.body())
            return Response(status_code=204) if body is None else _json(200, body)

        app.add_route(f"{API_PATH}/track/{path}", endpoint, methods=["POST"])

    track("refund", tracking.refund)
    track("sale", tracking.sale)
    track("signup", tracking.signup)
    track("cancellation", tracking.cancellation)

    Caller = Annotated[Account, Depends(authenticate)]

    @app.get(f"{API_PATH}/company/commissions")
    def commissions(account: Caller, request: Request) -> Response:
        query = read_api.CommissionQuery.of(request.query_params)
        return _json(200, read_api.list_commissions(store, account.id, query, settings()))

    @app.get(f"{API_PATH}/company/promoters")
    def promoters(account: Caller, request: Request) -> Response:
        page = read_api.Page.of(request.query_params)
        return _json(200, read_api.list_promoters(store, account.id, page))

    @app.post(f"{API_PATH}/company/commissions/deny")
    async def deny(request: Request, account: Caller) -> Response:
        fault = getattr(request.state, "batch_fault", None)
        return _json(*batches.start(account.id, await request.body(), fault))

    @app.get(f"{API_PATH}/company/batch_processes/{{batch_id}}")
    def batch_process(account: Caller, batch_id: read_api.SafeInteger) -> Response:
        return _json(200, batches.poll(account.id, batch_id))

    return app


def _json(status: int, body: Any, headers: dict[str, str] | None = None) -> Response:
    return Response(to_json(body), status, headers, "application/json; charset=utf-8")
