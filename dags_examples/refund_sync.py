"""
### The hourly sync

One task sends the warehouse's refunds to FirstPromoter. The query selects *all* refunds that ever succeeded: those that
are settled in the ledger are left out inside the database, so that an hour without refunds costs no request, and the
next run makes up for one that was missed.

It needs two connections: `firstpromoter_default`, with `{"ledger_conn_id": "warehouse"}` in its extra, and
`warehouse`, any SQL database.
"""

from __future__ import annotations

from datetime import timedelta

import pendulum
from airflow.providers.common.compat.sdk import AssetAlias, dag

from airflow_provider_firstpromoter.transfers.sql_to_firstpromoter import SqlToFirstPromoterOperator

# One row for each refund, with its own id: a charge can be refunded in several parts. A refund that is still pending
# or failed has returned no money.
REFUNDS = """
    SELECT
        event_id,       -- the id of the refund, never that of the charge
        amount,         -- in cents, before taxes if the sales were sent before taxes
        currency,
        uid,            -- or email, or both: then uid is tried first
        email,
        sale_event_id,  -- the event_id under which the sale was tracked
        refunded_at     -- not sent: for reports by month, and the week of recheck_unreferred
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
        # A sale can reach FirstPromoter after its refund: send such refunds again, every 20 hours, for a week.
        recheck_unreferred=timedelta(days=7),
        max_pending=2_000,  # more than that in an hour is a wrong query: the run fails before its first request
        # Lets other DAGs run when a commission was reversed: see refund_report.
        outlets=[AssetAlias("refunds-recorded")],
        # pool="firstpromoter",  # one slot: the tasks of an account share its 400 requests a minute
    )


refund_sync()
