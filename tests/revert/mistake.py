"""An account in which a DAG run made a mistake."""

from __future__ import annotations

import shlex
from typing import Any

from airflow_provider_firstpromoter.operators.revert import RevertRefundsOperator
from airflow_provider_firstpromoter.operators.track import TrackRefundOperator
from airflow_provider_firstpromoter.sandbox import RecordedEvent, Sandbox
from airflow_provider_firstpromoter.transfers.sql_to_firstpromoter import SqlToFirstPromoterOperator
from tests.support import REFUNDS_WITH_REWARDS, Task


class AccountToRevert:
    """An account whose refunds operators send and revert."""

    def __init__(self, sandbox: Sandbox, database: Any) -> None:
        self.sandbox = sandbox
        self.database = database
        self.pushed: dict[str, Any] = {}

    def run(self, operator: Any, run_id: str = "manual__1", dag_id: str = "dag") -> Any:
        task = Task(operator, run_id=run_id)
        task.ti.dag_id = dag_id
        self.pushed = task.ti.pushed
        return task.run()

    def track(self, *refunds: dict[str, Any], run_id: str = "manual__1", dag_id: str = "dag") -> list[dict[str, Any]]:
        results: list[dict[str, Any]] = self.run(
            TrackRefundOperator(task_id="track", refunds=list(refunds)), run_id, dag_id
        )
        return results

    def sync(
        self, sql: str = "SELECT * FROM refunds", run_id: str = "manual__1", dag_id: str = "dag", **parameters: Any
    ) -> dict[str, Any]:
        operator = SqlToFirstPromoterOperator(task_id="sync", sql=sql, sql_conn_id="warehouse", **parameters)
        summary: dict[str, Any] = self.run(operator, run_id, dag_id)
        return summary

    def preview(self, **selection: Any) -> dict[str, Any]:
        report: dict[str, Any] = self.run(RevertRefundsOperator(task_id="revert", **selection), "revert__1", "undo")
        return report

    def revert(self, max_reverted: int = 10_000, **selection: Any) -> dict[str, Any]:
        operator = RevertRefundsOperator(task_id="revert", preview=False, max_reverted=max_reverted, **selection)
        report: dict[str, Any] = self.run(operator, "revert__1", "undo")
        return report

    def balances(self) -> dict[str, int]:
        return {balance.promoter_ref_id: balance.amount for balance in self.sandbox.balances()}

    def recorded(self, event_id: str) -> RecordedEvent:
        (refund,) = [one for one in self.sandbox.recorded() if one.event_id == event_id]
        return refund

    def statuses(self) -> dict[str, str]:
        return {one.event_id: one.reward_status for one in self.sandbox.recorded()}

    def ledger(self, columns: str = "outcome") -> dict[str, Any]:
        rows = self.database.run(f"SELECT event_id, {columns} FROM {REFUNDS_WITH_REWARDS}")
        return {event_id: tuple(more) if len(more) > 1 else more[0] for event_id, *more in rows}

    def deny_calls(self) -> int:
        return sum(
            sum(by_status.values())
            for call, by_status in self.sandbox.request_counts().items()
            if call.endswith("/company/commissions/deny")
        )


def printed_command(text: str, name: str, until: str) -> list[str]:
    """Return the words of a command of this provider that a text tells people to run."""
    words = shlex.split(text.partition(until)[0])
    return words[len(words) - words[::-1].index(name) - 1 :]
