"""How one refund differs between the ledger and FirstPromoter."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from airflow_provider_firstpromoter.api import Commission, reversal_from
from airflow_provider_firstpromoter.ledger import LedgerRecord
from airflow_provider_firstpromoter.reconcile.mismatches import MismatchKind, Mismatch
from airflow_provider_firstpromoter.reconcile.staging import RefundPair
from airflow_provider_firstpromoter.refunds import Outcome, Result


def compare(pair: RefundPair, *, adopt: bool, now: datetime) -> tuple[Mismatch | None, Result | None]:
    """
    :param adopt: whether the ledger is to take over refunds that only FirstPromoter knows
    :param now: aware; stands for times that cannot be read
    :returns: how it differs, if it does, and what the ledger is to take over, if anything
    """
    record, commissions = pair.record, pair.commissions
    if not commissions:
        return _mismatch(MismatchKind.MISSING_IN_FIRSTPROMOTER, pair, None, now), None
    reversal = as_result(pair)
    if pair.duplicate_of is not None:
        return _mismatch(MismatchKind.REVERSED_TWICE, pair, reversal, now), reversal if _adoptable(pair) else None
    if record is None or not record.recorded:
        if adopt and _adoptable(pair):
            return None, reversal
        return _mismatch(MismatchKind.MISSING_IN_LEDGER, pair, reversal, now), None
    news = reversal if _reward_of(record) != _reward_of(reversal) else None
    if not same_money(record, commissions):
        return _mismatch(MismatchKind.AMOUNT_DIFFERS, pair, reversal, now), news
    if news and _reward_changed(record, reversal, commissions):
        return _mismatch(MismatchKind.REWARD_CHANGED, pair, reversal, now), news
    return None, news


def _mismatch(kind: MismatchKind, pair: RefundPair, reversal: Result | None, now: datetime) -> Mismatch:
    record = pair.record
    first = pair.commissions[0] if pair.commissions else None
    said: dict[str, Any] = {}
    if record:
        said |= {
            "ledger_outcome": record.outcome.value,
            "ledger_amount": record.recorded_amount,
            "ledger_reward": record.reward_amount,
            "ledger_reward_status": record.reward_status,
            "reward_unit": record.reward_unit,
            "promoter_id": record.promoter_id,
            "lead_id": record.lead_id,
        }
    if first:
        said |= {
            "firstpromoter_amount": first.sale_amount,
            "promoter_id": first.promoter_campaign.promoter_id,
            "lead_id": first.referral.id,
        }
    if reversal and reversal.reward:
        said |= {
            "firstpromoter_reward": reversal.reward.amount,
            "firstpromoter_reward_status": reversal.reward.status,
            "reward_unit": reversal.reward.unit,
        }
    if record and record.sent_amount is not None:
        # As the customer paid it, if that is how both sides can be compared, or all that the ledger knows.
        comparable = bool(record.sent_currency and first and first.original_sale_currency == record.sent_currency)
        if comparable or record.recorded_amount is None:
            said |= {"ledger_amount": -record.sent_amount, "currency": record.sent_currency}
        if comparable and first:
            said["firstpromoter_amount"] = first.original_sale_amount
    sent_at = (record and record.last_sent_at) or now
    return Mismatch(
        kind,
        pair.event_id or "",
        commission_id=first.id if first else 0,
        happened_at=moment_of(first, now) if first else sent_at,
        other_event_id=pair.duplicate_of,
        **said,
    )


def moment_of(commission: Commission, now: datetime) -> datetime:
    """When it was made; ``now``, if that cannot be read."""
    return _time(commission.created_at) or now


def as_result(pair: RefundPair) -> Result:
    """What the books say of a refund, as the result that a 409 would have been."""
    event_id = pair.event_id or ""
    commissions = (
        pair.commissions if pair.event_id else [one.model_copy(update={"event_id": ""}) for one in pair.commissions]
    )
    return Result(
        event_id=event_id,
        outcome=pair.record.outcome if pair.record and pair.record.recorded else Outcome.ALREADY_RECORDED,
        http_status=pair.record.http_status if pair.record and pair.record.recorded else None,
        message=None if pair.record and pair.record.recorded else "adopted from FirstPromoter's books",
        refund_id=None,
        **(reversal_from(event_id, commissions) or {}),
    )


def same_money(record: LedgerRecord, commissions: list[Commission]) -> bool:
    """
    Whether the amount in the books is the one that was sent.

    What was sent in another currency than the account's is held against the amount before conversion, or else
    against what FirstPromoter answered that it recorded. The parts of a split may bear the whole amount or share it.
    """
    converted = [one.original_sale_amount for one in commissions if one.original_sale_currency == record.sent_currency]
    if record.sent_currency and record.sent_amount is not None and len(converted) == len(commissions):
        return _is_one_of(-record.sent_amount, converted)
    amounts = [one.sale_amount for one in commissions]
    if record.recorded_amount is not None:
        return _is_one_of(record.recorded_amount, amounts)
    if record.sent_currency or record.sent_amount is None:
        return True  # there is nothing to hold against it
    return _is_one_of(-record.sent_amount, amounts)


def _is_one_of(amount: int, parts: list[int | None]) -> bool:
    given = [part for part in parts if part is not None]
    return not given or amount in given or amount == sum(given)


def _reward_of(of: LedgerRecord | Result) -> tuple[Any, ...]:
    if isinstance(of, LedgerRecord):
        return of.reward_id, of.reward_status, of.reward_amount, of.reward_unit
    reward = of.reward
    return (reward.id, reward.status, reward.amount, reward.unit) if reward else (None,) * 4


def _reward_changed(record: LedgerRecord, reversal: Result, commissions: list[Commission]) -> bool:
    """Whether somebody might want to know: not that a pending one was approved, nor a part that the answer left out."""
    if record.reward_id is None or reversal.reward is None:
        return False
    if record.reward_status != reversal.reward.status and {record.reward_status, reversal.reward.status} & {"denied", "paid"}:
        return True
    the_part = [one.amount for one in commissions if one.id == record.reward_id]
    return record.reward_amount != reversal.reward.amount and [record.reward_amount] != the_part


def _adoptable(pair: RefundPair) -> bool:
    return bool(pair.event_id) and not (pair.record and pair.record.recorded)


def _time(text: str | None) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
