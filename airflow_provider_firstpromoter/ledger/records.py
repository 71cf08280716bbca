"""What the ledger is told of a refund, and what it says of one."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

from airflow_provider_firstpromoter.refunds import Outcome, Refund, Result


class RunKey(NamedTuple):
    """Which task run an entry came from; all None outside Airflow."""

    dag_id: str | None = None
    run_id: str | None = None
    task_id: str | None = None
    map_index: int | None = None


@dataclass(frozen=True, slots=True)
class LedgerWrite:
    """
    What the ledger is told of one refund.

    :param row_amount: the query's own text; None where no row was seen, and then no row's amount differs from it
    :param fingerprint: of the row; None likewise
    :param refund: what was sent; None where validation refused the row
    """

    result: Result
    row_amount: str | None
    fingerprint: str | None
    refund: Refund | None = None
    run: RunKey = field(default_factory=RunKey)
    at: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass(frozen=True, slots=True)
class LedgerRecord:
    """What the ledger says of one refund; times are UTC, and None for what was never sent."""

    event_id: str
    outcome: Outcome
    http_status: int | None
    row_amount: str | None
    sent_amount: int | None
    sent_currency: str | None
    sale_event_id: str | None
    fingerprint: str | None
    first_sent_at: datetime | None
    last_sent_at: datetime | None
    dag_id: str | None = None
    run_id: str | None = None
    task_id: str | None = None
    map_index: int | None = None
    details: str | None = None
    recorded_amount: int | None = None
    reward_id: int | None = None
    reward_status: str | None = None
    reward_amount: int | None = None
    reward_unit: str | None = None
    promoter_id: int | None = None
    lead_id: int | None = None

    @property
    def run(self) -> RunKey:
        """The task run that decided the outcome."""
        return RunKey(self.dag_id, self.run_id, self.task_id, self.map_index)

    @property
    def recorded(self) -> bool:
        """Whether FirstPromoter has it, as far as the ledger knows."""
        return self.outcome.on_record

    def result(self) -> Result:
        """The stored result: what the run that wrote it handed on, but ``sent`` by nobody now."""
        if self.details:
            return Result.model_validate_json(self.details).model_copy(update={"sent": False})
        return Result(event_id=self.event_id, outcome=self.outcome, http_status=self.http_status)
