"""Writes a batch of changes in one transaction, and decides which outcome replaces which."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, case, literal, not_, or_, update
from sqlalchemy.engine import Connection

from airflow_provider_firstpromoter.calls import LOST_IN_DETAILS, Outcome, batches
from airflow_provider_firstpromoter.ledger.records import LedgerBatch, RunKey
from airflow_provider_firstpromoter.ledger.rows import changed_row, ledger_row, renewed_row
from airflow_provider_firstpromoter.ledger.table import KEPT_OUTCOMES, ON_RECORD

if TYPE_CHECKING:
    from sqlalchemy.sql.elements import ColumnElement

    from airflow_provider_firstpromoter.ledger.store import RefundLedger

#: The columns that a later result of the same refund leaves as they are.
KEPT_COLUMNS = ("first_sent_at", "refunded_at")


def write_batch(ledger: RefundLedger, connection: Connection, batch: LedgerBatch, run: RunKey) -> None:
    """
    Write the changes of a batch; a weaker outcome never overwrites a stronger one.

    :param run: the task run that the rows of results name
    """
    columns = [column.name for column in ledger.table.columns if not column.primary_key]
    for known, replaces in ((False, _replaces_unknown), (True, _replaces_known)):
        rows = [ledger_row(ledger.account, write, run) for write in batch.strongest(known)]
        ledger.upsert(connection, rows, update=columns, when=replaces, keep=KEPT_COLUMNS)
    ledger.upsert(
        connection,
        last_of_each(changed_row(ledger.account, *change) for change in batch.changed),
        update=("changed_amount", "reported_at", "reported_run_id", "accepted_at"),
        when=_is_another_amount,  # else an amount that was accepted during the run would be open again
    )
    ledger.upsert(
        connection,
        last_of_each(renewed_row(ledger.account, *renewal) for renewal in batch.renewed),
        update=("row_amount", "fingerprint", "row_digest"),
        keep=("row_amount",),
    )
    seen = [*batch.seen, *(record.event_id for record, *_ in batch.changed)]
    set_columns(ledger, connection, seen, last_seen_at=batch.seen_at)


def set_columns(ledger: RefundLedger, connection: Connection, event_ids: Sequence[str], **values: Any) -> None:
    """Set columns of these refunds to the same values."""
    c = ledger.table.c
    for chunk in batches(event_ids):
        connection.execute(
            update(ledger.table).where(c.account == ledger.account, c.event_id.in_(chunk)).values(**values)
        )


def last_of_each(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the last row of each event_id: one statement may not change a row twice."""
    return list({row["event_id"]: row for row in rows}.values())


def _is_another_amount(old: Any, new: Any) -> ColumnElement[bool]:
    """Return the condition under which a changed amount is not the one that the ledger already has."""
    return or_(old.changed_amount.is_(None), old.changed_amount != new.changed_amount)


def _is_stronger(old: Any, new: Any) -> ColumnElement[bool]:
    """
    Return the condition under which a new row replaces an old one, whoever wrote it in the meantime.

    What is recorded stays as it was first recorded, and a reward belongs to the run that wrote it first: of two racing
    runs only that one reports it. A reconciliation can write a reward, adopted or recovered, before the run whose
    request was answered with 200 does: it still belongs to that run.
    """
    claimed = and_(old.outcome.in_(ON_RECORD), old.reward_id.is_not(None))
    # Only what a reconciliation found is on record without a response.
    found = and_(old.outcome == Outcome.ALREADY_RECORDED.value, old.http_status.is_(None))
    claimed = and_(claimed, not_(and_(found, new.outcome == Outcome.RECORDED.value)))
    return and_(_strength(new) > _strength(old), not_(claimed))


def _replaces_known(old: Any, new: Any) -> ColumnElement[bool]:
    """Return the condition for a run that knew the old row: it also replaces it by its newer result."""
    return or_(_is_stronger(old, new), old.outcome.not_in(KEPT_OUTCOMES))


def _replaces_unknown(old: Any, new: Any) -> ColumnElement[bool]:
    """Return the condition for a run that did not know the old row: it does not overwrite that a response was lost."""
    is_same = and_(new.outcome == old.outcome, new.outcome.not_in(KEPT_OUTCOMES), _strength(new) >= _strength(old))
    return or_(_is_stronger(old, new), is_same)


def _strength(row: Any) -> Any:
    # A refund whose response was lost may be recorded, whatever another run was answered: its retry looks it up.
    lost = and_(row.outcome.not_in(KEPT_OUTCOMES), row.details.like(f"%{LOST_IN_DETAILS}%"))
    return case(
        (lost, literal(Outcome.ALREADY_RECORDED.strength - 0.5)),
        *((row.outcome == outcome.value, literal(outcome.strength)) for outcome in Outcome if outcome.stored),
        else_=literal(0),
    )
