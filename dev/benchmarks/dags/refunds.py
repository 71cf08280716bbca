"""The same refunds twice, sent by the provider's operator and by a mapped HttpOperator, and an empty task."""

from __future__ import annotations

import json

from airflow.providers.common.compat.sdk import DAG, task
from airflow.providers.http.operators.http import HttpOperator
from airflow.providers.sqlite.hooks.sqlite import SqliteHook

from airflow_provider_firstpromoter.transfers.sql_to_firstpromoter import SqlToFirstPromoterOperator
from dev.benchmarks.work import SQL
from dev.sandbox import HEADERS

with DAG("bench_empty", schedule=None):

    @task
    def do_nothing() -> None:
        pass

    do_nothing()

with DAG("bench_provider", schedule=None):
    SqlToFirstPromoterOperator(task_id="sync_refunds", sql=SQL, sql_conn_id="warehouse")

with DAG("bench_expand", schedule=None):

    @task
    def find_refunds() -> list[str]:
        warehouse = SqliteHook("warehouse")  # type: ignore[no-untyped-call]
        return [
            json.dumps({"event_id": event_id, "amount": str(amount), "currency": currency, "uid": uid})
            for event_id, amount, currency, uid in warehouse.get_records(SQL)
        ]

    HttpOperator.partial(
        task_id="track_refund",
        http_conn_id="firstpromoter_http",
        endpoint="track/refund",
        method="POST",
        headers=HEADERS,
        extra_options={"check_response": False},  # a 404 is no error: the customer was not referred
    ).expand(data=find_refunds())
