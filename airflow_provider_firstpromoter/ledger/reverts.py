"""What a revert reads from the ledger, and how the ledger records that a refund was reverted."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime

from sqlalchemy import and_, update
from sqlalchemy.engine import Connection
from sqlalchemy.sql.elements import ColumnElement

from airflow_provider_firstpromoter.calls import Outcome, batches
from airflow_provider_firstpromoter.ledger.records import LedgerRecord, RunKey
from airflow_provider_firstpromoter.ledger.store import RefundLedger
from airflow_provider_firstpromoter.ledger.table import ON_RECORD


def sent_by_run(ledger: RefundLedger, dag_id: str, run_id: str) -> Iterator[LedgerRecord]:
    """
    Read the refunds of a DAG run, in all its tasks, that FirstPromoter has or may have.

    Those that were reverted since are included, and so are those whose response is not known.

    :raises LedgerError: if the database cannot be read
    """
    c = ledger.table.c
    yield from _recorded_or_unresolved(ledger, and_(c.dag_id == dag_id, c.run_id == run_id))


def first_sent_between(ledger: RefundLedger, start: datetime, end: datetime | None) -> Iterator[LedgerRecord]:
    """
    Read the refunds that were first sent in this time and that FirstPromoter has or may have, as :func:`sent_by_run`.

    :param end: exclusive; None is no limit
    :raises LedgerError: if the database cannot be read
    """
    c = ledger.table.c
    where = c.first_sent_at >= start
    yield from _recorded_or_unresolved(ledger, where if end is None else and_(where, c.first_sent_at < end))


def _recorded_or_unresolved(ledger: RefundLedger, where: ColumnElement[bool]) -> Iterator[LedgerRecord]:
    for record in ledger.stream(where):
        if record.recorded or record.outcome is Outcome.REVERTED or record.unresolved:
            yield record


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
