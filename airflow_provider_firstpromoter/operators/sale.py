"""The operator that sends sales from XCom: one, or a list of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow_provider_firstpromoter.calls import SALE
from airflow_provider_firstpromoter.operators.refund import TrackEventsOperator


class TrackSaleOperator(TrackEventsOperator):
    """
    Send a sale, or a list of them, to FirstPromoter, and pass the result of each downstream.

    .. code-block:: python

        find = UnrecordedSaleSensor(task_id="find", sql="SELECT event_id, amount, uid FROM sales", ...)
        track = TrackSaleOperator(task_id="track", sales=find.output)

    It does with sales what ``TrackRefundOperator`` does with refunds; their ledger is ``firstpromoter_sales``. A sale
    that is sent today counts today: the call has no date.

    :param sales: a mapping with the sale call's field names (``event_id``, ``amount``, ``uid`` or ``email``, and
        optionally ``currency``, ``quantity``, ``plan``, ``mrr``, ``promo_code``, ``tid``, ``ref_id``,
        ``skip_email_notification``), a list of them, or the XComArg that holds either. A sale with ``tid`` or
        ``ref_id`` creates its lead
    """

    call = SALE
    template_fields: Sequence[str] = ("sales", "firstpromoter_conn_id", "ledger_conn_id", "ledger_table")
    template_fields_renderers = {"sales": "json"}

    def __init__(self, *, sales: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.sales = sales
