"""Why docs/warehouses.md does not take a lower bound from the data interval."""

from __future__ import annotations

from typing import Any

import pendulum
from airflow import __version__ as airflow_version
from airflow.providers.common.compat.sdk import DAG
from airflow.timetables.base import TimeRestriction
from airflow.timetables.interval import CronDataIntervalTimetable

START = pendulum.datetime(2026, 1, 1, tz="UTC")


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
