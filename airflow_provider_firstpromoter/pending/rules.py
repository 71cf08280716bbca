"""
Which refunds need sending: the one place that decides it, once in Python and once in SQL.

:func:`classify` is the rule. :func:`unsettled_condition` lets a database leave out rows before they are read; it may let
through rows that :func:`classify` then finds settled, and never leaves out one that it does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import NamedTuple

from airflow_provider_firstpromoter.ledger import LedgerRecord, RefundLedger
from airflow_provider_firstpromoter.refunds import (
    InvalidRefund,
    Outcome,
    Refund,
    Result,
    Row,
    Validation,
    batches,
    same_amount,
)

#: A refund that nobody was found for is asked again at most this often.
RECHECK_EVERY = timedelta(days=1)


class Action(Enum):
    """What is to be done with a row."""

    SEND = "send"
    #: ``not_referred`` before, and due to be asked again, after the new ones.
    RECHECK = "recheck"
    #: Nothing more to do.
    SETTLED = "settled"
    #: Settled with another amount: a person must look.
    CHANGED = "changed"
    #: Rejected before, and the row is still the same.
    STILL_REJECTED = "still_rejected"


class ClassifiedRow(NamedTuple):
    """A row, what is to be done with it, and what the ledger says of it."""

    row: Row
    action: Action
    record: LedgerRecord | None


def classify(
    row: Row,
    record: LedgerRecord | None,
    *,
    key: bytes,
    now: datetime,
    recheck_unreferred: timedelta | None = None,
    retry_rejected: bool = False,
) -> Action:
    """
    Decide what is to be done with a row that has an event_id.

    :param known: what the ledger says of it; None if nothing
    :param key: for the fingerprint
    :param now: aware
    :param recheck_unreferred: for how long after it was first sent a ``not_referred`` refund is asked again
    :param retry_rejected: whether rejected rows are sent though they have not changed
    """
    if record is None:
        return Action.SEND
    if record.outcome is Outcome.REJECTED:
        unchanged = record.fingerprint == row.fingerprint(key)
        return Action.STILL_REJECTED if unchanged and not retry_rejected else Action.SEND
    if not same_amount(record.row_amount, row.amount) and record.row_amount is not None:
        return Action.CHANGED
    if record.outcome is Outcome.NOT_REFERRED and _due(record, now, recheck_unreferred):
        return Action.RECHECK
    return Action.SETTLED


def _due(record: LedgerRecord, now: datetime, recheck_unreferred: timedelta | None) -> bool:
    if recheck_unreferred is None or record.first_sent_at is None or record.last_sent_at is None:
        return False
    return now - record.first_sent_at < recheck_unreferred and now - record.last_sent_at >= RECHECK_EVERY


def unsettled_condition(
    amount_text: str, bind: Callable[[datetime | str], str], now: datetime, recheck_unreferred: timedelta | None
) -> str:
    """
    The SQL condition for rows that may need sending, of a query ``q`` joined with the ledger ``l`` on the event_id.

    :param amount_text: the SQL expression for the row's amount as text
    :param bind: takes a value and returns the placeholder that stands for it
    :param now: aware
    :param recheck_unreferred: as for :func:`classify`
    """
    conditions = [
        "l.event_id IS NULL",
        f"l.outcome = '{Outcome.REJECTED.value}'",
        "q.amount IS NULL",
        f"l.row_amount <> {amount_text}",
    ]
    if recheck_unreferred is not None:
        conditions.append(
            f"(l.outcome = '{Outcome.NOT_REFERRED.value}' "
            f"AND l.first_sent_at > {bind(now - recheck_unreferred)} "
            f"AND l.last_sent_at <= {bind(now - RECHECK_EVERY)})"
        )
    return " OR ".join(conditions)


def decide(row: Row, action: Action, record: LedgerRecord | None, how: Validation) -> Refund | Result | LedgerRecord | None:
    """
    What a row comes to.

    :param verdict: of :func:`classify`
    :param how: how the row is to be read
    :returns: a refund that is to be sent; the result of a row that cannot be sent; what the ledger knows, for a row
        with which nothing is to be done; or None for a row that merely repeats an earlier one
    """
    if row.repeats is not None:
        if same_amount(row.repeats or None, row.amount):
            return None
        return _changed(row, f"came earlier in this run with amount {row.repeats or 'NULL'}")
    # What our own validation refused is validated anew: that costs no request, and its rules may change.
    if record and (action is Action.SETTLED or (action is Action.STILL_REJECTED and record.http_status is not None)):
        return record
    try:
        refund = Refund.from_row(row.values, how)
    except InvalidRefund as error:
        if action is Action.CHANGED:
            return _changed(row, f"is settled, and now {error.reason}")
        reason = error.reason if row.event_id else f"row {row.position + 1} of the input: {error.reason}"
        return Result(event_id=row.event_id, outcome=Outcome.REJECTED, message=reason)
    if record and action is Action.CHANGED:
        if refund.amount == record.sent_amount:  # the same money, written in another unit
            return record
        return _changed(row, f"is settled with amount {record.row_amount}, and the row now says {row.amount}")
    return refund


def _changed(row: Row, reason: str) -> Result:
    return Result(event_id=row.event_id, outcome=Outcome.CHANGED, message=reason)


def classify_rows(
    rows: Iterable[Row],
    ledger: RefundLedger | None,
    *,
    key: bytes,
    recheck_unreferred: timedelta | None = None,
    retry_rejected: bool = False,
    details: bool = True,
) -> Iterator[list[ClassifiedRow]]:
    """
    The rows with their verdicts, batch by batch, each batch checked against the ledger when its turn comes.

    :param details: whether the ledger's stored results will be wanted
    """
    for batch in batches(rows):
        record = ledger.find({row.event_id for row in batch if row.event_id}, details) if ledger else {}
        now = datetime.now(UTC)
        yield [
            ClassifiedRow(
                row,
                classify(
                    row,
                    record.get(row.event_id or ""),
                    key=key,
                    now=now,
                    recheck_unreferred=recheck_unreferred,
                    retry_rejected=retry_rejected,
                ),
                record.get(row.event_id or ""),
            )
            for row in batch
        ]
