"""What is written to the ledger about one event, and when it replaces what is there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, Self

from sqlalchemy import and_, case, false, func, literal, not_, or_, true

from airflow_provider_firstpromoter.calls import (
    Call,
    Commission,
    Outcome,
    Result,
    Row,
    TrackedEvent,
    add_digest,
    fingerprint,
    same_amount,
)
from airflow_provider_firstpromoter.database import When
from airflow_provider_firstpromoter.ledger.records import LedgerRecord, RunKey
from airflow_provider_firstpromoter.ledger.table import KEPT_OUTCOMES, ON_RECORD

REPORT_COLUMNS = ("reported_at", "reported_run_id", "accepted_at")
#: What a new result ends.
CLEARED_BY_RESULT = ("changed_amount", *REPORT_COLUMNS, "reverted_at", "reverted_run_id", "last_seen_at")


def _is_another_amount(old: Any, new: Any) -> Any:
    return or_(old.changed_amount.is_(None), old.changed_amount != new.changed_amount)


def _is_stronger(old: Any, new: Any) -> Any:
    """
    What is recorded stays as it was first recorded, and commissions belong to the run that wrote them first: of two
    racing runs only that one reports them. A reconciliation can write commissions, adopted or recovered, before the run
    whose request was answered with 200 does: they still belong to that run.
    """
    claimed = and_(old.outcome.in_(ON_RECORD), func.coalesce(old.commissions_known, false()) == true())
    # Only what a reconciliation found is on record without a response.
    found = and_(old.outcome == Outcome.ALREADY_RECORDED.value, old.http_status.is_(None))
    claimed = and_(claimed, not_(and_(found, new.outcome == Outcome.RECORDED.value)))
    return and_(_strength(new) > _strength(old), not_(claimed))


def _replaces_known(old: Any, new: Any) -> Any:
    return or_(_is_stronger(old, new), old.outcome.not_in(KEPT_OUTCOMES))


def _replaces_unknown(old: Any, new: Any) -> Any:
    # Of equal ones, one whose response was lost stays.
    is_same = and_(new.outcome == old.outcome, new.outcome.not_in(KEPT_OUTCOMES), _strength(new) >= _strength(old))
    return or_(_is_stronger(old, new), is_same)


def _strength(row: Any) -> Any:
    # An event whose response was lost may be recorded, whatever another run was answered: its retry looks it up.
    lost = and_(row.outcome.not_in(KEPT_OUTCOMES), row.lost == true())
    return case(
        (lost, literal(Outcome.ALREADY_RECORDED.strength - 0.5)),
        *((row.outcome == outcome.value, literal(outcome.strength)) for outcome in Outcome if outcome.stored),
        else_=literal(0),
    )


class Rule(Enum):
    """
    How a write meets the row that is there; the order is the one in which writes of one batch are made.

    :param when: the condition under which the row is overwritten, of its columns and the new ones; None for always
    :param keeps: columns whose stored value stays unless it is NULL
    :param decides: whether the outcome is written; else it only stands there for a row that has to be inserted
    """

    #: A result of a run that found no row: it replaces a weaker outcome, and what another run sent first stays.
    RESULT = (_replaces_unknown, tuple(RunKey().sent_columns))
    #: A result of a run that had read the row: it replaces any outcome that is not on record.
    NEXT_RESULT = (_replaces_known,)
    #: FirstPromoter's own 200: the run that got it is the one that sent the event.
    RECORDED = (_is_stronger,)
    #: A row that settles an event which was changed before.
    AS_BEFORE = (lambda old, _: old.accepted_at.is_(None), (), False)
    #: Else an amount that was accepted during the run would be open again.
    CHANGED = (_is_another_amount, (), False)
    #: What recognises the content of a settled row.
    RENEWED = (None, ("row_amount",), False)
    SEEN = (None, (), False)
    #: A reconciliation found the commissions of an event that was sent.
    RECOVERED = (lambda old, _: old.outcome.not_in(KEPT_OUTCOMES),)
    #: A reconciliation found other commissions of an event that is recorded.
    UPDATED = (lambda old, new: old.outcome == new.outcome, (), False)

    def __init__(self, when: When | None, keeps: tuple[str, ...] = (), decides: bool = True) -> None:
        self.when = when
        self.keeps = keeps
        self.decides = decides


@dataclass(frozen=True, slots=True)
class LedgerWrite:
    """
    A change of one row of the ledger: the columns that it sets.

    :param values: without the account; ``outcome`` is always among them
    :param commissions: those that FirstPromoter shows
    """

    event_id: str
    rule: Rule
    values: Mapping[str, Any]
    commissions: tuple[Commission, ...] = ()

    @property
    def outcome(self) -> Outcome:
        """The outcome, written or as it was read."""
        return Outcome(self.values["outcome"])

    @property
    def is_listed(self) -> bool:
        """Whether FirstPromoter has listed the commissions, and a response did not only name them."""
        return self.rule in (Rule.UPDATED, Rule.RECOVERED)

    def sent(self, call: Call) -> dict[str, Any]:
        """Return what was sent, as :meth:`Totals.add_sums` takes it."""
        values = self.values
        return {
            "amount": values.get("sent_amount"),
            "currency": values.get("sent_currency"),
            "names_no_sale": call.sale_column is not None and values.get("sale_event_id") is None,
        }

    @classmethod
    def of_row(
        cls,
        row: Row,
        result: Result,
        event: TrackedEvent | None,
        record: LedgerRecord | None,
        run: RunKey,
        *,
        key: bytes,
        at: datetime,
        seen_at: datetime,
        contents: Iterable[Row] | None = None,
    ) -> Self:
        """
        Return the result of a row.

        :param event: what was sent; None where validation refused the row
        :param record: what the ledger had before
        :param key: the key of the fingerprint
        :param at: when the outcome was decided
        :param seen_at: when the run began
        :param contents: the rows of the event_id whose contents have this outcome, by default the row alone; if there
            are none, all its rows were rejected together, and none is remembered
        """
        tokens, digests = (record.fingerprint, record.row_digest) if record else (None, None)
        contents = (row,) if contents is None else tuple(contents)
        if not contents or not result.outcome.remembers_content:
            tokens = digests = None
        else:
            for one in contents:
                tokens, digests = fingerprint(one.values, key, tokens), add_digest(digests, one.digest)
        return cls.of_result(
            result,
            run,
            at=at,
            event=event,
            record=record,
            row_amount=row.amount if contents else None,
            fingerprint=tokens,
            row_digest=digests,
            last_seen_at=seen_at if result.outcome.is_problem else None,
            **{row.call.moment: row.happened_at},
        )

    @classmethod
    def of_result(
        cls,
        result: Result,
        run: RunKey,
        *,
        at: datetime,
        event: TrackedEvent | None = None,
        record: LedgerRecord | None = None,
        row_amount: str | None = None,
        **values: Any,
    ) -> Self:
        """
        Return a result, of a row or adopted from FirstPromoter.

        What FirstPromoter has recorded is not known from a 409 alone: the amounts then stay empty, until a
        reconciliation fills them and the next run compares the row.

        :param event: what was sent; None where nothing was
        :param record: what the ledger had before
        :param values: further columns
        """
        before = record if event is None else None  # a row that validation refuses does not end what was sent
        if result.outcome is Outcome.ALREADY_RECORDED and event is not None and not _is_what_was_sent(result, event):
            row_amount = None
            event = None
        last = event or before
        rule = Rule.RESULT if record is None else Rule.NEXT_RESULT
        return cls(
            str(result.event_id),
            Rule.RECORDED if result.outcome is Outcome.RECORDED else rule,
            {
                "outcome": result.outcome,
                "http_status": result.http_status,
                "message": result.message,
                "row_amount": row_amount,
                "sent_amount": event.amount if event else before and before.sent_amount,
                "sent_currency": event.currency if event else before and before.sent_currency,
                "sale_event_id": getattr(last, "sale_event_id", None),
                "recorded_amount": result.recorded_amount,
                "firstpromoter_id": result.firstpromoter_id,
                "lead_id": result.lead_id,
                "matched_by": result.matched_by,
                "lead_differs": result.lead_differs,
                "commissions_known": bool(result.commissions),
                "lost": result.lost,
                "unmatched": result.unmatched,
                **_sender(result, record, run).sent_columns,
                **run._asdict(),
                "first_sent_at": at if result.sent else None,
                "last_sent_at": at if result.sent else before and before.last_sent_at,
                "judged_at": at,
                **dict.fromkeys(CLEARED_BY_RESULT),
                **values,
            },
            result.commissions,
        )

    @classmethod
    def of_changed(cls, event_id: str, outcome: Outcome, amount: str | None, seen_at: datetime) -> Self:
        """Return that the row of a recorded event has another amount now: not reported and not accepted yet."""
        values = {"changed_amount": amount or "", "last_seen_at": seen_at, **dict.fromkeys(REPORT_COLUMNS)}
        return cls(event_id, Rule.CHANGED, {"outcome": outcome, **values})

    @classmethod
    def of_seen(cls, record: LedgerRecord, seen_at: datetime) -> Self:
        """Return that the query still has a problem that the ledger knows."""
        return cls(record.event_id, Rule.SEEN, {"outcome": record.outcome, "last_seen_at": seen_at})

    @classmethod
    def of_settled(cls, record: LedgerRecord, rows: Sequence[Row], key: bytes) -> list[Self]:
        """
        Return what recognises the rows of a settled event as unchanged the next time.

        :param rows: at least one, each of another content
        """
        tokens, digests = record.fingerprint, record.row_digest
        for row in rows:
            tokens, digests = fingerprint(row.values, key, tokens), add_digest(digests, row.digest)
        if not record.outcome.remembers_content:
            tokens = digests = None
        writes = []
        if not record.recorded or record.row_amount is not None or record.recorded_amount is not None:
            # Else a reconciliation has to say first what the row's amount is to be compared with.
            values = {"row_amount": rows[0].amount, "fingerprint": tokens, "row_digest": digests}
            writes.append(cls(record.event_id, Rule.RENEWED, {"outcome": record.outcome, **values}))
        if record.is_changed and all(same_amount(record.row_amount, row.amount) for row in rows):
            cleared = dict.fromkeys(("changed_amount", *REPORT_COLUMNS))
            writes.append(cls(record.event_id, Rule.AS_BEFORE, {"outcome": record.outcome, **cleared}))
        return writes

    @classmethod
    def of_commissions(cls, record: LedgerRecord, result: Result) -> Self:
        """Return the commissions of a recorded event as FirstPromoter lists them."""
        return cls(
            record.event_id,
            Rule.UPDATED,
            {
                "outcome": record.outcome,
                "recorded_amount": record.recorded_amount or result.recorded_amount,
                "lead_id": record.lead_id or result.lead_id,
                "commissions_known": True,
            },
            result.commissions,
        )

    @classmethod
    def of_recovered(cls, record: LedgerRecord, result: Result, at: datetime) -> Self:
        """Return that an event which was sent turned out to be recorded."""
        return cls(
            record.event_id,
            Rule.RECOVERED,
            {
                **cls.of_commissions(record, result).values,
                "outcome": result.outcome,
                # What the rejected row says now was not sent: it is compared with what is recorded.
                "row_amount": None if record.outcome is Outcome.REJECTED else record.row_amount,
                "http_status": result.http_status,
                "message": result.message,
                "recorded_amount": result.recorded_amount,
                "fingerprint": None,
                "row_digest": None,
                "judged_at": at,
                "last_seen_at": None,
                "reported_at": None,
                "reported_run_id": None,
            },
            result.commissions,
        )


def _sender(result: Result, record: LedgerRecord | None, run: RunKey) -> RunKey:
    """
    Return the task run whose request FirstPromoter recorded, or may have recorded.

    A 200 was this run's. A 409 belongs to the run whose response was lost; without one, the sender is not known: it
    was a run that was killed, or another tool.
    """
    earlier = record.sent_by if record is not None else RunKey()
    if not result.sent:
        return earlier
    if result.outcome is Outcome.RECORDED:
        return run
    if record is not None and record.lost:
        return earlier
    if result.lost:
        return run
    if result.outcome is Outcome.ALREADY_RECORDED:
        return RunKey()
    return run if earlier == RunKey() else earlier


def _is_what_was_sent(result: Result, event: TrackedEvent) -> bool:
    """Return whether FirstPromoter has the amount that a row has now; False where that is not known."""
    originals = [
        one.original_sale_amount
        for one in result.commissions
        if event.currency and (one.original_sale_currency or "").upper() == event.currency
    ]
    known = [amount for amount in originals if amount is not None]
    if not known and result.recorded_amount is not None:
        known = [result.recorded_amount]
    return any(abs(amount) == event.amount for amount in known)
