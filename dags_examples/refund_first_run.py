"""
### The first run, and any backfill

Started by hand, in three steps, because the tracking API has no call that undoes a refund:

1. **adopt** reads FirstPromoter's commissions, a hundred in each request, and writes the refunds that it already has
   into the ledger: those are not sent. It sends nothing, and fails if it finds mismatches that need attention first.
2. **preview** says what would be sent, and sends nothing. Read its log: is it the right account and the right id
   column? Are number, sum and largest amount plausible?
3. **send** sends five thousand refunds in each run, with no e-mail to any affiliate. Set the parameter `send` to true
   for it, and run the DAG until nothing is left pending; then the hourly sync can take over.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import Param, dag, task

from airflow_provider_firstpromoter.operators.reconcile import ReconcileRefundsOperator
from airflow_provider_firstpromoter.transfers.sql_to_firstpromoter import SqlToFirstPromoterOperator

REFUNDS = """
    SELECT event_id, amount, currency, uid, email, sale_event_id, refunded_at
    FROM refunds
    WHERE status = 'succeeded' AND refunded_at >= '{{ params.since }}'
"""
# As in the hourly sync. It counts from refunded_at, so that what is older is sent once; the preview says what it costs.
RECHECK = timedelta(days=7)


@dag(
    schedule=None,
    start_date=pendulum.datetime(2025, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    params={
        "since": Param("2025-01-01", type="string", format="date", description="Leave out what was refunded before"),
        "send": Param(False, type="boolean", description="Really send them"),
    },
    doc_md=__doc__,
    tags=["firstpromoter"],
)
def refund_first_run() -> None:
    adopt = ReconcileRefundsOperator(task_id="adopt", adopt=True)

    preview = SqlToFirstPromoterOperator(
        task_id="preview",
        sql=REFUNDS,
        sql_conn_id="warehouse",
        recheck_unreferred=RECHECK,
        preview=True,
    )

    @task.short_circuit
    def really(params: dict[str, Any]) -> bool:
        return bool(params["send"])

    send = SqlToFirstPromoterOperator(
        task_id="send",
        sql=REFUNDS,
        sql_conn_id="warehouse",
        recheck_unreferred=RECHECK,
        limit=5_000,  # about a quarter of an hour at 400 a minute
        max_pending=None,  # that limit is for the hourly sync; here the preview has shown the number
        skip_email_notification=True,
    )

    adopt >> preview >> really() >> send  # type: ignore[call-arg,misc]  # Airflow passes params


refund_first_run()
