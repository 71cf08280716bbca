"""Rows of the ledger, written and read."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from airflow_provider_firstpromoter.ledger import LedgerRecord, LedgerWrite, RefundLedger, RunKey
from airflow_provider_firstpromoter.refunds import Outcome, Refund, Result

NO_RUN = RunKey()


THEN = datetime(2026, 3, 1, 12, 30, 15, tzinfo=UTC)


def entry(
    event_id: str = "re_1",
    outcome: Outcome = Outcome.RECORDED,
    *,
    amount: int = 1000,
    fingerprint: str = "f" * 32,
    at: datetime = THEN,
    run: RunKey = NO_RUN,
    **result: Any,
) -> LedgerWrite:
    sent = outcome is not Outcome.REJECTED
    result = {"sent": sent, "http_status": 200 if sent else None, **result}
    return LedgerWrite(
        Result(event_id=event_id, outcome=outcome, **result),
        row_amount=str(amount),
        fingerprint=fingerprint,
        refund=Refund(event_id="re_1", amount=amount, uid="cus_1"),
        run=run,
        at=at,
    )


def known(ledger: RefundLedger, event_id: str = "re_1") -> LedgerRecord:
    return ledger.find({event_id})[event_id]


def count(database: Any, table: str = "firstpromoter_refunds") -> int:
    return int(database.run(f"SELECT count(*) FROM {table}")[0][0])
