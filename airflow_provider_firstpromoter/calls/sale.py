"""The sale call: everything that is particular to it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, ClassVar

from pydantic import BeforeValidator

from airflow_provider_firstpromoter.calls.call import Call, Identifier, TrackedEvent
from airflow_provider_firstpromoter.calls.values import read_recurring_amount


class Sale(TrackedEvent):
    """
    One validated sale. FirstPromoter counts it on the day on which it is sent: the call has no date.

    :param event_id: the sale's own id (Stripe: ``ch_…`` or ``in_…``)
    :param amount: before taxes
    :param quantity: how many items were sold
    :param plan: the plan's id
    :param mrr: the monthly recurring revenue, in minor units; zero for a single payment
    :param promo_code: the promoter's code that the customer used
    :param tid: the tracking id of the visit; with it, or with ``ref_id``, the sale creates its lead
    :param ref_id: the promoter's referral id
    """

    wire: ClassVar[Mapping[str, type]] = {"mrr": str}
    call_name: ClassVar[str] = "sale"

    plan: Identifier = None
    mrr: Annotated[int | None, BeforeValidator(read_recurring_amount)] = None
    promo_code: Identifier = None
    tid: Identifier = None
    ref_id: Identifier = None


SALE = Call(
    name="sale",
    path="/track/sale",
    model=Sale,
    id_columns=("event_id", "uid", "email", "plan", "promo_code", "tid", "ref_id"),
    moment="sold_at",
    sign=1,
    verb="earned",
    ledger_table="firstpromoter_sales",
    counts_when_sent=True,
    duplicates_within=timedelta(days=3),
)
