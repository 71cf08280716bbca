"""The refund call: everything that is particular to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from airflow_provider_firstpromoter.calls.call import Call, Identifier, TrackedEvent


class Refund(TrackedEvent):
    """
    One validated refund.

    :param event_id: the refund's own id (Stripe: ``re_…``)
    :param amount: how much was refunded
    :param quantity: how many items were refunded
    :param sale_event_id: the event id of the sale that is refunded
    """

    wire: ClassVar[Mapping[str, type]] = {"amount": str, "quantity": str}
    call_name: ClassVar[str] = "refund"

    sale_event_id: Identifier = None


REFUND = Call(
    name="refund",
    path="/track/refund",
    model=Refund,
    id_columns=("event_id", "uid", "email", "sale_event_id"),
    moment="refunded_at",
    sign=-1,
    verb="reversed",
    ledger_table="firstpromoter_refunds",
    sale_column="sale_event_id",
)
