"""What FirstPromoter's books say: the commissions that refunds and sales have made."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict

from airflow_provider_firstpromoter.refunds import Lead, Number, Private, Promoter, Reward, Word

CommissionStatus = Literal["pending", "approved", "denied"]

_mapping = BeforeValidator(lambda value: value if isinstance(value, dict) else {})
Flag = Annotated[bool | None, BeforeValidator(lambda value: value if isinstance(value, bool) else None)]
Text = Annotated[str | None, BeforeValidator(lambda value: value if isinstance(value, str) else None)]


class _Read(BaseModel):
    """An allow-list, as for the answers to refunds: what else the API tells is dropped."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class Referral(_Read):
    """The customer. The e-mail and uid are for Python only and never written anywhere."""

    id: Number = None
    email: Private = None
    uid: Private = None


class PromoterCampaign(_Read):
    """Whose commission it is."""

    promoter_id: Number = None


class Commission(_Read):
    """
    One line of the books.

    :param event_id: of the sale or refund that made it; a sale may bear the same one as its refund
    :param sale_amount: minor units of the account's currency; negative for a refund
    :param original_sale_amount: minor units of ``original_sale_currency``
    :param amount: the commission, in ``unit`` (``cash``: minor units); negative for a refund
    """

    id: int
    status: Word = None
    commission_type: Word = None
    event_id: Text = None
    sale_amount: Number = None
    original_sale_amount: Number = None
    original_sale_currency: Word = None
    amount: Number = None
    unit: Word = None
    is_paid: Flag = None
    tier: Number = None
    created_at: Word = None
    referral: Annotated[Referral, _mapping] = Referral()
    promoter_campaign: Annotated[PromoterCampaign, _mapping] = PromoterCampaign()

    @property
    def is_reversal(self) -> bool:
        """Whether it takes a commission back: only negative ones do."""
        return (self.amount or 0) < 0 or (self.sale_amount or 0) < 0

    @property
    def comparable_amount(self) -> str | None:
        """The same for two refunds of as much money: as the customer paid it, where that is known."""
        if self.original_sale_amount is not None and self.original_sale_currency:
            return f"{self.original_sale_amount} {self.original_sale_currency.upper()}"
        return None if self.sale_amount is None else str(self.sale_amount)

    @property
    def reward_status(self) -> str | None:
        """``paid`` once it is, else ``pending``, ``approved`` or ``denied``."""
        return "paid" if self.is_paid else self.status


def reversal_from(event_id: str, commissions: Iterable[Commission]) -> dict[str, Any] | None:
    """
    What a refund took back, from the commissions that its event_id finds.

    Tiers and splits make several commissions of one event, and all of them together are its reward. Where they are
    of several units, ``cash`` stands: a result has one reward.

    :param commissions: others among them are passed over, a sale of the same event_id too
    :returns: the fields of a result that the books can tell; None if no commission was taken back
    """
    of_units: dict[str, list[Commission]] = {}
    for commission in commissions:
        if commission.event_id == event_id and commission.is_reversal:
            of_units.setdefault(commission.unit or "", []).append(commission)
    if not of_units:
        return None
    parts = of_units.get("cash") or next(iter(of_units.values()))
    first = min(parts, key=lambda part: part.id)
    return {
        "recorded_amount": first.sale_amount,
        "reward": Reward(
            id=first.id,
            status=first.reward_status,
            amount=sum(part.amount or 0 for part in parts),
            unit=first.unit,
            created_at=first.created_at,
            conversion_amount=first.sale_amount,
            tier_level=first.tier,
        ),
        "lead": Lead(id=first.referral.id, email=first.referral.email, uid=first.referral.uid),
        "promoter": Promoter(id=first.promoter_campaign.promoter_id),
    }


def commission_filters(
    *,
    created_from: Any = None,
    created_to: Any = None,
    status: CommissionStatus | None = None,
    refunded: bool | None = None,
    amount_from: int | None = None,
    amount_to: int | None = None,
    sale_amount_from: int | None = None,
    sale_amount_to: int | None = None,
    promoter_id: int | None = None,
    campaign_id: int | None = None,
    q: str | None = None,
) -> dict[str, str]:
    """
    The query parameters of ``GET /company/commissions``.

    :param created_from: a date or time; the API compares dates
    :param q: searches event_id, e-mail and uid; a hit need not be exact
    """
    given = {
        "q": q,
        "filters[status]": status,
        "filters[refunded]": None if refunded is None else str(refunded).lower(),
        "filters[created_at][from]": _date(created_from),
        "filters[created_at][to]": _date(created_to),
        "filters[amount][from]": amount_from,
        "filters[amount][to]": amount_to,
        "filters[sale_amount][from]": sale_amount_from,
        "filters[sale_amount][to]": sale_amount_to,
        "filters[promoter_id]": promoter_id,
        "filters[campaign_id]": campaign_id,
    }
    return {name: str(value) for name, value in given.items() if value is not None}


def _date(value: Any) -> str | None:
    """A date, a datetime, a pendulum time or text, as the API's date."""
    if value is None or isinstance(value, str):
        return value
    return str(value.date() if hasattr(value, "date") and callable(value.date) else value)
