"""Waiting in the triggerer, in an Airflow with a scheduler, a triggerer and a single worker slot."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from dev.airflow import Api, Home, standalone
from dev.demo import warehouse
from dev.demo.stage import warehouse_of
from dev.sandbox import firstpromoter_connection

pytestmark = pytest.mark.skipif(
    version("apache-airflow").startswith("2."),
    reason="Its server is Airflow 3's (without a login); the sensor is alike",
)

#: Seconds that any one thing may take, the start of Airflow included: the machine may be busy with other tests.
PATIENCE = 240
DAGS = """
import pendulum
from airflow.providers.common.compat.sdk import dag, task
from airflow_provider_firstpromoter.sensors.refund import UnrecordedRefundSensor


@dag(schedule=None, start_date=pendulum.datetime(2025, 1, 1))
def waits():
    UnrecordedRefundSensor(
        task_id="find",
        sql="SELECT event_id, amount, uid FROM refunds",
        sql_conn_id="warehouse",
        deferrable=True,
        poke_interval=1,
        timeout=3600,
    )


@dag(schedule=None, start_date=pendulum.datetime(2025, 1, 1))
def works():
    @task
    def needs_the_slot():
        pass

    needs_the_slot()


waits()
works()
"""


class Scheduled(Api):
    """A running Airflow with the two DAGs above."""

    def start(self, dag_id: str) -> Any:
        """:returns: the run's id; None as long as the DAG is not known"""
        run = self.post(f"dags/{dag_id}/dagRuns", {"logical_date": None})
        return run and run["dag_run_id"]

    def state(self, dag_id: str, run_id: str) -> Any:
        """Of the one task that there is in the DAG."""
        instances = self.get(f"dags/{dag_id}/dagRuns/{run_id}/taskInstances")
        return instances and instances["task_instances"][0]["state"]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path)
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "dags.py").write_text(DAGS)
    warehouse.create(warehouse_of(home))
    return home


@pytest.fixture
def airflow(home: Home, sandbox: Any) -> Iterator[Scheduled]:
    environment = home.environment(
        {
            "firstpromoter_default": firstpromoter_connection(sandbox.base_url, sandbox.account_id, sandbox.api_key),
            "warehouse": {"conn_type": "sqlite", "host": str(warehouse_of(home))},
        },
        dags=home.folder / "dags",
        AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION="False",
        AIRFLOW__CORE__PARALLELISM="1",
    )
    with standalone(environment, log=home.log("airflow")) as running:
        yield Scheduled(running.url)


@pytest.fixture
def eventually(home: Home) -> Callable[..., Any]:
    """Looks until there is something to see; where that fails, Airflow's log tells why."""

    def eventually(look: Callable[[], Any]) -> Any:
        until = time.monotonic() + PATIENCE
        while not (seen := look()):
            assert time.monotonic() < until, home.log("airflow").read_text()[-5000:]
            time.sleep(0.5)
        return seen

    return eventually


def test_a_deferred_sensor_leaves_the_only_slot_to_others(
    home: Home, airflow: Scheduled, eventually: Callable[..., Any]
) -> None:
    waiting = eventually(lambda: airflow.start("waits"))
    eventually(lambda: airflow.state("waits", waiting) == "deferred")
    working = eventually(lambda: airflow.start("works"))
    eventually(lambda: airflow.state("works", working) == "success")
    assert airflow.state("waits", waiting) == "deferred"

    refund = {"event_id": "re_1", "amount": 1999, "uid": "u1"}
    with closing(sqlite3.connect(warehouse_of(home))) as database, database:
        columns = {**refund, "status": "succeeded", "refunded_at": "2025-11-01"}
        database.execute(f"INSERT INTO refunds ({', '.join(columns)}) VALUES (?, ?, ?, ?, ?)", list(columns.values()))
    eventually(lambda: airflow.state("waits", waiting) == "success")
    handed_on = airflow.get(
        f"dags/waits/dagRuns/{waiting}/taskInstances/find/xcomEntries/return_value?deserialize=true"
    )
    assert handed_on["value"] == [refund]
