"""What a reconciliation reads from the ledger, and the rewards and outcomes that it corrects there."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import and_, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.sql.elements import ColumnElement

from airflow_provider_firstpromoter.calls import Result, batches
from airflow_provider_firstpromoter.database import first_line
from airflow_provider_firstpromoter.exceptions import LedgerError
from airflow_provider_firstpromoter.ledger.records import LedgerRecord
from airflow_provider_firstpromoter.ledger.rows import recovered_row, reward_row
from airflow_provider_firstpromoter.ledger.store import RefundLedger
from airflow_provider_firstpromoter.ledger.table import KEPT_OUTCOMES, ON_RECORD
from airflow_provider_firstpromoter.ledger.writing import last_of_each


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


def recorded_between(
    ledger: RefundLedger,
    start: datetime | None,
    end: datetime | None,
) -> Iterator[LedgerRecord]:
    """
    Return every refund that FirstPromoter has, as far as the ledger knows, and that was last sent in this time.

    Refunds that were reverted since are among them.

    :param start: None is no limit; without both limits, adopted refunds, which were never sent, are among them
    :param end: exclusive
    """
    c = ledger.table.c
    where: list[ColumnElement[bool]] = [c.outcome.in_(KEPT_OUTCOMES)]
    if start is not None:
        where.append(c.last_sent_at >= start)
    if end is not None:
        where.append(c.last_sent_at < end)
    yield from ledger.stream(and_(*where))


def sent_to_leads(ledger: RefundLedger, lead_ids: Collection[int]) -> Iterator[SentRefund]:
    """
    Read the recorded refunds of these leads that were sent, at whatever time, and whose reward was not denied since.

    :raises LedgerError: if the database cannot be read
    """
    if not ledger.exists():
        return
    c = ledger.table.c
    columns = (c.event_id, c.lead_id, c.sent_amount, c.sent_currency, c.recorded_amount, c.last_sent_at)
    try:
        with ledger.engine.connect() as connection:
            for batch in batches(lead_ids):
                where = and_(
                    c.account == ledger.account,
                    _sent_and_recorded(ledger),
                    c.lead_id.in_(batch),
                    func.coalesce(c.reward_status, "") != "denied",
                )
                for row in connection.execute(select(*columns).where(where)):
                    yield SentRefund(*row)
    except SQLAlchemyError as error:
        raise LedgerError(f"{ledger} cannot be read: {first_line(error)}") from None


def sent_without_lead(ledger: RefundLedger) -> Iterator[LedgerRecord]:
    """
    Read the recorded refunds that were sent and whose lead the ledger does not know, because their reward is unknown.

    :raises LedgerError: if the database cannot be read
    """
    yield from ledger.stream(and_(_sent_and_recorded(ledger), ledger.table.c.lead_id.is_(None)))


def update_rewards(ledger: RefundLedger, refunds: Collection[tuple[LedgerRecord, Result]]) -> None:
    """
    Write the rewards of these refunds as FirstPromoter's commissions now show them.

    The stored result stays the one that was passed downstream, unless it had no reward. A row whose outcome has changed
    since it was read, because its refund was reverted, is left alone.

    :param refunds: each with a result that has its reward
    :raises LedgerError: if the database refuses; nothing of it is then written
    """
    rows = last_of_each(reward_row(ledger.account, *refund) for refund in refunds)
    if rows:
        update_columns = [name for name in rows[0] if name not in ("account", "event_id", "outcome")]
        ledger.change(ledger.upsert, rows, update=update_columns, when=_has_same_outcome)


def recover(ledger: RefundLedger, refunds: Collection[tuple[LedgerRecord, Result]], at: datetime) -> None:
    """
    Record that refunds which were sent turned out to be recorded.

    What was sent, when and by which task run stays as it is. A row that has become recorded meanwhile is left alone.

    :param refunds: each with its result, which is ``already_recorded`` and has a reward
    :param at: when that was decided
    :raises LedgerError: if the database refuses; then none is recorded
    """
    rows = [recovered_row(ledger.account, record, result, at) for record, result in refunds]
    if rows:
        columns = [name for name in rows[0] if name not in ("account", "event_id")]
        ledger.change(ledger.upsert, rows, update=columns, when=_is_not_on_record)


def _has_same_outcome(old: Any, new: Any) -> ColumnElement[bool]:
    condition: ColumnElement[bool] = old.outcome == new.outcome
    return condition


def _is_not_on_record(old: Any, _: Any) -> ColumnElement[bool]:
    condition: ColumnElement[bool] = old.outcome.not_in(KEPT_OUTCOMES)
    return condition


def _sent_and_recorded(ledger: RefundLedger) -> ColumnElement[bool]:
    c = ledger.table.c
    return and_(c.outcome.in_(ON_RECORD), c.last_sent_at.is_not(None))
