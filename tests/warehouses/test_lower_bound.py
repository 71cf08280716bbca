"""The lower bound of docs/warehouses.md, and why it does not come from the data interval."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pendulum
import pytest
from airflow import __version__ as airflow_version
from airflow.providers.common.compat.sdk import DAG
from airflow.timetables.base import TimeRestriction
from airflow.timetables.interval import CronDataIntervalTimetable

from airflow_provider_firstpromoter.sandbox import Sandbox
from airflow_provider_firstpromoter.transfers.sql_to_firstpromoter import SqlToFirstPromoterOperator
from tests.transfers.syncing import refund, sent, sync_task

START = pendulum.datetime(2026, 1, 1, tz="UTC")
PAGE = (Path(__file__).parents[2] / "docs" / "warehouses.md").read_text()


def first_interval(schedule: Any) -> Any:
    """Return the data interval of a schedule's first run, as Airflow's scheduler computes it."""
    timetable: Any = DAG("bounded", schedule=schedule, start_date=START).timetable
    try:
        from airflow.serialization.encoders import coerce_to_core_timetable
    except ImportError:
        pass
    else:
        timetable = coerce_to_core_timetable(timetable)
    restriction = TimeRestriction(earliest=START, latest=None, catchup=True)
    return timetable.next_dagrun_info(last_automated_data_interval=None, restriction=restriction).data_interval


def test_data_interval_of_an_hourly_cron_has_zero_width_on_airflow_3() -> None:
    interval = first_interval("@hourly")

    hours = (interval.end - interval.start).total_seconds() / 3600
    assert hours == (0 if airflow_version.startswith("3") else 1)


def test_data_interval_timetable_gives_an_hour_on_every_airflow() -> None:
    interval = first_interval(CronDataIntervalTimetable("@hourly", timezone="UTC"))

    assert interval.end - interval.start == pendulum.duration(hours=1)


@pytest.fixture
def bounded(firstpromoter: Sandbox, new_database: Callable[..., Any]) -> Any:
    """A warehouse with a row of yesterday, and one that is too old for the bound."""
    warehouse = new_database("sqlite", "warehouse")
    days_ago = {"re_new": 1, "re_old": 30}
    warehouse.fill(
        [
            refund(1, event_id=event_id, loaded_on=pendulum.now("UTC").subtract(days=days).to_date_string())
            for event_id, days in days_ago.items()
        ],
        loaded_on="VARCHAR(10)",
    )
    return warehouse


def test_bound_by_the_databases_clock_is_overlapping_and_sends_once(bounded: Any, sandbox: Sandbox) -> None:
    recent = "SELECT * FROM refunds WHERE loaded_on >= date('now', '-7 days')"
    for run in range(3):
        sync_task(recent, run_id=f"hourly__{run}").run()
    assert sent(sandbox) == ["re_new"]

    # The weekly run without a bound sends what the windows missed, and nothing else.
    sync_task("SELECT * FROM refunds", run_id="weekly__1").run()

    assert sent(sandbox) == ["re_new", "re_old"]


def test_documented_bound_of_airflow_works_in_every_run(
    bounded: Any, sandbox: Sandbox, run_dag: Callable[..., Any]
) -> None:
    (since,) = re.findall(r'parameters=\{"since": "(.*?)"\}', PAGE)
    with DAG("bounded", schedule="@hourly", start_date=START, catchup=False) as dag:
        SqlToFirstPromoterOperator(
            task_id="sync",
            sql="SELECT * FROM refunds WHERE loaded_on >= :since",
            parameters={"since": since},
            sql_conn_id="warehouse",
        )

    assert run_dag(dag).state == "success"

    assert sent(sandbox) == ["re_new"]
