"""Reads records of the ledger over a connection that is open."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, or_, select
from sqlalchemy.engine import Connection

from airflow_provider_firstpromoter.calls import batches
from airflow_provider_firstpromoter.ledger.records import DETAIL_COLUMNS, RULE_COLUMNS, LedgerRecord, RunKey
from airflow_provider_firstpromoter.ledger.table import ON_RECORD

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
    c = ledger.table.c
    of_another = or_(*(c[name].is_distinct_from(value) for name, value in run._asdict().items()))
    # Nearly always there are none, and the database knows that without returning the rows.
    of_others: set[str] = set()
    for chunk in batches(sorted(event_ids)):
        where = and_(c.account == ledger.account, c.event_id.in_(chunk), c.outcome.in_(ON_RECORD), of_another)
        of_others.update(connection.execute(select(c.event_id).where(where)).scalars())
    found = find_records(ledger, connection, of_others)
    return {event_id: record for event_id, record in found.items() if record.recorded and record.run != run}
