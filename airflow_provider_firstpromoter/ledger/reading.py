"""Reads records of the ledger over a connection that is open."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from sqlalchemy.engine import Connection

from airflow_provider_firstpromoter.ledger.records import DETAIL_COLUMNS, RULE_COLUMNS, LedgerRecord, RunKey
from airflow_provider_firstpromoter.refunds import batches

if TYPE_CHECKING:
    from sqlalchemy.sql.elements import ColumnElement

    from airflow_provider_firstpromoter.ledger.store import RefundLedger


def select_records(
    ledger: RefundLedger,
    connection: Connection,
    where: ColumnElement[bool],
    details: bool = True,
    order_by: Any = None,
) -> Iterator[LedgerRecord]:
    """
    Yield the account's records that fulfil a condition.

    :param details: whether :meth:`LedgerRecord.result` will be called
    """
    c = ledger.table.c
    query = select(*(c[name] for name in RULE_COLUMNS + (DETAIL_COLUMNS if details else ()))).where(
        c.account == ledger.account, where
    )
    for row in connection.execute(query if order_by is None else query.order_by(order_by)):
        yield LedgerRecord(*row)


def find_records(
    ledger: RefundLedger, connection: Connection, event_ids: Collection[str], details: bool = True
) -> dict[str, LedgerRecord]:
    """Return the records of these refunds, by event_id; an unknown refund has none."""
    found: dict[str, LedgerRecord] = {}
    for chunk in batches(sorted(event_ids)):
        for record in select_records(ledger, connection, ledger.table.c.event_id.in_(chunk), details):
            # Databases that do not enforce keys can hold a row of each of two writers: the stronger one counts.
            rival = found.get(record.event_id)
            if rival is None or record.outcome.strength > rival.outcome.strength:
                found[record.event_id] = record
    return found


def recorded_by_others(
    ledger: RefundLedger, connection: Connection, event_ids: Collection[str], run: RunKey
) -> dict[str, LedgerRecord]:
    """Return those of these refunds that another task run has on record as its own."""
    if not event_ids or run == RunKey():
        return {}
    return {
        event_id: record
        for event_id, record in find_records(ledger, connection, event_ids).items()
        if record.recorded and record.run != run
    }
