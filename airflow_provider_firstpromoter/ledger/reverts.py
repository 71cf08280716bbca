"""What a revert reads from the ledger, and how the ledger records that a refund was reverted."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime

from sqlalchemy import and_, update
from sqlalchemy.engine import Connection

from airflow_provider_firstpromoter.ledger.records import LedgerRecord, RunKey
from airflow_provider_firstpromoter.ledger.store import RefundLedger
from airflow_provider_firstpromoter.ledger.table import KEPT_OUTCOMES, ON_RECORD
from airflow_provider_firstpromoter.refunds import Outcome, batches


def recorded_by_run(ledger: RefundLedger, dag_id: str, run_id: str) -> Iterator[LedgerRecord]:
    """
    Read the refunds that a DAG run recorded, in all its tasks, those that were reverted since included.

    :raises LedgerError: if the database cannot be read
    """
    c = ledger.table.c
    yield from ledger.stream(and_(c.dag_id == dag_id, c.run_id == run_id, c.outcome.in_(KEPT_OUTCOMES)))


def first_sent_between(ledger: RefundLedger, start: datetime, end: datetime | None) -> Iterator[LedgerRecord]:
    """
    Read the recorded refunds that were first sent in this time, those that were reverted since included.

    :param end: exclusive; None is no limit
    :raises LedgerError: if the database cannot be read
    """
    c = ledger.table.c
    where = and_(c.outcome.in_(KEPT_OUTCOMES), c.first_sent_at >= start)
    yield from ledger.stream(where if end is None else and_(where, c.first_sent_at < end))


def mark_reverted(ledger: RefundLedger, event_ids: Collection[str], run: RunKey, at: datetime) -> None:
    """
    Record that the commissions of refunds were denied: outcome ``reverted``, and the reward with status ``denied``.

    A refund that another task run reverted meanwhile keeps that run. ``changed_amount`` is cleared, because a reverted
    refund is settled whatever amount its row has.

    :param at: when FirstPromoter's commissions showed it
    :raises LedgerError: if the database refuses
    """

    def change(connection: Connection, event_ids: Collection[str]) -> None:
        c = ledger.table.c
        for chunk in batches(event_ids):
            connection.execute(
                update(ledger.table)
                .where(c.account == ledger.account, c.event_id.in_(chunk), c.outcome.in_(ON_RECORD))
                .values(
                    outcome=Outcome.REVERTED,
                    reward_status="denied",
                    changed_amount=None,
                    reverted_at=at,
                    reverted_run_id=run.run_id,
                )
            )

    if event_ids:
        ledger.change(change, event_ids)
