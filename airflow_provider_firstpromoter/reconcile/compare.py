"""How one refund differs between the ledger and FirstPromoter."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from airflow_provider_firstpromoter.api import Commission, taken_back
from airflow_provider_firstpromoter.ledger import Known
from airflow_provider_firstpromoter.reconcile.mismatches import Kind, Mismatch
from airflow_provider_firstpromoter.reconcile.staging import Both
from airflow_provider_firstpromoter.refunds import Outcome, Result


def compare(both: Both, *, adopt: bool, now: datetime) -> tuple[Mismatch | None, Result | None]:
    """
    :param adopt: whether the ledger is to take over refunds that only FirstPromoter knows
    :param now: aware; stands for times that cannot be read
    :returns: how it differs, if it does, and what the ledger is to take over, if anything
    """
    known, commissions = both.known, both.commissions
    if not commissions:
        return _mismatch(Kind.ABSENT_THERE, both, None, now), None
    books = as_result(both)
    if both.twin is not None:
        return _mismatch(Kind.REVERSED_TWICE, both, books, now), books if _adoptable(both) else None
    if known is None or not known.recorded:
        if adopt and _adoptable(both):
            return None, books
        return _mismatch(Kind.UNKNOWN_HERE, both, books, now), None
    news = books if _reward_of(known) != _reward_of(books) else None
    if not same_money(known, commissions):
        return _mismatch(Kind.AMOUNT_DIFFERS, both, books, now), news
    if news and _reward_changed(known, books, commissions):
        return _mismatch(Kind.REWARD_CHANGED, both, books, now), news
    return None, news


def _mismatch(kind: Kind, both: Both, books: Result | None, now: datetime) -> Mismatch:
    known = both.known
    first = both.commissions[0] if both.commissions else None
    said: dict[str, Any] = {}
    if known:
        said |= {
            "ledger_outcome": known.outcome.value,
            "ledger_amount": known.recorded_amount,
            "ledger_reward": known.reward_amount,
            "ledger_reward_status": known.reward_status,
            "reward_unit": known.reward_unit,
            "promoter_id": known.promoter_id,
            "lead_id": known.lead_id,
        }
    if first:
        said |= {
            "firstpromoter_amount": first.sale_amount,
            "promoter_id": first.promoter_campaign.promoter_id,
            "lead_id": first.referral.id,
        }
    if books and books.reward:
        said |= {
            "firstpromoter_reward": books.reward.amount,
            "firstpromoter_reward_status": books.reward.status,
            "reward_unit": books.reward.unit,
        }
    if known and known.sent_amount is not None:
        # As the customer paid it, if that is how both sides can be compared, or all that the ledger knows.
        comparable = bool(known.sent_currency and first and first.original_sale_currency == known.sent_currency)
        if comparable or known.recorded_amount is None:
            said |= {"ledger_amount": -known.sent_amount, "currency": known.sent_currency}
        if comparable and first:
            said["firstpromoter_amount"] = first.original_sale_amount
    sent_at = (known and known.last_sent_at) or now
    return Mismatch(
        kind,
        both.event_id or "",
        commission_id=first.id if first else 0,
        happened_at=moment_of(first, now) if first else sent_at,
        other_event_id=both.twin,
        **said,
    )


def moment_of(commission: Commission, now: datetime) -> datetime:
    """When it was made; ``now``, if that cannot be read."""
    return _time(commission.created_at) or now


def as_result(both: Both) -> Result:
    """What the books say of a refund, as the result that a 409 would have been."""
    event_id = both.event_id or ""
    commissions = (
        both.commissions if both.event_id else [one.model_copy(update={"event_id": ""}) for one in both.commissions]
    )
    return Result(
        event_id=event_id,
        outcome=both.known.outcome if both.known and both.known.recorded else Outcome.ALREADY_RECORDED,
        http_status=both.known.http_status if both.known and both.known.recorded else None,
        message=None if both.known and both.known.recorded else "adopted from FirstPromoter's books",
        refund_id=None,
        **(taken_back(event_id, commissions) or {}),
    )


def same_money(known: Known, commissions: list[Commission]) -> bool:
    """
    Whether the amount in the books is the one that was sent.

    What was sent in another currency than the account's is held against the amount before conversion, or else
    against what FirstPromoter answered that it recorded. The parts of a split may bear the whole amount or share it.
    """
    converted = [one.original_sale_amount for one in commissions if one.original_sale_currency == known.sent_currency]
    if known.sent_currency and known.sent_amount is not None and len(converted) == len(commissions):
        return _is_one_of(-known.sent_amount, converted)
    amounts = [one.sale_amount for one in commissions]
    if known.recorded_amount is not None:
        return _is_one_of(known.recorded_amount, amounts)
    if known.sent_currency or known.sent_amount is None:
        return True  # there is nothing to hold against it
    return _is_one_of(-known.sent_amount, amounts)


def _is_one_of(amount: int, parts: list[int | None]) -> bool:
    given = [part for part in parts if part is not None]
    return not given or amount in given or amount == sum(given)


def _reward_of(of: Known | Result) -> tuple[Any, ...]:
    if isinstance(of, Known):
        return of.reward_id, of.reward_status, of.reward_amount, of.reward_unit
    reward = of.reward
    return (reward.id, reward.status, reward.amount, reward.unit) if reward else (None,) * 4


def _reward_changed(known: Known, books: Result, commissions: list[Commission]) -> bool:
    """Whether somebody might want to know: not that a pending one was approved, nor a part that the answer left out."""
    if known.reward_id is None or books.reward is None:
        return False
    if known.reward_status != books.reward.status and {known.reward_status, books.reward.status} & {"denied", "paid"}:
        return True
    the_part = [one.amount for one in commissions if one.id == known.reward_id]
    return known.reward_amount != books.reward.amount and [known.reward_amount] != the_part


def _adoptable(both: Both) -> bool:
    return bool(both.event_id) and not (both.known and both.known.recorded)


def _time(text: str | None) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
