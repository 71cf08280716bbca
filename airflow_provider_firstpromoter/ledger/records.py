"""What the ledger has stored about one event."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from airflow_provider_firstpromoter.calls import Call, Commission, Outcome, Result, Row, content_token


class RunKey(NamedTuple):
    """A task run; all None outside Airflow, and where it is not known."""

    dag_id: str | None = None
    run_id: str | None = None
    task_id: str | None = None
    map_index: int | None = None

    @property
    def sent_columns(self) -> dict[str, str | int | None]:
        """The columns that name it as the sender."""
        return {f"sent_{name}": value for name, value in self._asdict().items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRecord:
    """
    What the ledger has stored about one event: its columns by their names.

    Times are UTC, and None for what was never sent.

    :param happened_at: its own time, where the query has it: ``refunded_at`` or ``sold_at``
    :param commissions: empty also where they were not read
    :param commissions_known: whether the ledger has its commissions, also where they were not read
    :param dag_id: with the next three, the task run that decided the outcome
    :param sent_dag_id: with the next three, the task run that sent it; None where that is not known
    """

    event_id: str
    outcome: Outcome
    http_status: int | None = None
    message: str | None = None
    row_amount: str | None = None
    sent_amount: int | None = None
    sent_currency: str | None = None
    sale_event_id: str | None = None
    recorded_amount: int | None = None
    firstpromoter_id: int | None = None
    lead_id: int | None = None
    matched_by: str | None = None
    lead_differs: bool | None = None
    commissions_known: bool | None = None
    lost: bool | None = None
    unmatched: bool | None = None
    fingerprint: str | None = None
    row_digest: str | None = None
    sent_dag_id: str | None = None
    sent_run_id: str | None = None
    sent_task_id: str | None = None
    sent_map_index: int | None = None
    dag_id: str | None = None
    run_id: str | None = None
    task_id: str | None = None
    map_index: int | None = None
    first_sent_at: datetime | None = None
    last_sent_at: datetime | None = None
    happened_at: datetime | None = None
    last_seen_at: datetime | None = None
    changed_amount: str | None = None
    accepted_at: datetime | None = None
    reported_at: datetime | None = None
    reported_run_id: str | None = None
    commissions: tuple[Commission, ...] = ()

    @property
    def run(self) -> RunKey:
        """The task run that decided the outcome."""
        return RunKey(self.dag_id, self.run_id, self.task_id, self.map_index)

    @property
    def sent_by(self) -> RunKey:
        """The task run that sent it."""
        return RunKey(self.sent_dag_id, self.sent_run_id, self.sent_task_id, self.sent_map_index)

    @property
    def recorded(self) -> bool:
        """Whether FirstPromoter has the event, as far as the ledger knows."""
        return self.outcome.on_record

    @property
    def unresolved(self) -> bool:
        """Whether the event was sent, and FirstPromoter may have recorded it although the ledger does not know it."""
        if self.last_sent_at is None or self.recorded or self.outcome is Outcome.REVERTED:
            return False
        # A 409 for an event without a referral was looked up, but the commissions that FirstPromoter lists can lag.
        doubtful = self.outcome is Outcome.FAILED or (self.outcome is Outcome.NOT_REFERRED and self.http_status == 409)
        return doubtful or bool(self.lost)

    @property
    def rejected_together(self) -> bool:
        """Whether all rows of its event_id were rejected because of their number: none of them is remembered."""
        return self.outcome is Outcome.REJECTED and self.fingerprint is None

    @property
    def is_changed(self) -> bool:
        """Whether its row has another amount than it was recorded with, and that was not accepted."""
        return self.changed_amount is not None and self.accepted_at is None

    def result(self) -> Result:
        """Return the stored result, with ``sent`` False and the commissions as they are now."""
        return Result(
            event_id=self.event_id,
            outcome=self.outcome,
            http_status=self.http_status,
            recorded_amount=self.recorded_amount,
            firstpromoter_id=self.firstpromoter_id,
            lead_id=self.lead_id,
            commissions=self.commissions,
            message=self.message,
            matched_by=self.matched_by,
            lead_differs=bool(self.lead_differs),
            reported_by=self.run._asdict() if self.recorded else None,
            unmatched=bool(self.unmatched),
            lost=bool(self.lost),
        )

    def sent(self, call: Call) -> dict[str, Any]:
        """Return what was sent, as :meth:`Totals.add_sums` takes it."""
        names_no_sale = call.sale_column is not None and self.sale_event_id is None
        return {"amount": self.sent_amount, "currency": self.sent_currency, "names_no_sale": names_no_sale}


def key_of(row: Row, key: bytes) -> str:
    """Return the ledger's key of a row: its event_id or, where it has no usable one, a hash of its content."""
    return row.event_id or f"(no event_id) {content_token(row.values, key)}"
