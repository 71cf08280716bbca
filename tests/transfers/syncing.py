"""SqlToFirstPromoterOperator as a task."""

from __future__ import annotations

from typing import Any

from airflow_provider_firstpromoter.sandbox import Sandbox
from airflow_provider_firstpromoter.transfers.sql_to_firstpromoter import SqlToFirstPromoterOperator
from tests import support
from tests.support import ALL_REFUNDS, Task


def sync_task(sql: str = ALL_REFUNDS, *, run_id: str = "manual__1", **parameters: Any) -> Task:
    """Return the operator as a task."""
    parameters = {"sql_conn_id": "warehouse", **parameters}
    return Task(SqlToFirstPromoterOperator(task_id="sync", sql=sql, **parameters), run_id=run_id)


def refund(number: int, **values: Any) -> dict[str, Any]:
    return support.refund(number, digits=5, **values)


def refunds(count: int, start: int = 0, **values: Any) -> list[dict[str, Any]]:
    return support.refunds(count, start, digits=5, **values)


def sent(sandbox: Sandbox, after: int = 0) -> list[str]:
    return [request.body["event_id"] for request in sandbox.refund_requests(after=after)]
