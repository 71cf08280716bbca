"""What a DAG run leaves in Airflow's own database and in the tasks' log."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pendulum
import pytest
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_firstpromoter.operators.track import TrackRefundOperator
from airflow_provider_firstpromoter.sandbox import SECRET, Sandbox
from airflow_provider_firstpromoter.sensors.unrecorded import UnrecordedRefundSensor
from airflow_provider_firstpromoter.transfers.sql_to_firstpromoter import SqlToFirstPromoterOperator

SQL = "SELECT * FROM refunds"


def people(name: str) -> dict[str, Any]:
    return {"uid": f"uid-of-{name}-5519", "email": f"{name}-5519@customers.example"}


@pytest.fixture
def run(
    sandbox: Sandbox,
    connect: Callable[..., str],
    new_database: Callable[..., Any],
    run_dag: Callable[..., Any],
    capfd: pytest.CaptureFixture[str],
) -> Callable[..., tuple[bytes, str]]:
    """Runs tasks on the refund of a customer; returns what Airflow's database then holds, and what was logged."""

    def run(name: str, make_tasks: Callable[[], Any]) -> tuple[bytes, str]:
        connect(ledger_conn_id="warehouse")
        sandbox.add_lead(**people(name))
        new_database("sqlite", "warehouse").fill([{"event_id": f"re_{name}", "amount": 1000, **people(name)}])
        with DAG(f"of_{name}", schedule=None, start_date=pendulum.datetime(2025, 1, 1, tz="UTC")) as dag:
            make_tasks()
        assert set(run_dag(dag).states.values()) == {"success"}
        assert [recorded.event_id for recorded in sandbox.recorded()] == [f"re_{name}"]
        logged = capfd.readouterr()
        text = logged.out + logged.err
        if version("apache-airflow").startswith("3.0."):
            text = ""  # a DAG run by DAG.test prints every message between Airflow 3.0 and the task
        files = Path(os.environ["AIRFLOW_HOME"]).glob("airflow.db*")
        return b"".join(path.read_bytes() for path in files), text

    return run


def test_sql_to_firstpromoter_stores_no_personal_data_in_the_metadata_database(
    run: Callable[..., tuple[bytes, str]], sandbox: Sandbox
) -> None:
    kept, logged = run("joan", lambda: SqlToFirstPromoterOperator(task_id="sync", sql=SQL, sql_conn_id="warehouse"))

    assert b"re_joan" in kept, "the reward is there, by its event_id"
    for private in (*people("joan").values(), SECRET, sandbox.api_key):
        assert private.encode() not in kept
        assert private not in logged


def test_refunds_passed_by_xcom_are_in_the_metadata_database(
    run: Callable[..., tuple[bytes, str]], sandbox: Sandbox
) -> None:
    """The documentation says so: this is what it means. What comes of them is another matter."""

    def make_tasks() -> None:
        find = UnrecordedRefundSensor(task_id="find", sql=SQL, sql_conn_id="warehouse")
        TrackRefundOperator(task_id="track", refunds=find.output)

    kept, logged = run("jill", make_tasks)

    assert people("jill")["uid"].encode() in kept
    assert people("jill")["email"].encode() in kept
    for secret in (SECRET, sandbox.api_key):
        assert secret.encode() not in kept
    for private in (*people("jill").values(), SECRET, sandbox.api_key):
        assert private not in logged
