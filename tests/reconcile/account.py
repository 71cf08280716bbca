"""A FirstPromoter account with a ledger, whose commissions tests can change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_provider_firstpromoter.operators.reconcile import ReconcileRefundsOperator
from airflow_provider_firstpromoter.operators.track import TrackRefundOperator
from airflow_provider_firstpromoter.reconcile import MismatchKind
from airflow_provider_firstpromoter.sandbox import Sandbox
from airflow_provider_firstpromoter.transfers.sql_to_firstpromoter import SqlToFirstPromoterOperator
from tests import support
from tests.support import ALL_REFUNDS, REFUNDS_WITH_REWARDS, Task

TODAY = datetime.now(UTC)


TABLE = "firstpromoter_refunds_mismatches"


class AccountWithLedger:
    """An account whose refunds the operators send, and whose commissions a test changes without their knowledge."""

    def __init__(self, sandbox: Sandbox, database: Any) -> None:
        self.sandbox = sandbox
        self.database = database
        self.pushed: dict[str, Any] = {}

    def run_operator(self, operator: Any) -> Any:
        task = Task(operator)
        try:
            return task.run()
        finally:
            self.pushed = task.ti.pushed

    def track(self, *refunds: dict[str, Any], **parameters: Any) -> list[dict[str, Any]]:
        results: list[dict[str, Any]] = self.run_operator(
            TrackRefundOperator(task_id="track", refunds=list(refunds), **parameters)
        )
        return results

    def sync(self, **parameters: Any) -> dict[str, Any]:
        summary: dict[str, Any] = self.run_operator(
            SqlToFirstPromoterOperator(task_id="sync", sql=ALL_REFUNDS, sql_conn_id="warehouse", **parameters)
        )
        return summary

    def reconcile(self, **parameters: Any) -> dict[str, Any]:
        report: dict[str, Any] = self.run_operator(
            ReconcileRefundsOperator(task_id="reconcile", **{"max_mismatches": None, **parameters})
        )
        return report

    def commission(self, event_id: str | None, uid: str, refunded: int, days_ago: float = 0, **more: Any) -> int:
        """Add a refund's commission that no operator caused, and return its id."""
        created_at = TODAY - timedelta(days=days_ago)
        return self.sandbox.add_commission(
            event_id=event_id, uid=uid, sale_amount=-refunded, created_at=created_at, **more
        )

    def ledger(self, columns: str = "outcome") -> dict[str, Any]:
        rows = self.database.run(f"SELECT event_id, {columns} FROM {REFUNDS_WITH_REWARDS}")
        return {event_id: tuple(more) if len(more) > 1 else more[0] for event_id, *more in rows}

    def mismatches(self, columns: str = "kind, event_id", where: str = "resolved_at IS NULL") -> list[Any]:
        return sorted(self.database.run(f"SELECT {columns} FROM {TABLE} WHERE {where}"), key=str)

    def everything(self) -> list[Any]:
        """Return all rows that a reconciliation could change."""
        tables = ("firstpromoter_refunds", "firstpromoter_refunds_commissions", TABLE)
        return [sorted(self.database.run(f"SELECT * FROM {table}"), key=str) for table in tables]


def refund(number: int, **values: Any) -> dict[str, Any]:
    return support.refund(number, digits=4, **values)


def nonzero_kinds(report: dict[str, Any]) -> dict[str, int]:
    return {kind: report[kind] for kind in MismatchKind if report[kind]}
