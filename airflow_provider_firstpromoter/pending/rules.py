"""
Decides which events need sending: in Python, and in SQL as a filter before it.

:meth:`PendingRules.classify` is the rule. :func:`settled_condition` lets a database leave out rows before they are
read: it may let through rows that the rule then finds settled, and never leaves out a row that the rule does not find
settled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, NamedTuple, assert_never

from airflow_provider_firstpromoter.calls import (
    Outcome,
    Result,
    Row,
    TrackedEvent,
    Validation,
    batches,
    is_known_content,
    same_amount,
)
from airflow_provider_firstpromoter.exceptions import InvalidRowError
from airflow_provider_firstpromoter.ledger import Ledger, LedgerRecord, key_of
from airflow_provider_firstpromoter.parameters import RECHECK_EVERY

#: Why a sensor passes a row on that the ledger has: the task that gets it then sends it, whatever its own parameters.
REASON_RECHECK = "recheck"
REASON_RETRY = "retry"


class Action(Enum):
    """What is to be done with a row; the order is the one in which a run does it."""

    #: Never sent, as far as the ledger knows.
    SEND = "send"
    #: Sent before, and it failed, or was rejected or not referred with different content.
    SEND_AGAIN = "send_again"
    #: ``not_referred`` before, and due to be sent again.
    RECHECK = "recheck"
    #: Nothing to do.
    SETTLED = "settled"
    #: Recorded, but not with the amount of a row that the ledger knows: compared with FirstPromoter's, not sent.
    COMPARE = "compare"
    #: Recorded with another amount: needs attention.
    CHANGED = "changed"
    #: Rejected before, and the row is still the same.
    STILL_REJECTED = "still_rejected"


#: The actions that send, in the order of a run: events never tried, then those tried before, then rechecks.
SENDING = (Action.SEND, Action.SEND_AGAIN, Action.RECHECK)


@dataclass(frozen=True)
class PendingRules:
    """
    The rule that decides what is to be done with a row, and its parameters.

    :param key: of the hashes of contents: the ledger's salt
    :param recheck_unreferred: for how long after it happened or, where the ledger does not know that, was first sent a
        ``not_referred`` event is sent again; None never sends it again
    :param retry_rejected: whether rejected rows are sent though they have not changed
    """

    key: bytes
    recheck_unreferred: timedelta | None = None
    retry_rejected: bool = False

    def classify(self, row: Row, record: LedgerRecord | None, now: datetime) -> Action:
        """
        Decide what is to be done with a row.

        :param record: what the ledger has of its event_id; None if nothing
        :param now: aware
        """
        if record is None:
            return Action.SEND
        match record.outcome:
            case Outcome.RECORDED | Outcome.ALREADY_RECORDED:
                return _classify_recorded(row, record)
            case Outcome.REVERTED:
                return Action.SETTLED
            case Outcome.FAILED:
                return Action.SEND_AGAIN
            case Outcome.NOT_REFERRED:
                if not is_known_content(record.fingerprint, row.values, self.key):
                    return Action.SEND_AGAIN
                return Action.RECHECK if self._recheck_is_due(row, record, now) else Action.SETTLED
            case Outcome.REJECTED:
                if not is_known_content(record.fingerprint, row.values, self.key):
                    return Action.SEND_AGAIN
                retry = self.retry_rejected or row.reason == REASON_RETRY
                return Action.SEND_AGAIN if retry else Action.STILL_REJECTED
            case Outcome.CHANGED | Outcome.PENDING:
                return Action.SEND  # never stored
            case _:
                assert_never(record.outcome)

    def _recheck_is_due(self, row: Row, record: LedgerRecord, now: datetime) -> bool:
        if record.first_sent_at is None or record.last_sent_at is None or now - record.last_sent_at < RECHECK_EVERY:
            return False
        if row.reason == REASON_RECHECK:
            return True
        if self.recheck_unreferred is None:
            return False
        # The earlier one counts: an event that is said to happen in the future is not sent again for ever.
        began = min(record.first_sent_at, record.happened_at or record.first_sent_at)
        return now - began < self.recheck_unreferred

    def needs_renewal(self, row: Row, record: LedgerRecord | None) -> bool:
        """Return whether the ledger should store what recognises the row as unchanged the next time."""
        if record is None:
            return False
        if not record.outcome.remembers_content:
            return record.is_changed and same_amount(record.row_amount, row.amount)
        return row.digest is not None and row.digest not in (record.row_digest or "").split(" ")


def _classify_recorded(row: Row, record: LedgerRecord) -> Action:
    if record.row_amount is None:
        return Action.COMPARE
    if same_amount(record.row_amount, row.amount):
        return Action.SETTLED
    if record.accepted_at is not None and same_amount(record.changed_amount or None, row.amount):
        return Action.SETTLED
    return Action.CHANGED


def settled_condition(
    *,
    amount: str,
    knows_content: str,
    bind: Callable[[Any], str],
    moment: str,
    now: datetime,
    recheck_unreferred: timedelta | None,
) -> str:
    """
    Return the SQL condition under which a row is settled by the ledger's row ``l`` of its event_id.

    What is recorded comes first, because it needs no hash of the row. Where a value is missing, the condition is false
    or NULL, and the row is not settled.

    :param amount: the row's amount as text, in SQL
    :param knows_content: the condition that the ledger has the hash of the row's content
    :param bind: adds a value, and returns the placeholder that stands for it
    :param moment: the ledger's column that says when the event happened
    :param now: aware
    """
    on_record = outcome_list(outcome for outcome in Outcome if outcome.on_record)
    settled = {outcome for outcome in Outcome if outcome.settled and not outcome.on_record}
    by_content = outcome_list(outcome for outcome in Outcome if outcome in settled and outcome.remembers_content)
    always = outcome_list(outcome for outcome in Outcome if outcome in settled and not outcome.remembers_content)
    is_known = f"{amount} IS NOT NULL AND {knows_content}"
    if due := recheck_condition(bind, moment, now, recheck_unreferred):
        is_known += f" AND NOT ({due})"
    return " OR ".join(
        [
            # What was changed and is as it was again has to come through once, so that the ledger notices.
            f"(l.outcome IN ({on_record}) AND ((l.row_amount = {amount} "
            "AND (l.changed_amount IS NULL OR l.accepted_at IS NOT NULL)) "
            f"OR (l.row_amount IS NOT NULL AND l.accepted_at IS NOT NULL AND l.changed_amount = {amount})))",
            f"(l.outcome IN ({always}) AND {amount} IS NOT NULL)",
            f"(l.outcome IN ({by_content}) AND {is_known})",
        ]
    )


def recheck_condition(
    bind: Callable[[Any], str], moment: str, now: datetime, recheck_unreferred: timedelta | None
) -> str | None:
    """Return the SQL condition under which the ledger's row ``l`` is due to be sent again; None if none ever is."""
    if recheck_unreferred is None:
        return None
    begins = now - recheck_unreferred
    return (
        f"l.outcome = '{Outcome.NOT_REFERRED.value}' AND l.first_sent_at > {bind(begins)} "
        f"AND (l.{moment} IS NULL OR l.{moment} > {bind(begins)}) "
        f"AND l.last_sent_at <= {bind(now - RECHECK_EVERY)}"
    )


