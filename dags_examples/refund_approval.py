"""
### A person approves what is sent

Started by hand, for whatever is larger than the hourly sync should send by itself. It needs Airflow 3.1 or newer.

1. **preview** finds what would be sent, and sends nothing.
2. **approve** shows number, sums and a sample, and waits for a person, under *Required Actions* of the run or of the
   menu Browse. Without an answer within a day, nothing is sent.
3. **send** sends what the preview found. If there are more refunds by then, or a larger sum, it fails and sends
   nothing: run the DAG again, and approve that.
"""

from __future__ import annotations

from datetime import timedelta

import pendulum
from airflow.providers.common.compat.sdk import dag
from airflow.providers.standard.operators.hitl import ApprovalOperator

from airflow_provider_firstpromoter.transfers.sql_to_firstpromoter import SqlToFirstPromoterOperator

REFUNDS = """
    SELECT event_id, amount, currency, uid, email, sale_event_id, refunded_at
    FROM refunds
    WHERE status = 'succeeded'
"""
#: A sale can reach FirstPromoter after its refund: such refunds are sent again for a week.
RECHECK = timedelta(days=7)
FOUND = """
{%- set found = ti.xcom_pull(task_ids="preview")["would_be_sent"] -%}
Amounts are in minor units, such as cents.

| currency | refunds | sum | largest |
|---|---|---|---|
{% for currency, one in found["by_currency"].items() -%}
| {{ currency }} | {{ one["events"] }} | {{ one["sum"] }} | {{ one["largest"] }} |
{% endfor %}
The first ones:

| event_id | amount | currency |
|---|---|---|
{% for one in found["sample"] -%}
| `{{ one["event_id"] }}` | {{ one["amount"] }} | {{ one["currency"] }} |
{% endfor %}
"""


@dag(
    schedule=None,
    start_date=pendulum.datetime(2025, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    doc_md=__doc__,
    tags=["firstpromoter"],
)
def refund_approval() -> None:
    preview = SqlToFirstPromoterOperator(
        task_id="preview",
        sql=REFUNDS,
        sql_conn_id="warehouse",
        recheck_unreferred=RECHECK,
        preview=True,
    )

    approve = ApprovalOperator(
        task_id="approve",
        subject='Send {{ ti.xcom_pull(task_ids="preview")["would_be_sent"]["events"] }} refund(s) to FirstPromoter?',
        body=FOUND,
        response_timeout=timedelta(days=1),
    )

    send = SqlToFirstPromoterOperator(
        task_id="send",
        sql=REFUNDS,
        sql_conn_id="warehouse",
        recheck_unreferred=RECHECK,
        max_pending=preview.output,  # no more refunds, and no larger sum, than were approved
    )

    preview >> approve >> send


refund_approval()
