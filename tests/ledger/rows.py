"""Rows of the ledger, written and read."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from airflow_provider_firstpromoter.calls import Outcome, Refund, Result
from airflow_provider_firstpromoter.ledger import Ledger, LedgerRecord, LedgerWrite, RunKey
from airflow_provider_firstpromoter.ledger.writes import Rule

NO_RUN = RunKey()


THEN = datetime(2026, 3, 1, 12, 30, 15, tzinfo=UTC)


def to_write(
    event_id: str = "re_1",
    outcome: Outcome = Outcome.RECORDED,
    *,
    amount: int = 1000,
    fingerprint: str | None = "a1b2c3 0123456789abcdef",
    at: datetime = THEN,
    known: bool = False,
    seen_at: datetime | None = None,
    refunded_at: datetime | None = None,
    **result: Any,
) -> LedgerWrite:
    """
    Return a result to write.

    :param known: whether the run knew the ledger's row
    :param result: further fields of the result
    """
    sent = outcome is not Outcome.REJECTED
    shown = sum(one.sale_amount or 0 for one in result.get("commissions", ()))
    result = {"sent": sent, "http_status": 200 if sent else None, "recorded_amount": shown or -amount, **result}
    write = LedgerWrite.of_result(
        Result(event_id=event_id, outcome=outcome, **result),
        WRITER,
        at=at,
        event=Refund(event_id="re_1", amount=amount, uid="cus_1"),
        row_amount=str(amount),
        fingerprint=fingerprint,
        refunded_at=refunded_at,
        last_seen_at=seen_at,
    )
    return replace(write, rule=Rule.NEXT_RESULT) if known and write.rule is Rule.RESULT else write


#: Stands for the task run that :func:`write` is given.
WRITER = RunKey("the writer")


def write(ledger: Ledger, writes: Iterable[LedgerWrite], run: RunKey = NO_RUN) -> dict[str, LedgerRecord]:
    """Write results in one batch; returns the refunds that another task run has on record."""
    return ledger.write([by(run, one) for one in writes], run).claimed


def by(run: RunKey, one: LedgerWrite) -> LedgerWrite:
    """Return a result as this task run writes it."""
    values = {**one.values, **run._asdict()}
    if one.values["sent_dag_id"] == WRITER.dag_id:
        values |= run.sent_columns
    return replace(one, values=values)


def known(ledger: Ledger, event_id: str = "re_1") -> LedgerRecord:
    return ledger.find({event_id})[event_id]


def count(database: Any, table: str = "firstpromoter_refunds") -> int:
    return int(database.run(f"SELECT count(*) FROM {table}")[0][0])


def run_script(database: Any, script: str) -> None:
    """Execute statements that each end in a semicolon and a line break."""
    for statement in script.strip().removesuffix(";").split(";\n"):
        database.run(statement)


def quiet_while_imported() -> dict[str, str]:
    """Return this environment for a command; Airflow 3.0 logs to standard output while it is imported, unless told."""
    quiet = {"AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR"} if version("apache-airflow").startswith("3.0.") else {}
    return {**os.environ, **quiet}