def outcome_list(outcomes: Iterable[Outcome]) -> str:
    """Return outcomes as the values of an SQL ``IN``."""
    return ", ".join(f"'{outcome.value}'" for outcome in outcomes)


class ClassifiedRow(NamedTuple):
    """A row, what is to be done with it, and the ledger's record of it."""

    row: Row
    action: Action
    record: LedgerRecord | None


def classify_rows(
    rows: Iterable[Row], ledger: Ledger | None, rules: PendingRules, *, commissions: bool = True
) -> Iterator[list[ClassifiedRow]]:
    """
    Return the rows with their actions, batch by batch, each batch compared with the ledger when its turn comes.

    :param commissions: whether they are needed of the records
    """
    for batch in batches(rows):
        records = ledger.find({key_of(row, rules.key) for row in batch}, commissions) if ledger else {}
        now = datetime.now(UTC)
        yield [
            ClassifiedRow(row, rules.classify(row, record, now), record)
            for row in batch
            for record in (records.get(key_of(row, rules.key)),)
        ]


class NextStep(NamedTuple):
    """
    What follows for a row: an event to send, or else a result; neither for one that is settled.

    :param event: what is to be sent
    :param result: the result of a row that is not sent
    :param known: whether the ledger already has the same problem
    """

    event: TrackedEvent | None = None
    result: Result | None = None
    known: bool = False


def decide(classified: ClassifiedRow, how: Validation) -> NextStep:
    """
    Validate a row and decide what follows for it.

    :param how: how the row is to be read
    """
    row, action, record = classified
    if record is not None and action is Action.SETTLED:
        return NextStep()
    if record is not None and action is Action.STILL_REJECTED and record.http_status is not None:
        return NextStep(result=record.result(), known=True)
    # A row that the provider's validation refused is validated again: that costs no request, and rules may change.
    try:
        event = row.call.read(row.values, how)
    except InvalidRowError as error:
        if record is not None and action in (Action.CHANGED, Action.COMPARE):
            return _changed(row, record, f"is recorded, and now {error.reason}")
        reason = error.reason if row.event_id else f"row {row.position + 1} of the input: {error.reason}"
        result = Result(event_id=row.event_id, outcome=Outcome.REJECTED, message=reason)
        if record is not None:  # a response that was lost before is still lost when the row is corrected
            result = result.model_copy(update={"lost": bool(record.lost), "unmatched": bool(record.unmatched)})
        return NextStep(result=result, known=action is Action.STILL_REJECTED)
    if record is not None and action in (Action.CHANGED, Action.COMPARE):
        if _same_money(event, record, how):
            return NextStep()
        was = record.row_amount or f"{abs(record.recorded_amount or 0)} (minor units, in FirstPromoter)"
        return _changed(row, record, f"is recorded with amount {was}, and the row now says {row.amount}")
    return NextStep(event=event)


def _same_money(event: TrackedEvent, record: LedgerRecord, how: Validation) -> bool:
    """Return whether the row has the same amount of money as the record, in whatever notation or unit."""
    if record.sent_amount is not None and record.row_amount is not None:
        return event.amount == record.sent_amount
    is_converted = event.currency is not None and event.currency != how.currency
    if record.recorded_amount is None or is_converted:
        # Adopted: only the amount of an earlier row can be compared, and that one differs.
        return record.row_amount is None
    return event.amount == abs(record.recorded_amount)


def _changed(row: Row, record: LedgerRecord, reason: str) -> NextStep:
    result = Result(event_id=row.event_id, outcome=Outcome.CHANGED, message=reason)
    return NextStep(result=result, known=record.changed_amount == (row.amount or ""))
