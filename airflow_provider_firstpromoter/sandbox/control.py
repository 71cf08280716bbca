"""The control endpoints under ``/sandbox``, with which other processes set up and inspect the sandbox."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from airflow_provider_firstpromoter.sandbox.app import Sandbox
from airflow_provider_firstpromoter.sandbox.faults import Fault
from airflow_provider_firstpromoter.sandbox.seeds import CommissionChange, CommissionSeed, LeadSeed
from airflow_provider_firstpromoter.sandbox.settings import Behaviour


def make_control_api(sandbox: Sandbox) -> FastAPI:
    """
    Create the FastAPI application of the control endpoints.

    :return: an application of its own, because control requests need no API key and are not part of the API's schema
    """
    app = FastAPI(openapi_url=None)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/audit")
    def audit() -> dict[str, Any]:
        return {
            "requests": sandbox.request_counts(),
            "recorded": recorded(),
            "balances": balances(),
            "refund_requests": tracking_requests("refund"),
            "sale_requests": tracking_requests("sale"),
        }

    @app.get("/requests")
    def requests() -> dict[str, dict[str, int]]:
        return sandbox.request_counts()

    @app.get("/recorded")
    def recorded(
        kind: str | None = None, account: str | None = None, after: int = 0, limit: int = -1
    ) -> list[dict[str, Any]]:
        return [asdict(each) for each in sandbox.recorded(kind, account=account, after=after, limit=limit)]

    @app.get("/balances")
    def balances(account: str | None = None) -> list[dict[str, Any]]:
        return [asdict(balance) for balance in sandbox.balances(account=account)]

    @app.get("/{call}-requests")
    def tracking_requests(call: str, after: int = 0, limit: int = -1) -> list[dict[str, Any]]:
        return [asdict(request) for request in sandbox.tracking_requests(call, after=after, limit=limit)]

    @app.get("/request-times")
    def request_times(account: str | None = None, path: str = "") -> list[float]:
        return sandbox.request_times(account=account, path=path)

    @app.post("/leads")
    def leads(leads: list[LeadSeed], account: str | None = None) -> dict[str, int]:
        return {"added": sandbox.add_leads(leads, account=account)}

    @app.post("/commissions")
    def commissions(commissions: list[CommissionSeed], account: str | None = None) -> dict[str, list[int]]:
        return {"ids": list(sandbox.add_commissions(commissions, account=account))}

    @app.patch("/commissions/{commission_id}")
    def change_commission(commission_id: int, change: CommissionChange) -> None:
        sandbox.change_commission(commission_id, **change)

    @app.post("/ban/{promoter}")
    def ban(promoter: str, account: str | None = None) -> None:
        sandbox.ban(promoter, account=account)

    @app.get("/settings")
    def settings() -> dict[str, Any]:
        return {name: getattr(sandbox.settings, name) for name in (field.name for field in fields(Behaviour))}

    @app.patch("/settings")
    def change_settings(change: dict[str, Any]) -> dict[str, Any]:
        sandbox.change_settings(**change)
        return settings()

    @app.get("/faults")
    def faults() -> list[dict[str, Any]]:
        return sandbox.faults.active()

    @app.post("/faults")
    def add_fault(fault: Fault) -> list[dict[str, Any]]:
        sandbox.faults.add(fault)
        return sandbox.faults.active()

    @app.delete("/faults")
    def clear_faults() -> None:
        sandbox.clear_faults()

    @app.post("/reset")
    def reset() -> None:
        sandbox.reset()

    @app.exception_handler(ValueError)
    async def handle_value_error(_request: Request, error: ValueError) -> Response:
        return JSONResponse({"message": str(error)}, 400)

    return app
