"""The sensor that waits for sales that FirstPromoter does not have yet."""

from __future__ import annotations

from airflow_provider_firstpromoter.calls import SALE
from airflow_provider_firstpromoter.sensors.refund import UnrecordedSensor


class UnrecordedSaleSensor(UnrecordedSensor):
    """
    Wait until the query has sales that are not settled in the ledger, and pass them downstream.

    .. code-block:: python

        find = UnrecordedSaleSensor(
            task_id="find",
            sql="SELECT event_id, amount, currency, uid, sold_at FROM sales WHERE status = 'succeeded'",
            sql_conn_id="warehouse",
            mode="reschedule",
        )
        TrackSaleOperator(task_id="track", sales=find.output)

    The parameters are those of :class:`~airflow_provider_firstpromoter.sensors.refund.UnrecordedSensor`.
    """

    call = SALE
