"""The sandbox's own endpoints, under ``/sandbox``: what a program in another process needs to steer it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel

from airflow_provider_firstpromoter.sandbox.faults import Fault
from airflow_provider_firstpromoter.sandbox.world import Sandbox


class NewLead(BaseModel):
    """One lead of ``POST /sandbox/leads``."""

    email: str | None = None
    uid: str | None = None
    promoter: str = "ref1"
    bought: bool = True
    unit: str = "cash"


def control_routes(sandbox: Sandbox) -> APIRouter:
    """:return: the control endpoints, which ask for no key and are no part of the published schema"""
    router = APIRouter(prefix="/sandbox", include_in_schema=False)

    @router.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    @router.get("/audit")
    def audit() -> dict[str, Any]:
        return {
            "requests": sandbox.request_counts(),
            "recorded": [asdict(refund) for refund in sandbox.recorded()],
            "refund_requests": [asdict(request) for request in sandbox.refund_requests()],
        }

    @router.get("/requests")
    def requests() -> dict[str, dict[str, int]]:
        return sandbox.request_counts()

    @router.get("/recorded")
    def recorded(account: str | None = None, after: int = 0, limit: int = -1) -> list[dict[str, Any]]:
        return [asdict(refund) for refund in sandbox.recorded(account=account, after=after, limit=limit)]

    @router.get("/refund-requests")
    def refund_requests(after: int = 0, limit: int = -1) -> list[dict[str, Any]]:
        return [asdict(request) for request in sandbox.refund_requests(after=after, limit=limit)]

    @router.post("/leads")
    def leads(leads: list[NewLead], account: str | None = None) -> dict[str, int]:
        try:
            return {"added": sandbox.add_leads((lead.model_dump() for lead in leads), account=account)}
        except ValueError as error:
            raise HTTPException(400, str(error)) from None

    @router.post("/ban/{promoter}")
    def ban(promoter: str, account: str | None = None) -> None:
        sandbox.ban(promoter, account=account)

    @router.get("/faults")
    def faults() -> list[dict[str, Any]]:
        return sandbox.faults.listed()

    @router.post("/faults")
    def add_fault(fault: Fault) -> list[dict[str, Any]]:
        sandbox.faults.add(fault)
        return sandbox.faults.listed()

    @router.delete("/faults")
    def clear_faults() -> None:
        sandbox.clear_faults()

    @router.post("/reset")
    def reset() -> None:
        sandbox.reset()

    return router
