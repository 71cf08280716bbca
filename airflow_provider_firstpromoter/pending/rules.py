"""What is to be done with a row, given what the ledger knows: the one place that decides what is pending."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import NamedTuple

from airflow_provider_firstpromoter.ledger import Known, RefundLedger
from airflow_provider_firstpromoter.refunds import Outcome, same_amount
from airflow_provider_firstpromoter.refunds.rows import Row, batches

#: A refund that nobody was found for is asked again at most this often.
RECHECK_EVERY = timedelta(days=1)


class Verdict(Enum):
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


class Judged(NamedTuple):
    """A row, what is to be done with it, and what the ledger says of it."""

    row: Row
    verdict: Verdict
    known: Known | None


def judge(
    row: Row,
    known: Known | None,
    *,
    key: bytes,
    now: datetime,
    recheck_unreferred: timedelta | None = None,
    retry_rejected: bool = False,
) -> Verdict:
    """
    Decide what is to be done with a row that has an event_id.

    :param known: what the ledger says of it; None if nothing
    :param key: for the fingerprint
    :param now: aware
    :param recheck_unreferred: for how long after it was first sent a ``not_referred`` refund is asked again
    :param retry_rejected: whether rejected rows are sent though they have not changed
    """
    if known is None:
        return Verdict.SEND
    if known.outcome is Outcome.REJECTED:
        unchanged = known.fingerprint == row.fingerprint(key)
        return Verdict.STILL_REJECTED if unchanged and not retry_rejected else Verdict.SEND
    if not same_amount(known.row_amount, row.amount) and known.row_amount is not None:
        return Verdict.CHANGED
    if known.outcome is Outcome.NOT_REFERRED and _due(known, now, recheck_unreferred):
        return Verdict.RECHECK
    return Verdict.SETTLED


def _due(known: Known, now: datetime, recheck_unreferred: timedelta | None) -> bool:
    if recheck_unreferred is None or known.first_sent_at is None or known.last_sent_at is None:
        return False
    return now - known.first_sent_at < recheck_unreferred and now - known.last_sent_at >= RECHECK_EVERY


def judged(
    rows: Iterable[Row],
    ledger: RefundLedger | None,
    *,
    key: bytes,
    recheck_unreferred: timedelta | None = None,
    retry_rejected: bool = False,
    details: bool = True,
) -> Iterator[list[Judged]]:
    """
    The rows with their verdicts, batch by batch, each batch checked against the ledger when its turn comes.

    :param details: whether the ledger's stored results will be wanted
    """
    for batch in batches(rows):
        known = ledger.find({row.event_id for row in batch if row.event_id}, details) if ledger else {}
        now = datetime.now(UTC)
        yield [
            Judged(
                row,
                judge(
                    row,
                    known.get(row.event_id or ""),
                    key=key,
                    now=now,
                    recheck_unreferred=recheck_unreferred,
                    retry_rejected=retry_rejected,
                ),
                known.get(row.event_id or ""),
            )
            for row in batch
        ]


def find_pending(
    rows: Iterable[Row], ledger: RefundLedger, *, key: bytes, limit: int, recheck_unreferred: timedelta | None = None
) -> list[Row]:
    """
    The rows that are worth a run: new ones first, then those to be asked again.

    Rows that need a person (settled with another amount, or without an event_id) are never reason enough for a
    run, but they are handed on with others, so that the run names them. Rejected rows that have not changed are
    passed over.

    :param limit: how many rows at most; reading ends as soon as so many new ones are found
    :returns: empty if nothing is pending
    """
    new: list[Row] = []
    again: list[Row] = []
    for_a_person: list[Row] = []
    wanted = {Verdict.SEND: new, Verdict.RECHECK: again, Verdict.CHANGED: for_a_person}
    for batch in judged(rows, ledger, key=key, recheck_unreferred=recheck_unreferred, details=False):
        for row, verdict, _ in batch:
            found = wanted.get(verdict if row.event_id else Verdict.CHANGED)
            if found is not None and len(found) < limit:
                found.append(row)
        if len(new) >= limit:
            break
    pending = new + again
    return (pending + for_a_person)[:limit] if pending else []
