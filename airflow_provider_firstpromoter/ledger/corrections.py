"""What a reconciliation reads from the ledger beside the refunds of its period, and the outcomes that it corrects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import and_, bindparam, or_, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.sql.elements import ColumnElement

from airflow_provider_firstpromoter.database import as_bind_params, first_line, retry_on_conflict
from airflow_provider_firstpromoter.exceptions import LedgerError
from airflow_provider_firstpromoter.ledger.records import LedgerRecord
from airflow_provider_firstpromoter.ledger.store import RefundLedger
from airflow_provider_firstpromoter.refunds import Outcome, Result, batches


class SentRefund(NamedTuple):
    """
    A refund that was sent and is recorded: what is needed to recognize a duplicate of it.

    :param sent_amount: positive, minor units of ``sent_currency``
    :param sent_currency: None is the account's own
    :param recorded_amount: negative, minor units of the account's currency
    """

    event_id: str
    lead_id: int
    sent_amount: int | None
    sent_currency: str | None
    recorded_amount: int | None
    last_sent_at: datetime


def sent_to_leads(ledger: RefundLedger, lead_ids: Sequence[int]) -> Iterator[SentRefund]:
    """
    Read the recorded refunds of these leads that were sent, at whatever time.

    :raises LedgerError: if the database cannot be read
    """
    if not ledger.exists():
        return
    c = ledger.table.c
    columns = (c.event_id, c.lead_id, c.sent_amount, c.sent_currency, c.recorded_amount, c.last_sent_at)
    try:
        with ledger.engine.connect() as connection:
            for chunk in batches(lead_ids):
                where = and_(c.account == ledger.account, *_sent_and_recorded(ledger), c.lead_id.in_(chunk))
                for row in connection.execute(select(*columns).where(where)):
                    yield SentRefund(*row)
    except SQLAlchemyError as error:
        raise LedgerError(f"{ledger} cannot be read: {first_line(error)}") from None


def sent_without_lead(ledger: RefundLedger) -> Iterator[LedgerRecord]:
    """
    Read the recorded refunds that were sent and whose lead the ledger does not know, because their reward is unknown.

    :raises LedgerError: if the database cannot be read
    """
    yield from ledger._stream(and_(*_sent_and_recorded(ledger), ledger.table.c.lead_id.is_(None)))


def recover(ledger: RefundLedger, refunds: Iterable[tuple[LedgerRecord, Result]]) -> None:
    """
    Record the outcome of refunds that were sent and turned out to be recorded.

    What was sent, when, by which task run, and the row's fingerprint stay as they are. A row that has meanwhile become
    ``recorded`` or ``already_recorded`` is left alone.

    :param refunds: each with its result, which is ``already_recorded`` and has a reward
    :raises LedgerError: if the database refuses; then none is written
    """
    rows = []
    for record, result in refunds:
        reward, lead, promoter = result.reward, result.lead, result.promoter
        rows.append(
            {
                "account": ledger.account,
                "event_id": record.event_id,
                "outcome": result.outcome,
                "http_status": result.http_status,
                "message": result.message,
                "recorded_amount": result.recorded_amount,
                "reward_id": reward and reward.id,
                "reward_status": reward and reward.status,
                "reward_amount": reward and reward.amount,
                "reward_unit": reward and reward.unit,
                "promoter_id": promoter and promoter.id,
                "lead_id": lead and lead.id,
                "details": result.model_dump_json(),
            }
        )
    if not rows:
        return
    try:
        retry_on_conflict(_update, ledger, rows)
    except SQLAlchemyError as error:
        raise LedgerError(f"{ledger} refused {len(rows)} outcomes: {first_line(error)}") from None


def _update(ledger: RefundLedger, rows: list[dict[str, Any]]) -> None:
    c = ledger.table.c
    values = {name: bindparam(f"new_{name}", type_=c[name].type) for name in rows[0] if not c[name].primary_key}
    # One by one, because SQLAlchemy cannot expand a list for many rows.
    not_on_record = or_(*(c.outcome == outcome for outcome in Outcome if not outcome.on_record))
    change: Any = (
        update(ledger.table)
        .where(c.account == bindparam("new_account"), c.event_id == bindparam("new_event_id"), not_on_record)
        .values(values)
    )
    with ledger.engine.begin() as connection:
        connection.execute(change, [as_bind_params(row) for row in rows])


def _sent_and_recorded(ledger: RefundLedger) -> list[ColumnElement[bool]]:
    c = ledger.table.c
    return [c.outcome.in_([outcome for outcome in Outcome if outcome.on_record]), c.last_sent_at.is_not(None)]
