"""
### The hourly sync

One task keeps FirstPromoter level with the warehouse. The query names *all* refunds that ever succeeded: what the
ledger knows as settled is left out inside the database, so that an hour without refunds costs no request, and an hour
that was missed is made up for by the next one.

It needs two connections: `firstpromoter_default`, with `{"ledger_conn_id": "warehouse"}` in its extra, and
`warehouse`, any SQL database.
"""

from __future__ import annotations

from datetime import timedelta

import pendulum
from airflow.providers.common.compat.sdk import AssetAlias, dag

from airflow_provider_firstpromoter.transfers.sql_to_firstpromoter import SqlToFirstPromoterOperator

# One row a refund, with the refund's own id: a charge can be refunded in several parts. A refund that is still
# pending, or that failed, has taken nothing back yet; one that is reversed later must be put right by hand.
REFUNDS = """
    SELECT
        event_id,       -- the refund's id, never the charge's
        amount,         -- in cents, before taxes if the sales were sent before taxes
        currency,
        uid,            -- or email, or both: then uid is asked first
        email,
        sale_event_id   -- the event_id under which the sale was tracked
    FROM refunds
    WHERE status = 'succeeded'
"""


@dag(
    schedule="@hourly",
    start_date=pendulum.datetime(2025, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": timedelta(minutes=5)},
    doc_md=__doc__,
    tags=["firstpromoter"],
)
def refund_sync() -> None:
    SqlToFirstPromoterOperator(
        task_id="sync_refunds",
        sql=REFUNDS,
        sql_conn_id="warehouse",
        # A sale can reach FirstPromoter after its refund did: ask again, once a day, for a month.
        recheck_unreferred=timedelta(days=30),
        # Lets other DAGs run when a commission was taken back: see refund_report.
        outlets=[AssetAlias("refunds-recorded")],
        # pool="firstpromoter",  # one slot: all tasks of an account in turn, because they share its 400 a minute
    )


refund_sync()
