"""Decides how one refund differs between the ledger and FirstPromoter, and what the ledger takes over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple

from airflow_provider_firstpromoter.api import recorded_facts
from airflow_provider_firstpromoter.calls import Commission, Outcome, Result
from airflow_provider_firstpromoter.ledger import LedgerRecord
from airflow_provider_firstpromoter.reconcile.mismatches import Mismatch, MismatchKind
from airflow_provider_firstpromoter.reconcile.reading import known_ids, known_in_effect

ADOPTED = "adopted from FirstPromoter's commissions"
RECOVERED = "sent before, and a reconciliation found its commission"
#: So long after an event was sent, a commission that is not listed is not merely listed late.
LISTING_LAG = timedelta(days=1)


class EventPair(NamedTuple):
    """
    What the ledger and FirstPromoter have of one refund.

    :param event_id: None for a commission without one
    :param commissions: all commissions of the event_id, the earliest first; empty if there are none
    :param record: None if the ledger has no row
    :param duplicate_of: the refund that was sent to the same lead with the same amount, if this one was not sent
    :param in_period: False if the refund was read only because something else depends on it
    :param sign: of its commissions
    """

    event_id: str | None
    commissions: list[Commission]
    record: LedgerRecord | None
    duplicate_of: str | None = None
    in_period: bool = True
    sign: int = -1

    @property
    def recorded(self) -> bool:
        """Whether the ledger has the refund as recorded."""
        return self.record is not None and self.record.recorded

    @property
    def recoverable(self) -> bool:
        """Whether the ledger has the refund as sent, and not as recorded."""
        return self.record is not None and is_recoverable(self.record)


def is_recoverable(record: LedgerRecord) -> bool:
    """Return whether the ledger has an event as sent, and not as recorded, that FirstPromoter may have recorded."""
    if record.last_sent_at is None:
        return False
    # FirstPromoter recorded nothing of what it rejected, unless a response was lost before.
    return record.outcome in (Outcome.NOT_REFERRED, Outcome.FAILED) or (
        record.outcome is Outcome.REJECTED and bool(record.lost)
    )


class Correction(StrEnum):
    """What the ledger takes over from FirstPromoter."""

    #: A refund that the ledger has no row for, or has as never sent.
    ADOPT = "adopt"
    #: The outcome of a refund that was sent, and that the ledger does not have as recorded.
    RECOVER = "recover"
    #: The reward of a recorded refund.
    UPDATE_REWARD = "update_reward"


class Comparison(NamedTuple):
    """
    How the two sides of a refund compare.

    :param mismatch: None if they agree
    :param correction: None if the ledger has nothing to take over
    :param result: what the ledger is to take over; None if there is no commission
    """

    mismatch: Mismatch | None
    correction: Correction | None = None
    result: Result | None = None


class Amounts(NamedTuple):
    """
    The amounts that are compared: in minor units, negative for a refund.

    :param currency: None is the account's own
    :param equal: True also if there is nothing to compare
    """

    ledger: int | None
    firstpromoter: int | None
    currency: str | None
    equal: bool


def compare(pair: EventPair, *, adopt: bool, now: datetime) -> Comparison:
    """
    Compare the two sides of one refund.

    A refund that the ledger has as sent, and as ``not_referred`` or ``failed``, is recovered if FirstPromoter has a
    negative commission under its event_id: a response was lost, or the commission was not listed yet when the refund
    was looked up. So is one whose response was lost and whose row was ``rejected`` since. A duplicate is never adopted,
    because as a row of the ledger it would no longer look wrong. What a 200 recorded without naming a commission need
    have none: so small a refund converts to nothing. A commission that the ledger knows and that a lookup does not find
    is missing, also if others of the refund are there; one that is not merely listed late and in whose place others are
    has been replaced: it is no longer in effect. A commission that was denied reverses nothing: the
    ledger need not know it. The commissions of a refund that was reverted must be denied or deleted.

    :param adopt: whether the ledger takes over refunds that it does not have as sent
    :param now: aware; replaces times that cannot be read
    """
    record, commissions = pair.record, pair.commissions
    reverted = record is not None and record.outcome is Outcome.REVERTED
    if not commissions:
        if reverted or (record is not None and record.outcome is Outcome.RECORDED and not known_ids(record)):
            return Comparison(None)
        return Comparison(mismatch_of(MismatchKind.MISSING_IN_FIRSTPROMOTER, pair, None, now))
    result = result_from_commissions(pair)
    denied = all(one.status == "denied" for one in commissions)
    if reverted:
        return Comparison(None if denied else mismatch_of(MismatchKind.REVERTED_NOT_DENIED, pair, result, now))
    correction = None
    if pair.recoverable:
        correction = Correction.RECOVER
    elif record is not None and pair.recorded and _news(record, result):
        correction = Correction.UPDATE_REWARD
    if pair.duplicate_of is not None:
        return Comparison(mismatch_of(MismatchKind.RECORDED_TWICE, pair, result, now), correction, result)
    if record is None or not (pair.recorded or pair.recoverable):
        if adopt and pair.event_id:
            return Comparison(None, Correction.ADOPT, result)
        return Comparison(None if denied else mismatch_of(MismatchKind.MISSING_IN_LEDGER, pair, result, now))
    listed = {one.id for one in commissions}
    gone = known_in_effect(record) - listed
    is_old = record.last_sent_at is None or record.last_sent_at <= now - LISTING_LAG
    if gone and not (is_old and listed - known_ids(record)):
        mismatch = mismatch_of(MismatchKind.MISSING_IN_FIRSTPROMOTER, pair, result, now)
        return Comparison(replace(mismatch, commission_id=min(gone)), correction, result)
    replaced = [one.model_copy(update={"status": "denied"}) for one in record.commissions if one.id in gone]
    taken_over = result.model_copy(update={"commissions": (*result.commissions, *replaced)})
    if not compare_amounts(record, commissions, pair.sign).equal:
        return Comparison(mismatch_of(MismatchKind.AMOUNT_DIFFERS, pair, result, now), correction, taken_over)
    has_changed = record.result().rewards != result.rewards if gone else _is_worth_reporting(record, result)
    if correction is Correction.UPDATE_REWARD and has_changed:
        return Comparison(mismatch_of(MismatchKind.REWARD_CHANGED, pair, result, now), correction, taken_over)
    return Comparison(None, correction, taken_over)


def created_at(commission: Commission, now: datetime) -> datetime:
    """
    Return when a commission was made.

    :param now: is returned if the time cannot be read, or lies before FirstPromoter's
    """
    try:
        moment = datetime.fromisoformat(commission.created_at or "")
        moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return now
    return moment if 2000 <= moment.year < 9999 else now


def result_from_commissions(pair: EventPair) -> Result:
    """Return the result of a refund that its commissions show."""
    event_id = pair.event_id or ""
    commissions = (
        pair.commissions if pair.event_id else [one.model_copy(update={"event_id": ""}) for one in pair.commissions]
    )
    record = pair.record if pair.recorded else None
    return Result(
        event_id=event_id,
        outcome=record.outcome if record else Outcome.ALREADY_RECORDED,
        http_status=record.http_status if record else None,
        message=None if record else RECOVERED if pair.recoverable else ADOPTED,
        **(recorded_facts(commissions) if commissions else {}),
    )


def compare_amounts(record: LedgerRecord, commissions: Sequence[Commission], sign: int) -> Amounts:
    """
    Compare the amount that was sent with the amount of the commissions.

    What was sent in another currency than the account's is compared before its conversion if the commissions have that
    amount. Otherwise, the amount that FirstPromoter said it recorded is used. Of a split refund, each commission can
    have the whole amount or a part of it.

    :param sign: of the amounts of the commissions; what was sent has none
    """
    sent, currency = record.sent_amount and sign * record.sent_amount, record.sent_currency
    originals = [
        one.original_sale_amount
        for one in commissions
        if currency and (one.original_sale_currency or "").upper() == currency
    ]
    amounts = [one.sale_amount for one in commissions]
    first = amounts[0] if amounts else None
    if sent is not None and currency and originals and len(originals) == len(commissions):
        return Amounts(sent, originals[0], currency, _is_one_of(sent, originals))
    if sent is not None and not currency:
        return Amounts(sent, first, None, _is_one_of(sent, amounts))
    if record.recorded_amount is not None and amounts:
        return Amounts(record.recorded_amount, first, None, _is_one_of(record.recorded_amount, amounts))
    if sent is not None:
        return Amounts(sent, None, currency, True)
    return Amounts(record.recorded_amount, first, None, True)


def _is_one_of(amount: int, parts: list[int | None]) -> bool:
    given = [part for part in parts if part is not None]
    return not given or amount in given or amount == sum(given)


def mismatch_of(kind: MismatchKind, pair: EventPair, result: Result | None, now: datetime) -> Mismatch:
    """Return a mismatch, with what both sides have."""
    record, commissions = pair.record, pair.commissions
    first = commissions[0] if commissions else None
    values: dict[str, Any] = {}
    if record:
        amounts = compare_amounts(record, commissions, pair.sign)
        values |= {
            "ledger_outcome": record.outcome.value,
            "ledger_amount": amounts.ledger,
            "firstpromoter_amount": amounts.firstpromoter,
            "currency": amounts.currency,
            **_reward("ledger", record.commissions),
            "promoter_id": record.commissions[0].promoter_id if record.commissions else None,
            "lead_id": record.lead_id,
        }
    if first:
        values |= {"promoter_id": first.promoter_id, "lead_id": first.lead_id}
        if not record:
            values["firstpromoter_amount"] = first.sale_amount
    if result:
        values |= _reward("firstpromoter", result.commissions)
    return Mismatch(
        kind,
        pair.event_id or "",
        commission_id=first.id if first else 0,
        happened_at=created_at(first, now) if first else (record and record.last_sent_at) or now,
        other_event_id=pair.duplicate_of,
        **values,
    )


def _reward(side: str, commissions: Sequence[Commission]) -> dict[str, Any]:
    """Return the columns that show the commissions of one side: what is in effect of their main unit."""
    if not commissions:
        return {}
    unit = next((one.unit for one in commissions if one.unit == "cash"), commissions[0].unit)
    of_unit = [one for one in commissions if one.unit == unit]
    states = {_state(one) for one in of_unit}
    return {
        f"{side}_reward": sum(one.amount or 0 for one in of_unit if one.in_effect or len(states) == 1),
        f"{side}_reward_status": states.pop() if len(states) == 1 else "several",
        "reward_unit": unit,
    }


def _state(commission: Commission) -> str | None:
    return "paid" if commission.is_paid else commission.status


def _known_and_listed(record: LedgerRecord, result: Result) -> list[tuple[Commission | None, Commission]]:
    known = {one.id: one for one in record.commissions}
    return [(known.get(one.id), one) for one in result.commissions]


def _news(record: LedgerRecord, result: Result) -> bool:
    """Return whether FirstPromoter lists a commission that the ledger does not have, or not so."""
    return record.recorded_amount is None or any(
        ours is None or (ours.amount, ours.unit, _state(ours)) != (one.amount, one.unit, _state(one))
        for ours, one in _known_and_listed(record, result)
    )


def _is_worth_reporting(record: LedgerRecord, result: Result) -> bool:
    """
    Return whether a changed commission is a mismatch.

    It is not if a pending one was approved, or if the ledger did not have it: a response can name only one of several.
    """
    for ours, one in _known_and_listed(record, result):
        if ours is None:
            continue
        states = {_state(ours), _state(one)}
        if ours.amount != one.amount or (len(states) == 2 and states & {"denied", "paid"}):
            return True
    return False
