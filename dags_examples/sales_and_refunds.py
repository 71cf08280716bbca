"""
### Sales, then their refunds

For an account whose billing is not connected to FirstPromoter: one task sends each sale, the next one each refund. Both
select all that ever succeeded; what is settled in its ledger is left out inside the database. Sales come first, so
that FirstPromoter knows the sale that a refund reverses. A sale that is sent today counts today: `max_age` refuses a
run that would send sales that are older than a week.

It needs two connections: `firstpromoter_default`, with `{"ledger_conn_id": "warehouse"}` in its extra, and
`warehouse`, any SQL database; and a pool `firstpromoter` with one slot, because both calls share the account's limit.
"""

from __future__ import annotations

from datetime import timedelta

import pendulum
from airflow.providers.common.compat.sdk import AssetAlias, dag

from airflow_provider_firstpromoter.transfers.sql_to_firstpromoter import SqlToFirstPromoterOperator

# One row for each charge, recurring ones too.
SALES = """
    SELECT
        event_id,  -- the id of the charge
        amount,    -- in cents, before taxes
        currency,
        uid,
        email,
        sold_at    -- not sent: FirstPromoter counts a sale when it is sent
    FROM sales
    WHERE status = 'succeeded'
"""

REFUNDS = """
    SELECT event_id, amount, currency, uid, email, sale_event_id, refunded_at
    FROM refunds
    WHERE status = 'succeeded'
"""


@dag(
    schedule="@hourly",
    start_date=pendulum.datetime(2025, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": timedelta(minutes=5), "pool": "firstpromoter"},
    doc_md=__doc__,
    tags=["firstpromoter"],
)
def sales_and_refunds() -> None:
    sales = SqlToFirstPromoterOperator(
        task_id="sync_sales",
        call="sale",
        sql=SALES,
        sql_conn_id="warehouse",
        recheck_unreferred=timedelta(days=7),  # the lead may come after the sale
        outlets=[AssetAlias("sales-recorded")],
    )
    refunds = SqlToFirstPromoterOperator(
        task_id="sync_refunds",
        sql=REFUNDS,
        sql_conn_id="warehouse",
        recheck_unreferred=timedelta(days=7),
        # A problem with one sale must not keep all refunds from being sent.
        trigger_rule="all_done",
        outlets=[AssetAlias("refunds-recorded")],
    )
    sales >> refunds


sales_and_refunds()
