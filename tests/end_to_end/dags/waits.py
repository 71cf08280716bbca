"""A deferred sensor, and a task that needs the only slot of their pool."""

from __future__ import annotations

import pendulum
from airflow.providers.common.compat.sdk import dag, task

from airflow_provider_firstpromoter.sensors.unrecorded import UnrecordedRefundSensor

POOL = "single_slot"


@dag(schedule=None, start_date=pendulum.datetime(2025, 1, 1))
def waits() -> None:
    UnrecordedRefundSensor(
        task_id="find",
        sql="SELECT event_id, amount, uid FROM refunds WHERE status = 'for a test'",
        sql_conn_id="warehouse",
        deferrable=True,
        poke_interval=1,
        timeout=3600,
        pool=POOL,
    )


@dag(schedule=None, start_date=pendulum.datetime(2025, 1, 1))
def works() -> None:
    @task(pool=POOL)
    def needs_the_slot() -> None:
        pass

    needs_the_slot()


waits()
works()
